//! The program: its arguments, its sockets, its directory.

use std::fs;
use std::io::{BufRead, BufReader};
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

/// What a command says on standard output that ends well.
fn said(dir: &TempDir, arguments: &[&str]) -> String {
    let output = program(dir, arguments).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_configuration_is_checked_without_anything_being_served() {
    let dir = TempDir::new().unwrap();
    let check = ["check", "--config", "refinery.toml"];
    let configure = |text: &str| fs::write(dir.path().join("refinery.toml"), text).unwrap();
    let clear = "[http]\nlisten = \"203.0.113.7:80\"\nowners = \"anyone\"\nauthorities = [\"name\"]\n";
    configure(&format!("[store]\ndirectory = \"here\"\n{clear}"));
    let text = said(&dir, &check);
    for words in ["here/refinery.db", "here/blobs", "203.0.113.7:80, in the clear", "put a proxy with TLS"] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(!dir.path().join("here").exists(), "nothing is made");
    // Each mistake ends it as it ends a refinery.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (text, words) in [
        ("thread = 1".to_owned(), "thread"),
        (format!("{clear}certificate = \"a.pem\"\nkey = \"b.pem\""), "a.pem: no certificates"),
        (format!("[store]\nmetadata = \"postgres://user:secret@{nobody}/name\""), "/name is not reachable"),
        ("[store]\nblobs = \"ftp://somewhere\"".to_owned(), "ftp://somewhere"),
        ("[store]\ndirectory = \"refinery.toml\"".to_owned(), "refinery.toml"),
    ] {
        configure(&text);
        for arguments in [&check[..], &check[1..]] {
            let output = program(&dir, arguments).output().unwrap();
            refused(&output, 1, &[words]);
            assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
        }
    }
    refused(&program(&dir, &["check"]).output().unwrap(), 2, &["--config"]);
}

#[test]
fn commands_on_a_store_find_it_by_the_configuration() {
    let dir = TempDir::new().unwrap();
    let objects = dir.path().join("objects");
    let text = format!("[store]\ndirectory = \"here\"\nblobs = \"file://{}\"\n", objects.display());
    fs::write(dir.path().join("refinery.toml"), text).unwrap();
    let named = ["--config", "refinery.toml"];
    drop(answering(&dir, &named, "here/refinery.sock"));
    // Among the objects that only the configuration names.
    let stray = blake3::hash(b"stray").to_hex().to_string();
    fs::create_dir(objects.join(&stray[..2])).unwrap();
    fs::write(objects.join(&stray[..2]).join(&stray), "stray").unwrap();
    let command = |name: &str, more: &[&str]| said(&dir, &[&[name], &named[..], more].concat());
    assert!(command("fsck", &[]).contains(&format!("orphaned: file://{}", objects.display())));
    assert!(command("backup", &["--to", "copy"]).contains("records and 1 blobs copied"));
    assert!(command("gc", &["--grace", "0"]).contains("1 blobs removed"));
    // What is given goes before it.
    assert!(command("restore", &["--store", "again", "--from", "copy"]).contains("1 blobs restored"));
    assert!(dir.path().join("again/refinery.db").exists());
    refused(&program(&dir, &["fsck"]).output().unwrap(), 2, &["--store"]);
}

#[test]
fn the_first_line_of_its_log_says_what_it_is_and_where_its_store_is() {
    let dir = TempDir::new().unwrap();
    let text = "[store]\ndirectory = \"here\"\n[http]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    fs::write(dir.path().join("refinery.toml"), text).unwrap();
    let mut running = Running(program(&dir, &["--config", "refinery.toml"]).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"), "{line}");
    let (records, blobs) = (&line["records"], &line["blobs"]);
    assert_eq!((records, blobs), (&"here/refinery.db".into(), &"here/blobs".into()), "{line}");
    assert_eq!((&line["listen"], &line["tls"]), (&"127.0.0.1:0".into(), &false.into()), "{line}");
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
