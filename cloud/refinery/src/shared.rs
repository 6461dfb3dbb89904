//! What the threads of a refinery share: the store, the projects, and the queue of work for the warden.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use blindsmith_protocol::{
    Evidence, Id, Progress, ProjectSpec, ProjectStatus, Role, RoundSummary, UploadHeader, UploadSummary,
};

use crate::store::{Store, StoreError};

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
    /// Run a round, asked for by a client or by an upload.
    Round { project: Id, epochs: Option<u32>, attempt: u32 },
}

/// A project in memory.
pub struct Project {
    pub spec: Arc<ProjectSpec>,
    pub uploads: Vec<UploadHeader>,
    pub rounds: Vec<RoundSummary>,
    /// Uploads that the last round used.
    pub used: Vec<Id>,
    /// Whether the connected warden holds the secrets.
    pub ready: bool,
    /// Rounds asked for and not finished.
    pub pending: u32,
    pub progress: Option<Progress>,
    pub failure: Option<String>,
    /// Uploads there were when a round failed: it is not tried again by itself before there are more.
    pub failed_at: Option<usize>,
}

impl Project {
    fn due(&self) -> bool {
        let new = self.uploads.iter().any(|u| u.role == Role::Training && !self.used.contains(&u.id()));
        self.spec.automatic
            && self.ready
            && self.pending == 0
            && new
            && self.failed_at != Some(self.uploads.len())
    }
}

pub struct State {
    pub projects: BTreeMap<Id, Project>,
    pub jobs: VecDeque<Job>,
    /// The connected warden's kind.
    pub warden: Option<String>,
    pub stopping: bool,
}

/// Shared by all threads of a refinery.
pub struct Shared {
    /// What is on disk.
    pub store: Store,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
}

impl Shared {
    /// Loads a store.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let mut projects = BTreeMap::new();
        for found in store.projects()? {
            let used = found.rounds.last().map(|r| r.used.clone()).unwrap_or_default();
            let rounds = found.rounds.into_iter().map(|r| r.summary).collect();
            projects.insert(found.spec.id(), Project::new(found.spec, found.uploads, rounds, used));
        }
        let state = State { projects, jobs: VecDeque::new(), warden: None, stopping: false };
        Ok(Shared { store, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked holds no half-made state here: entries are replaced whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds a job, refused at once if no warden is there to do it.
    pub(crate) fn submit(&self, job: Job) -> Result<(), String> {
        let mut state = self.lock();
        if state.warden.is_none() && !matches!(job, Job::Round { .. }) {
            return Err("no warden is connected: start blindsmith-warden, then try again".into());
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next job, waiting for one; None when stopping. Rounds that are due come after what was asked for.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopping {
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
            Job::Round { project, .. } => self.projects.get(project).is_none_or(|p| p.ready),
            _ => true,
        });
        if let Some(at) = at {
            return self.jobs.remove(at);
        }
        let (id, project) = self.projects.iter_mut().find(|(_, p)| p.due())?;
        project.pending += 1;
        Some(Job::Round { project: *id, epochs: None, attempt: 0 })
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
            uploads: project.uploads.iter().map(|u| summary(u, &project.spec)).collect(),
            rounds: project.rounds.clone(),
        })
    }
}

fn summary(header: &UploadHeader, spec: &ProjectSpec) -> UploadSummary {
    UploadSummary {
        upload: header.id(),
        role: header.role,
        rows: header.rows,
        bytes: header.body_bytes(spec),
    }
}

impl Project {
    pub fn new(
        spec: ProjectSpec,
        uploads: Vec<UploadHeader>,
        rounds: Vec<RoundSummary>,
        used: Vec<Id>,
    ) -> Self {
        Project {
            spec: Arc::new(spec),
            uploads,
            rounds,
            used,
            ready: false,
            pending: 0,
            progress: None,
            failure: None,
            failed_at: None,
        }
    }
}
