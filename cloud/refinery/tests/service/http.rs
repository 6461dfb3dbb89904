//! The HTTP service as a process: what it refuses, with which words, and that nothing changes then.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use blindsmith_api::{CBOR, ROUTES, Request, content_digest, openapi, sign};
use blindsmith_identity::{
    Action, MemberRole, Order, Quota, SigningKey, Withdrawal, sign_order, sign_withdrawal,
};
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader, to_cbor};
use serde_json::Value;
use tempfile::TempDir;

use crate::project::{blocks, header, spec};

static NONCE: AtomicU64 = AtomicU64::new(1);

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn owner() -> SigningKey {
    key(1)
}

/// A running refinery; it ends with the test.
struct Service {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A problem of this status, whose words say this.
    fn refused(&self, status: u16, words: &str) -> Value {
        let problem = self.json();
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert_eq!(self.status, status, "{detail}");
        assert!(detail.contains(words), "{words:?} is not in: {detail}");
        assert!(self.head.contains("application/problem+json"), "{}", self.head);
        assert_eq!(problem["status"], status);
        problem
    }

    fn done(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// A request, to be changed before it is sent.
#[derive(Clone)]
struct Call {
    method: String,
    path: String,
    query: String,
    body: Vec<u8>,
    /// What is sent in its place.
    sent: Option<Vec<u8>>,
    created: u64,
    nonce: [u8; 16],
    host: String,
    signed_host: String,
}

fn call(method: &str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Call {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&NONCE.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Call {
        method: method.into(),
        path: path.into(),
        query: String::new(),
        body: body.into(),
        sent: None,
        created: now(),
        nonce,
        host: "refinery.test".into(),
        signed_host: "refinery.test".into(),
    }
}

impl Call {
    fn query(self, query: impl Into<String>) -> Self {
        Call { query: query.into(), ..self }
    }

    fn headers(&self, key: &SigningKey) -> String {
        let digest = content_digest(&self.body);
        let request = Request {
            method: &self.method,
            authority: &self.signed_host,
            path: &self.path,
            query: if self.query.is_empty() { "?" } else { &self.query },
            digest: &digest,
        };
        let signed = sign(&request, self.created, self.nonce, key);
        format!(
            "content-digest: {}\r\nsignature-input: {}\r\nsignature: {}\r\n",
            signed.content_digest, signed.signature_input, signed.signature
        )
    }
}

impl Service {
    fn start(more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let config = format!(
            "threads = 1\n[store]\ndirectory = \"store\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             owners = [\"{}\"]\nauthorities = [\"refinery.test\"]\n[log]\nformat = \"json\"\n{more}",
            owner().verifying()
        );
        fs::write(dir.path().join("refinery.toml"), merged(&config)).unwrap();
        let (child, port) = launch(dir.path());
        Service { child, port, dir }
    }

    fn restart(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        (self.child, self.port) = launch(self.dir.path());
    }

    fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request).unwrap();
        read_reply(stream)
    }

    fn send(&self, call: &Call, key: &SigningKey) -> Reply {
        self.raw(&request_bytes(call, &call.headers(key)))
    }

    fn stored_files(&self) -> usize {
        let mut count = 0;
        let mut dirs = vec![self.dir.path().join("store")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => dirs.push(entry.path()),
                    false => count += 1,
                }
            }
        }
        count
    }

    /// A project of the owner's, with these members.
    fn project(&self, members: &[(&SigningKey, MemberRole, Quota)]) -> ProjectSpec {
        let spec = ProjectSpec { owner: owner().verifying().into(), ..spec() };
        let body = to_cbor(&(&spec, Blob(vec![1; 100])));
        self.send(&call("POST", "/v1/projects", body), &owner()).done(201);
        for (i, (member, role, quota)) in members.iter().enumerate() {
            let action =
                Action::Invite { member: member.verifying(), name: "m".into(), role: *role, quota: *quota };
            self.order(&spec, i as u64 + 1, action).done(204);
        }
        spec
    }

    fn order(&self, spec: &ProjectSpec, sequence: u64, action: Action) -> Reply {
        let signed = sign_order(&Order { project: spec.id(), sequence, action }, &owner());
        self.send(&call("POST", format!("/v1/projects/{}/orders", spec.id()), signed), &owner())
    }

    fn begin(&self, spec: &ProjectSpec, key: &SigningKey) -> String {
        let path = format!("/v1/projects/{}/uploads", spec.id());
        let session = self.send(&call("POST", path.clone(), []), key).done(201);
        format!("{path}/{}", session["session"].as_str().unwrap())
    }

    fn append(&self, session: &str, offset: u64, bytes: &[u8], key: &SigningKey) -> Reply {
        self.send(&call("PATCH", session, bytes).query(format!("?offset={offset}")), key)
    }

    fn commit(&self, session: &str, header: &UploadHeader, key: &SigningKey) -> Reply {
        self.send(&call("POST", format!("{session}/commit"), to_cbor(header)), key)
    }

    fn uploads(&self, spec: &ProjectSpec, key: &SigningKey) -> Value {
        self.send(&call("GET", format!("/v1/projects/{}/uploads", spec.id()), []), key).done(200)
    }
}

