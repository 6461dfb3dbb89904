//! What the threads of a refinery share: the store, the projects, and the queue of work for the warden.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blindsmith_api::message::{ProjectStatus, Seen};
use blindsmith_identity::{Action, Order, PublicKey, Roster, open_order};
use blindsmith_protocol::{
    Blob, Decision, Evidence, Id, Lane, Progress, ProjectSpec, RoundRecord, RoundSummary, UploadHeader,
    from_cbor,
};
use tracing::warn;

pub(crate) use changed::Changed;
pub use counts::RoundCounts;
pub(crate) use counts::log_round;
pub(crate) use queue::{Share, Turn};
pub(crate) use stored::add;
pub use stored::{Stored, Trouble};

use crate::config::{self, Config};
use crate::engine::ROW_BYTES;
use crate::link::Link;
use crate::operations::{Kind, Refusal};
use crate::store::{JobName, Store, StoreError, Verdict};

/// The kind of the jobs that are rounds.
const ROUND: &str = "round";
/// Most uploads in a part of a status.
const PART_UPLOADS: usize = 1000;
/// How often the time of the day is looked at.
const CLOCK: Duration = Duration::from_secs(20);

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Work for the warden, and where its result goes.
pub enum Job {
    /// Fetch evidence.
    Attest { asker: Id, request: Vec<u8>, reply: Sender<Result<Evidence, String>> },
    /// Hand over a release.
    Release { project: Id, release: Vec<u8>, reply: Sender<Result<Blob, String>> },
    /// Answer a query.
    Query {
        header: Box<UploadHeader>,
        rows: std::fs::File,
        envelope: Vec<u8>,
        reply: Sender<Result<Vec<u8>, String>>,
    },
    /// Hand over an order of the owner, which is stored; whom it invites.
    Order { project: Id, order: Vec<u8>, invited: Option<PublicKey> },
    /// Have a contributor enrolled; what the warden seals for itself comes back.
    Enrol { project: Id, contributor: Id, enrolment: Vec<u8>, reply: Sender<Result<Blob, String>> },
    /// Have an upload read.
    Admit { project: Id, upload: Id },
    /// Make an earlier version the current one.
    Rollback { project: Id, version: u64 },
    /// Hand the projects over to another warden, which then waits for its turn.
    HandOver { to: Box<Link>, back: Sender<Box<Link>> },
    /// Run a round.
    Round(Round),
}

/// A round to be run.
#[derive(Debug, Clone)]
pub struct Round {
    pub project: Id,
    pub epochs: Option<u32>,
    /// How often this refinery lost a warden in it.
    pub attempt: u32,
    /// The key of its job in the store's queue; none if a trigger started it.
    pub key: Vec<u8>,
    /// Whether a client asked for it; else it is because of new uploads, and not without any.
    pub asked: bool,
}

impl Round {
    /// Its job in the store's queue.
    pub fn job(&self) -> JobName {
        JobName { project: self.project, kind: ROUND.into(), key: self.key.clone() }
    }
}

/// Why an upload was not read, or a round not run.
pub enum Failure {
    /// Something here was in the way, which may pass by itself.
    Here(String),
    /// What the warden said.
    There(String),
}

/// A round in memory; the rest is in the store.
pub struct Ran {
    pub round: u64,
    /// The number of the last order that it knew.
    pub orders: u64,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// When it was stored.
    pub at: u64,
    /// Whether somebody asked for it.
    pub asked: bool,
}

/// A project in memory.
pub struct Project {
    pub spec: Arc<ProjectSpec>,
    pub uploads: Vec<Stored>,
    pub rounds: Vec<Ran>,
    /// Whether the connected warden holds the secrets.
    pub ready: bool,
    /// Rounds asked for and not finished.
    pub pending: u32,
    pub progress: Option<Progress>,
    pub failure: Option<String>,
    /// Uploads there were when a round failed: it is not tried again by itself before there are more.
    pub failed_at: Option<usize>,
    /// What kept a round from being stored, or its rows from being read: it is tried again by itself.
    pub trouble: Option<Trouble>,
    /// Its members, as the owner's orders made them.
    pub roster: Roster,
    /// The orders, signed, from the first on.
    pub orders: Vec<Vec<u8>>,
    /// A version that an order makes current, and the order's number, until a round did.
    pub rollback: Option<(u64, u64)>,
    /// How much of the warden's time it had: who had less comes first.
    pub(crate) share: Share,
}

