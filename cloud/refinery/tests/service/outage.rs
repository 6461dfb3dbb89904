//! Databases and object stores that are not there: at the start, and later.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use blindsmith_api::message::{Reply, Request};
use blindsmith_protocol::{Role, read_head, write_frame};
use tempfile::TempDir;

use crate::http::members::key;
use crate::http::service::{Service, upload};
use crate::places::{Postgres, eventually};
use crate::s3::settings;
use crate::s3::stand_in::{MISSING, StandIn};

/// What a refinery says that does not start with these settings.
fn refused(settings: &[(&str, &str)]) -> String {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"));
    command.args(["--store", "store"]).current_dir(dir.path()).envs(settings.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked") && !text.contains("secret"), "{text}");
    text
}

fn says(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

/// An address where nobody listens.
fn nobody() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn with_blobs<'a>(endpoint: &'a str, blobs: &'a str) -> Vec<(&'a str, &'a str)> {
    settings(endpoint).into_iter().chain([("BLINDSMITH_BLOBS", blobs)]).collect()
}

#[test]
fn an_object_store_that_is_not_there_is_refused_at_the_start() {
    let endpoint = nobody();
    let text = refused(&with_blobs(&endpoint, "s3://bucket/prefix"));
    says(&text, &["the object store s3://bucket/prefix", &endpoint, "start it, or name another"]);
}

#[test]
fn a_bucket_that_is_not_there_is_refused_at_the_start() {
    let server = StandIn::start();
    let text = refused(&with_blobs(&server.endpoint, &format!("s3://{MISSING}/prefix")));
    says(&text, &["the object store s3://missing/prefix", &server.endpoint, "make the bucket"]);
}

#[test]
fn credentials_that_may_not_write_are_refused_at_the_start() {
    let server = StandIn::start();
    let mut settings = with_blobs(&server.endpoint, "s3://bucket");
    settings.push(("AWS_ACCESS_KEY_ID", "somebody"));
    says(&refused(&settings), &["the object store s3://bucket", "let these credentials write"]);
}

#[test]
fn a_database_that_is_not_there_is_refused_at_the_start() {
    let address = nobody();
    let address = address.strip_prefix("http://").unwrap();
    let url = format!("postgres://user:secret@{address}/records");
    let text = refused(&[("BLINDSMITH_METADATA", &url)]);
    says(&text, &[&format!("the database postgres://{address}/records is not reachable")]);
    let Some(server) = Postgres::start() else { return };
    let text = refused(&[("BLINDSMITH_METADATA", &server.url("nowhere"))]);
    says(&text, &[":5432/nowhere", "does not exist"]);
}

/// Asks until it is not ready for a reason that has these words.
fn not_ready(service: &Service, words: &str) {
    eventually(&format!("/ready does not say: {words}"), || {
        let ready = service.plain("GET", "/ready");
        ready.status == 503 && ready.json()["reason"].as_str().unwrap().contains(words)
    });
}

fn gauge(service: &Service, name: &str) -> String {
    let text = String::from_utf8(service.plain("GET", "/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

/// What the operator's socket answers.
fn local(service: &Service, request: &Request) -> Reply {
    let mut stream = UnixStream::connect(service.dir.path().join("store/refinery.sock")).unwrap();
    write_frame(&mut stream, request, &[]).unwrap();
    read_head::<Reply>(&mut stream).unwrap().0
}

fn away(reply: &Reply) {
    assert!(matches!(reply, Reply::Failed { message } if message.contains("not reachable")), "{reply:?}");
}

/// What clients are told as long as uploads cannot be stored, and that they can go on with them then.
fn uploads_wait(service: &Service, lose: impl FnOnce(), part: &str, gauge_of: &str, find: impl FnOnce()) {
    let owner = key(1);
    let spec = service.create(&owner);
    let (bytes, header) = upload(&spec, 1, &owner, 1);
    let path = service.begin(&spec.id(), &owner);
    service.append(&path, &bytes, 0, &owner);
    lose();
    not_ready(service, part);
    assert_eq!(gauge(service, gauge_of), "0");
    let begun = service.call("POST", &format!("/v1/projects/{}/uploads", spec.id()), &[], &owner);
    let committed = service.commit(&path, &header, &owner);
    for answer in [&begun, &committed] {
        answer.refused(503, "not reachable: try again");
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
        assert!(!answer.head.contains("127.0.0.1") && !answer.json().to_string().contains("bucket"));
    }
    let push = Request::Push { project: spec.id(), role: Role::Training, rows: 8 };
    away(&local(service, &push));
    find();
    eventually("it is not ready again", || service.plain("GET", "/ready").status == 200);
    assert_eq!(gauge(service, gauge_of), "1");
    let committed = service.commit(&path, &header, &owner);
    assert_eq!(committed.status, 200, "{}", committed.json());
    assert_eq!(service.uploads(&spec.id(), &owner).len(), 1);
}

#[test]
fn an_object_store_that_goes_away_stops_uploads_until_it_is_back() {
    let server = StandIn::start();
    let service = Service::start_with("", "", &with_blobs(&server.endpoint, "s3://bucket/prefix"));
    let lose = || server.hang(true);
    uploads_wait(&service, lose, "object store", "blindsmith_store_objects_reachable", || server.hang(false));
}

#[test]
fn a_bucket_that_is_removed_stops_uploads_until_there_is_one() {
    let server = StandIn::start();
    let service = Service::start_with("", "", &with_blobs(&server.endpoint, "s3://bucket"));
    let lose = || server.remove_bucket("bucket");
    let find = || server.make_bucket("bucket");
    uploads_wait(&service, lose, "bucket is gone", "blindsmith_store_objects_reachable", find);
}

#[test]
fn a_database_that_goes_away_stops_uploads_until_it_is_back() {
    let Some(mut server) = Postgres::own() else { return };
    let service = Service::start_with("", "", &[("BLINDSMITH_METADATA", &server.database())]);
    let server = std::cell::RefCell::new(&mut server);
    let (lose, find) = (|| server.borrow_mut().stop(), || server.borrow_mut().serve());
    uploads_wait(&service, lose, "database is not reachable", "blindsmith_store_database_reachable", find);
}

#[test]
fn reading_without_the_database_is_refused_at_the_socket_too() {
    let Some(mut server) = Postgres::own() else { return };
    let service = Service::start_with("", "", &[("BLINDSMITH_METADATA", &server.database())]);
    let spec = service.create(&key(1));
    server.stop();
    not_ready(&service, "database is not reachable");
    away(&local(&service, &Request::Receipts { project: spec.id(), from: 0, faults: 0 }));
    let target = format!("/v1/projects/{}/receipts", spec.id());
    service.call("GET", &target, &[], &key(1)).refused(503, "not reachable: try again");
}
