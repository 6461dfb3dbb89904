//! What the threads of a refinery share: the store, the projects, the queue of work for the warden.

mod changed;
mod counts;
mod load;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use blindsmith_project::{Effect, Event, Project, Upload};
use blindsmith_protocol::{Id, Lane, ProjectSpec, RoundRecord};

use crate::clock;
use crate::config::{self, Config};
use crate::engine::ROW_BYTES;
use crate::link::connection::Origin;
use crate::refusal::Refusal;
use crate::scheduler::{Job, Scheduler};
use crate::store::{Store, StoreError};
use changed::Changed;
pub(crate) use counts::RoundCounts;

/// How often the time of the day is looked at.
const CLOCK: Duration = Duration::from_secs(20);

/// The warden that is served.
pub(crate) struct Served {
    /// Its kind.
    pub tee: String,
    /// What tells it, and its start, from others.
    pub origin: Origin,
    /// Whether it was given the states that there are.
    pub restored: bool,
}

/// What changes, under one lock.
pub(crate) struct State {
    pub projects: BTreeMap<Id, Project>,
    pub counts: RoundCounts,
    pub scheduler: Scheduler,
    pub warden: Option<Served>,
    /// Whether a link of the warden's is for queries.
    pub queries: bool,
}

/// Shared by all threads of a refinery.
pub struct Shared {
    /// What is on disk.
    pub store: Store,
    state: Mutex<State>,
    /// Held while an upload is made durable, so that no two have one place in the order of arrival.
    pub(crate) commits: Mutex<()>,
    /// Held by the warden that is served.
    pub(crate) link: Mutex<()>,
    /// Held by its link for queries.
    pub(crate) query_link: Mutex<()>,
    pub(crate) changed: Changed,
    /// Bytes of row blocks that a session with the warden keeps in memory.
    pub(crate) row_bytes: usize,
    /// Directory of what verifies wardens in hardware.
    pub(crate) collateral: PathBuf,
    /// How long a warden that would take projects over waits for the one that has them.
    pub(crate) take_over_wait: Duration,
    /// Tells this run of the refinery from others.
    pub(crate) run: u64,
}

impl Shared {
    /// Loads a store.
    ///
    /// # Errors
    /// [`StoreError`] if something in it cannot be read.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let projects = load::projects(&store)?;
        let counts = RoundCounts::since(&projects);
        let scheduler = Scheduler::default();
        let state = State { projects, counts, scheduler, warden: None, queries: false };
        Ok(Shared {
            store,
            state: Mutex::new(state),
            commits: Mutex::default(),
            link: Mutex::default(),
            query_link: Mutex::default(),
            changed: Changed::default(),
            row_bytes: ROW_BYTES,
            collateral: PathBuf::from("collateral"),
            take_over_wait: Duration::from_secs(config::LocalConfig::default().take_over_wait),
            // Of 52 bits, and never 0.
            run: 1 + getrandom::u64().map_err(|e| StoreError::Place(format!("no randomness: {e}")))?
                % (1 << 52),
        })
    }

    /// The same, as configured.
    pub fn configured(self, config: &Config) -> Self {
        let take_over_wait = Duration::from_secs(config.local.take_over_wait);
        Shared { row_bytes: config.limits.row_bytes, collateral: config.collateral(), take_over_wait, ..self }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked holds no half-made state here: entries are replaced whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A project, read under the lock.
    pub(crate) fn project<T>(&self, id: &Id, read: impl FnOnce(&Project) -> T) -> Result<T, Refusal> {
        self.lock().projects.get(id).map(read).ok_or_else(|| Refusal::no_project(id))
    }

    /// Whether a project takes something.
    pub(crate) fn check<T>(
        &self,
        id: &Id,
        check: impl FnOnce(&Project) -> Result<T, blindsmith_project::Refusal>,
    ) -> Result<T, Refusal> {
        let state = self.lock();
        let found = state.projects.get(id).ok_or_else(|| Refusal::no_project(id))?;
        Ok(check(found)?)
    }

    pub(crate) fn spec(&self, project: &Id) -> Result<Arc<ProjectSpec>, Refusal> {
        self.project(project, |p| p.spec().clone())
    }

    /// Reports an event to a project, and tells those who watch. The effects that are the caller's are returned.
    pub(crate) fn report(&self, project: &Id, event: Event<'_>) -> Vec<Effect> {
        let effects = self.lock().report(project, event);
        self.changed.notify_all();
        effects
    }

    /// Reports a round that is stored.
    pub(crate) fn round_stored(&self, project: &Id, record: &RoundRecord) {
        self.lock().counts.add(&record.summary);
        self.report(project, Event::RoundStored(record));
    }

    /// Adds a job; false if no warden is there to do it.
    pub(crate) fn submit(&self, job: Job) -> bool {
        let mut state = self.lock();
        if state.warden.is_none() {
            return false;
        }
        state.scheduler.push(job);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// The next job, waiting for one; None when the warden is gone, or, for queries, another one is served. A link for
    /// queries gets none beside the link for rounds of an earlier start, of which nobody noticed yet that it is gone.
    pub(crate) fn next_job(&self, lane: Lane, origin: &Origin, gone: &AtomicBool) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let served = state.warden.as_ref().map(|served| served.origin);
            let other = lane == Lane::Queries && served.is_some_and(|served| served.holder != origin.holder);
            if gone.load(Ordering::Relaxed) || other {
                return None;
            }
            let job = match lane {
                Lane::Queries if served.is_none_or(|served| served.start != origin.start) => None,
                Lane::Queries => state.take_query(),
                Lane::Rounds => state.take_job(),
            };
            if let Some(job) = job {
                return Some(job);
            }
            // Some rounds wait for a time of the day, and what failed until it is tried again.
            let waiting = state.projects.values().any(Project::retries);
            let woken = self.changed.wait_timeout(state, if waiting { CLOCK / 20 } else { CLOCK });
            state = woken.unwrap_or_else(|e| e.into_inner()).0;
        }
    }
}

impl State {
    /// Reports an event to a project. The effects that are the caller's are returned.
    pub fn report(&mut self, project: &Id, event: Event<'_>) -> Vec<Effect> {
        let Some(found) = self.projects.get_mut(project) else { return Vec::new() };
        let mut effects = found.apply(event, clock::now());
        effects.retain(|effect| {
            let Effect::Tell { order, invited } = effect else { return true };
            // A warden that comes later is told of all orders.
            if self.warden.is_some() {
                self.scheduler.push_order(*project, order.clone(), *invited);
            }
            false
        });
        effects
    }

    fn take_query(&mut self) -> Option<Job> {
        let restored = self.warden.as_ref().is_some_and(|served| served.restored);
        self.scheduler.take_query(&self.projects, restored)
    }

    fn take_job(&mut self) -> Option<Job> {
        self.scheduler.take_job(&mut self.projects, self.queries, clock::now())
    }

    /// The projects whose secrets a warden was given.
    pub fn released(&self) -> Vec<Id> {
        self.projects.iter().filter(|(_, p)| p.newest().is_some()).map(|(id, _)| *id).collect()
    }

    /// Uploads of all projects of which something is true.
    pub fn uploads(&self, is: impl Fn(&Upload) -> bool) -> usize {
        self.projects.values().flat_map(Project::uploads).filter(|u| is(u)).count()
    }

    /// Jobs that wait for the warden.
    pub fn jobs(&self) -> usize {
        self.scheduler.len() + self.projects.values().map(Project::waiting).sum::<usize>()
    }
}