/// Tables that appear twice become one: a test's options beside those of all tests.
fn merged(config: &str) -> String {
    let mut tables: Vec<(String, String)> = vec![(String::new(), String::new())];
    let mut at = 0;
    for line in config.lines() {
        if line.starts_with('[') {
            at = tables.iter().position(|(name, _)| name == line).unwrap_or_else(|| {
                tables.push((line.to_owned(), String::new()));
                tables.len() - 1
            });
        } else {
            tables[at].1 += &format!("{line}\n");
        }
    }
    tables.iter().map(|(name, lines)| format!("{name}\n{lines}")).collect()
}

fn launch(dir: &Path) -> (Child, u16) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"))
        .args(["--config", "refinery.toml"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {text}");
        text += &line;
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event["http"].as_str() {
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            // The log must be read on, or its pipe fills.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return (child, port);
        }
    }
}

fn request_bytes(call: &Call, headers: &str) -> Vec<u8> {
    let Call { method, path, query, host, .. } = call;
    let body = call.sent.as_ref().unwrap_or(&call.body);
    let head = format!(
        "{method} {path}{query} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn read_reply(stream: TcpStream) -> Reply {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "no answer: {head:?}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_lowercase();
    let mut body = Vec::new();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).unwrap();
        }
        None => _ = reader.read_to_end(&mut body),
    }
    Reply { status, head, body }
}

fn upload(spec: &ProjectSpec, count: u32, key: &SigningKey) -> (Vec<u8>, UploadHeader) {
    let rows = blocks(spec, count);
    let header = UploadHeader { contributor: key.verifying().into(), ..header(spec, &rows) };
    (rows, header)
}

#[test]
fn what_needs_no_signature_answers() {
    let service = Service::start("");
    let plain = |path: &str| {
        service.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    };
    assert!(plain("/health").done(200)["time"].as_u64().unwrap().abs_diff(now()) < 60);
    assert_eq!(plain("/ready").done(200)["ready"], true);
    assert_eq!(plain("/openapi.json").done(200), openapi());
    plain("/nothing").refused(404, "no such route");
    service.send(&call("PUT", "/v1/projects", []), &owner()).refused(405, "other methods");
    let metrics = plain("/metrics");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        text.contains("blindsmith_http_requests_total{method=\"GET\",route=\"/health\",status=\"200\"} 1"),
        "{text}"
    );
    assert!(text.contains("route=\"none\",status=\"404\"} 1"), "{text}");
}

#[test]
fn every_other_route_wants_a_signature() {
    let service = Service::start("");
    let id = "ab".repeat(32);
    for route in ROUTES.iter().filter(|route| route.path.starts_with("/v1/")) {
        let path = route.path.replace("{project}", &id).replace("{session}", "cd").replace("{version}", "1");
        let method = route.method.name();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: refinery.test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        service.raw(request.as_bytes()).refused(401, "signature-input");
    }
}

