//! Signatures, times, nonces, sizes, slow clients, strange paths.

use std::io::{Read, Write};
use std::net::TcpStream;

use blindsmith_identity::SigningKey;
use blindsmith_protocol::{Blob, Id, to_cbor};

use super::service::{Answer, Ask, Service, now, read_answer, upload};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&[byte; 32])
}

#[test]
fn strangers_and_unsigned_requests_are_refused() {
    let owner = key(1);
    let service = Service::start(&format!("owners = [\"{}\"]", owner.verifying()), "");
    service.plain("GET", "/v1/projects").refused(401, "signature-input");
    service.plain("GET", "/v1/nothing").refused(404, "openapi.json");
    let spec = service.create(&owner);
    let path = format!("/v1/projects/{}", spec.id());
    let stranger = key(2);
    service.call("GET", &path, &[], &stranger).refused(403, "not a member of this project");
    service.call("POST", &format!("{path}/uploads"), &[], &stranger).refused(403, "not a member");
    let body = to_cbor(&(&spec, Blob(vec![1])));
    service.call("POST", "/v1/projects", &body, &stranger).refused(403, "unknown here");
    let unknown = format!("/v1/projects/{}", Id([9; 32]));
    service.call("GET", &unknown, &[], &owner).refused(404, "there is no project");
    service.call("GET", &unknown, &[], &stranger).refused(403, "unknown here");
    assert_eq!(service.call("GET", "/v1/projects", &[], &owner).json()["projects"][0]["role"], "owner");
}

#[test]
fn a_request_that_was_not_signed_like_that_is_refused() {
    let (service, owner) = (Service::start("", ""), key(1));
    let spec = service.create(&owner);
    let path = format!("/v1/projects/{}", spec.id());
    let (status, other) = (path.clone(), format!("{path}/spec"));
    let ask = || Ask::new("GET", &status, &[], &owner);
    assert_eq!(service.send(&ask()).status, 200);
    service.send(&Ask { signed_target: Some(&other), ..ask() }).refused(401, "does not fit");
    let query = format!("{path}?offset=1");
    service.send(&Ask { signed_target: Some(&query), ..ask() }).refused(401, "does not fit");
    // The signature is that of another key than its parameters name.
    let forged = {
        let head = ask().head(service.address);
        let theirs = Ask { key: &key(2), ..ask() }.head(service.address);
        let line = |head: &str| head.lines().find(|l| l.starts_with("signature:")).unwrap().to_owned();
        head.replace(&line(&head), &line(&theirs))
    };
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.write_all(forged.as_bytes()).unwrap();
    read_answer(&mut stream).refused(401, "does not fit");
}

#[test]
fn stale_early_and_repeated_requests_are_refused() {
    let (service, owner) = (Service::start("max_clock_skew = 60", ""), key(1));
    let ask = || Ask::new("GET", "/v1/projects", &[], &owner);
    let stale = service.send(&Ask { created: now() - 1000, ..ask() });
    stale.refused(401, "too old");
    let told = stale.json()["server_time"].as_u64().unwrap();
    assert!(told.abs_diff(now()) < 60, "the clock that counts is told");
    service.send(&Ask { created: now() + 1000, ..ask() }).refused(401, "too early");
    let once = ask();
    assert_eq!(service.send(&once).status, 200);
    service.send(&once).refused(401, "made before");
}

#[test]
fn sizes_and_rates_are_limited() {
    let owner = key(1);
    let limits = "chunk_bytes = 65536\nrequests_per_second = 1\nrequest_burst = 6\nsessions = 1";
    let service = Service::start("", limits);
    let spec = service.create(&owner);
    let path = service.begin(&spec.id(), &owner);
    let big = vec![0; 65537];
    service.call("PATCH", &format!("{path}?offset=0"), &big, &owner).refused(413, "65536");
    service
        .call("POST", &format!("/v1/projects/{}/uploads", spec.id()), &[], &owner)
        .refused(409, "under way");
    assert_eq!(service.offset(&path, &owner), 0);
    let refused = (0..6).map(|_| service.call("GET", &path, &[], &owner)).find(|a| a.status != 200).unwrap();
    refused.refused(429, "wait");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // Another key has a rate of its own.
    assert_eq!(service.call("GET", "/v1/projects", &[], &key(2)).status, 200);
}

