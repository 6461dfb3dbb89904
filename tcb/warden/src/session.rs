//! The warden's side of its link to the refinery: commands in, instructions and outcomes out.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use blindsmith_evidence::{AttestError, Attester, Claims, Tee, measurement, report_data};
use blindsmith_formats::RoundMetrics;
use blindsmith_identity::{Confirmed, PublicKey, Purpose, SigningKey, open_request, sign_confirmed};
use blindsmith_keys::{Key, RecipientKey, Suite, check_nanos, random_bytes};
use blindsmith_protocol::{
    Blob, Decision, Evidence, FrameError, FromWarden, Id, Lane, Outcome, ProjectSpec, RoundRecord,
    RoundSummary, ToWarden, append_cbor, to_cbor,
};
use rustix::time::{ClockId, clock_gettime};
use zeroize::Zeroizing;

use crate::admission::AdmissionError;
use crate::appraiser::Appraiser;
use crate::cloud::CloudError;
use crate::counters::{Counter, Counters};
use crate::hand_over::Challenges;
use crate::orders::OrderError;
use crate::project::{Done, Project};
use crate::remote::Remote;
use crate::round::RoundError;
use crate::serving::{Projects, Serving};
use crate::sessions::Sessions;
use crate::transport::lock;

/// Who this warden is.
pub struct Identity {
    /// What vouches for it.
    pub attester: Box<dyn Attester>,
    /// What its environment measured of it; empty if simulated.
    pub measurement: Vec<u8>,
    /// The key to which secrets are sealed, fresh for each start.
    pub key: RecipientKey,
    /// The key under which it seals what it keeps for itself.
    pub sealing: Key,
    /// The key in its claims.
    pub signing: SigningKey,
    /// What it remembers beside the states that the refinery keeps.
    pub counters: Box<dyn Counters>,
    /// Whether it asks for the projects of the warden that the refinery has.
    pub take_over: bool,
    /// What judges the evidence of wardens that take projects over; none at first.
    pub appraiser: Appraiser,
    /// What tells this start of it from others.
    start: Id,
    /// Held while a counter is read and written.
    counting: Mutex<()>,
    sessions: Sessions,
    pub(crate) challenges: Challenges,
}

impl Identity {
    /// A warden with a fresh key for secrets; what it signs its claims' confirmations with follows from the sealing key.
    ///
    /// # Errors
    /// If its environment gives no report.
    pub fn new(
        attester: Box<dyn Attester>,
        sealing: Key,
        counters: Box<dyn Counters>,
    ) -> Result<Self, AttestError> {
        let signing = SigningKey::from_seed(sealing.derive("warden", &[]).expose());
        let measurement = measurement(attester.as_ref())?;
        let (key, counting) = (RecipientKey::generate(), Mutex::default());
        let (sessions, challenges) = (Sessions::default(), Challenges::default());
        let take_over = false;
        Ok(Identity {
            attester,
            measurement,
            key,
            sealing,
            signing,
            counters,
            take_over,
            appraiser: Appraiser::none("it has no appraiser"),
            start: Id(random_bytes()),
            counting,
            sessions,
            challenges,
        })
    }

    /// Its kind.
    pub fn tee(&self) -> Tee {
        self.attester.tee()
    }

