//! What clients may ask for, whichever way they come: each operation either happens, or is refused and changes nothing.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use blindsmith_api::message::{Ledger, PAGE, ProjectStatus, Seen};
use blindsmith_api::open_withdrawal;
use blindsmith_api::{ProjectEntry, ProjectState, Projects};
use blindsmith_identity::{MemberRole, PublicKey, open_enrolment};
use blindsmith_protocol::{
    Blob, Evidence, Id, MAX_EPOCHS, MAX_UPLOADS, ProjectSpec, Role, RoundSummary, UploadHeader, to_cbor,
};
use tracing::{info, warn};

use crate::http::gate::Standing;
use crate::shared::{Job, Project, Round, Shared, State, Stored, now};
use crate::store::{Incoming, StoreError};

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no such thing.
    Unknown,
    /// It is there, or something else is.
    Conflict,
    /// It was taken away.
    Gone,
    /// What was sent is not what it should be.
    Invalid,
    /// More than was agreed upon.
    Quota,
    /// Not now.
    Unavailable,
    /// Disk, database or object store do not do their work, which may pass.
    Store,
    /// Database or object store cannot be reached, which may pass.
    Away,
    /// The refinery's own fault.
    Failed,
}

/// Why nothing was done, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub kind: Kind,
    pub message: String,
}

impl Refusal {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Refusal { kind, message: message.into() }
    }
}

impl From<StoreError> for Refusal {
    fn from(e: StoreError) -> Self {
        let kind = match &e {
            StoreError::Upload(_) => Kind::Invalid,
            StoreError::Exists(_) | StoreError::Offset { .. } => Kind::Conflict,
            StoreError::Withdrawn(_) => Kind::Gone,
            StoreError::Missing(_) => Kind::Unknown,
            StoreError::Unreachable { .. } | StoreError::Unlocked { .. } | StoreError::Taken { .. } => {
                Kind::Away
            }
            StoreError::Io { .. } | StoreError::Metadata { .. } | StoreError::Remote { .. } => Kind::Store,
            _ => Kind::Failed,
        };
        Refusal::new(kind, e.to_string())
    }
}

pub(crate) fn unknown(project: &Id) -> Refusal {
    let message = format!("there is no project {project} here: was it created at another refinery?");
    Refusal::new(Kind::Unknown, message)
}

impl Shared {
    /// A project, read under the lock.
    pub(crate) fn project<T>(&self, id: &Id, read: impl FnOnce(&Project) -> T) -> Result<T, Refusal> {
        self.lock().projects.get(id).map(read).ok_or_else(|| unknown(id))
    }

    pub(crate) fn spec(&self, project: &Id) -> Result<Arc<ProjectSpec>, Refusal> {
        self.project(project, |p| p.spec.clone())
    }

    fn ask_warden<T>(&self, job: impl FnOnce(Sender<Result<T, String>>) -> Job) -> Result<T, Refusal> {
        let (reply, answer): (_, Receiver<Result<T, String>>) = channel();
        self.submit(job(reply)).map_err(|message| Refusal::new(Kind::Unavailable, message))?;
        let left = "the warden left before it answered: try again";
        match answer.recv() {
            Ok(answer) => answer.map_err(|message| Refusal::new(Kind::Invalid, message)),
            Err(_) => Err(Refusal::new(Kind::Unavailable, left)),
        }
    }

    pub(crate) fn attest(&self, asker: Id, request: Vec<u8>) -> Result<Evidence, Refusal> {
        self.ask_warden(|reply| Job::Attest { asker, request, reply })
    }

    /// Hands a release to the warden; what it signed.
    pub(crate) fn release(&self, project: Id, release: Vec<u8>) -> Result<Blob, Refusal> {
        self.spec(&project)?;
        self.ask_warden(|reply| Job::Release { project, release, reply })
    }

    pub(crate) fn create(&self, spec: ProjectSpec, model: &[u8]) -> Result<(), Refusal> {
        spec.validate().map_err(|e| Refusal::new(Kind::Invalid, e.to_string()))?;
        self.store.create(&spec, model)?;
        let id = spec.id();
        let mut state = self.lock();
        state.projects.entry(id).or_insert_with(|| Project::new(spec, vec![]));
        Ok(())
    }

