//! Uploads read by the warden, and rounds over those that it admitted.

use super::*;

impl Link {
    /// Has an upload read by the warden, and keeps what it found.
    pub(super) fn admit(
        &mut self,
        shared: &Shared,
        project: &Id,
        upload: &Id,
    ) -> Result<Result<Verdict, Failure>, FrameError> {
        let found = {
            let state = shared.lock();
            let p = state.projects.get(project);
            p.and_then(|p| Some((p.spec.clone(), p.uploads.iter().find(|u| u.id == *upload)?.header.clone())))
        };
        let Some((spec, header)) = found else { return Ok(Err(Failure::Here("no such upload".into()))) };
        let files = shared.store.rows(project, upload).and_then(|rows| {
            let kept = shared.store.projections()?;
            let projections =
                kept.reopen().map_err(|e| StoreError::Io { path: kept.path().into(), source: e })?;
            Ok((kept, UploadFiles { header: header.clone(), rows, projections }))
        });
        let (kept, files) = match files {
            Ok(files) => files,
            Err(e) => return Ok(Err(Failure::Here(e.to_string()))),
        };
        let blocks = Blocks::new(vec![files]);
        let memory = self.operands();
        let mut engine =
            Engine::new(&spec, &blocks).with_row_bytes(shared.row_bytes).with_shared(memory.as_deref());
        self.send(&ToWarden::Admit { project: *project, header }, &[])?;
        let verdict = match self.follow(shared, project, &mut engine)? {
            (Outcome::Admitted { admission }, _) => Verdict::Admitted(admission),
            (Outcome::Malformed { reason }, _) => Verdict::Refused(reason),
            (Outcome::Unable { message }, _) => return Ok(Err(Failure::Here(message))),
            (Outcome::Refused { message }, _) => return Ok(Err(Failure::There(message))),
            (Outcome::Fault { instruction, report }, _) => {
                return Ok(Err(Failure::There(fault(shared, project, &instruction, &report))));
            }
            _ => return Err(FrameError::Unexpected("not an answer to an upload")),
        };
        let stored = shared.store.judge(project, upload, kept, &verdict);
        Ok(stored.map(|()| verdict).map_err(|e| Failure::Here(e.to_string())))
    }

    /// Takes a round's job, runs it, and ends the job.
    pub(super) fn leased(
        &mut self,
        shared: &Shared,
        round: &Round,
    ) -> Result<Result<(), Failure>, FrameError> {
        let (job, now) = (round.job(), SystemTime::now());
        let taken = || {
            if !round.asked {
                shared.store.enqueue(&job, &[], now)?;
            }
            shared.store.take_job(&job, now, LEASE)
        };
        match taken() {
            Ok(Some(lease)) => self.job = Some((lease, Instant::now())),
            Ok(None) => return Ok(Ok(())),
            Err(e) => return Ok(Err(Failure::Here(e.to_string()))),
        }
        let done = match rehearsed(shared, &round.project) {
            Ok(()) => self.round(shared, round)?,
            Err(e) => Err(Failure::Here(e.to_string())),
        };
        // Still there if there was no round.
        self.end_job(shared);
        Ok(done)
    }

    /// Takes a round's job out of the queue without a round.
    pub(super) fn end_job(&mut self, shared: &Shared) {
        if let Some((lease, _)) = self.job.take()
            && let Err(e) = shared.store.finish_job(&lease)
        {
            warn!(project = %lease.job.project, "a round's job stays in the queue: {e}");
        }
    }

    /// Gives a round's job back for the next warden.
    pub(super) fn give_back(&mut self, shared: &Shared, why: &str) {
        if let Some((lease, _)) = self.job.take()
            && let Err(e) = shared.store.give_job_back(&lease, why)
        {
            warn!(project = %lease.job.project, "a round's job stays taken until the refinery starts anew: {e}");
        }
    }

    /// Keeps a round's job while the round goes on.
    pub(super) fn extend_job(&mut self, shared: &Shared) {
        let Some((lease, since)) = &mut self.job else { return };
        if since.elapsed() < LEASE / 4 {
            return;
        }
        match shared.store.extend_job(lease, SystemTime::now() + LEASE) {
            Ok(()) => *since = Instant::now(),
            Err(e) => warn!(project = %lease.job.project, "a round's job was not extended: {e}"),
        }
    }