#[test]
fn slow_clients_are_cut_off() {
    let http = "header_timeout = 1\nbody_timeout = 1\nminimum_rate = 1000000000";
    let (service, owner) = (Service::start(http, ""), key(1));
    let spec = service.create(&owner);
    let path = service.begin(&spec.id(), &owner);
    // Half a head: the connection is ended, with or without a word.
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x").unwrap();
    let mut rest = Vec::new();
    _ = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
    // Half a body.
    let target = format!("{path}?offset=0");
    let body = [7; 1000];
    let ask = Ask::new("PATCH", &target, &body, &owner);
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.write_all(ask.head(service.address).as_bytes()).unwrap();
    stream.write_all(&body[..500]).unwrap();
    read_answer(&mut stream).refused(408, "slowly");
    assert_eq!(service.offset(&path, &owner), 0, "half a chunk is none");
}

#[test]
fn paths_lead_nowhere_else() {
    let (service, owner) = (Service::start("", ""), key(1));
    let spec = service.create(&owner);
    let id = spec.id();
    for path in [
        "/v1/projects/..".to_owned(),
        "/v1/projects/../../etc/passwd".to_owned(),
        "/v1/projects/%2e%2e%2fstore".to_owned(),
        format!("/v1/projects/{id}/uploads/..%2f..%2frefinery.db"),
        format!("/v1/projects/{id}/uploads/{}", "0".repeat(31)),
        format!("/v1/projects/{id}/models/..%2f1"),
        format!("/v1/projects/{id}/models/18446744073709551616"),
    ] {
        let Answer { status, .. } = service.call("GET", &path, &[], &owner);
        assert_eq!(status, 404, "{path}");
    }
    let path = service.begin(&id, &owner);
    for query in [
        "",
        "?",
        "?offset=",
        "?offset=-1",
        "?offset=1e3",
        "?offset=0&offset=1",
        "?offset=99999999999999999999",
    ] {
        service.call("PATCH", &format!("{path}{query}"), &[1], &owner).refused(400, "?offset=BYTES");
    }
}

#[test]
fn names_with_control_characters_and_other_peoples_names_are_refused() {
    let (service, owner) = (Service::start("", ""), key(1));
    let spec = crate::project::spec();
    let mut named = blindsmith_protocol::ProjectSpec { owner: owner.verifying().into(), ..spec.clone() };
    named.name = "a\r\nb".into();
    let create = |spec| service.call("POST", "/v1/projects", &to_cbor(&(spec, Blob(vec![1]))), &owner);
    create(&named).refused(422, "control characters");
    create(&spec).refused(403, "another owner");
    service.call("POST", "/v1/projects", b"\xff\xff", &owner).refused(422, "specification and model");
    let listed = service.call("GET", "/v1/projects", &[], &owner);
    assert_eq!(listed.json()["projects"].as_array().unwrap().len(), 0);
}

#[test]
fn it_says_how_it_is() {
    let (service, owner) = (Service::start("", ""), key(1));
    assert!(service.plain("GET", "/health").json()["time"].as_u64().unwrap().abs_diff(now()) < 60);
    assert_eq!(service.plain("GET", "/ready").json()["ready"], true);
    assert_eq!(service.plain("GET", "/openapi.json").json()["openapi"], "3.1.0");
    assert_eq!(service.plain("POST", "/health").status, 405);
    let spec = service.create(&owner);
    let (bytes, header) = upload(&spec, 1, &owner, 1);
    let path = service.begin(&spec.id(), &owner);
    service.append(&path, &bytes, 0, &owner);
    assert_eq!(service.commit(&path, &header, &owner).status, 200);
    let text = String::from_utf8(service.plain("GET", "/metrics").body).unwrap();
    for line in [
        "blindsmith_uploads_total 1",
        "blindsmith_projects 1",
        "blindsmith_warden_connected 0",
        "blindsmith_jobs 0",
        "blindsmith_rounds_due 0",
        "blindsmith_uploads_unread 1",
        "blindsmith_uploads_waiting 1",
        "blindsmith_last_round_time_seconds 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
    assert!(text.lines().any(|l| l.starts_with("blindsmith_store_free_bytes ")), "{text}");
    assert!(!text.contains(&spec.id().to_string()), "no project is named");
}

#[test]
fn it_is_not_ready_while_its_store_does_not_answer() {
    let service = Service::start("", "");
    let (there, away) = (service.dir.path().join("store/incoming"), service.dir.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    let ready = service.plain("GET", "/ready");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()));
    assert!(ready.json()["reason"].as_str().unwrap().contains("store"), "{}", ready.json());
    assert_eq!(service.plain("GET", "/health").status, 200, "the process answers");
    std::fs::rename(&away, &there).unwrap();
    let ready = service.plain("GET", "/ready");
    assert_eq!((ready.status, &ready.json()["reason"]), (200, &serde_json::Value::Null));
}

#[test]
fn it_ends_when_told_to() {
    let mut service = Service::start("shutdown_timeout = 5", "");
    let pid = rustix::process::Pid::from_child(&service.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(service.address).is_err());
}