    pub(crate) fn refine(&self, project: Id, epochs: Option<u32>) -> Result<(), Refusal> {
        if epochs.is_some_and(|e| !(1..=MAX_EPOCHS).contains(&e)) {
            return Err(Refusal::new(Kind::Invalid, format!("a round has 1 to {MAX_EPOCHS} epochs")));
        }
        let mut key = vec![0; 16];
        getrandom::fill(&mut key).map_err(|e| Refusal::new(Kind::Failed, e.to_string()))?;
        let round = Round { project, epochs, attempt: 0, key, asked: true };
        // Counted before it is stored, so that no two take the last place.
        self.lock().expect_round(&project)?;
        // From here on it is done, whatever becomes of this refinery.
        let stored = self.store.enqueue(&round.job(), &to_cbor(&epochs), SystemTime::now());
        let mut state = self.lock();
        if let Some(found) = state.projects.get_mut(&project) {
            match &stored {
                Ok(_) => found.failure = None,
                Err(_) => found.pending = found.pending.saturating_sub(1),
            }
        }
        if stored.is_ok() {
            state.jobs.push_back(Job::Round(round));
        }
        drop(state);
        self.changed.notify_all();
        Ok(stored.map(drop)?)
    }

    /// A part of a project's status: what follows what was seen, of the uploads those of one contributor if it is named.
    pub(crate) fn status(&self, id: &Id, seen: Seen, only: Option<&Id>) -> Result<ProjectStatus, Refusal> {
        // Another run may have had another past.
        let seen = if seen.run == self.run { seen } else { Seen { run: self.run, ..Seen::default() } };
        let (mut status, known) = {
            let state = self.lock();
            let found = state.projects.get(id).ok_or_else(|| unknown(id))?;
            (state.status(found, seen, only, now()), found.rounds.len() as u64)
        };
        status.rounds = self.store.summaries(id, seen.rounds..known)?;
        status.seen.rounds = seen.rounds.min(known) + status.rounds.len() as u64;
        status.more |= status.seen.rounds < known;
        Ok(status)
    }

    /// The projects in which this key is somebody; all of them, if none is named.
    pub(crate) fn projects(&self, key: Option<&PublicKey>) -> Projects {
        let state = self.lock();
        let warden = state.warden.is_some();
        let entry = |id: &Id, p: &Project| {
            let role = match key.map(|key| p.standing(key)) {
                None => None,
                Some(Standing::Owner) => Some("owner"),
                Some(Standing::Member(MemberRole::Contributor)) => Some("contributor"),
                Some(Standing::Member(MemberRole::Querier)) => Some("querier"),
                Some(Standing::Member(MemberRole::Viewer)) => Some("viewer"),
                Some(Standing::None) => return None,
            };
            let found = match (p.failure.is_some() && p.failed(), warden && p.ready) {
                (_, false) => ProjectState::Waiting,
                (true, true) => ProjectState::Failed,
                (false, true) if p.idle(warden, now()) => ProjectState::Ready,
                (false, true) => ProjectState::Busy,
            };
            Some(ProjectEntry {
                project: id.to_string(),
                name: p.spec.name.clone(),
                role: role.map(str::to_owned),
                state: found,
                round: p.rounds.last().map(|r| r.round),
                failure: p.failure.clone(),
            })
        };
        Projects { projects: state.projects.iter().filter_map(|(id, p)| entry(id, p)).collect() }
    }

    /// Rounds from this one on, as many as an answer should have.
    pub(crate) fn rounds(&self, id: &Id, from: u64) -> Result<Vec<RoundSummary>, Refusal> {
        let known = self.project(id, |p| p.rounds.len() as u64)?;
        Ok(self.store.summaries(id, from..known)?)
    }

    /// The sealed model of a version, the newest if none is named.
    pub(crate) fn pull(&self, project: &Id, version: Option<u64>) -> Result<(u64, Vec<u8>), Refusal> {
        let newest = self.project(project, |p| p.rounds.last().map(|r| r.round))?;
        let none = "the project has no model yet: no warden holds its secrets";
        let newest = newest.ok_or_else(|| Refusal::new(Kind::Conflict, none))?;
        let version = version.unwrap_or(newest);
        if version > newest {
            let message = format!("there is no version {version}: the newest is {newest}");
            return Err(Refusal::new(Kind::Unknown, message));
        }
        Ok((version, self.store.round(project, version)?.model.0))
    }

    /// A page of receipts, from a round on; after the last of them, of reports of wrong answers.
    pub(crate) fn receipts(&self, project: &Id, from: u64, faults: u64) -> Result<Ledger, Refusal> {
        self.spec(project)?;
        let (receipts, mut more) = self.store.receipts(project, from, PAGE)?;
        let left = PAGE.saturating_sub(receipts.iter().map(|receipt| receipt.0.len()).sum());
        let mut reports = Vec::new();
        if !more {
            (reports, more) = self.store.faults_after(project, faults, left)?;
        }
        Ok(Ledger { receipts, faults: reports, more })
    }