    /// Runs a round, without the uploads that the warden refuses.
    pub(super) fn round(
        &mut self,
        shared: &Shared,
        round: &Round,
    ) -> Result<Result<(), Failure>, FrameError> {
        let mut read_again = HashSet::new();
        loop {
            let given = {
                let state = shared.lock();
                let Some(p) = state.projects.get(&round.project) else {
                    return Ok(Err(Failure::There("no such project".into())));
                };
                if !round.asked && !p.has_new() {
                    return Ok(Ok(()));
                }
                Given {
                    spec: p.spec.clone(),
                    number: p.rounds.last().map_or(0, |r| r.round) + 1,
                    uploads: p.uploads.iter().filter_map(Stored::admitted).collect(),
                }
            };
            let forged = match self.attempt(shared, round, given)? {
                Attempt::Over(done) => return Ok(done),
                Attempt::Forged(uploads) => uploads,
            };
            if forged.is_empty() {
                return Err(FrameError::Unexpected("the warden refused uploads and named none"));
            }
            for upload in forged {
                // Another warden may have admitted it: this one reads it for itself, once.
                let verdict = match read_again.insert(upload) {
                    true => match self.admit(shared, &round.project, &upload)? {
                        Ok(verdict) => verdict,
                        Err(here @ Failure::Here(_)) => return Ok(Err(here)),
                        Err(Failure::There(why)) => Verdict::Refused(why),
                    },
                    false => Verdict::Refused("the warden did not admit it".into()),
                };
                let judged = shared.update(&round.project, |p| p.judge(&upload, verdict)).unwrap_or(false);
                if !judged {
                    return Err(FrameError::Unexpected("the warden refused an upload that it was not given"));
                }
            }
        }
    }

    fn attempt(&mut self, shared: &Shared, round: &Round, given: Given) -> Result<Attempt, FrameError> {
        let Given { spec, number, uploads } = given;
        let Round { project, attempt, epochs, .. } = *round;
        let failed = |message: String| Ok(Attempt::Over(Err(Failure::There(message))));
        let here = |e: StoreError| Ok(Attempt::Over(Err(Failure::Here(e.to_string()))));
        let mut files = Vec::with_capacity(uploads.len());
        for AdmittedUpload { header, .. } in &uploads {
            let id = header.id();
            let open = || Ok((shared.store.rows(&project, &id)?, shared.store.kept(&project, &id)?));
            match patiently(open) {
                Ok((rows, projections)) => {
                    files.push(UploadFiles { header: header.clone(), rows, projections });
                }
                Err(e) => return here(e),
            }
        }
        let blocks = Blocks::new(files);
        let memory = self.operands();
        let mut engine =
            Engine::new(&spec, &blocks).with_row_bytes(shared.row_bytes).with_shared(memory.as_deref());
        let (traffic, cpu) = (self.traffic, clock_gettime(ClockId::ProcessCPUTime));
        let start = Instant::now();
        self.send(&ToWarden::Round { project, round: number, attempt, epochs, uploads }, &[])?;
        let mut record: RoundRecord = match self.follow(shared, &project, &mut engine)? {
            (Outcome::Round, body) => from_cbor(&body)?,
            (Outcome::Forged { uploads }, _) => return Ok(Attempt::Forged(uploads)),
            (Outcome::Unable { message }, _) => {
                self.restore(shared)?;
                return Ok(Attempt::Over(Err(Failure::Here(message))));
            }
            (Outcome::Refused { message }, _) => return failed(message),
            (Outcome::Fault { instruction, report }, _) => {
                return failed(fault(shared, &project, &instruction, &report));
            }
            _ => return Err(FrameError::Unexpected("not the end of a round")),
        };
        if record.summary.round != number {
            return failed("the warden ended another round than the one it was given".into());
        }
        let spent = clock_gettime(ClockId::ProcessCPUTime) - cpu;
        record.summary.seconds = start.elapsed().as_secs_f64();
        record.summary.cloud_seconds = engine.busy.as_secs_f64();
        record.summary.cloud_cpu_seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9;
        record.summary.traffic_bytes = self.traffic - traffic;
        (record.summary.at, record.summary.asked) = (now(), round.asked);
        let job = self.job.take();
        let ends = job.as_ref().map(|(lease, _)| lease);
        if let Err(e) = patiently(|| shared.store.save_round(&project, &record, ends)) {
            self.job = job;
            // The warden is a round ahead of what is stored: it goes back.
            self.restore(shared)?;
            return here(e);
        }
        self.send(&ToWarden::Stored { project, round: number }, &[])?;
        crate::shared::log_round(&project, &record.summary);
        shared.record(&project, &record);
        let failure = match record.summary.decision {
            Decision::Failed { reason } => Err(Failure::There(reason)),
            _ => Ok(()),
        };
        Ok(Attempt::Over(failure))
    }

