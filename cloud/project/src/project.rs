//! The machine: what a project is, and what each event changes.

use std::sync::Arc;

use blindsmith_identity::{MemberRole, PublicKey, Roster};
use blindsmith_protocol::{AdmittedUpload, Id, Progress, ProjectSpec, UploadHeader};

use crate::effect::{Effect, Task};
use crate::event::Event;
use crate::health::Health;
use crate::queue::RoundQueue;
use crate::retry::Now;
use crate::rollback::Rollback;
use crate::upload::{Upload, Verdict};
use crate::warden::Custody;

/// What a key is to a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Its owner's.
    Owner,
    /// A member's.
    Member(MemberRole),
    /// Nobody's.
    None,
}

/// A round that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastRound {
    /// Its number.
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

/// A project.
#[derive(Debug)]
pub struct Project {
    pub(crate) spec: Arc<ProjectSpec>,
    /// In order of arrival. None of them ever leaves.
    pub(crate) uploads: Vec<Upload>,
    /// Changes of uploads so far, of which clients are told.
    pub(crate) changes: u64,
    /// In order. The first is round 0, which the release makes.
    pub(crate) rounds: Vec<PastRound>,
    /// As the orders made it.
    pub(crate) roster: Roster,
    /// Signed, from the first on.
    pub(crate) orders: Vec<Vec<u8>>,
    pub(crate) custody: Custody,
    pub(crate) health: Health,
    /// What an order wants, until a round did it.
    pub(crate) rollback: Option<Rollback>,
    pub(crate) queue: RoundQueue,
}

impl Project {
    /// One in which nothing has happened.
    pub fn new(spec: ProjectSpec) -> Self {
        Project {
            spec: Arc::new(spec),
            uploads: Vec::new(),
            changes: 0,
            rounds: Vec::new(),
            roster: Roster::default(),
            orders: Vec::new(),
            custody: Custody::default(),
            health: Health::default(),
            rollback: None,
            queue: RoundQueue::default(),
        }
    }

    /// Takes note of an event; what the caller does about it.
    pub fn apply(&mut self, event: Event<'_>, now: Now) -> Vec<Effect> {
        match event {
            Event::UploadStored { header, verdict } => self.upload_stored(header, verdict, now),
            Event::UploadJudged { upload, verdict } => self.upload_judged(&upload, verdict),
            Event::UploadUnreadable { upload, why } => self.upload_unreadable(&upload, &why, now),
            Event::UploadWithdrawn { upload } => self.change(&upload, Upload::withdraw),
            Event::UsesFound { upload, rounds } => self.change(&upload, |u| u.used_before(rounds)),
            Event::ContributorEnrolled(contributor) => self.contributor_enrolled(&contributor, now),
            Event::OrderStored { order, signed } => return self.order_stored(order, signed, now),
            Event::Released => {
                self.custody = Custody::Warden;
                self.health.acknowledge();
            }
            Event::WardenReady => self.set_custody(Custody::Warden),
            Event::WardenUnable { why } => self.set_custody(Custody::Unable(why)),
            Event::WardenGone => {
                self.set_custody(Custody::Nobody);
                self.queue.progress = None;
            }
            Event::RoundReserved => self.queue.reserved += 1,
            Event::ReservationDropped => self.queue.reserved = self.queue.reserved.saturating_sub(1),
            Event::RoundAsked { epochs, key } => self.round_asked(epochs, key),
            Event::Turn => return self.turn(now),
            Event::RoundProgressed(progress) => self.queue.progress = Some(progress),
            Event::RoundStored(record) => self.round_stored(record),
            Event::RoundEnded(result) => return self.round_ended(result, now),
            Event::RoundLost { why } => return self.round_lost(&why, now),
            Event::RollbackEnded(result) => self.rollback_ended(result, now),
        }
        Vec::new()
    }

    fn upload_stored(&mut self, header: UploadHeader, verdict: Option<Verdict>, now: Now) {
        self.changes += 1;
        let mut upload = Upload::new(header, verdict, now);
        upload.set_changed(self.changes);
        self.uploads.push(upload);
    }

    fn upload_judged(&mut self, upload: &Id, verdict: Verdict) {
        let mut was_obstructed = false;
        self.change(upload, |u| was_obstructed = u.judge(verdict));
        if was_obstructed {
            self.health.acknowledge();
        }
    }

    fn upload_unreadable(&mut self, upload: &Id, why: &str, now: Now) {
        let why = format!("it could not be read, and is tried again: {why}");
        self.change(upload, |u| u.try_again(why.clone(), now));
        self.health.note(format!("an upload waits: {why}"));
    }