impl Project {
    /// Whether the last round failed.
    pub fn failed(&self) -> bool {
        self.failed_at.is_some() || self.trouble.is_some()
    }

    /// Takes note of how a round ended; one that something here was in the way of is tried again if it would start by
    /// itself.
    pub fn ended(&mut self, done: Result<(), Failure>, now: u64) {
        self.pending = self.pending.saturating_sub(1);
        self.progress = None;
        let before = self.trouble.take();
        (self.failed_at, self.failure) = match done {
            Ok(()) => (None, None),
            Err(Failure::Here(why)) if self.has_new() && self.triggered(now) => {
                self.trouble = Some(Trouble::after(before.as_ref(), why.clone()));
                (None, Some(format!("a round failed, and is tried again: {why}")))
            }
            Err(Failure::Here(why) | Failure::There(why)) => (Some(self.uploads.len()), Some(why)),
        };
    }

    /// Takes note of what became of an order to go back to an earlier version.
    pub fn rolled_back(&mut self, done: Result<(), Failure>) {
        let before = self.trouble.take();
        self.failure = match done {
            Ok(()) => {
                self.rollback = None;
                None
            }
            Err(Failure::Here(why)) => {
                self.trouble = Some(Trouble::after(before.as_ref(), why.clone()));
                Some(format!("a rollback failed, and is tried again: {why}"))
            }
            Err(Failure::There(why)) => {
                // What the warden refuses it refuses again.
                self.rollback = None;
                Some(why)
            }
        };
    }

    /// Whether there are rows to train on that the last round did not use.
    pub fn has_new(&self) -> bool {
        self.uploads.iter().any(Stored::is_new)
    }

    /// Takes note of what a warden found; false if there is no such upload.
    pub fn judge(&mut self, upload: &Id, verdict: Verdict) -> bool {
        let found = self.uploads.iter_mut().find(|u| u.id == *upload);
        found.is_some_and(|found| {
            if found.judge(verdict) {
                self.failure = None;
            }
            true
        })
    }

    /// The next upload that no warden has read.
    fn unread(&self) -> Option<Id> {
        self.uploads.iter().find(|u| u.is_unread()).map(|u| u.id)
    }

    /// Takes note of what the next round left.
    pub fn record(&mut self, record: &RoundRecord) {
        let (given, used): (HashSet<&Id>, HashSet<&Id>) =
            (record.given.iter().collect(), record.used.iter().collect());
        let restored = matches!(record.summary.decision, Decision::Restored { .. });
        for upload in &mut self.uploads {
            let given = (!restored).then(|| given.contains(&upload.id));
            let aside = record.summary.quarantined.iter().find(|q| q.upload == upload.id);
            let used = used.contains(&upload.id).then_some(record.summary.round);
            upload.round(given, used, aside.map(|q| q.reason));
        }
        if self.rollback.is_some_and(|(order, _)| order <= record.summary.orders) {
            self.rollback = None;
        }
        let RoundSummary { round, orders, at, asked, seconds, .. } = record.summary;
        self.rounds.push(Ran { round, orders, began: at.saturating_sub(seconds as u64), at, asked });
    }

    /// Checks that an order is the owner's and the next one.
    pub(crate) fn check_order(&self, signed: &[u8]) -> Result<Order, Refusal> {
        let invalid = |e: String| Refusal::new(Kind::Invalid, format!("the order was refused: {e}"));
        let order = open_order(signed, &self.spec.owner.into()).map_err(|e| invalid(e.to_string()))?;
        if order.project != self.spec.id() {
            return Err(invalid("it is of another project".into()));
        }
        let newest = self.rounds.last().map_or(0, |r| r.round);
        match &order.action {
            Action::Rollback { version } if *version > newest => {
                return Err(invalid(format!("there is no version {version}: the newest is {newest}")));
            }
            Action::Readmit { upload } if !self.uploads.iter().any(|u| u.id == *upload) => {
                return Err(invalid(format!("there is no upload {upload} in this project")));
            }
            _ => {}
        }
        let conflict = |e| Refusal::new(Kind::Conflict, format!("the order was refused: {e}"));
        self.roster.clone().apply(&order).map_err(conflict)?;
        Ok(order)
    }

