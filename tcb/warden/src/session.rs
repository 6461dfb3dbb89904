//! The warden's side of its link to the refinery: commands in, instructions and outcomes out.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use blindsmith_keys::check_nanos;
use blindsmith_protocol::{
    Blob, Decision, FrameError, FromWarden, Id, Lane, Outcome, ProjectSpec, RoundRecord, ToWarden,
    UploadHeader, append_cbor, to_cbor,
};
use rustix::time::{ClockId, clock_gettime};

use crate::cloud::CloudError;
use crate::counters::Counter;
use crate::error::{Refusal, RoundError};
use crate::hand_over::Transfer;
use crate::identity::Identity;
use crate::lock::lock;
use crate::orders::OrderError;
use crate::project::Project;
use crate::query::{Inquiry, answer};
use crate::reading::AdmissionError;
use crate::record::RoundResult;
use crate::remote::{Greeting, Remote};
use crate::round::RoundInput;
use crate::serving::{Projects, Service, Serving};

/// What a command is answered by, and the body beside it.
type Reply = (Outcome, Vec<u8>);

/// Why a command has no outcome of its own.
enum Unanswered {
    /// It is refused; the link goes on.
    Refused(Refusal),
    /// The link ends.
    Ended(FrameError),
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Unanswered::Refused(refusal)
    }
}

impl From<FrameError> for Unanswered {
    fn from(e: FrameError) -> Self {
        Unanswered::Ended(e)
    }
}

