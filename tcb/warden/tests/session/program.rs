//! The program: its arguments, its key file, and a refinery that misbehaves and comes back.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};

use blindsmith_evidence::Claims;
use blindsmith_protocol::{FromWarden, read_head, write_frame};
use tempfile::TempDir;

use super::refinery::attest;

fn program(dir: &TempDir, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindsmith-warden"));
    command.args(["--refinery", "link.sock", "--state", "state"]).args(more).current_dir(dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
    assert!(!text.contains("panicked"), "{text}");
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_warden_says_what_it_is_or_does_not_start() {
    let dir = TempDir::new().unwrap();
    refused(&program(&dir, &[]).output().unwrap(), 2, &["--tee"]);
    refused(&program(&dir, &["--tee", "real"]).output().unwrap(), 2, &["simulated"]);
    let once = program(&dir, &["--tee", "simulated", "--once"]).output().unwrap();
    refused(&once, 1, &["SIMULATED", "link.sock", "No such file"]);
    // A port is not what the sandbox lets it reach, and names are not looked up.
    let port = ["--tee", "simulated", "--refinery", "tcp:127.0.0.1:7411"];
    refused(&program(&dir, &port).output().unwrap(), 1, &["reach a socket's path and no port"]);
    let name = ["--tee", "sgx", "--refinery", "tcp:localhost:7411"];
    refused(&program(&dir, &name).output().unwrap(), 2, &["tcp:127.0.0.1:PORT"]);
    // Where there is no such guest or enclave, nothing is fallen back to.
    if !std::path::Path::new("/dev/attestation").exists() {
        let outside = program(&dir, &["--tee", "sgx", "--once"]).output().unwrap();
        refused(&outside, 1, &["not applicable in an enclave", "/dev/attestation/attestation_type"]);
        assert!(!dir.path().join("state/sealing.key").exists(), "no key is made outside of an enclave");
        let open = program(&dir, &["--tee", "sgx", "--sandbox", "off"]).output().unwrap();
        refused(&open, 1, &["--sandbox off is for --tee simulated"]);
    }
    if !std::path::Path::new("/sys/kernel/config/tsm").exists() {
        for (tee, advice) in [("tdx", "load tdx_guest or sev_guest"), ("snp", "load sev_guest")] {
            refused(
                &program(&dir, &["--tee", tee, "--memory-lock", "try"]).output().unwrap(),
                1,
                &["tsm/report", advice],
            );
            let open = program(&dir, &["--tee", tee, "--sandbox", "off"]).output().unwrap();
            let words = if tee == "tdx" { "--sandbox off is for --tee simulated" } else { advice };
            refused(&open, 1, &[words]);
        }
    }
}

#[test]
fn the_samples_of_deployment_are_taken() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/etc");
    let configs: Vec<_> = fs::read_dir(samples)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    assert_eq!(configs.len(), 2, "systemd's and the containers'");
    for config in configs {
        let dir = TempDir::new().unwrap();
        // What stands on the command line goes before the file's socket and state; its kind is the file's.
        let once = program(&dir, &["--config", config.to_str().unwrap(), "--once"]).output().unwrap();
        refused(&once, 1, &["SIMULATED", "link.sock", "No such file"]);
    }
}

#[test]
fn it_says_whether_it_is_confined() {
    let dir = TempDir::new().unwrap();
    let once =
        |more: &[&str]| program(&dir, &[&["--tee", "simulated", "--once"], more].concat()).output().unwrap();
    refused(&once(&[]), 1, &["sandbox: on (landlock", "memory"]);
    refused(&once(&["--memory-lock", "off"]), 1, &["sandbox: on", "NOT locked, as it was told"]);
    refused(&once(&["--sandbox", "off"]), 1, &["NO SANDBOX"]);
    refused(&once(&["--sandbox", "no"]), 2, &["on, off"]);
    fs::write(dir.path().join("warden.conf"), "sandbox = off\nmemory-lock = try\n").unwrap();
    refused(&once(&["--config", "warden.conf"]), 1, &["NO SANDBOX"]);
    fs::write(dir.path().join("file"), "").unwrap();
    refused(&once(&["--state", "file/state"]), 1, &["file/state: Not a directory"]);
}

#[test]
fn its_sealing_key_is_its_users_alone_and_is_never_replaced() {
    let dir = TempDir::new().unwrap();
    let start = || program(&dir, &["--tee", "simulated", "--once"]).output().unwrap();
    start();
    let path = dir.path().join("state").join("sealing.simulated.key");
    let key = fs::read(&path).unwrap();
    assert_eq!((key.len(), fs::metadata(&path).unwrap().permissions().mode() & 0o777), (32, 0o600));
    start();
    assert_eq!(fs::read(&path).unwrap(), key);
    for bytes in [&key[..31], &[key.as_slice(), &[0]].concat(), &[]] {
        fs::write(&path, bytes).unwrap();
        refused(&start(), 1, &["the sealing key in state", "32 bytes"]);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn at_a_port_it_shares_no_memory() {
    let dir = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = format!("tcp:{}", listener.local_addr().unwrap());
    let warden =
        program(&dir, &["--tee", "simulated", "--sandbox", "off", "--refinery", &link]).spawn().unwrap();
    let _warden = Running(warden);
    let (mut stream, _) = listener.accept().unwrap();
    let (hello, _) = read_head::<FromWarden>(&mut stream).unwrap();
    assert!(matches!(hello, FromWarden::Hello { shared: false, .. }));
    write_frame(&mut stream, &attest([4; 32]), &[]).unwrap();
    let (evidence, _) = read_head::<FromWarden>(&mut stream).unwrap();
    assert!(matches!(evidence, FromWarden::Evidence(_)));
}

#[test]
fn a_refinery_that_spoke_nonsense_is_tried_again() {
    let dir = TempDir::new().unwrap();
    let listener = UnixListener::bind(dir.path().join("link.sock")).unwrap();
    let warden = program(&dir, &["--tee", "simulated", "--no-shared-memory"]).spawn().unwrap();
    let mut warden = Running(warden);
    // One link for rounds, one for queries.
    let links = [listener.accept().unwrap().0, listener.accept().unwrap().0];
    for mut link in links {
        // Said before it is hung up on: else it may find that first.
        read_head::<FromWarden>(&mut link).unwrap();
        link.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
    }

    let (mut second, _) = listener.accept().unwrap();
    let (hello, _) = read_head::<FromWarden>(&mut second).unwrap();
    assert!(matches!(hello, FromWarden::Hello { .. }));
    write_frame(&mut second, &attest([3; 32]), &[]).unwrap();
    let (evidence, _) = read_head::<FromWarden>(&mut second).unwrap();
    let FromWarden::Evidence(evidence) = evidence else { panic!("evidence is due") };
    assert_eq!(Claims::decode(&evidence.claims.0).unwrap().nonce, [3; 32]);
    warden.0.kill().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut warden.0.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("does not speak this protocol") && !said.contains("panicked"), "{said}");
}