    /// Takes note of an order that was checked, and stored at this time.
    pub fn ordered(&mut self, signed: Vec<u8>, order: &Order, at: u64) {
        if let Err(e) = self.roster.apply(order) {
            return warn!("an order that was stored does not follow: {e}");
        }
        self.orders.push(signed);
        let known = self.rounds.last().map_or(0, |r| r.orders);
        match &order.action {
            Action::Rollback { version } if order.sequence > known => {
                self.rollback = Some((order.sequence, *version));
            }
            Action::Readmit { upload } if order.sequence > known => {
                for found in self.uploads.iter_mut().filter(|u| u.id == *upload) {
                    found.readmit(at);
                }
            }
            Action::Invite { member, .. } => self.enrolled(&(*member).into(), at),
            _ => {}
        }
    }

    /// What was refused because its contributor was no member is read again.
    pub fn enrolled(&mut self, contributor: &Id, at: u64) {
        let by = |u: &&mut Stored| u.header.contributor == *contributor && u.refused();
        self.uploads.iter_mut().filter(by).for_each(|u| u.forget_verdict(at));
    }

    /// Whether there is nothing to wait for: no round, or none that could start.
    pub fn idle(&self, warden: bool, now: u64) -> bool {
        let cannot_start = !warden || (!self.ready && self.failure.is_some());
        let rollback = self.rollback.is_some() && !self.waits();
        let unread = self.ready && (self.unread().is_some() || rollback);
        cannot_start || (self.pending == 0 && !self.due(now) && !unread)
    }
}

#[derive(Default)]
pub struct State {
    pub projects: BTreeMap<Id, Project>,
    pub counts: RoundCounts,
    pub jobs: VecDeque<Job>,
    /// The project and whom it invites, of an order that the warden is being told.
    pub told: Option<(Id, PublicKey)>,
    /// The connected warden's kind.
    pub warden: Option<String>,
    /// What tells it from others.
    pub holder: Option<Id>,
    /// What tells its start from others.
    pub start: Option<Id>,
    /// Whether a link of its is for queries.
    pub queries: bool,
    /// Whether it was given the states that there are.
    pub restored: bool,
    /// Whose turn it is.
    pub(crate) turn: Turn,
}

/// The rounds that were asked for and not finished when the last refinery ended.
fn asked_for(store: &Store, projects: &mut BTreeMap<Id, Project>) -> Result<VecDeque<Job>, StoreError> {
    store.free_jobs()?;
    let mut jobs = VecDeque::new();
    for queued in store.jobs()? {
        let JobName { project, kind, key } = queued.job;
        // One that a trigger started has no key, and comes by itself.
        let Some(found) = projects.get_mut(&project).filter(|_| kind == ROUND && !key.is_empty()) else {
            continue;
        };
        match from_cbor(&queued.payload) {
            Ok(epochs) => {
                found.pending += 1;
                jobs.push_back(Job::Round(Round { project, epochs, attempt: 0, key, asked: true }));
            }
            Err(e) => warn!(%project, "a round that was asked for is lost: its job does not decode: {e}"),
        }
    }
    Ok(jobs)
}

/// Shared by all threads of a refinery.
pub struct Shared {
    /// What is on disk.
    pub store: Store,
    pub(crate) state: Mutex<State>,
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
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let mut projects = BTreeMap::new();
        for found in store.projects()? {
            let uploads =
                found.uploads.into_iter().map(|(header, verdict, at)| Stored::new(header, verdict, at));
            let uploads = uploads.collect();
            let id = found.spec.id();
            let mut project = Project::new(found.spec, uploads);
            // Before the rounds: those that used them are marked.
            let withdrawn: HashSet<Id> = found.withdrawn.into_iter().collect();
            project.uploads.iter_mut().filter(|u| withdrawn.contains(&u.id)).for_each(Stored::withdraw);
            store.each_round(&id, |record| project.record(&record))?;
            for (Blob(signed), at) in found.orders {
                match project.check_order(&signed) {
                    Ok(order) => project.ordered(signed, &order, at),
                    Err(e) => warn!(project = %id, "an order that was stored is refused: {}", e.message),
                }
            }
            projects.insert(id, project);
        }
        let jobs = asked_for(&store, &mut projects)?;
        let counts = RoundCounts::since(&projects);
        let state = State { projects, counts, jobs, ..State::default() };
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

