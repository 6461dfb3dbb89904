//! A refinery behind HTTP: requests are signed, broken uploads go on where they broke off.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blindsmith_api::message::{ProjectStatus, Reply, Request, Seen};
use blindsmith_api::open_withdrawal;
use blindsmith_api::{
    Accepted, BYTES, CBOR, COSE, EMPTY_QUERY, MAX_CHUNK, Offset, Problem, Refine, Session, VERSION_HEADER,
    authority, content_digest, sign,
};
use blindsmith_identity::SigningKey;
use blindsmith_keys::random_bytes;
use blindsmith_protocol::{Blob, Id, Progress, Role, from_cbor, to_cbor};
use serde::de::DeserializeOwned;
use ureq::http;

use crate::failure::{Failure, unexpected};
use crate::interrupter::Interrupter;
#[cfg(feature = "https")]
use crate::tls;
#[cfg(not(feature = "https"))]
use crate::without_tls as tls;

/// Tries of a request, and of a chunk since the last one that went through.
const TRIES: u32 = 8;
/// Longest pause between two, and longest that a refinery may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of a chunk: what is lost when a connection breaks.
const CHUNK: usize = 4 << 20;
/// Longest answer: a sealed model with its frame.
const MAX_ANSWER: u64 = 512 << 20;

/// A client of one refinery, with one key.
pub(crate) struct HttpClient {
    agent: ureq::Agent,
    /// `http://host` or `https://host`, with the port if there is one.
    base: String,
    authority: String,
    key: SigningKey,
    session: Option<Sending>,
    /// Asked between tries, chunks and events.
    pub interrupter: Interrupter,
}

/// An upload or query under way.
struct Sending {
    /// Its path.
    path: String,
    /// Bytes sent, and known to be durable.
    offset: u64,
    chunk: usize,
}

/// A request before it is signed.
struct Call<'a> {
    method: &'static str,
    path: &'a str,
    /// With its question mark, or empty.
    query: &'a str,
    media: &'static str,
    body: &'a [u8],
    /// Whether a second time does no harm.
    again: bool,
}

fn get(path: &str) -> Call<'_> {
    Call { method: "GET", path, query: "", media: "", body: &[], again: true }
}

fn post<'a>(path: &'a str, media: &'static str, body: &'a [u8]) -> Call<'a> {
    Call { method: "POST", path, query: "", media, body, again: true }
}

/// What came back.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| unexpected())
    }

    /// What the refinery says of a request that it did not carry out.
    fn problem(&self) -> Problem {
        self.json().unwrap_or_else(|_| Problem {
            kind: "about:blank".into(),
            title: String::new(),
            status: self.status,
            detail: format!("status {}, and no reason: is there a refinery at this address?", self.status),
            request: String::new(),
            offset: None,
            server_time: None,
        })
    }

    fn refused(&self) -> Failure {
        let problem = self.problem();
        let request = match problem.request.as_str() {
            "" => String::new(),
            request => format!(" (request {request})"),
        };
        Failure::Refused(format!("{}{request}", problem.detail))
    }

    /// How long the refinery asks to wait, if it is worth another try.
    fn retry_after(&self) -> Option<Duration> {
        if !matches!(self.status, 408 | 429 | 503) {
            return None;
        }
        let seconds = self.headers.get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        Some(Duration::from_secs(seconds.unwrap_or(1)).min(LONGEST_PAUSE))
    }
}

/// The pause before another try: twice as long each time.
fn pause(tries: u32) -> Duration {
    Duration::from_millis(100 << tries.min(10)).min(LONGEST_PAUSE)
}