#[test]
fn strangers_wrong_signatures_and_clocks_are_refused_before_a_byte_is_stored() {
    let service = Service::start("");
    let spec = service.project(&[]);
    let before = service.stored_files();
    let path = format!("/v1/projects/{}", spec.id());
    let get = || call("GET", path.clone(), []);
    service.send(&get(), &key(9)).refused(403, "not a member");
    let unknown = format!("/v1/projects/{}", Id([5; 32]));
    service.send(&call("GET", unknown.clone(), []), &owner()).refused(404, "no project");
    service.send(&call("GET", unknown, []), &key(9)).refused(403, "unknown here");
    for tricks in ["/v1/projects/..%2f..%2fetc", "/v1/projects/%00", "/v1/projects/ab/uploads"] {
        service.send(&call("GET", tricks, []), &owner()).refused(404, "no project");
    }
    // Signed for another path, and by another key.
    let other = Call { path: format!("{path}/spec"), ..get() };
    service.raw(&request_bytes(&get(), &other.headers(&owner()))).refused(401, "does not fit");
    let forged =
        get().headers(&key(9)).replace(&key(9).verifying().to_string(), &owner().verifying().to_string());
    service.raw(&request_bytes(&get(), &forged)).refused(401, "does not fit");
    // Another refinery's request.
    let abroad = Call { host: "other.test".into(), signed_host: "other.test".into(), ..get() };
    service.send(&abroad, &owner()).refused(421, "name");
    for created in [now() - 400, now() + 400] {
        let problem = service.send(&Call { created, ..get() }, &owner()).refused(401, "clock");
        assert!(problem["server_time"].as_u64().unwrap().abs_diff(now()) < 60);
    }
    let once = get();
    service.send(&once, &owner()).done(200);
    service.send(&once, &owner()).refused(401, "made before");
    // A body that is not the one that was signed.
    let altered = Call { sent: Some(vec![1; 32]), ..call("POST", "/v1/attest", vec![0; 32]) };
    service.send(&altered, &owner()).refused(400, "not the one that was signed");
    // Nobody else creates projects, not even with the owner's specification.
    let body = to_cbor(&(&spec, Blob(vec![1; 100])));
    service.send(&call("POST", "/v1/projects", body), &key(9)).refused(403, "unknown here");
    let foreign = ProjectSpec { owner: key(9).verifying().into(), ..spec.clone() };
    let body = to_cbor(&(&foreign, Blob(vec![1; 100])));
    service.send(&call("POST", "/v1/projects", body), &owner()).refused(403, "another owner");
    assert_eq!(service.stored_files(), before);
}

#[test]
fn uploads_come_in_chunks_and_survive_a_broken_refinery() {
    let mut service = Service::start("");
    let alice = key(2);
    let spec = service.project(&[(&alice, MemberRole::Contributor, Quota::default())]);
    let (rows, header) = upload(&spec, 3, &alice);
    let session = service.begin(&spec, &alice);
    let cut = rows.len() / 2 + 7;
    assert_eq!(service.append(&session, 0, &rows[..cut], &alice).done(200)["offset"], cut as u64);
    // A chunk that comes again, or too early, is told where to go on.
    for offset in [0, cut as u64 + 1] {
        let problem = service.append(&session, offset, &rows[..9], &alice).refused(409, "go on");
        assert_eq!(problem["offset"], cut as u64);
    }
    // Too early: what is missing can still be sent.
    service.commit(&session, &header, &alice).refused(409, "truncated");
    service.restart();
    assert_eq!(service.send(&call("GET", session.clone(), []), &alice).done(200)["offset"], cut as u64);
    service.append(&session, cut as u64, &rows[cut..], &alice).done(200);
    assert_eq!(service.commit(&session, &header, &alice).done(200)["new"], true);
    // Whoever did not hear the answer asks again; whoever sends all of it again stores nothing.
    assert_eq!(service.commit(&session, &header, &alice).done(200)["new"], false);
    let again = service.begin(&spec, &alice);
    service.append(&again, 0, &rows, &alice).done(200);
    assert_eq!(service.commit(&again, &header, &alice).done(200)["new"], false);
    assert_eq!(service.uploads(&spec, &alice)["contributors"][0]["uploads"], 1);
    service.restart();
    assert_eq!(service.uploads(&spec, &alice)["uploads"][0]["upload"], header.id().to_string());
}

