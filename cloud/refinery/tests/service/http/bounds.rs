//! What one client, key or address may take of the service, and for how long.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use blindsmith_identity::{MemberRole, Quota, SigningKey};
use blindsmith_protocol::{
    Blob, FromWarden, Id, Lane, Outcome, Role, RoundRecord, RoundSummary, ToWarden, UploadHeader, read_body,
    read_head, to_cbor, write_frame,
};

use super::members::{invite, key, order, stored};
use super::service::{Answer, Ask, Service, upload};
use crate::project::{block_bytes, body, header_of, spec};

/// A warden that has said hello and answers nothing.
fn silent_warden(service: &Service) -> UnixStream {
    // It may listen for clients before it does for wardens.
    let socket = service.dir.path().join("store/warden.sock");
    let start = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(e) => assert!(start.elapsed() < Duration::from_secs(60), "{e}"),
        }
        std::thread::yield_now();
    };
    let hello = FromWarden::Hello {
        tee: "silent".into(),
        version: "0".into(),
        holder: Id([0; 32]),
        start: Id([0; 32]),
        shared: false,
        lane: Lane::Rounds,
        take_over: false,
    };
    write_frame(&mut stream, &hello, &[]).unwrap();
    until(|| metric(service, "blindsmith_warden_connected") == 1);
    stream
}

