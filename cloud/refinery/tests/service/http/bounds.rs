//! What one client, key or address may take of the service, and for how long.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use blindsmith_identity::SigningKey;
use blindsmith_protocol::{FromWarden, Id, Lane, ToWarden, read_body, read_head, write_frame};

use super::service::{Ask, Service};

pub fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&[byte; 32])
}

/// A warden that has said hello and answers nothing.
fn silent_warden(service: &Service) -> UnixStream {
    let mut stream = UnixStream::connect(service.dir.path().join("store/warden.sock")).unwrap();
    let hello = FromWarden::Hello {
        tee: "silent".into(),
        version: "0".into(),
        holder: Id([0; 32]),
        shared: false,
        lane: Lane::Rounds,
        take_over: false,
    };
    write_frame(&mut stream, &hello, &[]).unwrap();
    until(|| metric(service, "blindsmith_warden_connected") == 1);
    stream
}

/// A figure of the service.
pub fn metric(service: &Service, name: &str) -> u64 {
    let text = String::from_utf8(service.plain("GET", "/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// Waits for what comes by itself, however slow the machine is.
pub fn until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not happen");
        std::thread::yield_now();
    }
}

#[test]
fn who_leaves_frees_nothing_before_its_work_ended() {
    let (service, owner) = (Service::start("", "queries = 1"), key(1));
    let mut warden = silent_warden(&service);
    let body = [7; 3000];
    let ask = Ask::new("POST", "/v1/attest", &body, &owner);
    let mut client = TcpStream::connect(service.address).unwrap();
    client.write_all(ask.head(service.address).as_bytes()).unwrap();
    client.write_all(&body).unwrap();
    let (asked, length) = read_head::<ToWarden>(&mut warden).unwrap();
    read_body(&mut warden, length, 0).unwrap();
    assert!(matches!(asked, ToWarden::Attest { .. }), "{asked:?}");
    drop(client);
    // The one that is left is the one that looks.
    until(|| metric(&service, "blindsmith_connections") == 1);
    assert!(metric(&service, "blindsmith_bytes_in_flight") >= 3000);
    service.call("POST", "/v1/attest", &[], &owner).refused(503, "wait for the warden");
    // The warden ends it by leaving; then there is room again.
    drop(warden);
    until(|| metric(&service, "blindsmith_bytes_in_flight") == 0);
    service.call("POST", "/v1/attest", &[], &owner).refused(503, "no warden is connected");
}