    /// Evidence for who asks.
    pub(crate) fn attest(&self, asker: &Id, request: &[u8]) -> Result<Evidence, String> {
        let asker = PublicKey::from(*asker);
        let request = open_request(request, &asker).map_err(|e| format!("the request for evidence: {e}"))?;
        let suite = Suite::numbered(request.kem)
            .ok_or_else(|| format!("this warden knows no key encapsulation {:#06x}", request.kem))?;
        let claims = Claims {
            tee: self.tee(),
            kem: request.kem,
            recipient: self.key.recipient(suite).bytes().to_vec(),
            signing: self.signing.verifying(),
            nonce: request.nonce,
            policy: request.policy,
            project: request.project,
            asker,
            build: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let encoded = claims.encode();
        let report = self.attester.report(&report_data(&encoded)).map_err(|e| e.to_string())?;
        if request.purpose == Purpose::Release {
            self.sessions.open(&claims, suite);
        }
        let (report, auxiliary) = (Blob(report.report), Blob(report.auxiliary));
        Ok(Evidence { claims: Blob(encoded), report, auxiliary })
    }

    /// Opens what was sealed to this warden in a session, which is over by that; what it signs to confirm it.
    pub(crate) fn receive(
        &self,
        session: &[u8; 32],
        (project, sender): (&Id, &Id),
        info: &[u8],
        envelope: &[u8],
        receipts: impl FnOnce(&[u8]) -> Result<PublicKey, String>,
    ) -> Result<(Zeroizing<Vec<u8>>, Blob), String> {
        let suite = self.sessions.close(session, project, &PublicKey::from(*sender))?;
        let opened = self.key.open(suite, info, envelope).map_err(|e| e.to_string())?;
        let receipts = receipts(&opened.0)?;
        let confirmed =
            Confirmed { project: *project, session: *session, receipts, confirmation: opened.1.bytes() };
        Ok((opened.0, Blob(sign_confirmed(&confirmed, &self.signing))))
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
    let who = (identity.signing.verifying().into(), identity.start);
    let lanes = (lane, identity.take_over && lane == Lane::Rounds);
    let remote = Remote::connect(stream, identity.tee().name(), who, lanes, share)?;
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
            ToWarden::Attest { asker, request } => {
                return match self.identity.attest(&asker, &request.0) {
                    Ok(evidence) => self.remote.send(&FromWarden::Evidence(evidence), &[]),
                    Err(message) => self.refuse(message),
                };
            }
            ToWarden::Release { spec, release } => self.release(spec, &release.0, &body),
            ToWarden::Restore { spec, holding } => {
                let restored = Project::restored(spec, self.identity, &holding.0, &body);
                restored
                    .map_err(|e| e.to_string())
                    .map(|project| self.hold(project, Blob::default(), Vec::new()))
            }
            ToWarden::Order { project, order } => self.order(&project, &order.0)?,
            ToWarden::Enrol { project, contributor, enrolment } => self.on(&project, |found, identity| {
                found.active(identity)?;
                found.told_all(&found.counter(identity).map_err(|e| e.to_string())?)?;
                let (members, host) = found.host(identity);
                let (token, confirmation) = members.enrol(&host, &contributor, &enrolment.0)?;
                Ok((Outcome::Enrolled { token, confirmation }, Vec::new()))
            }),
            ToWarden::Enrolled { project, contributor, token } => self.on(&project, |found, identity| {
                let (members, host) = found.host(identity);
                members.restored(&host, &contributor, &token.0)?;
                let (token, confirmation) = (Blob::default(), Blob::default());
                Ok((Outcome::Enrolled { token, confirmation }, Vec::new()))
            }),
            ToWarden::Challenge { project } => self.on(&project, |found, identity| found.challenge(identity)),
            ToWarden::HandOver { project, evidence } => {
                self.on(&project, |found, identity| found.hand_over(identity, &evidence, &body))
            }
            ToWarden::TakeOver { spec, from, session, order } => {
                let taken = Project::taken_over((spec, &from), self.identity, (&session, &order.0), &body);
                taken.map(|(project, tokens)| {
                    let (outcome, _) = self.hold(project, Blob::default(), vec![0]);
                    (outcome, to_cbor(&tokens))
                })
            }
            ToWarden::Rollback { project, round, version } => self.roll_back(&project, round, version, &body),
            ToWarden::Round { project, round, epochs, uploads, .. } => {
                self.round(&project, round, epochs, uploads)?
            }
            ToWarden::Query { project, header, envelope } => {
                let Some(found) = self.projects.find(&project) else { return self.refuse(unknown(&project)) };
                let (serving, told) = (found.serving(), found.told());
                let asked = (self.identity, told.as_ref());
                let answered = serving.answer(asked, &self.remote, header, &envelope.0);
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
            | ToWarden::Product { .. }
            | ToWarden::Residues { .. }
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

    /// Carries out an order of the owner. One that counts and cannot be written down ends the link: what was told since the
    /// project was restored is told again then.
    fn order(&self, project: &Id, order: &[u8]) -> Result<Finished, FrameError> {
        let Some(held) = self.projects.find(project) else { return Ok(Err(unknown(project))) };
        let mut found = lock(&held.project);
        let done = found.order(self.identity, order);
        // Refused or not, queries are answered as the orders say that are known now.
        held.tell(&found);
        match done {
            Ok(()) => Ok(Ok((Outcome::Ordered { retired: found.successor(self.identity) }, Vec::new()))),
            Err(OrderError::Refused(message)) => Ok(Err(message)),
            Err(OrderError::Counters(e)) => Err(FrameError::Io(e)),
        }
    }

    fn roll_back(&self, project: &Id, round: u64, version: u64, model: &[u8]) -> Finished {
        let held = self.projects.find(project).ok_or_else(|| unknown(project))?;
        let mut found = lock(&held.project);
        let done = found.roll_back(self.identity, round, version, model);
        held.publish(&found);
        match done {
            Ok(record) => Ok((Outcome::Round, encoded(&record))),
            Err(e @ RoundError::Counters(_)) => self.unable(project, &e),
            Err(e) => Err(e.to_string()),
        }
    }

    /// What a project is in memory counts no more than what could be written down of it: it goes back.
    fn unable(&self, project: &Id, why: &RoundError) -> Finished {
        self.projects.remove(project);
        Ok((Outcome::Unable { message: why.to_string() }, Vec::new()))
    }

    fn refuse(&self, message: String) -> Result<(), FrameError> {
        self.remote.send(&FromWarden::Finished(Outcome::Refused { message }), &[])
    }

    /// Takes a project over from its owner.
    fn release(&mut self, spec: ProjectSpec, release: &[u8], model: &[u8]) -> Finished {
        if self.projects.find(&spec.id()).is_some() {
            return Err("this project's secrets were released already".into());
        }
        let (mut project, confirmation) =
            Project::released(spec, self.identity, release, model).map_err(|e| e.to_string())?;
        let metrics = RoundMetrics::of(0);
        let done = Done {
            summary: RoundSummary::default(),
            given: vec![],
            used: vec![],
            metrics: &metrics,
            decision: Decision::Promoted,
        };
        let record = to_cbor(&project.record(self.identity, done, &Counter::default()));
        Ok(self.hold(project, confirmation, record))
    }

    /// Holds a project from now on.
    fn hold(&mut self, project: Project, confirmation: Blob, record: Vec<u8>) -> (Outcome, Vec<u8>) {
        let holding = if record.is_empty() { Blob::default() } else { project.holding(self.identity) };
        let retired = project.successor(self.identity);
        self.projects.insert(project);
        (Outcome::Ready { holding, confirmation, retired }, record)
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
        let done = found.admit(self.identity, &self.remote, header);
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
            // It is read again, once something can be written.
            Err(e @ AdmissionError::Counters(_)) => {
                Ok((Outcome::Unable { message: e.to_string() }, Vec::new()))
            }
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
        let fixed = found.fixed_schedule();
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
            Err(e @ RoundError::Counters(_)) => return Ok(self.unable(project, &e)),
            Err(e) => return Ok(Err(e.to_string())),
        };
        if fixed {
            // What it cost depends a little on how it went.
            return Ok(Ok((Outcome::Round, encoded(&record))));
        }
        let spent = clock_gettime(ClockId::ProcessCPUTime) - cpu;
        let waited = self.remote.waited() - waited;
        record.summary.warden_seconds = start.elapsed().saturating_sub(waited).as_secs_f64();
        record.summary.warden_cpu_seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9;
        record.summary.check_cpu_seconds = (check_nanos() - checked) as f64 * 1e-9;
        record.summary.warden_peak_bytes = peak_bytes().unwrap_or(0);
        Ok(Ok((Outcome::Round, encoded(&record))))
    }
}

/// A record, in a buffer that does not grow.
fn encoded(record: &RoundRecord) -> Vec<u8> {
    let lists = record.given.len() + 3 * record.used.len();
    let parts = record.state.0.len() + record.model.0.len() + record.receipt.0.len();
    let mut bytes = Vec::with_capacity(parts + record.summary.metrics.0.len() + 64 * lists + 4096);
    append_cbor(record, &mut bytes);
    bytes
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
