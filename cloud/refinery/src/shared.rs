//! What the threads of a refinery share: the store, the projects, and the queue of work for the warden.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, LockResult, Mutex, MutexGuard};

use blindsmith_identity::Roster;
use blindsmith_protocol::{
    AdmittedUpload, Evidence, Id, Progress, ProjectSpec, ProjectStatus, Role, RoundSummary, UploadHeader,
    UploadSummary,
};

use crate::operations::roster;
use crate::store::{Store, StoreError, Verdict};

/// Work for the warden, and where its result goes.
pub enum Job {
    /// Fetch evidence.
    Attest { nonce: Vec<u8>, reply: Sender<Result<Evidence, String>> },
    /// Hand over a release.
    Release { project: Id, release: Vec<u8>, reply: Sender<Result<(), String>> },
    /// Answer a query.
    Query {
        header: Box<UploadHeader>,
        rows: std::fs::File,
        envelope: Vec<u8>,
        reply: Sender<Result<Vec<u8>, String>>,
    },
    /// Have an upload read.
    Admit { project: Id, upload: Id },
    /// Run a round.
    Round(Round),
}

/// A round to be run.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub project: Id,
    pub epochs: Option<u32>,
    pub attempt: u32,
    /// Whether a client asked for it; else it is because of new uploads, and not without any.
    pub asked: bool,
}

/// An upload in memory.
pub struct Stored {
    pub id: Id,
    pub header: UploadHeader,
    /// Whether the last round used it.
    pub used: bool,
    /// What the warden found when it read it.
    pub verdict: Option<Verdict>,
}

impl Stored {
    pub fn new(header: UploadHeader, verdict: Option<Verdict>) -> Self {
        Stored { id: header.id(), header, used: false, verdict }
    }

    /// Whether there are rows to train on, as far as is known.
    pub fn trains(&self) -> bool {
        self.header.role == Role::Training && !self.refused()
    }

    pub fn refused(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Refused(_)))
    }

    /// It as a round is given it.
    pub fn admitted(&self) -> Option<AdmittedUpload> {
        match &self.verdict {
            Some(Verdict::Admitted(admission)) => {
                Some(AdmittedUpload { header: self.header.clone(), admission: admission.clone() })
            }
            _ => None,
        }
    }
}

/// A project in memory.
pub struct Project {
    pub spec: Arc<ProjectSpec>,
    pub uploads: Vec<Stored>,
    pub rounds: Vec<RoundSummary>,
    /// Whether the connected warden holds the secrets.
    pub ready: bool,
    /// Rounds asked for and not finished.
    pub pending: u32,
    pub progress: Option<Progress>,
    pub failure: Option<String>,
    /// Uploads there were when a round failed: it is not tried again by itself before there are more.
    pub failed_at: Option<usize>,
    /// The members, as the orders made them.
    pub roster: Roster,
    /// The owner's signed orders, from number 1 on.
    pub orders: Vec<Vec<u8>>,
    /// Uploads that were taken back.
    pub withdrawn: BTreeSet<Id>,
}

impl Project {
    /// Whether a round should start by itself, as soon as a warden holds the secrets.
    fn due(&self) -> bool {
        self.spec.trigger.rows.is_some()
            && !self.rounds.is_empty()
            && self.pending == 0
            && self.has_new()
            && self.failed_at != Some(self.uploads.len())
    }

    /// Whether there are rows to train on that the last round did not use.
    pub fn has_new(&self) -> bool {
        self.uploads.iter().any(|u| u.trains() && !u.used)
    }

    /// Takes note of what a warden found; false if there is no such upload.
    pub fn judge(&mut self, upload: &Id, verdict: Verdict) -> bool {
        let found = self.uploads.iter_mut().find(|u| u.id == *upload);
        found.is_some_and(|found| {
            found.verdict = Some(verdict);
            true
        })
    }

    /// The next upload that no warden has read.
    fn unread(&self) -> Option<Id> {
        self.uploads.iter().find(|u| u.verdict.is_none()).map(|u| u.id)
    }

    /// These uploads, and no others, were used by the last round.
    pub fn mark_used(&mut self, used: &[Id]) {
        let used: HashSet<&Id> = used.iter().collect();
        self.uploads.iter_mut().for_each(|u| u.used = used.contains(&u.id));
    }

    /// Whether there is nothing to wait for: no round, or none that could start.
    pub fn idle(&self, warden: bool) -> bool {
        let cannot_start = !warden || (!self.ready && self.failure.is_some());
        let unread = self.ready && self.unread().is_some();
        cannot_start || (self.pending == 0 && !self.due() && !unread)
    }
}

