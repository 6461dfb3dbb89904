//! `blindsmith soak`: the service as it is meant to run, with processes that are killed again and again.

mod counted;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use blindsmith_data::{Dataset, Targets, digits};
use blindsmith_keys::random_bytes;
use clap::Args;
use serde_json::Value;

use counted::{Counted, Flat, Look, flat};

use crate::demo::write_csv;
use crate::{Services, report};
use blindsmith_client::Failure;

/// Rows that judge the model.
const JUDGING: usize = 250;
/// Rows that the standardisation is fitted on.
const FIRST: usize = 97;
/// Rows of an upload.
const UPLOAD: usize = 36;
/// How often memory, file handles and disk are looked at.
const SAMPLE: Duration = Duration::from_secs(5);
/// Most uploads after the kills so that what waits is tried again.
const LATER: usize = 5;
/// Bytes of rows that the refinery keeps in memory in a round: few, so that they are all in use after some minutes.
const ROW_BYTES: usize = 16 << 20;
/// Bytes of a chunk over HTTP: an upload has several, so that it is cut off between them.
const CHUNK: usize = 32 << 10;
const LABEL: &str = "class";

/// Tests the service with real processes and a simulated warden, while the owner is away. Contributors send rows of
/// the built-in digits at random times, one upload has its labels shuffled, and refinery and warden are killed at
/// random moments. The command then checks what became of every acknowledged upload. Every second contributor sends
/// over HTTP on loopback, the others over the refinery's socket. With --minutes, uploads, rounds and queries go on
/// afterwards, and the command records memory, file handles and disk.
#[derive(Args)]
#[command(after_help = "Examples:\n  blindsmith soak --json\n  blindsmith soak --minutes 60 --json")]
pub struct Soak {
    /// Minutes for which uploads, rounds and queries go on after the kills.
    #[arg(long, value_name = "M", default_value_t = 0)]
    minutes: u64,
    /// Number of contributors.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=20))]
    contributors: u32,
    /// Number of uploads before the kills end.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..=40))]
    uploads: u32,
    /// How often refinery, warden or both are killed.
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: u32,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

struct Site<'a> {
    soak: &'a Soak,
    dir: PathBuf,
    socket: String,
    /// The refinery's HTTP service.
    url: String,
}

#[derive(Default)]
struct Log {
    acknowledged: Vec<(String, u64)>,
    over_http: usize,
    poisoned: String,
}

#[derive(Default)]
struct Queries {
    answered: usize,
    refused: usize,
    refusal: Option<String>,
}

impl Soak {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let dir = tempfile::Builder::new()
            .prefix("blindsmith-soak-")
            .tempdir()
            .map_err(|e| Failure::Other(format!("no temporary directory: {e}")))?;
        let start = Instant::now();
        let config = dir.path().join("refinery.toml");
        let address = loopback();
        let text = format!(
            "[http]\nlisten = \"{address}\"\n[limits]\nrow_bytes = {ROW_BYTES}\nchunk_bytes = {CHUNK}\n"
        );
        std::fs::write(&config, text).map_err(|e| Failure::project(&config, e))?;
        let mut services = Services::start(dir.path(), self.threads)?;
        let socket = services.socket().display().to_string();
        let url = format!("http://{address}");
        let site = Site { soak: &self, dir: dir.path().to_owned(), socket, url };
        let counted = site.play(&mut services, start)?;
        report(self.json, &counted, |c| println!("{c:#?}"))?;
        counted.check()
    }
}

impl Log {
    fn acknowledge(&mut self, id: String, rows: usize, member: usize) {
        self.acknowledged.push((id, rows as u64));
        self.over_http += usize::from(over_http(member));
    }
}

/// Which contributors send over HTTP.
fn over_http(member: usize) -> bool {
    member % 2 == 1
}

/// A number from 0 below `end`, of the operating system's randomness.
fn draw(end: u64) -> u64 {
    u64::from_le_bytes(random_bytes()) % end.max(1)
}

/// An address of this machine that nobody else listens at, below the ports that are given out: it is the same after each
/// kill.
fn loopback() -> SocketAddr {
    let [a, b, c] = [0; 3].map(|_| 1 + draw(250) as u8);
    SocketAddr::from(([127, a, b, c], 20_000 + draw(10_000) as u16))
}