impl HttpClient {
    /// A client of the refinery at this address, `http://` or `https://`; nothing is sent yet.
    pub fn new(url: &str, key: SigningKey, ca: Option<&Path>) -> Result<Self, Failure> {
        let wrong = || Failure::Settings(format!("{url:?} is no address: give http(s)://HOST[:PORT]"));
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || host.as_str().contains('@') {
            return Err(wrong());
        }
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(20)))
            // The refinery closes connections that are idle for longer.
            .max_idle_age(Duration::from_secs(3));
        let config = tls::configured(settings, https, ca)?.build();
        Ok(HttpClient {
            agent: config.into(),
            base: format!("{scheme}://{host}"),
            authority: authority(host.as_str(), https),
            key,
            session: None,
            interrupter: Interrupter::default(),
        })
    }

    /// Signs and sends once.
    fn once(&self, call: &Call<'_>, accept: &str) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let Call { method, path, query, media, body, .. } = *call;
        let digest = content_digest(body);
        let covered = blindsmith_api::Request {
            method,
            authority: &self.authority,
            path,
            query: if query.is_empty() { EMPTY_QUERY } else { query },
            digest: &digest,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let signed = sign(&covered, now, random_bytes(), &self.key);
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}{query}", self.base))
            .header("content-digest", signed.content_digest)
            .header("signature-input", signed.signature_input)
            .header("signature", signed.signature)
            .header("accept", accept);
        if method == "GET" {
            return self.agent.run(request.body(())?);
        }
        if !body.is_empty() {
            request = request.header("content-type", media);
        }
        if body.len() > 64 << 10 {
            // Who is refused hears why before it sends all of it.
            request = request.header("expect", "100-continue");
        }
        self.agent.run(request.body(body)?)
    }

    fn read(response: http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn lost(&self, e: ureq::Error) -> Failure {
        let source = match e {
            ureq::Error::Io(e) => e,
            e => std::io::Error::other(e),
        };
        Failure::Unreachable { socket: self.base.clone(), source }
    }

    /// Sends until there is an answer, as often as is worth it. What is refused is an error.
    fn call(&self, call: &Call<'_>, accept: &str) -> Result<Answer, Failure> {
        let mut tries = 0;
        loop {
            self.interrupter.check()?;
            tries += 1;
            let wait = match self.once(call, accept).and_then(Self::read) {
                Ok(answer) if answer.status < 300 => return Ok(answer),
                Ok(answer) => match answer.retry_after() {
                    Some(wait) if tries < TRIES => wait,
                    _ => return Err(answer.refused()),
                },
                // Where nobody listens, nobody will in a moment.
                Err(e) if refused_connection(&e) || !call.again || tries >= TRIES => return Err(self.lost(e)),
                Err(_) => pause(tries),
            };
            self.interrupter.sleep(wait)?;
        }
    }

    /// Carries out a request as the socket's protocol has it.
    pub fn request(&mut self, request: &Request, body: &[u8]) -> Result<(Reply, Vec<u8>), Failure> {
        let done = (Reply::Done, Vec::new());
        let at = |project: &Id, rest: &str| format!("/v1/projects/{project}{rest}");
        match request {
            Request::Ping => self.call(&get("/health"), "*/*").map(|_| done),
            Request::Create { spec } => {
                let body = to_cbor(&(spec, Blob(body.to_vec())));
                self.call(&post("/v1/projects", CBOR, &body), "*/*").map(|_| done)
            }
            Request::Attest { request, .. } => {
                let answer = self.call(&post("/v1/attest", COSE, &request.0), "*/*")?;
                Ok((Reply::Evidence(from_cbor(&answer.body)?), Vec::new()))
            }
            Request::Release { project } => {
                let answer = self.call(&post(&at(project, "/release"), COSE, body), "*/*")?;
                Ok((Reply::Confirmed { confirmation: Blob(answer.body) }, Vec::new()))
            }
            Request::Spec { project } => {
                let answer = self.call(&get(&at(project, "/spec")), "*/*")?;
                Ok((Reply::Spec(from_cbor(&answer.body)?), Vec::new()))
            }
            Request::Refine { project, epochs } => {
                let body = serde_json::to_vec(&Refine { epochs: *epochs }).map_err(|_| unexpected())?;
                let path = at(project, "/rounds");
                // A second time would be a second round.
                let call = Call { again: false, ..post(&path, "application/json", &body) };
                self.call(&call, "*/*").map(|_| done)
            }
            Request::Pull { project, version } => {
                let version = version.map_or_else(|| "newest".to_owned(), |version| version.to_string());
                let answer = self.call(&get(&at(project, &format!("/models/{version}"))), "*/*")?;
                let version = answer.headers.get(VERSION_HEADER).and_then(|v| v.to_str().ok()?.parse().ok());
                Ok((Reply::Model { version: version.ok_or_else(unexpected)? }, answer.body))
            }
            Request::Receipts { project, from, faults } => {
                let (path, query) = (at(project, "/receipts"), format!("?from={from}&faults={faults}"));
                let answer = self.call(&Call { query: &query, ..get(&path) }, "*/*")?;
                Ok((Reply::Receipts, answer.body))
            }
            Request::Projects { .. } => {
                Ok((Reply::Projects(self.call(&get("/v1/projects"), "*/*")?.json()?), Vec::new()))
            }
            Request::Orders { project } => {
                let answer = self.call(&get(&at(project, "/orders")), "*/*")?;
                Ok((Reply::Orders(from_cbor(&answer.body)?), Vec::new()))
            }
            Request::Order { project, order } => {
                self.call(&post(&at(project, "/orders"), COSE, &order.0), "*/*").map(|_| done)
            }
            Request::Enrol { project, enrolment, .. } => {
                let answer = self.call(&post(&at(project, "/enrolments"), COSE, &enrolment.0), "*/*")?;
                Ok((Reply::Confirmed { confirmation: Blob(answer.body) }, Vec::new()))
            }
            Request::Withdraw { project, contributor, withdrawal } => {
                let signed =
                    open_withdrawal(&withdrawal.0, &(*contributor).into()).map_err(|_| unexpected())?;
                let path = at(project, &format!("/uploads/{}", signed.upload));
                let call = Call { method: "DELETE", ..post(&path, COSE, &withdrawal.0) };
                self.call(&call, "*/*").map(|_| done)
            }
            Request::Blocks { .. } => self.append(body).map(|()| done),
            Request::Commit { header } => {
                let sending = self.session.take().ok_or_else(unexpected)?;
                let path = format!("{}/commit", sending.path);
                let accepted: Accepted = self.call(&post(&path, CBOR, &to_cbor(header)), "*/*")?.json()?;
                let upload = accepted.upload.parse().map_err(|_| unexpected())?;
                Ok((Reply::Accepted { upload, new: accepted.new }, Vec::new()))
            }
            Request::Ask { header } => {
                let sending = self.session.take().ok_or_else(unexpected)?;
                let path = format!("{}/ask", sending.path);
                let body = to_cbor(&(header, Blob(body.to_vec())));
                let call = Call { again: false, ..post(&path, CBOR, &body) };
                Ok((Reply::Answer, self.call(&call, "*/*")?.body))
            }
            Request::Push { .. } | Request::Watch { .. } | Request::Status { .. } => Err(unexpected()),
        }
    }

    /// What there is of a project beyond what was seen, or a part of it.
    pub fn status(&self, project: &Id, seen: Seen) -> Result<ProjectStatus, Failure> {
        let Seen { run, change, rounds } = seen;
        let (path, query) =
            (format!("/v1/projects/{project}"), format!("?run={run}&change={change}&rounds={rounds}"));
        let answer = self.call(&Call { query: &query, ..get(&path) }, CBOR)?;
        Ok(from_cbor(&answer.body)?)
    }

    /// Begins an upload, or a query.
    pub fn begin(&mut self, project: &Id, role: Role) -> Result<(), Failure> {
        let kind = if role == Role::Query { "queries" } else { "uploads" };
        let path = format!("/v1/projects/{project}/{kind}");
        let session: Session = self.call(&post(&path, BYTES, &[]), "*/*")?.json()?;
        // It becomes part of a path.
        if session.session.is_empty() || !session.session.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unexpected());
        }
        let chunk = usize::try_from(session.chunk_bytes).unwrap_or(MAX_CHUNK).clamp(1, CHUNK);
        self.session = Some(Sending { path: format!("{path}/{}", session.session), offset: 0, chunk });
        Ok(())
    }

    /// Sends bytes of an upload or query; returns when they are durable.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut sending = self.session.take().ok_or_else(unexpected)?;
        let start = sending.offset;
        let end = start + bytes.len() as u64;
        let mut tries = 0;
        while sending.offset < end {
            self.interrupter.check()?;
            let from = (sending.offset - start) as usize;
            let chunk = &bytes[from..bytes.len().min(from + sending.chunk)];
            let query = format!("?offset={}", sending.offset);
            let call = Call {
                method: "PATCH",
                path: &sending.path,
                query: &query,
                media: BYTES,
                body: chunk,
                again: true,
            };
            tries += 1;
            let durable = match self.once(&call, "*/*").and_then(Self::read) {
                Ok(answer) if answer.status == 200 => answer.json::<Offset>()?.offset,
                Ok(answer) => match (answer.problem().offset, answer.retry_after()) {
                    (Some(offset), _) if answer.status == 409 && tries < TRIES => offset,
                    (_, Some(wait)) if tries < TRIES => {
                        self.interrupter.sleep(wait)?;
                        continue;
                    }
                    // The chunk was altered on the way.
                    _ if answer.status == 400 && tries < TRIES => continue,
                    _ => return Err(answer.refused()),
                },
                Err(e) if tries >= TRIES => return Err(self.lost(e)),
                Err(_) => {
                    // The refinery may be starting again: patience, then where it stands.
                    self.interrupter.sleep(pause(tries))?;
                    let Ok(answer) = self.once(&get(&sending.path), "*/*").and_then(Self::read) else {
                        continue;
                    };
                    match answer.status {
                        200 => answer.json::<Offset>()?.offset,
                        _ if answer.retry_after().is_some() => continue,
                        _ => return Err(answer.refused()),
                    }
                }
            };
            if !(start..=end).contains(&durable) {
                let message = "the refinery lost what it had acknowledged: push again";
                return Err(Failure::Refused(message.into()));
            }
            if durable > sending.offset {
                tries = 0;
            }
            sending.offset = durable;
        }
        self.session = Some(sending);
        Ok(())
    }

    /// Follows the project's events until no round runs or is due.
    pub fn watch(&self, project: &Id, observe: &mut dyn FnMut(&Progress)) -> Result<(), Failure> {
        let path = format!("/v1/projects/{project}/events");
        let mut tries = 0;
        loop {
            tries += 1;
            let wait = match self.once(&get(&path), "text/event-stream") {
                Ok(response) if response.status() == 200 => {
                    let ended = follow(response, &self.interrupter, &mut |progress| {
                        tries = 0;
                        observe(progress);
                    });
                    if ended? {
                        return Ok(());
                    }
                    pause(tries)
                }
                Ok(response) => {
                    let answer = Self::read(response).map_err(|e| self.lost(e))?;
                    match answer.retry_after() {
                        Some(wait) if tries < TRIES => wait,
                        _ => return Err(answer.refused()),
                    }
                }
                Err(e) if tries >= TRIES => return Err(self.lost(e)),
                Err(_) => pause(tries),
            };
            if tries >= TRIES {
                let source = std::io::Error::other("its events break off");
                return Err(Failure::Unreachable { socket: self.base.clone(), source });
            }
            self.interrupter.sleep(wait)?;
        }
    }
}

/// Reads events; true once nothing is left to wait for, false if they broke off.
fn follow(
    response: http::Response<ureq::Body>,
    interrupter: &Interrupter,
    observe: &mut dyn FnMut(&Progress),
) -> Result<bool, Failure> {
    /// Longest line: an event has less.
    const MAX_LINE: u64 = 4096;
    let mut reader = BufReader::new(response.into_body().into_reader());
    let mut event = String::new();
    loop {
        let mut line = String::new();
        match std::io::Read::take(&mut reader, MAX_LINE).read_line(&mut line) {
            Ok(read) if read > 0 => {}
            _ => return Ok(false),
        }
        interrupter.check()?;
        if let Some(name) = line.strip_prefix("event:") {
            event = name.trim().to_owned();
        } else if let Some(data) = line.strip_prefix("data:") {
            match (event.as_str(), serde_json::from_str(data)) {
                ("idle", _) => return Ok(true),
                ("progress", Ok(progress)) => observe(&progress),
                _ => {}
            }
        }
    }
}

fn refused_connection(e: &ureq::Error) -> bool {
    match e {
        ureq::Error::Io(e) => e.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        _ => false,
    }
}
