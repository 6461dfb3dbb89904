//! Rounds: asked for, started, stored, ended, lost; and versions brought back.

use std::collections::HashSet;

use blindsmith_protocol::{Decision, Id, RoundRecord, RoundSummary};

use crate::effect::{Effect, Round, Task};
use crate::event::Failure;
use crate::health::Health;
use crate::project::{PastRound, Project};
use crate::queue::MOST_ATTEMPTS;
use crate::retry::{Now, Retry};
use crate::upload::{Upload, Use};

impl Project {
    pub(crate) fn round_asked(&mut self, epochs: Option<u32>, key: Vec<u8>) {
        self.queue.reserved = self.queue.reserved.saturating_sub(1);
        self.queue.waiting.push_back(Round { epochs, attempt: 0, key, asked: true });
        self.health.acknowledge();
    }

    /// What the warden would do next for the project.
    pub(crate) fn next(&self, now: Now) -> Option<Task> {
        if self.queue.running.is_some() {
            return None;
        }
        if let Some(rollback) = &self.rollback
            && !self.waits(now)
        {
            return Some(Task::Rollback { version: rollback.version });
        }
        if let Some(upload) = self.uploads.iter().find(|u| u.is_unread(now)) {
            return Some(Task::Admit { upload: upload.id() });
        }
        if let Some(round) = self.queue.waiting.front() {
            return Some(Task::Round(round.clone()));
        }
        let own = || Round { epochs: None, attempt: 0, key: Vec::new(), asked: false };
        self.due(now).then(|| Task::Round(own()))
    }

    /// Whether the connected warden has something to do for the project.
    pub fn has_task(&self, now: Now) -> bool {
        self.ready() && self.next(now).is_some()
    }

    pub(crate) fn turn(&mut self, now: Now) -> Vec<Effect> {
        let Some(task) = self.next(now).filter(|_| self.ready()) else { return Vec::new() };
        if let Task::Round(round) = &task {
            // One that a trigger starts does not wait in the queue.
            self.queue.waiting.pop_front();
            self.queue.running = Some(round.clone());
        }
        vec![Effect::Start(task)]
    }

    pub(crate) fn round_stored(&mut self, record: &RoundRecord) {
        let given: HashSet<&Id> = record.given.iter().collect();
        let used: HashSet<&Id> = record.used.iter().collect();
        let summary = &record.summary;
        let restored = matches!(summary.decision, Decision::Restored { .. });
        self.change_all(|upload| {
            let id = upload.id();
            let quarantined = summary.quarantined.iter().find(|q| q.upload == id);
            upload.round(Use {
                given: (!restored).then(|| given.contains(&id)),
                used: used.contains(&id).then_some(summary.round),
                quarantined: quarantined.map(|q| q.reason),
            });
        });
        if self.rollback.as_ref().is_some_and(|rollback| rollback.order <= summary.orders) {
            self.rollback = None;
        }
        let RoundSummary { round, orders, at, asked, seconds, .. } = *summary;
        self.rounds.push(PastRound { round, orders, began: at.saturating_sub(seconds as u64), at, asked });
    }

    pub(crate) fn round_ended(&mut self, result: Result<(), Failure>, now: Now) -> Vec<Effect> {
        self.queue.end();
        let before = self.health.retry();
        if let Some(rollback) = &mut self.rollback {
            rollback.retry = None;
        }
        self.health = match result {
            Ok(()) => Health::Well,
            // Only what would start by itself is tried again.
            Err(Failure::InTheWay(why)) if self.has_new() && self.triggered(now) => Health::Retrying {
                why: Some(format!("a round failed, and is tried again: {why}")),
                retry: Retry::after(before, now),
            },
            Err(Failure::InTheWay(why) | Failure::Refused(why)) => {
                Health::Failed { why: Some(why), uploads: self.uploads.len() }
            }
        };
        vec![Effect::EndJob]
    }

    pub(crate) fn round_lost(&mut self, why: &str, now: Now) -> Vec<Effect> {
        let Some(round) = self.queue.end() else { return Vec::new() };
        let attempt = round.attempt + 1;
        if attempt < MOST_ATTEMPTS {
            // The link failed, not the round: the next warden takes it up.
            self.queue.waiting.push_front(Round { attempt, ..round });
            return vec![Effect::ReturnJob { why: why.to_owned() }];
        }
        let why = format!("the warden was lost {attempt} times in this round: {why}");
        self.round_ended(Err(Failure::Refused(why)), now)
    }

    pub(crate) fn rollback_ended(&mut self, result: Result<(), Failure>, now: Now) {
        match result {
            Ok(()) => {
                self.rollback = None;
                self.health.drop_retry();
                self.health.acknowledge();
            }
            Err(Failure::InTheWay(why)) => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.retry = Some(Retry::after(rollback.retry, now));
                }
                self.health.note(format!("a rollback failed, and is tried again: {why}"));
            }
            Err(Failure::Refused(why)) => {
                // What the warden refuses it refuses again.
                self.rollback = None;
                self.health.drop_retry();
                self.health.note(why);
            }
        }
    }

    /// Whether it is too early to try again what failed.
    pub(crate) fn waits(&self, now: Now) -> bool {
        let rollback = self.rollback.as_ref().and_then(|rollback| rollback.retry);
        self.health.waits(now) || rollback.is_some_and(|retry| retry.waits(now))
    }

    /// Whether a round should start by itself, as soon as a warden holds the secrets.
    pub fn due(&self, now: Now) -> bool {
        let spent = matches!(self.health, Health::Failed { uploads, .. } if uploads == self.uploads.len());
        !self.rounds.is_empty()
            && self.triggered(now)
            && self.unfinished() == 0
            && self.uploads.iter().any(Upload::is_new)
            && !spent
            && !self.waits(now)
    }
}