/// A figure of the service.
fn metric(service: &Service, name: &str) -> u64 {
    let text = String::from_utf8(service.plain("GET", "/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// Waits for what comes by itself, however slow the machine is.
fn until(done: impl Fn() -> bool) {
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

/// Begins a query; its path.
fn query(service: &Service, project: &Id, key: &SigningKey) -> String {
    let begun = service.call("POST", &format!("/v1/projects/{project}/queries"), &[], key);
    assert_eq!(begun.status, 201, "{}", begun.json());
    format!("/v1/projects/{project}/queries/{}", begun.json()["session"].as_str().unwrap())
}

fn append(service: &Service, path: &str, at: usize, bytes: &[u8], key: &SigningKey) -> Answer {
    service.call("PATCH", &format!("{path}?offset={at}"), bytes, key)
}

#[test]
fn what_is_under_way_counts_against_a_contributors_quota() {
    let (service, owner, member) = (Service::start("", ""), key(1), key(2));
    let spec = service.create(&owner);
    let block = block_bytes(&spec);
    let quota = Quota { bytes: 5 * block as u64, ..Quota::default() };
    assert_eq!(
        order(&service, &spec, 1, invite(&member, MemberRole::Contributor, quota), &owner).status,
        204
    );
    // Two blocks are stored, and two under way: one is left.
    assert_eq!(stored(&service, &spec, &member, 1).2.status, 200);
    let (bytes, header) = upload(&spec, 2, &member, 2);
    let one = service.begin(&spec.id(), &member);
    assert_eq!(append(&service, &one, 0, &bytes, &member).status, 200);
    let other = service.begin(&spec.id(), &member);
    let refused = append(&service, &other, 0, &bytes, &member);
    refused.refused(413, &format!("{block} are left to you"));
    assert_eq!(service.offset(&other, &member), 0);
    assert_eq!(append(&service, &other, 0, &bytes[..block], &member).status, 200);
    // What is there may come again, and what was ended is no longer under way.
    assert_eq!(append(&service, &one, 0, &bytes, &member).status, 200);
    assert_eq!(service.commit(&one, &header, &member).status, 200);
    append(&service, &other, block, &bytes[block..], &member).refused(413, "are left to you");
}

#[test]
fn queries_under_way_are_bounded() {
    let block = spec().block_bytes(Role::Query, 8);
    let service = Service::start("", &format!("query_bytes = {}", 3 * block));
    let (owner, querier) = (key(1), key(2));
    let project = service.create(&owner);
    let id = project.id();
    let invited = invite(&querier, MemberRole::Querier, Quota::default());
    assert_eq!(order(&service, &project, 1, invited, &owner).status, 204);
    let rows = body(&project, Role::Query, 32);
    let (one, other) = (query(&service, &id, &querier), query(&service, &id, &querier));
    assert_eq!(append(&service, &one, 0, &rows[..2 * block], &querier).status, 200);
    append(&service, &other, 0, &rows[..2 * block], &querier).refused(413, "ask about fewer rows");
    assert_eq!(append(&service, &other, 0, &rows[..block], &querier).status, 200);
    // The owner's, each; and not by way of an upload either.
    for _ in 0..2 {
        let path = query(&service, &id, &owner);
        assert_eq!(append(&service, &path, 0, &rows[..3 * block], &owner).status, 200);
        append(&service, &path, 3 * block, &rows[3 * block..], &owner).refused(413, "fewer rows");
    }
    let path = service.begin(&id, &owner);
    service.append(&path, &rows, 0, &owner);
    let _warden = silent_warden(&service);
    let contributor = owner.verifying().into();
    let header = UploadHeader { contributor, ..header_of(&project, Role::Query, 32, &rows) };
    let ask = format!("{}/ask", path.replace("/uploads/", "/queries/"));
    let body = to_cbor(&(&header, Blob(vec![0; 100])));
    service.call("POST", &ask, &body, &owner).refused(413, "at most");
}

/// As if nothing had been sent to a session for an hour.
fn leave(service: &Service, path: &str) {
    use sqlx::{AnyConnection, Connection, Executor};
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", service.dir.path().join("store/refinery.db").display());
    let session = path.rsplit('/').next().unwrap();
    let statement = format!("UPDATE partials SET updated = updated - 3600000 WHERE id = x'{session}'");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let done = connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        connection.close().await.unwrap();
    });
}

#[test]
fn a_session_that_was_left_makes_room_for_another_of_its_sender() {
    let (service, owner, member) = (Service::start("", "sessions = 2"), key(1), key(2));
    let spec = service.create(&owner);
    let invited = invite(&member, MemberRole::Contributor, Quota::default());
    assert_eq!(order(&service, &spec, 1, invited, &owner).status, 204);
    let (bytes, header) = upload(&spec, 2, &owner, 1);
    let theirs = service.begin(&spec.id(), &member);
    leave(&service, &theirs);
    let (left, active) = (service.begin(&spec.id(), &owner), service.begin(&spec.id(), &owner));
    service.append(&active, &bytes[..100], 0, &owner);
    let begin = format!("/v1/projects/{}/uploads", spec.id());
    service.call("POST", &begin, &[], &owner).refused(409, "10 minutes makes room");
    leave(&service, &left);
    let new = service.begin(&spec.id(), &owner);
    service.call("GET", &left, &[], &owner).refused(404, "no such open upload");
    assert_eq!(service.offset(&theirs, &member), 0, "another's stays");
    // Those that somebody writes to do not make room.
    service.call("POST", &begin, &[], &owner).refused(409, "under way");
    service.append(&active, &bytes, 100, &owner);
    assert_eq!(service.commit(&active, &header, &owner).status, 200);
    assert_eq!(service.offset(&new, &owner), 0);
}

/// What a connection that asks for nothing is told.
fn told(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn one_address_has_so_many_connections_and_leaves_the_others_to_others() {
    let service = Service::start("header_timeout = 600", "connections_per_address = 3");
    let connect = || TcpStream::connect(service.address).unwrap();
    let held = [connect(), connect(), connect()];
    let refused = told(connect());
    // The connection is closed, as a rule after a word.
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 503"), "{refused}");
    let other = told(connect_from("127.0.0.2:0", service.address));
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    drop(held);
    until(|| told(connect()).starts_with("HTTP/1.1 200"));
    assert!(metric(&service, "blindsmith_refused_connections_total") >= 1);
}

#[test]
fn one_key_follows_so_many_events_and_leaves_the_others_to_others() {
    let (service, owner, viewer) = (Service::start("", "watchers_per_key = 1"), key(1), key(2));
    let spec = service.create(&owner);
    let invited = invite(&viewer, MemberRole::Viewer, Quota::default());
    assert_eq!(order(&service, &spec, 1, invited, &owner).status, 204);
    let mut warden = silent_warden(&service);
    let path = format!("/v1/projects/{}", spec.id());
    let released = std::thread::scope(|scope| {
        let asked = scope.spawn(|| service.call("POST", &format!("{path}/release"), &[0; 100], &owner));
        let (command, length) = read_head::<ToWarden>(&mut warden).unwrap();
        read_body(&mut warden, length, 1000).unwrap();
        assert!(matches!(command, ToWarden::Release { .. }), "{command:?}");
        let outcome =
            Outcome::Ready { holding: Blob::default(), confirmation: Blob::default(), retired: None };
        let record = RoundRecord {
            summary: RoundSummary::default(),
            given: vec![],
            used: vec![],
            state: Blob::default(),
            model: Blob::default(),
            receipt: Blob::default(),
        };
        write_frame(&mut warden, &FromWarden::Finished(outcome), &[&to_cbor(&record)]).unwrap();
        asked.join().unwrap()
    });
    assert_eq!(released.status, 200, "{}", released.json());
    // An upload that the warden does not come to read: there is something to wait for.
    assert_eq!(stored(&service, &spec, &owner, 1).2.status, 200);
    let events = format!("{path}/events");
    let follow = |key: &SigningKey| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.write_all(Ask::new("GET", &events, &[], key).head(service.address).as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8(status.to_vec()).unwrap(), stream)
    };
    let (status, following) = follow(&owner);
    assert_eq!(status, "HTTP/1.1 200");
    service.call("GET", &events, &[], &owner).refused(503, "with this key");
    let (status, _other) = follow(&viewer);
    assert_eq!(status, "HTTP/1.1 200");
    drop(following);
    until(|| follow(&owner).0 == "HTTP/1.1 200");
}
