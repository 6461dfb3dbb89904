//! A refinery under load: 200 clients that upload and 50 that query, more than its limits let through at once. Prints
//! how often each status was answered, how many refusals said when to come again, and the refinery's peak memory.
//!
//! ```sh
//! cargo run -p blindsmith-refinery --example load -- target/debug/blindsmith-refinery
//! ```
//!
//! Rows are zeros, the warden is a stand-in that answers each query at once: what is measured is the service.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use blindsmith_api::{Offset, Request, Session, authority, content_digest, sign};
use blindsmith_identity::{Action, MemberRole, Quota, Roster, SigningKey, sign_order};
use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{
    Blob, FrameError, FromWarden, Id, Lane, Layer, MAX_BODY, Offload, Outcome, ProjectSpec, Role,
    RoundRecord, RoundSummary, ToWarden, Trigger, UploadHeader, block_digest, read_body, read_head,
    root_digest, to_cbor, write_frame,
};
use serde::de::DeserializeOwned;

const UPLOADERS: u8 = 200;
const QUERIERS: u8 = 50;
const UPLOADS: u8 = 2;
const QUERIES: u8 = 10;
const UPLOAD_BYTES: usize = 2 << 20;
const CHUNK: usize = 1 << 20;

#[derive(Default)]
struct Counts {
    statuses: Mutex<BTreeMap<u16, u64>>,
    told_when: AtomicU64,
    broken: AtomicU64,
}

struct Client<'a> {
    agent: ureq::Agent,
    base: &'a str,
    key: SigningKey,
    counts: &'a Counts,
}

impl Client<'_> {
    /// Sends until it is carried out, as often as the refinery asks for.
    fn send(&self, method: &str, path: &str, query: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        loop {
            let digest = content_digest(body);
            let host = authority(self.base.trim_start_matches("http://"), false);
            let query_component = if query.is_empty() { "?" } else { query };
            let covered = Request { method, authority: &host, path, query: query_component, digest: &digest };
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce).map_err(anyhow::Error::msg)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            let signed = sign(&covered, now, nonce, &self.key);
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(format!("{}{path}{query}", self.base))
                .header("content-digest", signed.content_digest)
                .header("signature-input", signed.signature_input)
                .header("signature", signed.signature)
                .header("expect", "100-continue");
            let answer = self.agent.run(request.body(body)?).and_then(|mut response| {
                let body = response.body_mut().read_to_vec()?;
                let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
                Ok((response.status().as_u16(), after, body))
            });
            let Ok((status, after, body)) = answer else {
                self.counts.broken.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
                continue;
            };
            *self.counts.statuses.lock().unwrap_or_else(|e| e.into_inner()).entry(status).or_default() += 1;
            match (status, after) {
                (200..300, _) => return Ok(body),
                (429 | 503, Some(seconds)) => {
                    self.counts.told_when.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_secs(seconds));
                }
                _ => bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&body)),
            }
        }
    }

    fn json<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> anyhow::Result<T> {
        Ok(serde_json::from_slice(&self.send(method, path, query, body)?)?)
    }

    /// Sends rows as an upload or a query, up to where it is ended; its path.
    fn rows(&self, path: &str, rows: &[u8]) -> anyhow::Result<String> {
        let session: Session = self.json("POST", path, "", &[])?;
        let path = format!("{path}/{}", session.session);
        let mut at = 0;
        while at < rows.len() {
            let chunk = &rows[at..rows.len().min(at + CHUNK)];
            let offset: Offset = self.json("PATCH", &path, &format!("?offset={at}"), chunk)?;
            at = offset.offset as usize;
        }
        Ok(path)
    }
}

