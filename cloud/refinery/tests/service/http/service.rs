//! A running refinery with an HTTP service, and requests to it over plain sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use blindsmith_api::{EMPTY_QUERY, Request, content_digest, sign};
use blindsmith_identity::SigningKey;
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader, to_cbor};
use serde_json::Value;
use tempfile::TempDir;

use crate::project::{blocks, header, spec};

/// Ends with the test; its directory stays as long.
pub struct Service {
    pub child: Child,
    pub address: SocketAddr,
    pub dir: TempDir,
    config: String,
    settings: Vec<(String, String)>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Expects a problem of this status whose advice has these words.
    pub fn refused(&self, status: u16, words: &str) {
        let problem = self.json();
        assert_eq!(self.status, status, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{words:?} is not in: {detail}");
        assert!(self.head.contains("application/problem+json"), "{}", self.head);
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn fresh() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).to_be_bytes()
}

/// A request and how it is signed; tests change what they are about.
pub struct Ask<'a> {
    pub method: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    /// Path and query as signed, if others.
    pub signed_target: Option<&'a str>,
    pub body: &'a [u8],
    /// The body as signed, if another.
    pub signed_body: Option<&'a [u8]>,
    pub key: &'a SigningKey,
    pub created: u64,
    pub nonce: [u8; 16],
}

impl<'a> Ask<'a> {
    pub fn new(method: &'a str, target: &'a str, body: &'a [u8], key: &'a SigningKey) -> Self {
        let (signed_target, signed_body) = (None, None);
        Ask { method, target, signed_target, body, signed_body, key, created: now(), nonce: fresh() }
    }

    /// Its head.
    pub fn head(&self, address: SocketAddr) -> String {
        let authority = address.to_string();
        let (path, query) = match self.signed_target.unwrap_or(self.target).split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.signed_target.unwrap_or(self.target), EMPTY_QUERY.to_owned()),
        };
        let digest = content_digest(self.signed_body.unwrap_or(self.body));
        let covered =
            Request { method: self.method, authority: &authority, path, query: &query, digest: &digest };
        let signed = sign(&covered, self.created, self.nonce, self.key);
        format!(
            "{} {} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\ncontent-digest: {}\r\n\
             signature-input: {}\r\nsignature: {}\r\n\r\n",
            self.method,
            self.target,
            self.body.len(),
            signed.content_digest,
            signed.signature_input,
            signed.signature
        )
    }
}

/// Reads until the other side closes.
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // Who is refused early may be cut off after the answer.
    _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let Some(end) = end else { return Answer { status: 0, head: String::new(), body: bytes } };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

impl Service {
    /// A service with these lines in its configuration's `[http]` and `[limits]`.
    pub fn start(http: &str, limits: &str) -> Self {
        Self::start_with(http, limits, &[])
    }

    /// The same, with this in its environment.
    pub fn start_with(http: &str, limits: &str, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = settings.collect();
        let dir = TempDir::new().unwrap();
        let config = format!(
            "[store]\ndirectory = \"store\"\n[http]\nlisten = \"127.0.0.1:0\"\n{http}\n[limits]\n{limits}\n\
             [log]\nformat = \"json\"\n"
        );
        std::fs::write(dir.path().join("refinery.toml"), &config).unwrap();
        let (child, address) = launch(&dir, &settings);
        Service { child, address, dir, config, settings }
    }

    /// Kills it and starts it again on the same store.
    pub fn crash(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        std::fs::write(self.dir.path().join("refinery.toml"), &self.config).unwrap();
        (self.child, self.address) = launch(&self.dir, &self.settings);
    }

    pub fn send(&self, ask: &Ask<'_>) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // A refusal may come, and the connection end, before all was sent.
        _ = stream.write_all(ask.head(self.address).as_bytes()).and_then(|()| stream.write_all(ask.body));
        read_answer(&mut stream)
    }

    pub fn call(&self, method: &str, target: &str, body: &[u8], key: &SigningKey) -> Answer {
        self.send(&Ask::new(method, target, body, key))
    }

    /// What is asked for without a signature.
    pub fn plain(&self, method: &str, target: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head =
            format!("{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        read_answer(&mut stream)
    }

    /// Creates a project of this owner.
    pub fn create(&self, owner: &SigningKey) -> ProjectSpec {
        let spec = ProjectSpec { owner: owner.verifying().into(), ..spec() };
        let body = to_cbor(&(&spec, Blob(vec![9; 1000])));
        let created = self.call("POST", "/v1/projects", &body, owner);
        assert_eq!(created.status, 201, "{}", created.json());
        assert_eq!(created.json()["project"], spec.id().to_string());
        spec
    }

    /// Begins an upload; its path.
    pub fn begin(&self, project: &Id, key: &SigningKey) -> String {
        let begun = self.call("POST", &format!("/v1/projects/{project}/uploads"), &[], key);
        assert_eq!(begun.status, 201, "{}", begun.json());
        format!("/v1/projects/{project}/uploads/{}", begun.json()["session"].as_str().unwrap())
    }

    /// Sends bytes in chunks from this offset on.
    pub fn append(&self, path: &str, bytes: &[u8], mut offset: usize, key: &SigningKey) {
        while offset < bytes.len() {
            let end = bytes.len().min(offset + 50_000);
            let appended = self.call("PATCH", &format!("{path}?offset={offset}"), &bytes[offset..end], key);
            assert_eq!(appended.status, 200, "{}", appended.json());
            assert_eq!(appended.json()["offset"], end);
            offset = end;
        }
    }

    pub fn commit(&self, path: &str, header: &UploadHeader, key: &SigningKey) -> Answer {
        self.call("POST", &format!("{path}/commit"), &to_cbor(header), key)
    }

    /// Uploads that this key sees.
    pub fn uploads(&self, project: &Id, key: &SigningKey) -> Vec<Value> {
        let listed = self.call("GET", &format!("/v1/projects/{project}/uploads"), &[], key);
        assert_eq!(listed.status, 200, "{}", listed.json());
        listed.json()["uploads"].as_array().unwrap().clone()
    }

    /// Bytes of an upload under way that are here for good.
    pub fn offset(&self, path: &str, key: &SigningKey) -> Value {
        self.call("GET", path, &[], key).json()["offset"].clone()
    }
}

/// Row blocks, and their header by this contributor; `nonce` tells uploads apart.
pub fn upload(
    spec: &ProjectSpec,
    count: u32,
    contributor: &SigningKey,
    nonce: u8,
) -> (Vec<u8>, UploadHeader) {
    let bytes = blocks(spec, count);
    let contributor = contributor.verifying().into();
    let header = UploadHeader { contributor, nonce: [nonce; 32], ..header(spec, &bytes) };
    (bytes, header)
}

fn launch(dir: &TempDir, settings: &[(String, String)]) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_blindsmith-refinery"))
        .args(["--config", "refinery.toml", "--threads", "1"])
        .current_dir(dir.path())
        .envs(settings.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().expect("it ended before it listened").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        if let Some(address) = event["http"].as_str() {
            break address.parse().unwrap();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