#[test]
fn altered_rows_are_refused_and_nothing_is_stored() {
    let service = Service::start("");
    let alice = key(2);
    let spec = service.project(&[(&alice, MemberRole::Contributor, Quota::default())]);
    let before = service.stored_files();
    let (mut rows, header) = upload(&spec, 2, &alice);
    rows[0] ^= 1;
    let session = service.begin(&spec, &alice);
    service.append(&session, 0, &rows, &alice).done(200);
    service.commit(&session, &header, &alice).refused(422, "digest");
    service.append(&session, 0, &rows, &alice).refused(404, "under way");
    // Another's header, another project's, none at all.
    let session = service.begin(&spec, &alice);
    let foreign = UploadHeader { contributor: Id([9; 32]), ..header.clone() };
    service.commit(&session, &foreign, &alice).refused(403, "another contributor");
    let elsewhere = UploadHeader { project: Id([9; 32]), ..header };
    service.commit(&session, &elsewhere, &alice).refused(422, "another project");
    service.send(&call("POST", format!("{session}/commit"), b"x"), &alice).refused(422, "not the header");
    assert_eq!(service.uploads(&spec, &owner())["uploads"], serde_json::json!([]));
    // The session that is open has two files.
    assert_eq!(service.stored_files(), before + 2);
}

#[test]
fn members_see_what_is_theirs_and_only_while_they_are_members() {
    let mut service = Service::start("");
    let (alice, bob, quinn) = (key(2), key(3), key(4));
    let spec = service.project(&[
        (&alice, MemberRole::Contributor, Quota::default()),
        (&bob, MemberRole::Contributor, Quota::default()),
        (&quinn, MemberRole::Querier, Quota::default()),
    ]);
    let (rows, header) = upload(&spec, 1, &alice);
    let session = service.begin(&spec, &alice);
    service.append(&session, 0, &rows, &bob).refused(404, "under way");
    service.append(&session, 0, &rows, &owner()).refused(404, "under way");
    service.append(&session, 0, &rows, &quinn).refused(403, "contributors");
    service.append(&session, 0, &rows, &alice).done(200);
    service.commit(&session, &header, &alice).done(200);
    let seen = |key: &SigningKey| service.uploads(&spec, key)["uploads"].as_array().unwrap().len();
    assert_eq!([seen(&alice), seen(&bob), seen(&owner())], [1, 0, 1]);
    let project = format!("/v1/projects/{}", spec.id());
    let status = |key: &SigningKey| service.send(&call("GET", project.clone(), []), key).done(200);
    assert_eq!(status(&bob)["uploads"], serde_json::json!([]));
    assert_eq!(status(&alice)["uploads"][0]["upload"], header.id().to_string());
    for (method, rest) in [("GET", "/models/newest"), ("POST", "/rounds"), ("POST", "/orders")] {
        service.send(&call(method, format!("{project}{rest}"), []), &bob).refused(403, "owner");
    }
    // Only who sent it takes it back, and it does not come again.
    let upload = format!("{project}/uploads/{}", header.id());
    let withdrawal = Withdrawal { project: spec.id(), upload: header.id() };
    let take = |key: &SigningKey, signer: &SigningKey| {
        service.send(&call("DELETE", upload.clone(), sign_withdrawal(&withdrawal, signer)), key)
    };
    take(&bob, &bob).refused(404, "no upload");
    take(&bob, &alice).refused(422, "withdrawal was refused");
    take(&alice, &alice).done(204);
    assert_eq!(seen(&owner()), 0);
    let session = service.begin(&spec, &alice);
    service.append(&session, 0, &rows, &alice).done(200);
    service.commit(&session, &header, &alice).refused(410, "withdrawn");
    // Orders come in sequence; the same again changes nothing; who is revoked is out at once, and after a restart.
    service.order(&spec, 9, Action::Revoke { member: bob.verifying() }).refused(409, "4 is the next");
    service.order(&spec, 4, Action::Revoke { member: bob.verifying() }).done(204);
    service.order(&spec, 4, Action::Revoke { member: bob.verifying() }).done(204);
    service.send(&call("GET", project.clone(), []), &bob).refused(403, "not a member");
    service.restart();
    service.send(&call("GET", project.clone(), []), &bob).refused(403, "not a member");
    let listed = service.send(&call("GET", "/v1/projects", []), &alice).done(200);
    assert_eq!(listed["projects"][0]["role"], "contributor");
    assert_eq!(
        service.send(&call("GET", "/v1/projects", []), &quinn).done(200)["projects"][0]["role"],
        "querier"
    );
}

