//! The warden's side of its link to the refinery: commands in, instructions and outcomes out.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use blindsmith_keys::{Key, RecipientKey, check_nanos};
use blindsmith_protocol::{
    Blob, Decision, Evidence, FrameError, FromWarden, Id, Lane, Outcome, RoundRecord, RoundSummary, ToWarden,
    to_cbor,
};
use blindsmith_receipts::{SigningKey, receipt_signing_key};
use rustix::time::{ClockId, clock_gettime};

use crate::admission::AdmissionError;
use crate::cloud::CloudError;
use crate::counters::{Counter, Counters};
use crate::metrics::RoundMetrics;
use crate::project::{Done, Project, ProjectError};
use crate::remote::Remote;
use crate::round::RoundError;
use crate::serving::{Projects, Serving};
use crate::transport::lock;

/// The kind of trusted execution environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// None at all: an ordinary process that proves nothing. For development and demonstrations.
    Simulated,
}

impl Tee {
    /// The name in evidence and policies.
    pub fn name(self) -> &'static str {
        match self {
            Tee::Simulated => "simulated",
        }
    }
}

/// Who this warden is.
pub struct Identity {
    /// Its kind.
    pub tee: Tee,
    /// The key to which secrets are sealed, fresh for each start.
    pub key: RecipientKey,
    /// The key under which it seals its state.
    pub sealing: Key,
    /// The key under which it signs receipts.
    pub signing: SigningKey,
    /// What it remembers beside the states that the refinery keeps.
    pub counters: Box<dyn Counters>,
    /// Held while a counter is read and written.
    counting: Mutex<()>,
}

impl Identity {
    /// A warden with a fresh key for secrets; its other keys follow from the sealing key.
    pub fn new(tee: Tee, sealing: Key, counters: Box<dyn Counters>) -> Self {
        let signing = receipt_signing_key(&sealing);
        let (key, counting) = (RecipientKey::generate(), Mutex::default());
        Identity { tee, key, sealing, signing, counters, counting }
    }

    /// Nobody else changes a counter while this is held.
    pub(crate) fn counting(&self) -> MutexGuard<'_, ()> {
        lock(&self.counting)
    }

    /// Changes a project's counter, or one that begins at `place`; durable when this returns.
    pub(crate) fn count<E: From<std::io::Error>>(
        &self,
        project: &Id,
        place: Counter,
        change: impl FnOnce(Counter) -> Result<Counter, E>,
    ) -> Result<Counter, E> {
        let _counting = self.counting();
        let changed = change(self.counters.load(project)?.unwrap_or(place))?;
        self.counters.store(project, &changed)?;
        Ok(changed)
    }
}

type Finished = Result<(Outcome, Vec<u8>), String>;

struct Session<'a> {
    identity: &'a Identity,
    projects: &'a Projects,
    lane: Lane,
    remote: Remote,
}