type Answer = Result<Reply, Unanswered>;

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
    let greeting = Greeting {
        tee: identity.tee().name(),
        holder: identity.signing.verifying().into(),
        start: identity.start,
        lane,
        take_over: identity.take_over && lane == Lane::Rounds,
    };
    let remote = Remote::connect(stream, greeting, share)?;
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
        let answer = match command {
            command if queries && !matches!(command, ToWarden::Query { .. } | ToWarden::Attest { .. }) => {
                return Err(FrameError::Unexpected("a command of another lane"));
            }
            ToWarden::Attest { asker, request } => match self.identity.attest(&asker, &request.0) {
                Ok(evidence) => return self.remote.send(&FromWarden::Evidence(evidence), &[]),
                Err(e) => Err(Refusal::from(e).into()),
            },
            ToWarden::Stored { project, round } => {
                if let Some(found) = self.projects.find(&project) {
                    lock(&found.project).settle(self.identity, round)?;
                }
                return Ok(());
            }
            ToWarden::Query { project, header, envelope } => {
                self.query(&project, Inquiry { header, signed: &envelope.0 })
            }
            ToWarden::Admit { project, header } => self.admit(&project, &header),
            ToWarden::Round { project, round, epochs, uploads, .. } => {
                self.round(&project, RoundInput { round, epochs, uploads })
            }
            ToWarden::Rollback { project, round, version } => self.roll_back(&project, round, version, &body),
            ToWarden::Order { project, order } => self.order(&project, &order.0),
            command => self.change(command, &body),
        };
        match answer {
            Ok((outcome, body)) => self.remote.send(&FromWarden::Finished(outcome), &body),
            Err(Unanswered::Refused(why)) => {
                let message = why.to_string();
                self.remote.send(&FromWarden::Finished(Outcome::Refused { message }), &[])
            }
            Err(Unanswered::Ended(e)) => Err(e),
        }
    }

    /// Commands by which this warden gets or gives a project, or a project its members.
    fn change(&mut self, command: ToWarden, body: &[u8]) -> Answer {
        let reply = match command {
            ToWarden::Release { spec, release } => self.release(spec, &release.0, body)?,
            ToWarden::Restore { spec, holding } => {
                let project = Project::restore(spec, self.identity, &holding.0, body);
                self.hold(project.map_err(Refusal::from)?, Blob::default(), Vec::new())
            }
            ToWarden::TakeOver { spec, from, session, order } => {
                let (from, session) = (&from, &session);
                let transfer = Transfer { spec, from, session, order: &order.0, body };
                let (project, tokens) = Project::take_over(self.identity, transfer)?;
                let (outcome, _) = self.hold(project, Blob::default(), vec![0]);
                (outcome, to_cbor(&tokens))
            }
            ToWarden::Challenge { project } => {
                lock(&self.find(&project)?.project).challenge(self.identity)?
            }
            ToWarden::HandOver { project, evidence } => {
                lock(&self.find(&project)?.project).hand_over(self.identity, &evidence, body)?
            }
            ToWarden::Enrol { project, contributor, enrolment } => {
                let service = self.find(&project)?;
                let mut found = lock(&service.project);
                found.active(self.identity)?;
                found.heard_all(&found.counter(self.identity).map_err(Refusal::from)?)?;
                let (members, host) = found.host(self.identity);
                let (token, confirmation) = members.enrol(&host, &contributor, &enrolment.0)?;
                (Outcome::Enrolled { token, confirmation }, Vec::new())
            }
            ToWarden::Enrolled { project, contributor, token } => {
                let service = self.find(&project)?;
                let mut found = lock(&service.project);
                let (members, host) = found.host(self.identity);
                members.restore(&host, &contributor, &token.0)?;
                let (token, confirmation) = (Blob::default(), Blob::default());
                (Outcome::Enrolled { token, confirmation }, Vec::new())
            }
            _ => return Err(FrameError::Unexpected("an answer to nothing").into()),
        };
        Ok(reply)
    }

    /// A project that this warden holds.
    fn find(&self, project: &Id) -> Result<Arc<Service>, Refusal> {
        let unknown = || format!("this warden does not hold the secrets of project {project}");
        self.projects.find(project).ok_or_else(|| Refusal::new(unknown()))
    }

    fn query(&self, project: &Id, inquiry: Inquiry<'_>) -> Answer {
        let found = self.find(project)?;
        let (serving, audience) = (found.serving(), found.audience());
        let answered = answer(&serving, self.identity, &audience, &self.remote, inquiry);
        let fault = self.count_fault(&serving, answered.as_ref().err());
        if let Err(RoundError::Frame(e)) = answered {
            return Err(e.into());
        }
        self.remote.settle()?;
        match (answered, fault) {
            (Ok(answer), _) => Ok((Outcome::Answer, answer)),
            (Err(_), Some(fault)) => Ok(fault?),
            // One refusal for every fault: nothing about the rows or the model shows in it.
            (Err(_), None) => Err(Refusal::from(RoundError::Query).into()),
        }
    }

    /// Carries out an order of the owner. One that counts and cannot be written down ends the link: the orders since the
    /// project was restored come again then.
    fn order(&self, project: &Id, order: &[u8]) -> Answer {
        let service = self.find(project)?;
        let mut found = lock(&service.project);
        let ordered = found.order(self.identity, order);
        // Refused or not, queries are answered as the orders say that are known now.
        service.admit(&found);
        match ordered {
            Ok(()) => Ok((Outcome::Ordered { retired: found.successor(self.identity) }, Vec::new())),
            Err(OrderError::Refused(why)) => Err(why.into()),
            Err(OrderError::Counters(e)) => Err(FrameError::Io(e).into()),
        }
    }

    fn roll_back(&self, project: &Id, round: u64, version: u64, model: &[u8]) -> Answer {
        let service = self.find(project)?;
        let mut found = lock(&service.project);
        let record = found.roll_back(self.identity, round, version, model);
        service.publish(&found);
        match record {
            Ok(record) => Ok((Outcome::Round, encode(&record))),
            Err(e @ RoundError::Counters(_)) => Ok(self.unable(project, &e)),
            Err(e) => Err(Refusal::from(e).into()),
        }
    }

    /// What a project is in memory counts no more than what could be written down of it: it goes back.
    fn unable(&self, project: &Id, why: &RoundError) -> Reply {
        self.projects.remove(project);
        (Outcome::Unable { message: why.to_string() }, Vec::new())
    }

    /// Takes a project over from its owner.
    fn release(&mut self, spec: ProjectSpec, release: &[u8], model: &[u8]) -> Result<Reply, Refusal> {
        if self.projects.find(&spec.id()).is_some() {
            return Err(Refusal::new("this project's secrets were released already"));
        }
        let (mut project, confirmation) = Project::release(spec, self.identity, release, model)?;
        let result = RoundResult::untrained(0, Decision::Promoted);
        let record = to_cbor(&project.record(self.identity, result, &Counter::default()));
        Ok(self.hold(project, confirmation, record))
    }

    /// Holds a project from now on.
    fn hold(&mut self, project: Project, confirmation: Blob, record: Vec<u8>) -> Reply {
        let holding = if record.is_empty() { Blob::default() } else { project.holding(self.identity) };
        let retired = project.successor(self.identity);
        self.projects.insert(project);
        (Outcome::Ready { holding, confirmation, retired }, record)
    }

    /// Counts what went wrong if it is the refinery's doing; first of all, for it may hang up. The outcome that says so.
    fn count_fault(&self, serving: &Serving, error: Option<&RoundError>) -> Option<Result<Reply, Refusal>> {
        match error? {
            RoundError::Fault(instruction) => Some(self.fault(serving, instruction.clone())),
            RoundError::Frame(FrameError::Closed | FrameError::Io(_)) => None,
            RoundError::Frame(e) => Some(self.fault(serving, format!("an answer that is none: {e}"))),
            _ => None,
        }
    }

    /// Counts a wrong answer and reports it.
    fn fault(&self, serving: &Serving, instruction: String) -> Result<Reply, Refusal> {
        let report = serving.fault(self.identity, &instruction)?;
        Ok((Outcome::Fault { instruction, report }, Vec::new()))
    }

    fn admit(&mut self, project: &Id, header: &UploadHeader) -> Answer {
        let service = self.find(project)?;
        let (serving, found) = (service.serving(), lock(&service.project));
        found.trusted(self.identity).map_err(Refusal::from)?;
        let admitted = match found.admit(self.identity, &self.remote, header) {
            Err(AdmissionError::Cloud(CloudError::Frame(e))) => Err(RoundError::Frame(e)),
            admitted => Ok(admitted),
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(e) => {
                _ = self.count_fault(&serving, Some(&e));
                let RoundError::Frame(e) = e else { return Err(Refusal::from(e).into()) };
                return Err(e.into());
            }
        };
        let fault = match &admitted {
            Err(e @ AdmissionError::Altered) => Some(self.fault(&serving, e.to_string())),
            _ => None,
        };
        self.remote.settle()?;
        let outcome = match (admitted, fault) {
            (_, Some(fault)) => return Ok(fault?),
            (Ok(admission), None) => Outcome::Admitted { admission },
            (Err(AdmissionError::Cloud(e)), None) => return Err(Refusal::from(e).into()),
            // It is read again, once something can be written.
            (Err(e @ AdmissionError::Counters(_)), None) => Outcome::Unable { message: e.to_string() },
            (Err(e), None) => Outcome::Malformed { reason: e.to_string() },
        };
        Ok((outcome, Vec::new()))
    }

    fn round(&mut self, project: &Id, input: RoundInput) -> Answer {
        let service = self.find(project)?;
        let (serving, mut found) = (service.serving(), lock(&service.project));
        let (start, waited) = (Instant::now(), self.remote.waited());
        let (cpu, checked) = (clock_gettime(ClockId::ProcessCPUTime), check_nanos());
        let record = found.run_round(self.identity, &self.remote, input);
        let fixed = found.fixed_schedule();
        let fault = self.count_fault(&serving, record.as_ref().err());
        service.publish(&found);
        if !matches!(record, Err(RoundError::Frame(_))) {
            self.remote.settle()?;
        }
        let mut record: RoundRecord = match (record, fault) {
            (Ok(record), _) => record,
            (Err(RoundError::Frame(e)), _) => return Err(e.into()),
            (Err(RoundError::Fault(_)), Some(fault)) => return Ok(fault?),
            (Err(RoundError::Forged(uploads)), _) => return Ok((Outcome::Forged { uploads }, Vec::new())),
            (Err(e @ RoundError::Counters(_)), _) => return Ok(self.unable(project, &e)),
            (Err(e), _) => return Err(Refusal::from(e).into()),
        };
        // On a fixed schedule it must not show what the round cost: that depends a little on how it went.
        if !fixed {
            let spent = clock_gettime(ClockId::ProcessCPUTime) - cpu;
            let waited = self.remote.waited() - waited;
            record.summary.warden_seconds = start.elapsed().saturating_sub(waited).as_secs_f64();
            record.summary.warden_cpu_seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9;
            record.summary.check_cpu_seconds = (check_nanos() - checked) as f64 * 1e-9;
            record.summary.warden_peak_bytes = peak_bytes().unwrap_or(0);
        }
        Ok((Outcome::Round, encode(&record)))
    }
}

/// A record, in a buffer that does not grow.
fn encode(record: &RoundRecord) -> Vec<u8> {
    let lists = record.given.len() + 3 * record.used.len();
    let parts = record.state.0.len() + record.model.0.len() + record.receipt.0.len();
    let mut bytes = Vec::with_capacity(parts + record.summary.metrics.0.len() + 64 * lists + 4096);
    append_cbor(record, &mut bytes);
    bytes
}

/// The largest resident memory of this process so far.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