#[test]
fn quotas_and_limits_hold() {
    let service = Service::start("[limits]\nchunk_bytes = 30000\nsessions = 2\n");
    let alice = key(2);
    let (rows, header) = {
        let spec = ProjectSpec { owner: owner().verifying().into(), ..spec() };
        upload(&spec, 2, &alice)
    };
    let quota = Quota { bytes: rows.len() as u64, rows: u64::from(header.rows) - 1, uploads: 1 };
    let spec = service.project(&[(&alice, MemberRole::Contributor, quota)]);
    let session = service.begin(&spec, &alice);
    let send = |session: &str| {
        for (i, chunk) in rows.chunks(30_000).enumerate() {
            service.append(session, i as u64 * 30_000, chunk, &alice).done(200);
        }
    };
    service.append(&session, 0, &vec![0; 30_001], &alice).refused(413, "30000");
    send(&session);
    service.append(&session, rows.len() as u64, &[0], &alice).refused(413, "left to you");
    service.commit(&session, &header, &alice).refused(413, "rows");
    assert_eq!(service.uploads(&spec, &alice)["uploads"], serde_json::json!([]));
    let (_, _) = (service.begin(&spec, &alice), service.begin(&spec, &alice));
    let path = format!("/v1/projects/{}/uploads", spec.id());
    service.send(&call("POST", path, []), &alice).refused(409, "under way");
    for query in ["", "?offset=-1", "?offset=1&offset=2", "?offset=99999999999999999999", "?offset=+1"] {
        let wrong = call("PATCH", session.clone(), [1]).query(query);
        service.send(&wrong, &alice).refused(400, "?offset=BYTES");
    }
    service
        .append(&format!("{}..%2f..", &session[..session.len() - 32]), 0, &[1], &alice)
        .refused(404, "under way");
}

#[test]
fn who_asks_too_fast_is_told_when_to_come_again() {
    let service = Service::start("[limits]\nrequests_per_second = 1\nrequest_burst = 3\n");
    let get = || service.send(&call("GET", "/v1/projects", []), &owner());
    let statuses: Vec<Reply> = (0..8).map(|_| get()).collect();
    let refused =
        statuses.iter().find(|reply| reply.status == 429).expect("eight requests take no five seconds");
    refused.refused(429, "wait");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
}

#[test]
fn heads_and_bodies_that_do_not_come_are_given_up() {
    let service = Service::start("[http]\nheader_timeout = 1\nbody_timeout = 1\n");
    // A head that stops.
    let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    stream.write_all(b"GET /v1/projects HTTP/1.1\r\nhost: refi").unwrap();
    let mut rest = Vec::new();
    _ = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    // A body that stops.
    let whole = call("POST", "/v1/attest", vec![0; 32]);
    let bytes = request_bytes(&whole, &whole.headers(&owner()));
    let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
    read_reply(stream).refused(408, "too slowly");
    // A body of no known length.
    let headers = whole.headers(&owner());
    let chunked = format!(
        "POST /v1/attest HTTP/1.1\r\nhost: refinery.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{headers}\r\n0\r\n\r\n"
    );
    service.raw(chunked.as_bytes()).refused(411, "length");
}

#[test]
fn without_a_warden_it_says_so() {
    let service = Service::start("");
    let reply = service.send(&call("POST", "/v1/attest", vec![0; 32]), &owner());
    reply.refused(503, "no warden is connected");
    assert!(reply.head.contains("retry-after: "), "{}", reply.head);
    let spec = service.project(&[]);
    let asked = call("POST", format!("/v1/projects/{}/rounds", spec.id()), b"{\"epoch\":1}");
    service.send(&asked, &owner()).refused(422, "JSON object");
    let spec_again = service.send(&call("GET", format!("/v1/projects/{}/spec", spec.id()), []), &owner());
    assert!(spec_again.head.contains(CBOR));
    assert_eq!(spec_again.body, to_cbor(&spec));
    // Idle: its events end at once.
    let events = service.send(&call("GET", format!("/v1/projects/{}/events", spec.id()), []), &owner());
    assert_eq!(events.status, 200);
    assert!(String::from_utf8_lossy(&events.body).contains("event: idle"));
}

#[test]
fn it_ends_when_it_is_told_to() {
    let mut service = Service::start("");
    let pid = rustix::process::Pid::from_child(&service.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}