    /// Makes an upload durable; false if it was there already.
    pub(crate) fn commit(&self, incoming: Incoming<'_>, header: UploadHeader) -> Result<(Id, bool), Refusal> {
        stored_role(&header)?;
        let (project, upload) = (header.project, header.id());
        let _one_by_one = self.commits.lock().unwrap_or_else(|e| e.into_inner());
        {
            let state = self.lock();
            let found = state.projects.get(&project).ok_or_else(|| unknown(&project))?;
            match found.uploads.iter().find(|u| u.id == upload) {
                Some(there) if there.withdrawn() => return Err(StoreError::Withdrawn(upload).into()),
                Some(_) => return Ok((upload, false)),
                None => {}
            }
            if found.uploads.len() >= MAX_UPLOADS {
                let message =
                    format!("a project has at most {MAX_UPLOADS} uploads: gather rows into larger ones");
                return Err(Refusal::new(Kind::Quota, message));
            }
            found.within_quota(&header)?;
        }
        incoming.commit(&header)?;
        info!(%project, %upload, rows = header.rows, "an upload is stored");
        self.update(&project, |p| p.uploads.push(Stored::new(header, None, now())));
        Ok((upload, true))
    }

    /// The rows of a query, checked against its header.
    pub(crate) fn query(&self, incoming: Incoming<'_>, header: &UploadHeader) -> Result<File, Refusal> {
        asked_role(header)?;
        Ok(incoming.into_file(header)?)
    }

    /// Has the warden answer a query.
    pub(crate) fn ask(
        &self,
        rows: File,
        header: UploadHeader,
        envelope: Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        let header = Box::new(header);
        self.ask_warden(|reply| Job::Query { header, rows, envelope, reply })
    }