pub struct State {
    pub projects: BTreeMap<Id, Project>,
    pub jobs: VecDeque<Job>,
    /// The connected warden's kind.
    pub warden: Option<String>,
}

/// Tells that something changed: threads that hold the lock and wait, and tasks that must not.
pub(crate) struct Changed {
    threads: Condvar,
    tasks: tokio::sync::watch::Sender<()>,
}

impl Default for Changed {
    fn default() -> Self {
        Changed { threads: Condvar::new(), tasks: tokio::sync::watch::Sender::new(()) }
    }
}

impl Changed {
    pub fn notify_all(&self) {
        self.threads.notify_all();
        self.tasks.send_replace(());
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.threads.wait(guard)
    }

    /// For a task: marked as changed with each later change.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<()> {
        self.tasks.subscribe()
    }
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
    pub(crate) changed: Changed,
}

impl Shared {
    /// Loads a store.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let mut projects = BTreeMap::new();
        for found in store.projects()? {
            let used = found.rounds.last().map(|r| r.used.clone()).unwrap_or_default();
            let rounds = found.rounds.into_iter().map(|r| r.summary).collect();
            let uploads = found.uploads.into_iter().map(|(header, verdict)| Stored::new(header, verdict));
            let uploads = uploads.collect();
            let id = found.spec.id();
            let mut project = Project::new(found.spec, uploads, rounds);
            project.mark_used(&used);
            let orders = store.orders(&id)?;
            project.roster =
                roster(&project.spec, &orders).map_err(|e| StoreError::Orders { project: id, why: e })?;
            project.orders = orders.into_iter().map(|signed| signed.0).collect();
            project.withdrawn = store.withdrawn(&id)?.into_iter().collect();
            projects.insert(id, project);
        }
        let state = State { projects, jobs: VecDeque::new(), warden: None };
        Ok(Shared {
            store,
            state: Mutex::new(state),
            commits: Mutex::default(),
            link: Mutex::default(),
            changed: Changed::default(),
        })
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

    /// The next job, waiting for one; None when the warden is gone. Rounds that are due come after what was asked for.
    pub(crate) fn next(&self, gone: &AtomicBool) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if gone.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(job) = state.take_job() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
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
    fn take_job(&mut self) -> Option<Job> {
        // A round waits until its project's secrets are there.
        let at = self.jobs.iter().position(|job| match job {
            Job::Round(Round { project, .. }) => self.projects.get(project).is_none_or(|p| p.ready),
            _ => true,
        });
        let admit = |project: Id, upload: Id| Some(Job::Admit { project, upload });
        if let Some(at) = at {
            if let Job::Round(Round { project, .. }) = &self.jobs[at]
                && let Some(upload) = self.projects.get(project).and_then(Project::unread)
            {
                return admit(*project, upload);
            }
            return self.jobs.remove(at);
        }
        let mut ready = self.projects.iter().filter(|(_, p)| p.ready);
        if let Some((id, upload)) = ready.find_map(|(id, p)| Some((*id, p.unread()?))) {
            return admit(id, upload);
        }
        let (id, project) = self.projects.iter_mut().find(|(_, p)| p.ready && p.due())?;
        project.pending += 1;
        Some(Job::Round(Round { project: *id, epochs: None, attempt: 0, asked: false }))
    }

    pub(crate) fn status(&self, id: &Id) -> Option<ProjectStatus> {
        let project = self.projects.get(id)?;
        Some(ProjectStatus {
            project: *id,
            name: project.spec.name.clone(),
            ready: project.ready,
            warden: self.warden.clone(),
            busy: project.pending > 0 || project.due(),
            failure: project.failure.clone(),
            uploads: project.uploads.iter().map(|u| u.summary(&project.spec)).collect(),
            rounds: project.rounds.clone(),
        })
    }
}

impl Stored {
    fn summary(&self, spec: &ProjectSpec) -> UploadSummary {
        UploadSummary {
            upload: self.id,
            role: self.header.role,
            rows: self.header.rows,
            bytes: self.header.body_bytes(spec),
            refused: self.refused(),
            reason: match &self.verdict {
                Some(Verdict::Refused(reason)) => Some(reason.clone()),
                _ => None,
            },
        }
    }
}

impl Project {
    pub fn new(spec: ProjectSpec, uploads: Vec<Stored>, rounds: Vec<RoundSummary>) -> Self {
        Project {
            spec: Arc::new(spec),
            uploads,
            rounds,
            ready: false,
            pending: 0,
            progress: None,
            failure: None,
            failed_at: None,
            roster: Roster::default(),
            orders: Vec::new(),
            withdrawn: BTreeSet::new(),
        }
    }
}