fn spec(owner: &SigningKey) -> anyhow::Result<ProjectSpec> {
    let offload = Some(Offload { forward: 8, gradient: 8, input: 1 });
    let spec = ProjectSpec {
        name: "load".into(),
        salt: [1; 32],
        owner: owner.verifying().into(),
        security: Security::Bits128,
        layers: vec![
            Layer { inputs: 64, outputs: 4, offload },
            Layer { inputs: 4, outputs: 3, offload: None },
        ],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        block_rows: 8,
        row_form: Encoding::new(8, 8, 32)?,
        column_form: Encoding::new(8, 64, 4)?,
        batch_rows: 32,
        trigger: Trigger::MANUAL,
    };
    spec.validate()?;
    Ok(spec)
}

/// The header of whole blocks of zeros; `number` makes it another one.
fn header(spec: &ProjectSpec, body: &[u8], contributor: Id, role: Role, number: u8) -> UploadHeader {
    let blocks = body.chunks(spec.block_bytes(role, spec.block_rows)).enumerate();
    let digests: Vec<Id> = blocks.map(|(i, block)| block_digest(i as u32, block)).collect();
    UploadHeader {
        project: spec.id(),
        contributor,
        terms: [0; 32],
        role,
        nonce: [number; 32],
        era: 0,
        rows: (digests.len() * spec.block_rows()) as u32,
        root: root_digest(&digests),
        tag: [0; 32],
    }
}

/// Takes any release and answers queries, until the refinery ends; what is uploaded is left as it is.
fn warden(socket: &Path, lane: Lane) -> Result<(), FrameError> {
    let mut stream = UnixStream::connect(socket)?;
    let (tee, version, holder) = ("load".into(), "0".into(), Id([0; 32]));
    write_frame(
        &mut stream,
        &FromWarden::Hello { tee, version, holder, start: holder, shared: false, lane, take_over: false },
        &[],
    )?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (command, body) = read_head::<ToWarden>(&mut reader)?;
        read_body(&mut reader, body, MAX_BODY)?;
        let (outcome, answer) = match command {
            ToWarden::Query { .. } => (Outcome::Answer, vec![0; 4096]),
            ToWarden::Release { .. } => {
                let outcome =
                    Outcome::Ready { holding: Blob::default(), confirmation: Blob::default(), retired: None };
                (outcome, to_cbor(&first_round()))
            }
            ToWarden::Order { .. } => (Outcome::Ordered { retired: None }, Vec::new()),
            ToWarden::Stored { .. } => continue,
            _ => (Outcome::Refused { message: "this warden answers queries alone".into() }, Vec::new()),
        };
        write_frame(&mut stream, &FromWarden::Finished(outcome), &[&answer])?;
    }
}

fn first_round() -> RoundRecord {
    let (summary, given, used) = (RoundSummary::default(), Vec::new(), Vec::new());
    let (state, model, receipt) = (Blob::default(), Blob::default(), Blob::default());
    RoundRecord { summary, given, used, state, model, receipt }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn start(program: &str, dir: &Path) -> anyhow::Result<(Running, String)> {
    let config = format!(
        "[store]\ndirectory = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[limits]\n\
         uploads = 8\nqueries = 8\nconnections = 200\n",
        dir.join("store").display().to_string()
    );
    let file = dir.join("refinery.toml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(program);
    let child = command.arg("--config").arg(&file).stderr(Stdio::piped()).stdin(Stdio::null()).spawn()?;
    let mut running = Running(child);
    let mut log = BufReader::new(running.0.stderr.take().context("its log")?);
    loop {
        let mut line = String::new();
        if log.read_line(&mut line)? == 0 {
            bail!("the refinery ended");
        }
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event["http"].as_str() {
            let base = format!("http://{address}");
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok((running, base));
        }
    }
}

fn peak(pid: u32) -> anyhow::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.context("its peak")?.trim().to_owned())
}

/// Makes all clients members of the project.
fn invite_all(owner: &Client<'_>, spec: &ProjectSpec) -> anyhow::Result<()> {
    let path = format!("/v1/projects/{}/orders", spec.id());
    let mut roster = Roster::default();
    for (kind, count, role) in [(0, UPLOADERS, MemberRole::Contributor), (1, QUERIERS, MemberRole::Querier)] {
        for i in 0..count {
            let mut seed = [i; 32];
            seed[0] = kind;
            let member = SigningKey::from_seed(&seed).verifying();
            let action = Action::Invite { member, name: "load".into(), role, quota: Quota::default() };
            let order = roster.next(spec.id(), action);
            roster.apply(&order)?;
            owner.send("POST", &path, "", &sign_order(&order, &owner.key))?;
        }
    }
    Ok(())
}