impl Site<'_> {
    fn say(&self, words: &str) {
        if !self.soak.json {
            eprintln!("{words}");
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Runs `blindsmith`; its JSON, or its exit code and what it said.
    fn blindsmith(&self, arguments: &[&str]) -> Result<Value, (Option<i32>, String)> {
        let other = |e: String| (None, e);
        let program = std::env::current_exe().map_err(|e| other(e.to_string()))?;
        let output = Command::new(program).args(arguments).arg("--json").stdin(Stdio::null()).output();
        let output = output.map_err(|e| other(e.to_string()))?;
        if !output.status.success() {
            return Err((output.status.code(), String::from_utf8_lossy(&output.stderr).trim().into()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| other(e.to_string()))
    }

    fn must(&self, arguments: &[&str]) -> Result<Value, Failure> {
        self.blindsmith(arguments)
            .map_err(|(_, said)| Failure::Other(format!("{}: {said}", arguments.join(" "))))
    }

    fn write(&self, name: &str, data: &Dataset) -> Result<String, Failure> {
        let path = self.dir.join(name);
        write_csv(&path, data, &[LABEL]).map_err(|e| Failure::project(&path, e))?;
        Ok(path.display().to_string())
    }

    fn play(&self, services: &mut Services, start: Instant) -> Result<Counted, Failure> {
        let mut data = digits()?;
        data.shuffle(&random_bytes());
        let slice = |from: usize, rows: usize| data.select(&(from..from + rows).collect::<Vec<_>>());
        self.set_up(&slice(0, FIRST), &slice(FIRST, JUDGING))?;
        let uploads: Vec<Dataset> =
            (0..self.soak.uploads as usize).map(|i| slice(FIRST + JUDGING + i * UPLOAD, UPLOAD)).collect();
        self.say("everybody is set up; the owner is away from here on");
        // Not the first: there should be something that it contradicts.
        let poisoned = self.soak.uploads as usize / 2;
        let (log, again) = (Mutex::new(Log::default()), AtomicUsize::new(0));
        let mut kills = 0;
        std::thread::scope(|scope| -> Result<(), Failure> {
            let contributors = self.soak.contributors as usize;
            let senders: Vec<_> = (0..contributors)
                .map(|member| {
                    let mut mine: Vec<usize> = (member..uploads.len()).step_by(contributors).collect();
                    // In any order.
                    (1..mine.len()).for_each(|i| mine.swap(i, draw(i as u64 + 1) as usize));
                    let (uploads, log, again) = (&uploads, &log, &again);
                    scope.spawn(move || -> Result<(), Failure> {
                        for i in mine {
                            std::thread::sleep(Duration::from_millis(draw(5000)));
                            let rows =
                                if i == poisoned { shuffled(&uploads[i])? } else { uploads[i].clone() };
                            let id = self.push(member, i, &rows, again)?;
                            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                            if i == poisoned {
                                log.poisoned = id.clone();
                            }
                            log.acknowledge(id, rows.rows(), member);
                        }
                        Ok(())
                    })
                })
                .collect();
            while kills < self.soak.kills {
                std::thread::sleep(Duration::from_millis(200 + draw(2000)));
                kills += 1;
                let which = draw(3);
                if which != 0 {
                    services.kill_refinery();
                }
                if which != 1 {
                    services.kill_warden();
                }
                services.start_refinery_if_away()?;
                services.start_warden_if_away()?;
            }
            for sender in senders {
                sender.join().map_err(|_| Failure::Other("a contributor panicked".into()))??;
            }
            Ok(())
        })?;
        self.say(&format!("all uploads are acknowledged after {kills} kills; waiting for the last round"));
        let mut log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Without a warden there is nothing to wait for.
        services.await_warden()?;
        self.settle()?;
        // What a round that was taken back left waiting is tried again when something new comes, as it always does.
        for number in 0..LATER {
            if !self.waits()? {
                break;
            }
            self.send_more(&data, 900 + number, &mut log)?;
            self.settle()?;
        }
        let (flat, queries) = self.keep_on(services, &data, &mut log)?;
        self.settle()?;
        let again = again.into_inner();
        self.count(log, Ended { kills, again, flat, queries, seconds: start.elapsed().as_secs_f64() })
    }

    fn set_up(&self, first: &Dataset, judging: &Dataset) -> Result<(), Failure> {
        let (owner, first) = (self.path("owner"), self.write("first.csv", first)?);
        let judging = self.write("judging.csv", judging)?;
        let init =
            ["init", "--project", &owner, "--refinery", &self.socket, "--name", "soak", "--data", &first];
        // More rows come than those first ones.
        let plan = ["--label", LABEL, "--hidden", "16", "--epochs", "3", "--batch-rows", "64"];
        let plan = [&plan[..], &["--expect-rows", "1500", "--accept-simulated"]].concat();
        // Every kill may cost an attempt.
        let rules = ["--attempts", "1000", "--judging-rows", "10000", "--fixed-schedule", "never"];
        self.must(&[init.as_slice(), &plan, &rules].concat())?;
        self.must(&["push", "--project", &owner, "--data", &judging, "--validation", "--again"])?;
        for member in 0..self.soak.contributors as usize {
            let (dir, name) = (self.member(member), format!("member {member}"));
            let invitation = self.path("owner/project.json");
            let refinery = if over_http(member) { &self.url } else { &self.socket };
            let join = ["join", "--project", &dir, "--invitation", &invitation, "--refinery", refinery];
            let joined = self.must(&[join.as_slice(), &["--accept-simulated"]].concat())?;
            let key = joined["member"].as_str().unwrap_or_default();
            self.must(&["invite", "--project", &owner, "--member", key, "--name", &name])?;
            self.must(&["join", "--project", &dir])?;
        }
        Ok(())
    }

    fn member(&self, member: usize) -> String {
        self.path(&format!("member-{member}"))
    }

    /// Sends rows until they are acknowledged.
    fn push(
        &self,
        member: usize,
        number: usize,
        rows: &Dataset,
        again: &AtomicUsize,
    ) -> Result<String, Failure> {
        let file = self.write(&format!("upload-{member}-{number}.csv"), rows)?;
        let dir = self.member(member);
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            match self.blindsmith(&["push", "--project", &dir, "--data", &file, "--again"]) {
                Ok(sent) => {
                    _ = std::fs::remove_file(&file);
                    return Ok(sent["upload"].as_str().unwrap_or_default().to_owned());
                }
                // The refinery is away, or went away.
                Err((Some(4), _)) if Instant::now() < deadline => _ = again.fetch_add(1, Ordering::Relaxed),
                Err((_, said)) => return Err(Failure::Other(format!("push: {said}"))),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until no round is due. The owner's directory serves to ask, not to start anything.
    fn settle(&self) -> Result<(), Failure> {
        let owner = self.path("owner");
        // A round that failed says so in the history.
        match self.blindsmith(&["refine", "--project", &owner, "--wait-only"]) {
            Ok(_) | Err((Some(5), _)) => Ok(()),
            Err((_, said)) => Err(Failure::Other(said)),
        }
    }

    /// Uploads, rounds and queries for the minutes asked for; how flat it was, and queries answered and refused.
    fn keep_on(
        &self,
        services: &Services,
        data: &Dataset,
        log: &mut Log,
    ) -> Result<(Option<Flat>, Queries), Failure> {
        let end = Instant::now() + Duration::from_secs(60 * self.soak.minutes);
        let query = self.write("query.csv", &data.select(&(0..20).collect::<Vec<_>>()))?;
        let (mut looks, mut next) = (Vec::<Look>::new(), Instant::now());
        let (mut queries, mut number) = (Queries::default(), 1000);
        while Instant::now() < end {
            number += 1;
            self.send_more(data, number, log)?;
            for _ in 0..5 {
                let asked = self.blindsmith(&["predict", "--project", &self.path("owner"), "--data", &query]);
                match asked {
                    Ok(_) => queries.answered += 1,
                    Err((_, said)) => {
                        queries.refused += 1;
                        queries.refusal.get_or_insert(said);
                    }
                }
            }
            if Instant::now() >= next {
                looks.push(self.look(services, log.acknowledged.len())?);
                next = Instant::now() + SAMPLE;
            }
            std::thread::sleep(Duration::from_millis(500 + draw(2000)));
        }
        Ok((flat(&looks), queries))
    }

    /// An upload of anybody, of rows that were sent before.
    fn send_more(&self, data: &Dataset, number: usize, log: &mut Log) -> Result<(), Failure> {
        let member = draw(u64::from(self.soak.contributors)) as usize;
        let rows: Vec<usize> = (0..UPLOAD).map(|_| JUDGING + FIRST + draw(1200) as usize).collect();
        let rows = data.select(&rows);
        let id = self.push(member, number, &rows, &AtomicUsize::new(0))?;
        log.acknowledge(id, rows.rows(), member);
        Ok(())
    }

    /// Whether an upload is neither used nor set aside.
    fn waits(&self) -> Result<bool, Failure> {
        let history = self.must(&["history", "--project", &self.path("owner")])?;
        let uploads = history["uploads"].as_array().cloned().unwrap_or_default();
        Ok(uploads.iter().any(|upload| upload["state"] == "admitted"))
    }

    fn look(&self, services: &Services, uploads: usize) -> Result<Look, Failure> {
        let [refinery, warden] = services.processes();
        let other = |e: std::io::Error| Failure::Other(e.to_string());
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let disk = mib(size(&services.store()).map_err(other)?);
        Ok([
            mib(resident(refinery)),
            mib(resident(warden)),
            handles(refinery) as f64,
            handles(warden) as f64,
            disk,
            1024.0 * disk / uploads as f64,
        ])
    }

    fn count(&self, log: Log, ended: Ended) -> Result<Counted, Failure> {
        let owner = self.path("owner");
        let history = self.must(&["history", "--project", &owner])?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (rounds, uploads) = (list(&history["rounds"]), list(&history["uploads"]));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let states: BTreeMap<String, String> =
            uploads.iter().map(|u| (text(&u["upload"]), text(&u["state"]))).collect();
        let mut by_state = BTreeMap::new();
        states.values().for_each(|state| *by_state.entry(state.clone()).or_default() += 1);
        let accounted = |id: &String| states.get(id).is_some_and(|s| s == "used" || s == "quarantined");
        let ids: Vec<&String> = log.acknowledged.iter().map(|(id, _)| id).collect();
        let aside = states.iter().filter(|(id, state)| *state == "quarantined" && **id != log.poisoned);
        let mut decisions = BTreeMap::new();
        rounds.iter().skip(1).for_each(|r| *decisions.entry(text(&r["decision"])).or_default() += 1);
        let mut accuracies = rounds.iter().filter_map(|r| r["validation"]["accuracy"].as_f64());
        let first = accuracies.next();
        let receipts = self.path("receipts.cbor");
        self.must(&["receipts", "--project", &owner, "--out", &receipts])?;
        let policy = self.path("owner/policy.toml");
        let verdict = self.blindsmith(&["verify", "--receipts", &receipts, "--policy", &policy]);
        Ok(Counted {
            contributors: self.soak.contributors,
            uploads_acknowledged: ids.len(),
            acknowledged_over_http: log.over_http,
            rows_acknowledged: log.acknowledged.iter().map(|(_, rows)| rows).sum(),
            unaccounted: ids.iter().filter(|id| !accounted(id)).map(|id| id.to_string()).collect(),
            // One is the owner's, which judges.
            stored_without_acknowledgement: states.len().saturating_sub(ids.len() + 1),
            poisoned_set_aside: states.get(&log.poisoned).is_some_and(|s| s == "quarantined"),
            others_set_aside: aside.map(|(id, _)| id.clone()).collect(),
            uploads_by_state: by_state,
            poisoned: log.poisoned,
            kills: ended.kills,
            pushes_tried_again: ended.again,
            rounds: rounds.len().saturating_sub(1),
            decisions,
            loss_first: rounds.get(1).and_then(|r| r["loss_before"].as_f64()),
            loss_last: rounds.iter().rev().find_map(|r| r["validation"]["loss"].as_f64()),
            accuracy_first: first,
            accuracy_last: accuracies.next_back().or(first),
            receipts_valid: verdict.is_ok_and(|v| v["valid"] == true),
            queries: ended.queries.answered,
            queries_refused: ended.queries.refused,
            refusal: ended.queries.refusal,
            minutes: self.soak.minutes,
            flat: ended.flat,
            seconds: ended.seconds,
        })
    }
}

struct Ended {
    kills: u32,
    again: usize,
    flat: Option<Flat>,
    queries: Queries,
    seconds: f64,
}

/// The same rows with classes moved on by a number that changes from row to row.
fn shuffled(data: &Dataset) -> Result<Dataset, Failure> {
    let mut data = data.clone();
    let Targets::Classes { index, .. } = &mut data.targets else {
        return Err(Failure::Other("digits have classes".into()));
    };
    index.iter_mut().for_each(|class| *class = (*class + 1 + draw(9) as u32) % 10);
    Ok(data)
}

fn resident(process: Option<u32>) -> u64 {
    let status = process.and_then(|id| std::fs::read_to_string(format!("/proc/{id}/status")).ok());
    let status = status.unwrap_or_default();
    let kib =
        status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(0, |kib: u64| kib * 1024)
}

fn handles(process: Option<u32>) -> usize {
    process.and_then(|id| Some(std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count())).unwrap_or(0)
}

/// Bytes of the files below a directory.
fn size(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // Files come and go while they are counted.
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => sum += size(&path).unwrap_or(0),
            Ok(found) if found.is_file() => sum += found.len(),
            _ => {}
        }
    }
    Ok(sum)
}