    /// Has an earlier version made the current one.
    pub(super) fn roll_back(
        &mut self,
        shared: &Shared,
        project: Id,
        version: u64,
    ) -> Result<Result<(), Failure>, FrameError> {
        let newest = shared.lock().projects.get(&project).and_then(|p| p.rounds.last().map(|r| r.round));
        let Some(newest) = newest else { return Ok(Err(Failure::There("no such project".into()))) };
        let here = |e: StoreError| Ok(Err(Failure::Here(e.to_string())));
        let model = match rehearsed(shared, &project).and_then(|()| shared.store.round(&project, version)) {
            Ok(record) => record.model,
            // A version that there is not.
            Err(e @ StoreError::Missing(_)) => return Ok(Err(Failure::There(e.to_string()))),
            Err(e) => return here(e),
        };
        let round = newest + 1;
        self.send(&ToWarden::Rollback { project, round, version }, &[&model.0])?;
        let mut record: RoundRecord = match self.finish()? {
            (Outcome::Round, body) => from_cbor(&body)?,
            (Outcome::Unable { message }, _) => {
                self.restore(shared)?;
                return Ok(Err(Failure::Here(message)));
            }
            (Outcome::Refused { message }, _) => return Ok(Err(Failure::There(message))),
            _ => return Err(FrameError::Unexpected("not an answer to a rollback")),
        };
        (record.summary.at, record.summary.asked) = (now(), true);
        if let Err(e) = patiently(|| shared.store.save_round(&project, &record, None)) {
            self.restore(shared)?;
            return here(e);
        }
        self.send(&ToWarden::Stored { project, round }, &[])?;
        info!(%project, version, "an earlier version is current again");
        shared.record(&project, &record);
        Ok(Ok(()))
    }
}

/// Keeps the warden's report of a wrong answer for the owner; what is said of it.
pub(super) fn fault(shared: &Shared, project: &Id, instruction: &str, report: &Blob) -> String {
    warn!(%project, instruction, "the warden found a wrong answer");
    let kept = shared.store.save_fault(project, &report.0);
    let unkept = kept.err().map(|e| format!(" (its signed report could not be kept: {e})"));
    let unkept = unkept.unwrap_or_default();
    format!(
        "this refinery answered an instruction wrongly, and the round was abandoned: {instruction}{unkept}"
    )
}

/// After a round that could not be stored: whether one like the newest could be now. What a round costs, and the attempt
/// that the warden counts, is not spent before.
fn rehearsed(shared: &Shared, project: &Id) -> Result<(), StoreError> {
    let newest = {
        let state = shared.lock();
        let troubled = state.projects.get(project).filter(|p| p.trouble.is_some());
        troubled.and_then(|p| p.rounds.last()).map(|r| r.round)
    };
    newest.map_or(Ok(()), |round| shared.store.rehearse(project, round))
}

/// For so long a round waits for a database or an object store that is away, rather than lose what it did.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it asks.
const AGAIN: Duration = Duration::from_secs(1);

/// Does what a client would be told to try again later.
fn patiently<T>(work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let start = Instant::now();
    loop {
        match work() {
            Err(e) if e.is_away() && start.elapsed() < PATIENCE => std::thread::sleep(AGAIN),
            done => return done,
        }
    }
}

/// What a round is given.
struct Given {
    spec: Arc<ProjectSpec>,
    number: u64,
    uploads: Vec<AdmittedUpload>,
}

enum Attempt {
    Over(Result<(), Failure>),
    /// Nothing was done: these are no contributor's.
    Forged(Vec<Id>),
}