/// Prints what happened in so many seconds, with uploads of so many bytes.
fn report(counts: &Counts, bytes: usize, seconds: f64) {
    println!("{UPLOADERS} clients x {UPLOADS} uploads of {} bytes, {QUERIERS} x {QUERIES} queries", bytes);
    println!("seconds            {seconds:.1}");
    let sent = f64::from(UPLOADERS) * f64::from(UPLOADS) * bytes as f64;
    println!("uploaded           {:.1} MB/s", sent / seconds / 1e6);
    for (status, count) in counts.statuses.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        println!("status {status}         {count}");
    }
    println!("with Retry-After   {}", counts.told_when.load(Ordering::Relaxed));
    println!("connections broken {}", counts.broken.load(Ordering::Relaxed));
}

fn main() -> anyhow::Result<()> {
    let program = std::env::args().nth(1).context("give the path of blindsmith-refinery")?;
    let dir = tempfile::tempdir()?;
    let (refinery, base) = start(&program, dir.path())?;
    let counts = Counts::default();
    let client = |seed: [u8; 32]| Client {
        agent: ureq::Agent::config_builder().http_status_as_error(false).build().into(),
        base: &base,
        key: SigningKey::from_seed(&seed),
        counts: &counts,
    };
    let owner = client([255; 32]);
    let spec = spec(&owner.key)?;
    owner.send("POST", "/v1/projects", "", &to_cbor(&(&spec, Blob(vec![0; 100]))))?;
    let project = format!("/v1/projects/{}", spec.id());
    invite_all(&owner, &spec)?;
    for lane in [Lane::Rounds, Lane::Queries] {
        let socket = dir.path().join("store/warden.sock");
        std::thread::spawn(move || warden(&socket, lane));
    }
    owner.send("POST", &format!("{project}/release"), "", &[0; 100])?;
    let block = |role| spec.block_bytes(role, spec.block_rows);
    let start = Instant::now();
    let rows = vec![0; UPLOAD_BYTES / block(Role::Training) * block(Role::Training)];
    let query = vec![0; block(Role::Query)];
    counts.statuses.lock().unwrap_or_else(|e| e.into_inner()).clear();
    std::thread::scope(|scope| {
        let uploaders = (0..UPLOADERS).map(|i| (0, i));
        for (kind, i) in uploaders.chain((0..QUERIERS).map(|i| (1, i))) {
            let (client, project, spec, rows, query) = (&client, &project, &spec, &rows, &query);
            scope.spawn(move || -> anyhow::Result<()> {
                let mut seed = [i; 32];
                seed[0] = kind;
                let client = client(seed);
                let done = || -> anyhow::Result<()> {
                    for number in 0..if kind == 0 { UPLOADS } else { QUERIES } {
                        if kind == 0 {
                            let path = client.rows(&format!("{project}/uploads"), rows)?;
                            let contributor = client.key.verifying().into();
                            let header = header(spec, rows, contributor, Role::Training, number);
                            client.send("POST", &format!("{path}/commit"), "", &to_cbor(&header))?;
                        } else {
                            let path = client.rows(&format!("{project}/queries"), query)?;
                            let querier = client.key.verifying().into();
                            let header = header(spec, query, querier, Role::Query, number);
                            let body = to_cbor(&(&header, Blob(vec![0; 100])));
                            client.send("POST", &format!("{path}/ask"), "", &body)?;
                        }
                    }
                    Ok(())
                };
                done().inspect_err(|e| eprintln!("a client gave up: {e}"))
            });
        }
    });
    report(&counts, rows.len(), start.elapsed().as_secs_f64());
    println!("peak memory        {}", peak(refinery.0.id())?);
    Ok(())
}