    /// Adds a job, refused at once if no warden is there to do it.
    pub(crate) fn submit(&self, job: Job) -> Result<(), String> {
        let mut state = self.lock();
        if state.warden.is_none() && !matches!(job, Job::Round(_)) {
            return Err("no warden is connected: start blindsmith-warden, then try again".into());
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next job, waiting for one; None when the warden is gone, or, for queries, another one is served. A link for queries
    /// gets none beside the link for rounds of an earlier start, of which nobody noticed yet that it is gone.
    pub(crate) fn next(&self, lane: Lane, (holder, start): (&Id, &Id), gone: &AtomicBool) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let other = lane == Lane::Queries && state.holder.is_some_and(|served| served != *holder);
            if gone.load(Ordering::Relaxed) || other {
                return None;
            }
            let job = match lane {
                Lane::Queries if state.start != Some(*start) => None,
                Lane::Queries => state.take_query(),
                Lane::Rounds => state.take_job(now()),
            };
            if let Some(job) = job {
                return Some(job);
            }
            // Some rounds wait for a time of the day, and what failed until it is tried again.
            let troubled = |p: &Project| p.trouble.is_some() || p.uploads.iter().any(Stored::troubled);
            let waiting = state.projects.values().any(troubled);
            let woken = self.changed.wait_timeout(state, if waiting { CLOCK / 20 } else { CLOCK });
            state = woken.unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Changes a project and tells those who watch.
    pub(crate) fn update<T>(&self, project: &Id, change: impl FnOnce(&mut Project) -> T) -> Option<T> {
        let done = self.lock().projects.get_mut(project).map(change);
        self.changed.notify_all();
        done
    }
}

impl State {
    /// A project's status without its rounds: of the uploads, of one contributor if it is named, those that changed after
    /// `seen`.
    pub(crate) fn status(&self, project: &Project, seen: Seen, only: Option<&Id>, now: u64) -> ProjectStatus {
        let listed = project.uploads.iter().zip(0..).filter(|(u, _)| {
            u.changed() > seen.change && only.is_none_or(|contributor| u.header.contributor == *contributor)
        });
        let mut changed: Vec<(&Stored, u32)> = listed.collect();
        changed.sort_unstable_by_key(|(u, _)| u.changed());
        // One that was withdrawn may name many rounds.
        let mut size = 0;
        let fits = changed.iter().take_while(|(u, _)| {
            size += 1 + u.ranges();
            size <= PART_UPLOADS
        });
        let fits = fits.count().max(1);
        let more = changed.len() > fits;
        changed.truncate(fits);
        let last = changed.last().filter(|_| more).map_or_else(stored::last_change, |(u, _)| u.changed());
        ProjectStatus {
            project: project.spec.id(),
            name: project.spec.name.clone(),
            ready: project.ready,
            warden: self.warden.clone(),
            busy: project.pending > 0 || project.due(now),
            queued: self.queued(project, now),
            failure: project.failure.clone(),
            uploads: changed.iter().map(|(u, place)| u.summary(*place, &project.spec)).collect(),
            rounds: Vec::new(),
            seen: Seen { change: last, ..seen },
            more,
        }
    }
}

impl Project {
    pub fn new(spec: ProjectSpec, uploads: Vec<Stored>) -> Self {
        Project {
            spec: Arc::new(spec),
            uploads,
            rounds: Vec::new(),
            ready: false,
            pending: 0,
            progress: None,
            failure: None,
            failed_at: None,
            trouble: None,
            roster: Roster::default(),
            orders: Vec::new(),
            rollback: None,
            share: Share::default(),
        }
    }
}

mod changed;
mod counts;
mod queue;
mod stored;
#[cfg(test)]
mod tests;
mod trigger;