/// Serves one refinery until it closes the connection; bulk data goes through shared memory if `share`. Links of both
/// lanes share `projects`; that of rounds begins without any.
pub fn serve(
    identity: &Identity,
    projects: &Projects,
    lane: Lane,
    stream: UnixStream,
    share: bool,
) -> Result<(), FrameError> {
    let remote = Remote::connect(stream, identity.tee.name(), lane, share)?;
    if lane == Lane::Rounds {
        projects.clear();
    }
    let mut session = Session { identity, projects, lane, remote };
    loop {
        match session.remote.receive() {
            Ok((command, body)) => session.perform(command, body)?,
            Err(FrameError::Closed) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

impl Session<'_> {
    fn perform(&mut self, command: ToWarden, body: Vec<u8>) -> Result<(), FrameError> {
        let queries = self.lane == Lane::Queries;
        let finished = match command {
            command if queries && !matches!(command, ToWarden::Query { .. } | ToWarden::Attest { .. }) => {
                return Err(FrameError::Unexpected("a command of another lane"));
            }
            ToWarden::Attest { nonce } => return self.attest(&nonce.0),
            ToWarden::Release { spec, release } => {
                self.adopt(Project::released(spec, self.identity, &release.0, &body), true)
            }
            ToWarden::Restore { spec } => self.adopt(Project::restored(spec, self.identity, &body), false),
            ToWarden::Order { project, order } => self.on(&project, |found, identity| {
                found.order(identity, &order.0).map(|()| (Outcome::Ordered, Vec::new()))
            }),
            ToWarden::Enrol { project, contributor, enrolment } => self.on(&project, |found, identity| {
                let Project { members, spec, .. } = found;
                let token = members.enrol(spec, identity, &contributor, &enrolment.0)?;
                Ok((Outcome::Enrolled { token }, Vec::new()))
            }),
            ToWarden::Enrolled { project, contributor, token } => self.on(&project, |found, identity| {
                let Project { members, spec, .. } = found;
                members.enrolled(spec, identity, &contributor, &token.0)?;
                Ok((Outcome::Enrolled { token: Blob::default() }, Vec::new()))
            }),
            ToWarden::Rollback { project, round, version } => {
                let done = self.on(&project, |found, identity| {
                    let record =
                        found.roll_back(identity, round, version, &body).map_err(|e| e.to_string())?;
                    Ok((Outcome::Round, to_cbor(&record)))
                });
                self.publish(&project);
                done
            }
            ToWarden::Round { project, round, epochs, uploads, .. } => {
                self.round(&project, round, epochs, uploads)?
            }
            ToWarden::Query { project, header, envelope } => {
                let Some(found) = self.projects.find(&project) else { return self.refuse(unknown(&project)) };
                let serving = found.serving();
                let answered = serving.answer(self.identity, &self.remote, header, &envelope.0);
                let fault = self.counted(&serving, answered.as_ref().err());
                if let Err(RoundError::Frame(e)) = answered {
                    return Err(e);
                }
                self.remote.settle()?;
                match answered {
                    Ok(answer) => Ok((Outcome::Answer, answer)),
                    Err(_) if let Some(fault) = fault => fault,
                    // One refusal for every fault: nothing about the rows or the model shows in it.
                    Err(_) => Err(RoundError::Query.to_string()),
                }
            }
            ToWarden::Admit { project, header } => self.admit(&project, &header)?,
            ToWarden::Stored { project, round } => {
                if let Some(found) = self.projects.find(&project) {
                    lock(&found.project).stored(self.identity, round)?;
                }
                return Ok(());
            }
            ToWarden::Labels
            | ToWarden::Extras { .. }
            | ToWarden::Rows { .. }
            | ToWarden::Bytes { .. }
            | ToWarden::Failed { .. } => {
                return Err(FrameError::Unexpected("an answer to nothing"));
            }
        };
        match finished {
            Ok((outcome, body)) => self.remote.send(&FromWarden::Finished(outcome), &body),
            Err(message) => self.refuse(message),
        }
    }

    /// Does something with a project.
    fn on(&self, project: &Id, act: impl FnOnce(&mut Project, &Identity) -> Finished) -> Finished {
        let found = self.projects.find(project).ok_or_else(|| unknown(project))?;
        act(&mut lock(&found.project), self.identity)
    }

    /// Queries are answered from the project as it is now.
    fn publish(&self, project: &Id) {
        if let Some(found) = self.projects.find(project) {
            found.publish(&lock(&found.project));
        }
    }

    fn refuse(&self, message: String) -> Result<(), FrameError> {
        self.remote.send(&FromWarden::Finished(Outcome::Refused { message }), &[])
    }

    fn attest(&self, nonce: &[u8]) -> Result<(), FrameError> {
        let Ok(nonce) = <[u8; 32]>::try_from(nonce) else {
            return self.refuse("a nonce has 32 bytes".into());
        };
        let evidence = Evidence {
            tee: self.identity.tee.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipient: self.identity.key.recipient().0,
            nonce,
            receipts: self.identity.signing.verifying().0,
        };
        self.remote.send(&FromWarden::Evidence(evidence), &[])
    }

    fn adopt(&mut self, project: Result<Project, ProjectError>, first: bool) -> Finished {
        let mut project = project.map_err(|e| e.to_string())?;
        if first && self.projects.find(&project.id).is_some() {
            return Err("this project's secrets were released already".into());
        }
        let metrics = RoundMetrics::of(0);
        let done = Done {
            summary: RoundSummary::default(),
            given: vec![],
            used: vec![],
            metrics: &metrics,
            decision: Decision::Promoted,
        };
        let record = match first {
            true => to_cbor(&project.record(self.identity, done, &Counter::default())),
            false => Vec::new(),
        };
        self.projects.insert(project);
        Ok((Outcome::Ready, record))
    }

    /// Counts what went wrong if it is the refinery's doing; first of all, for it may hang up. What is told of it.
    fn counted(&self, serving: &Serving, error: Option<&RoundError>) -> Option<Finished> {
        match error? {
            RoundError::Fault(instruction) => Some(self.fault(serving, instruction.clone())),
            RoundError::Frame(FrameError::Closed | FrameError::Io(_)) => None,
            RoundError::Frame(e) => Some(self.fault(serving, format!("an answer that is none: {e}"))),
            _ => None,
        }
    }

    /// Counts a wrong answer and reports it.
    fn fault(&self, serving: &Serving, instruction: String) -> Finished {
        let report = serving.fault(self.identity, &instruction).map_err(|e| e.to_string())?;
        Ok((Outcome::Fault { instruction, report }, Vec::new()))
    }

    fn admit(
        &mut self,
        project: &Id,
        header: &blindsmith_protocol::UploadHeader,
    ) -> Result<Finished, FrameError> {
        let Some(held) = self.projects.find(project) else { return Ok(Err(unknown(project))) };
        let (serving, found) = (held.serving(), lock(&held.project));
        if let Err(e) = found.trusted(self.identity) {
            return Ok(Err(e.to_string()));
        }
        let done = found.admit(&self.remote, header);
        if let Err(AdmissionError::Cloud(CloudError::Frame(e))) = done {
            let e = RoundError::Frame(e);
            _ = self.counted(&serving, Some(&e));
            let RoundError::Frame(e) = e else { return Ok(Err(e.to_string())) };
            return Err(e);
        }
        let fault = match &done {
            Err(e @ AdmissionError::Altered) => Some(self.fault(&serving, e.to_string())),
            _ => None,
        };
        self.remote.settle()?;
        Ok(match done {
            Err(AdmissionError::Altered) if let Some(fault) = fault => fault,
            Ok(admission) => Ok((Outcome::Admitted { admission }, Vec::new())),
            Err(AdmissionError::Cloud(e)) => Err(e.to_string()),
            Err(e) => Ok((Outcome::Malformed { reason: e.to_string() }, Vec::new())),
        })
    }

    fn round(
        &mut self,
        project: &Id,
        round: u64,
        epochs: Option<u32>,
        uploads: Vec<blindsmith_protocol::AdmittedUpload>,
    ) -> Result<Finished, FrameError> {
        let Some(held) = self.projects.find(project) else { return Ok(Err(unknown(project))) };
        let (serving, mut found) = (held.serving(), lock(&held.project));
        let (start, waited) = (Instant::now(), self.remote.waited());
        let (cpu, checked) = (clock_gettime(ClockId::ProcessCPUTime), check_nanos());
        let done = found.run_round(self.identity, &self.remote, round, epochs, uploads);
        let fixed = found.release.rules.fixed_schedule;
        let fault = self.counted(&serving, done.as_ref().err());
        held.publish(&found);
        if !matches!(done, Err(RoundError::Frame(_))) {
            self.remote.settle()?;
        }
        let mut record: RoundRecord = match done {
            Ok(record) => record,
            Err(RoundError::Frame(e)) => return Err(e),
            Err(RoundError::Fault(_)) if let Some(fault) = fault => return Ok(fault),
            Err(RoundError::Forged(uploads)) => return Ok(Ok((Outcome::Forged { uploads }, Vec::new()))),
            Err(e) => return Ok(Err(e.to_string())),
        };
        if fixed {
            // What it cost depends a little on how it went.
            return Ok(Ok((Outcome::Round, to_cbor(&record))));
        }
        let spent = clock_gettime(ClockId::ProcessCPUTime) - cpu;
        let waited = self.remote.waited() - waited;
        record.summary.warden_seconds = start.elapsed().saturating_sub(waited).as_secs_f64();
        record.summary.warden_cpu_seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9;
        record.summary.check_cpu_seconds = (check_nanos() - checked) as f64 * 1e-9;
        record.summary.warden_peak_bytes = peak_bytes().unwrap_or(0);
        Ok(Ok((Outcome::Round, to_cbor(&record))))
    }
}

fn unknown(project: &Id) -> String {
    format!("this warden does not hold the secrets of project {project}")
}

/// The largest resident memory of this process so far.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