    /// Stores an order of the owner; the warden is told of it.
    pub(crate) fn order(&self, project: Id, signed: Vec<u8>) -> Result<(), Refusal> {
        let _one_by_one = self.commits.lock().unwrap_or_else(|e| e.into_inner());
        let checked = self.project(&project, |found| match found.orders.contains(&signed) {
            true => Ok(None),
            false => found.check_order(&signed).map(Some),
        })?;
        let Some(order) = checked? else { return Ok(()) };
        self.store.save_order(&project, order.sequence, &signed)?;
        info!(%project, sequence = order.sequence, "an order of the owner is stored");
        let mut state = self.lock();
        if let Some(found) = state.projects.get_mut(&project) {
            found.ordered(signed.clone(), &order, now());
        }
        state.queue_order(&order, signed);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Has the warden enrol a contributor that the owner invited; what it signed.
    pub(crate) fn enrol(&self, project: Id, contributor: Id, enrolment: Vec<u8>) -> Result<Blob, Refusal> {
        let invited = self.project(&project, |p| p.roster.contributor(&contributor.into()).is_some())?;
        if !invited {
            let message = format!("{contributor} is not invited: its owner does that with blindsmith invite");
            return Err(Refusal::new(Kind::Conflict, message));
        }
        open_enrolment(&enrolment, &contributor.into())
            .map_err(|e| Refusal::new(Kind::Invalid, format!("the enrolment was refused: {e}")))?;
        self.ask_warden(|reply| Job::Enrol { project, contributor, enrolment, reply })
    }

    /// Deletes an upload's rows at its contributor's word.
    pub(crate) fn withdraw(&self, project: &Id, contributor: &Id, signed: &[u8]) -> Result<(), Refusal> {
        let invalid = |e: String| Refusal::new(Kind::Invalid, format!("the withdrawal was refused: {e}"));
        let withdrawal =
            open_withdrawal(signed, &(*contributor).into()).map_err(|e| invalid(e.to_string()))?;
        if withdrawal.project != *project {
            return Err(invalid("it is for another project".into()));
        }
        let upload = withdrawal.upload;
        let own = |u: &Stored| u.id == upload && u.header.contributor == *contributor;
        if !self.project(project, |p| p.uploads.iter().any(own))? {
            let message = format!("{contributor} has no upload {upload} in this project");
            return Err(Refusal::new(Kind::Unknown, message));
        }
        self.store.mark_withdrawn(project, &upload)?;
        self.update(project, |p| {
            p.uploads.iter_mut().filter(|u| u.id == upload).for_each(Stored::withdraw);
        });
        // After that, so that no round is missed which is stored meanwhile. It is withdrawn: what fails here is no refusal.
        match self.store.used_in(project, &upload) {
            Ok(rounds) => {
                _ = self.update(project, |p| {
                    let found = p.uploads.iter_mut().find(|u| u.id == upload);
                    found.into_iter().for_each(|u| u.used_before(rounds.clone()));
                })
            }
            Err(e) => warn!(%project, %upload, "versions that used it are marked after the next start: {e}"),
        }
        // Only then is it acknowledged; what cannot be deleted now is when it is asked for again, or at the next start.
        self.store.finish_withdrawal(project, &upload)?;
        info!(%project, %upload, "an upload was withdrawn");
        Ok(())
    }

    /// What the owner ordered so far.
    pub(crate) fn orders(&self, project: &Id) -> Result<Vec<Blob>, Refusal> {
        self.project(project, |p| p.orders.iter().cloned().map(Blob).collect())
    }
}

/// Refuses to store a query.
pub(crate) fn stored_role(header: &UploadHeader) -> Result<(), Refusal> {
    match header.role {
        Role::Training | Role::Validation => Ok(()),
        Role::Query => Err(Refusal::new(Kind::Invalid, "a query is asked, not stored")),
    }
}

/// Refuses to ask anything but a query.
pub(crate) fn asked_role(header: &UploadHeader) -> Result<(), Refusal> {
    match header.role {
        Role::Query => Ok(()),
        Role::Training | Role::Validation => Err(Refusal::new(Kind::Invalid, "only a query can be asked")),
    }
}

/// Most rounds of a project that were asked for, or started by themselves, and are not finished.
const MOST_ROUNDS: u32 = 8;

impl State {
    /// Counts a round that is asked for, if there is one to ask for.
    pub(crate) fn expect_round(&mut self, project: &Id) -> Result<(), Refusal> {
        let warden = self.warden.is_some();
        let found = self.projects.get_mut(project).ok_or_else(|| unknown(project))?;
        if found.rounds.is_empty() {
            let message = "no warden holds this project's secrets: run init again";
            return Err(Refusal::new(Kind::Conflict, message));
        }
        if let (true, false, Some(failure)) = (warden, found.ready, &found.failure) {
            return Err(Refusal::new(Kind::Conflict, failure.clone()));
        }
        if !found.uploads.iter().any(Stored::trains) {
            let message = match found.uploads.iter().any(Stored::refused) {
                true => "nothing to train on: the rows were refused, see blindsmith status",
                false => "nothing to train on: push rows first",
            };
            return Err(Refusal::new(Kind::Conflict, message));
        }
        if found.pending >= MOST_ROUNDS {
            let message =
                format!("{MOST_ROUNDS} rounds of this project wait or run: ask again when one is over");
            return Err(Refusal::new(Kind::Conflict, message));
        }
        found.pending += 1;
        Ok(())
    }
}

impl Project {
    /// Rows, bytes and uploads that a contributor has stored; what it withdrew is not.
    pub(crate) fn stored(&self, contributor: &Id) -> (u64, u64, u32) {
        let own = self.uploads.iter().filter(|u| u.header.contributor == *contributor && !u.withdrawn());
        own.fold((0, 0, 0), |(rows, bytes, uploads), u| {
            (rows + u64::from(u.header.rows), bytes + u.header.body_bytes(&self.spec), uploads + 1)
        })
    }

    /// Refuses what goes beyond the contributor's quota; owners have none.
    fn within_quota(&self, header: &UploadHeader) -> Result<(), Refusal> {
        let Some(member) = self.roster.contributor(&PublicKey::from(header.contributor)) else {
            return Ok(());
        };
        let (rows, bytes, uploads) = self.stored(&header.contributor);
        let (more, quota) = (header.body_bytes(&self.spec), member.quota);
        let beyond = [
            ("rows", rows.saturating_add(header.rows.into()), quota.rows),
            ("bytes", bytes.saturating_add(more), quota.bytes),
            ("uploads", u64::from(uploads) + 1, u64::from(quota.uploads)),
        ];
        match beyond.into_iter().find(|(_, wanted, allowed)| wanted > allowed) {
            None => Ok(()),
            Some((what, wanted, allowed)) => Err(Refusal::new(
                Kind::Quota,
                format!(
                    "with this upload you would store {wanted} {what}, and the owner allows {allowed}: withdraw \
                     another, or ask the owner for more"
                ),
            )),
        }
    }
}
