//! The program: its arguments, its sockets, its directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use blindsmith_api::message::{Reply, Request};
use blindsmith_protocol::{read_head, write_frame};
use tempfile::TempDir;

fn program(dir: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"));
    command.args(arguments).current_dir(dir.path());
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

/// Started, and answering at this socket.
fn answering(dir: &TempDir, arguments: &[&str], socket: &str) -> Running {
    let mut running = Running(program(dir, arguments).spawn().unwrap());
    let start = Instant::now();
    loop {
        if let Ok(mut stream) = UnixStream::connect(dir.path().join(socket)) {
            write_frame(&mut stream, &Request::Ping, &[]).unwrap();
            assert_eq!(read_head::<Reply>(&mut stream).unwrap().0, Reply::Done);
            return running;
        }
        assert!(running.0.try_wait().unwrap().is_none(), "it ended");
        assert!(start.elapsed() < Duration::from_secs(60), "it does not answer");
        std::thread::yield_now();
    }
}

#[test]
fn its_directory_is_its_users_alone() {
    let dir = TempDir::new().unwrap();
    drop(answering(&dir, &["--store", "store"], "store/refinery.sock"));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("store"), 0o700);
    // Killed, it left its sockets; the next one takes them over.
    assert!(dir.path().join("store/refinery.sock").exists());
    drop(answering(&dir, &["--store", "store"], "store/refinery.sock"));
}

#[test]
fn sockets_may_be_elsewhere() {
    let dir = TempDir::new().unwrap();
    let arguments = ["--store", "store", "--socket", "clients.sock", "--warden-socket", "warden.sock"];
    let running = answering(&dir, &arguments, "clients.sock");
    assert!(UnixStream::connect(dir.path().join("warden.sock")).is_ok());
    drop(running);
}

#[test]
fn a_place_that_cannot_be_served_is_named() {
    let dir = TempDir::new().unwrap();
    refused(&program(&dir, &[]).output().unwrap(), 2, &["--store"]);
    fs::write(dir.path().join("file"), "").unwrap();
    refused(&program(&dir, &["--store", "file"]).output().unwrap(), 1, &["file"]);
    let nowhere = program(&dir, &["--store", "store", "--socket", "no/such/dir.sock"]).output().unwrap();
    refused(&nowhere, 1, &["cannot listen"]);
    let taken = UnixListener::bind(dir.path().join("taken.sock")).unwrap();
    let other = program(&dir, &["--store", "store", "--socket", "taken.sock"]).output().unwrap();
    refused(&other, 1, &["taken.sock is served by another process"]);
    drop(taken);
    // What is no socket is not removed.
    let other = program(&dir, &["--store", "store", "--socket", "file"]).output().unwrap();
    refused(&other, 1, &["file"]);
    assert!(dir.path().join("file").exists());
}
