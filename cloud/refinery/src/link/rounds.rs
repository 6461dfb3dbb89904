//! Rounds over the uploads that the warden admitted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use blindsmith_project::{Event, Round, Verdict};
use blindsmith_protocol::{
    AdmittedUpload, Decision, FrameError, Id, Outcome, ProjectSpec, RoundRecord, ToWarden, from_cbor,
};
use rustix::time::{ClockId, clock_gettime};

use super::error::{LinkError, unexpected};
use super::log::log_round;
use super::session::{LEASE, Session, TakenJob, patiently};
use crate::clock;
use crate::engine::{Blocks, Engine, UploadFiles};
use crate::store::{JobName, ROUND_JOB};

/// What a round goes over.
struct Assignment {
    spec: Arc<ProjectSpec>,
    project: Id,
    number: u64,
    uploads: Vec<AdmittedUpload>,
}

/// How an attempt ended.
enum Attempt {
    /// The round is stored.
    Stored,
    /// The warden did nothing: these uploads are no contributor's.
    Forged(Vec<Id>),
}

impl Session<'_> {
    /// Runs a round, and reports how it ended.
    pub(super) fn run_round(&mut self, project: Id, round: &Round) -> Result<(), FrameError> {
        let result = match self.leased(project, round) {
            Ok(()) => Ok(()),
            Err(LinkError::Broken(e)) => {
                let effects = self.shared.report(&project, Event::RoundLost { why: e.to_string() });
                self.carry_out(&effects);
                return Err(e);
            }
            Err(other) => Err(other.into_failure()?),
        };
        let effects = self.shared.report(&project, Event::RoundEnded(result));
        self.carry_out(&effects);
        Ok(())
    }

    /// Takes a round's job, and runs it.
    fn leased(&mut self, project: Id, round: &Round) -> Result<(), LinkError> {
        let job = JobName { project, kind: ROUND_JOB.into(), key: round.key.clone() };
        let (store, now) = (&self.shared.store, SystemTime::now());
        if !round.asked {
            store.enqueue(&job, &[], now)?;
        }
        let Some(lease) = store.take_job(&job, now, LEASE)? else { return Ok(()) };
        self.job = Some(TakenJob { lease, since: Instant::now() });
        self.rehearse(&project)?;
        self.round(project, round)
    }

    /// After a round that could not be stored: whether one like the newest could be now. What a round costs, and the
    /// attempt that the warden counts, is not spent before.
    pub(super) fn rehearse(&self, project: &Id) -> Result<(), LinkError> {
        let obstructed = |p: &blindsmith_project::Project| p.newest().filter(|_| p.obstructed());
        match self.shared.lock().projects.get(project).and_then(obstructed) {
            Some(round) => Ok(self.shared.store.rehearse(project, round)?),
            None => Ok(()),
        }
    }

    /// Runs a round, without the uploads that the warden refuses.
    fn round(&mut self, project: Id, round: &Round) -> Result<(), LinkError> {
        let mut read_again = HashSet::new();
        loop {
            let assignment = {
                let state = self.shared.lock();
                let found = state.projects.get(&project);
                let p = found.ok_or_else(|| LinkError::Refused("no such project".into()))?;
                if !round.asked && !p.has_new() {
                    return Ok(());
                }
                let number = p.newest().map_or(0, |newest| newest) + 1;
                Assignment { spec: p.spec().clone(), project, number, uploads: p.admitted() }
            };
            let forged = match self.attempt(round, assignment)? {
                Attempt::Stored => return Ok(()),
                Attempt::Forged(uploads) => uploads,
            };
            if forged.is_empty() {
                return Err(unexpected("the warden refused uploads and named none"));
            }
            for upload in forged {
                // Another warden may have admitted it: this one reads it for itself, once.
                self.judge_again(project, upload, read_again.insert(upload))?;
            }
        }
    }

    fn judge_again(&mut self, project: Id, upload: Id, first: bool) -> Result<(), LinkError> {
        let verdict = match first {
            true => match self.admit(&project, &upload) {
                Err(LinkError::Refused(why)) => Verdict::Refused(why),
                other => other?,
            },
            false => Verdict::Refused("the warden did not admit it".into()),
        };
        let known = self.shared.project(&project, |p| p.upload(&upload).is_some());
        if !known.unwrap_or(false) {
            return Err(unexpected("the warden refused an upload that it was not given"));
        }
        self.shared.report(&project, Event::UploadJudged { upload, verdict });
        Ok(())
    }

    fn attempt(&mut self, round: &Round, assignment: Assignment) -> Result<Attempt, LinkError> {
        let Assignment { spec, project, number, uploads } = assignment;
        let shared = self.shared;
        let blocks = self.blocks(&project, &uploads)?;
        let memory = self.warden.operands();
        let mut engine =
            Engine::new(&spec, &blocks).with_row_bytes(shared.row_bytes).with_shared(memory.as_deref());
        let (traffic, cpu) = (self.warden.traffic, clock_gettime(ClockId::ProcessCPUTime));
        let start = Instant::now();
        let Round { attempt, epochs, .. } = *round;
        self.warden.send(&ToWarden::Round { project, round: number, attempt, epochs, uploads }, &[])?;
        let mut record: RoundRecord = match self.follow(&project, &mut engine)? {
            (Outcome::Round, body) => from_cbor(&body)?,
            (Outcome::Forged { uploads }, _) => return Ok(Attempt::Forged(uploads)),
            (Outcome::Unable { message }, _) => {
                self.restore()?;
                return Err(LinkError::InTheWay(message));
            }
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            (Outcome::Fault { instruction, report }, _) => {
                return Err(self.fault(&project, &instruction, &report));
            }
            _ => return Err(unexpected("not the end of a round")),
        };
        if record.summary.round != number {
            let message = "the warden ended another round than the one it was given";
            return Err(LinkError::Refused(message.into()));
        }
        let spent = clock_gettime(ClockId::ProcessCPUTime) - cpu;
        record.summary.seconds = start.elapsed().as_secs_f64();
        record.summary.cloud_seconds = engine.busy.as_secs_f64();
        record.summary.cloud_cpu_seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9;
        record.summary.traffic_bytes = self.warden.traffic - traffic;
        record.summary.asked = round.asked;
        self.store_round(&project, record)?;
        Ok(Attempt::Stored)
    }

    /// The uploads' files.
    fn blocks(&self, project: &Id, uploads: &[AdmittedUpload]) -> Result<Blocks, LinkError> {
        let store = &self.shared.store;
        let mut files = Vec::with_capacity(uploads.len());
        for AdmittedUpload { header, .. } in uploads {
            let id = header.id();
            let (rows, projections) =
                patiently(|| Ok((store.rows(project, &id)?, store.kept(project, &id)?)))?;
            files.push(UploadFiles { header: header.clone(), rows, projections });
        }
        Ok(Blocks::new(files))
    }

    /// Stores what a round left, with the end of its job, and reports it.
    fn store_round(&mut self, project: &Id, mut record: RoundRecord) -> Result<(), LinkError> {
        let shared = self.shared;
        record.summary.at = clock::unix();
        let job = self.job.take();
        let ends = job.as_ref().map(|job| &job.lease);
        if let Err(e) = patiently(|| shared.store.save_round(project, &record, ends)) {
            self.job = job;
            // The warden is a round ahead of what is stored: it goes back.
            self.restore()?;
            return Err(e.into());
        }
        let round = record.summary.round;
        self.warden.send(&ToWarden::Stored { project: *project, round }, &[])?;
        log_round(project, &record.summary);
        shared.round_stored(project, &record);
        match record.summary.decision {
            Decision::Failed { reason } => Err(LinkError::Refused(reason)),
            _ => Ok(()),
        }
    }
}