    /// What was refused because its contributor was no member is read again.
    pub(crate) fn contributor_enrolled(&mut self, contributor: &Id, now: Now) {
        let by = |u: &Upload| u.header().contributor == *contributor && u.refused();
        self.change_all(|u| {
            if by(u) {
                u.forget_verdict(now);
            }
        });
    }

    fn set_custody(&mut self, custody: Custody) {
        self.custody = custody;
        if self.rollback.as_ref().is_none_or(|rollback| rollback.retry.is_none()) {
            self.health.drop_notice();
        }
    }

    /// Changes an upload, so that clients that know it are told.
    pub(crate) fn change(&mut self, upload: &Id, change: impl FnOnce(&mut Upload)) {
        let Some(found) = self.uploads.iter_mut().find(|u| u.id() == *upload) else { return };
        let before = found.told();
        change(found);
        if found.told() != before {
            self.changes += 1;
            found.set_changed(self.changes);
        }
    }

    /// The same for all uploads.
    pub(crate) fn change_all(&mut self, mut change: impl FnMut(&mut Upload)) {
        for upload in &mut self.uploads {
            let before = upload.told();
            change(upload);
            if upload.told() != before {
                self.changes += 1;
                upload.set_changed(self.changes);
            }
        }
    }

    /// Its identifier.
    pub fn id(&self) -> Id {
        self.spec.id()
    }

    /// Its specification.
    pub fn spec(&self) -> &Arc<ProjectSpec> {
        &self.spec
    }

    /// Its uploads, in order of arrival.
    pub fn uploads(&self) -> &[Upload] {
        &self.uploads
    }

    /// An upload.
    pub fn upload(&self, id: &Id) -> Option<&Upload> {
        self.uploads.iter().find(|u| u.id() == *id)
    }

    /// Its rounds, in order.
    pub fn rounds(&self) -> &[PastRound] {
        &self.rounds
    }

    /// The number of the last round; none before the release.
    pub fn newest(&self) -> Option<u64> {
        self.rounds.last().map(|round| round.round)
    }

    /// Its members.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The owner's orders, as they were signed, from the first on.
    pub fn orders(&self) -> &[Vec<u8>] {
        &self.orders
    }

    /// What a key is to it.
    pub fn membership(&self, key: &PublicKey) -> Membership {
        if Id::from(*key) == self.spec.owner {
            return Membership::Owner;
        }
        self.roster.member(key).map_or(Membership::None, |member| Membership::Member(member.role))
    }

    /// Whether the connected warden holds the secrets.
    pub fn ready(&self) -> bool {
        self.custody == Custody::Warden
    }

    /// What is wrong, for clients.
    pub fn failure(&self) -> Option<&str> {
        match &self.custody {
            Custody::Unable(why) => Some(why),
            _ => self.health.why(),
        }
    }

    /// Whether the last round or rollback failed.
    pub fn failed(&self) -> bool {
        self.health.failed() || self.rollback.as_ref().is_some_and(|rollback| rollback.retry.is_some())
    }

    /// Whether something is in the way of rounds, so that it is tried whether one could be stored before the next runs.
    pub fn obstructed(&self) -> bool {
        self.health.retry().or(self.rollback.as_ref().and_then(|rollback| rollback.retry)).is_some()
    }

    /// Whether something is tried again after a while.
    pub fn retries(&self) -> bool {
        self.obstructed() || self.uploads.iter().any(Upload::obstructed)
    }

    /// Whether there are rows to train on that the last round was not given.
    pub fn has_new(&self) -> bool {
        self.uploads.iter().any(Upload::is_new)
    }

    /// Rounds that were asked for or started, and are not finished.
    pub fn unfinished(&self) -> u32 {
        self.queue.unfinished()
    }

    /// Rounds that wait, without those that start by themselves.
    pub fn waiting(&self) -> usize {
        self.queue.waiting.len()
    }

    /// How many rounds are to come, without the one that is running.
    pub fn queued(&self, now: Now) -> u32 {
        self.queue.waiting.len() as u32 + u32::from(self.due(now))
    }

    /// How far the running round is.
    pub fn progress(&self) -> Option<&Progress> {
        self.queue.progress.as_ref()
    }

    /// What a round is given: all that the warden admitted and nobody withdrew.
    pub fn admitted(&self) -> Vec<AdmittedUpload> {
        self.uploads.iter().filter_map(Upload::admitted).collect()
    }

    /// Whether there is nothing to wait for: no round, or none that could start. `warden` says whether one is connected.
    pub fn idle(&self, warden: bool, now: Now) -> bool {
        let cannot_start = !warden || (!self.ready() && self.failure().is_some());
        let work = self.ready() && matches!(self.next(now), Some(Task::Rollback { .. } | Task::Admit { .. }));
        cannot_start || (self.unfinished() == 0 && !self.due(now) && !work)
    }
}
