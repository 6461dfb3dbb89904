//! A session with the warden that is served: what it does beside frames.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use blindsmith_project::{Effect, Event};
use blindsmith_protocol::{Blob, FrameError, FromWarden, Id, Outcome};
use tracing::warn;

use super::connection::Connection;
use super::error::LinkError;
use crate::engine::Engine;
use crate::scheduler::{Reply, Successor};
use crate::state::Shared;
use crate::store::{Lease, StoreError};

/// The time for which a round's job is taken; it is extended as the round goes on.
pub(super) const LEASE: Duration = Duration::from_secs(3600);
/// For so long a round waits for a database or an object store that is away, rather than lose what it did.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it asks.
const AGAIN: Duration = Duration::from_secs(1);

/// A session.
pub(super) struct Session<'a> {
    pub shared: &'a Shared,
    pub warden: Box<Connection>,
    /// One to which nothing could be handed over so far.
    pub successor: Option<Successor>,
    /// Projects that the warden handed over to another one, and works no more for.
    pub retired: BTreeSet<Id>,
    /// The round's job in the store's queue, and when it was taken or extended.
    pub job: Option<TakenJob>,
}

/// A job of the store's queue.
pub(super) struct TakenJob {
    pub lease: Lease,
    /// When it was taken or extended.
    pub since: Instant,
}

impl<'a> Session<'a> {
    pub fn new(shared: &'a Shared, warden: Box<Connection>) -> Self {
        Session { shared, warden, successor: None, retired: BTreeSet::new(), job: None }
    }

    /// What tells this warden from others.
    pub fn holder(&self) -> Id {
        self.warden.origin.holder
    }

    /// Carries out the warden's instructions until it finishes.
    pub fn follow(
        &mut self,
        project: &Id,
        engine: &mut Engine<'_>,
    ) -> Result<(Outcome, Vec<u8>), FrameError> {
        loop {
            match self.warden.receive()? {
                (FromWarden::Finished(outcome), body) => return Ok((outcome, self.warden.body(body)?)),
                (FromWarden::Progress(progress), 0) => {
                    self.extend_job();
                    self.shared.report(project, Event::RoundProgressed(progress));
                }
                (FromWarden::Do(instruction), body) => self.warden.instruct(engine, &instruction, body)?,
                _ => return Err(FrameError::Unexpected("not an instruction")),
            }
        }
    }

    /// Takes a round's job out of the queue.
    fn end_job(&mut self) {
        if let Some(TakenJob { lease, .. }) = self.job.take()
            && let Err(e) = self.shared.store.finish_job(&lease)
        {
            warn!(project = %lease.job.project, "a round's job stays in the queue: {e}");
        }
    }

    /// Gives a round's job back for the next warden.
    fn return_job(&mut self, why: &str) {
        if let Some(TakenJob { lease, .. }) = self.job.take()
            && let Err(e) = self.shared.store.give_job_back(&lease, why)
        {
            warn!(project = %lease.job.project, "a round's job stays taken until the refinery starts anew: {e}");
        }
    }

    /// Keeps a round's job while the round goes on.
    fn extend_job(&mut self) {
        let Some(TakenJob { lease, since }) = &mut self.job else { return };
        if since.elapsed() < LEASE / 4 {
            return;
        }
        match self.shared.store.extend_job(lease, SystemTime::now() + LEASE) {
            Ok(()) => *since = Instant::now(),
            Err(e) => warn!(project = %lease.job.project, "a round's job was not extended: {e}"),
        }
    }

    /// Carries out what follows from the end of a round.
    pub fn carry_out(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::EndJob => self.end_job(),
                Effect::ReturnJob { why } => self.return_job(why),
                // The scheduler's.
                Effect::Tell { .. } | Effect::Start(_) => {}
            }
        }
    }

    /// Keeps the warden's report of a wrong answer for the owner; what is said of it.
    pub fn fault(&self, project: &Id, instruction: &str, report: &Blob) -> LinkError {
        warn!(%project, instruction, "the warden found a wrong answer");
        let unkept = match self.shared.store.save_fault(project, &report.0) {
            Ok(()) => String::new(),
            Err(e) => format!(" (its signed report could not be kept: {e})"),
        };
        LinkError::Refused(format!(
            "this refinery answered an instruction wrongly, and the round was abandoned: {instruction}{unkept}"
        ))
    }
}

/// Sends a result to whoever waits for it; an error if the link ends.
pub(super) fn answer<T>(reply: &Reply<T>, result: Result<T, LinkError>) -> Result<(), FrameError> {
    match result {
        Err(LinkError::Broken(e)) => Err(e),
        other => {
            // Whoever asked may be gone.
            _ = reply.send(other);
            Ok(())
        }
    }
}

/// Does what a client would be told to try again later.
pub(super) fn patiently<T>(work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let start = Instant::now();
    loop {
        match work() {
            Err(e) if e.is_away() && start.elapsed() < PATIENCE => std::thread::sleep(AGAIN),
            result => return result,
        }
    }
}
