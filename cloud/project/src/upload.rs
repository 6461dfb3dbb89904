//! An upload as a project knows it.

use blindsmith_api::message::{UploadState, UploadSummary};
use blindsmith_protocol::{AdmittedUpload, Blob, Id, ProjectSpec, Reason, Role, UploadHeader};
use serde::{Deserialize, Serialize};

use crate::ranges::add_round;
use crate::retry::{Now, Retry};

/// What a warden found when it read an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It stands in rounds; what tells the warden so.
    Admitted(Blob),
    /// It does not, and why.
    Refused(String),
}

/// An upload.
#[derive(Debug)]
pub struct Upload {
    id: Id,
    header: UploadHeader,
    /// Since when it could be trained on, in seconds since 1970: it arrived then, or was to be tried again.
    since: u64,
    facts: Facts,
    /// The number of the change that made it what clients are told.
    changed: u64,
}

/// What became of an upload.
#[derive(Debug, Default)]
struct Facts {
    /// Whether a round used it.
    used: bool,
    /// Whether the last round was given it: it is not new.
    given: bool,
    /// Why a round quarantined it.
    quarantined: Option<Reason>,
    /// If its contributor withdrew it, the rounds that used it: first and last, in order.
    withdrawn: Option<Vec<(u64, u64)>>,
    /// What the warden found.
    verdict: Option<Verdict>,
    /// Why it could not be read, and when that is tried again.
    obstacle: Option<(String, Retry)>,
}

/// What a round did with an upload.
pub(crate) struct Use {
    /// Whether it was given the upload; None if that does not count.
    pub given: Option<bool>,
    /// The round's number, if it used the upload.
    pub used: Option<u64>,
    /// Why it quarantined the upload, if it did.
    pub quarantined: Option<Reason>,
}

impl Upload {
    /// One that arrived at this time.
    pub(crate) fn new(header: UploadHeader, verdict: Option<Verdict>, now: Now) -> Self {
        let facts = Facts { verdict, ..Facts::default() };
        Upload { id: header.id(), header, since: now.unix, facts, changed: 0 }
    }

    /// Its identifier.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Its header, as it was sent.
    pub fn header(&self) -> &UploadHeader {
        &self.header
    }

    /// Since when it could be trained on, in seconds since 1970.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The number of the change that made it what clients are told.
    pub(crate) fn changed(&self) -> u64 {
        self.changed
    }

    /// Gives it the number of a change.
    pub(crate) fn set_changed(&mut self, change: u64) {
        self.changed = change;
    }

    /// The warden found this; whether it could not be read before.
    pub(crate) fn judge(&mut self, verdict: Verdict) -> bool {
        self.facts.verdict = Some(verdict);
        self.facts.obstacle.take().is_some()
    }

    /// The warden reads it again, from this time on.
    pub(crate) fn forget_verdict(&mut self, now: Now) {
        self.since = self.since.max(now.unix);
        self.facts.verdict = None;
    }

    /// It could not be read, which is tried again.
    pub(crate) fn try_again(&mut self, why: String, now: Now) {
        let before = self.facts.obstacle.as_ref().map(|(_, retry)| *retry);
        self.facts.obstacle = Some((why, Retry::after(before, now)));
    }

    /// A round was stored.
    pub(crate) fn round(&mut self, what: Use) {
        let facts = &mut self.facts;
        facts.given = what.given.unwrap_or(facts.given);
        facts.used |= what.used.is_some();
        if let (Some(rounds), Some(round)) = (&mut facts.withdrawn, what.used) {
            add_round(rounds, round);
        }
        facts.quarantined = what.quarantined.or(facts.quarantined);
    }

    /// A round tries it again, though one quarantined it: from this time on it is new.
    pub(crate) fn readmit(&mut self, now: Now) {
        self.since = self.since.max(now.unix);
        (self.facts.quarantined, self.facts.given) = (None, false);
    }

    /// Its contributor withdrew it. Rounds that use it from here on are remembered.
    pub(crate) fn withdraw(&mut self) {
        self.facts.withdrawn.get_or_insert_default();
    }

    /// These rounds used it, up to the one that is stored last.
    pub(crate) fn used_before(&mut self, mut rounds: Vec<(u64, u64)>) {
        let since = self.facts.withdrawn.take().unwrap_or_default();
        since.into_iter().flat_map(|(first, last)| first..=last).for_each(|r| add_round(&mut rounds, r));
        self.facts.withdrawn = Some(rounds);
    }

    /// How many ranges of rounds clients are told of.
    pub(crate) fn ranges(&self) -> usize {
        self.facts.withdrawn.as_ref().map_or(0, Vec::len)
    }

    /// Whether its contributor withdrew it.
    pub fn withdrawn(&self) -> bool {
        self.facts.withdrawn.is_some()
    }

    /// Whether it could not be read, and is tried again.
    pub(crate) fn obstructed(&self) -> bool {
        self.facts.obstacle.is_some()
    }

    /// Whether there are rows to train on, as far as is known.
    pub(crate) fn trains(&self) -> bool {
        let Facts { withdrawn, quarantined, .. } = &self.facts;
        self.header.role == Role::Training && !self.refused() && withdrawn.is_none() && quarantined.is_none()
    }

    /// Whether there are rows to train on that the last round was not given.
    pub fn is_new(&self) -> bool {
        self.trains() && !self.facts.given && !self.obstructed()
    }

    /// Whether the warden is to read it now.
    pub fn is_unread(&self, now: Now) -> bool {
        let Facts { verdict, withdrawn, obstacle, .. } = &self.facts;
        verdict.is_none() && withdrawn.is_none() && !obstacle.as_ref().is_some_and(|(_, r)| r.waits(now))
    }

    /// Whether the warden refused it.
    pub fn refused(&self) -> bool {
        matches!(self.facts.verdict, Some(Verdict::Refused(_)))
    }

    /// It as a round is given it.
    pub(crate) fn admitted(&self) -> Option<AdmittedUpload> {
        match &self.facts.verdict {
            Some(Verdict::Admitted(admission)) if !self.withdrawn() => {
                Some(AdmittedUpload { header: self.header.clone(), admission: admission.clone() })
            }
            _ => None,
        }
    }

    /// It as clients are told; `place` uploads arrived before it.
    pub fn summary(&self, place: u32, spec: &ProjectSpec) -> UploadSummary {
        UploadSummary {
            upload: self.id,
            place,
            role: self.header.role,
            rows: self.header.rows,
            bytes: self.header.body_bytes(spec),
            contributor: self.header.contributor,
            state: self.state(),
            reason: self.reason(),
            used_in: self.facts.withdrawn.clone().unwrap_or_default(),
        }
    }

    /// What of it clients are told, as far as it changes.
    pub(crate) fn told(&self) -> impl PartialEq + use<> {
        (self.state(), self.reason(), self.facts.withdrawn.clone())
    }

    /// What became of it.
    pub fn state(&self) -> UploadState {
        match &self.facts {
            Facts { withdrawn: Some(_), .. } => UploadState::Withdrawn,
            Facts { verdict: Some(Verdict::Refused(_)), .. } => UploadState::Refused,
            Facts { quarantined: Some(_), .. } => UploadState::Quarantined,
            facts if facts.used => UploadState::Used,
            Facts { verdict: Some(Verdict::Admitted(_)), .. } => UploadState::Admitted,
            Facts { verdict: None, .. } => UploadState::Stored,
        }
    }

    /// Why it was refused, quarantined, or not read.
    pub fn reason(&self) -> Option<String> {
        match &self.facts {
            Facts { verdict: Some(Verdict::Refused(reason)), .. } => Some(reason.clone()),
            Facts { verdict: None, obstacle: Some((why, _)), .. } => Some(why.clone()),
            Facts { quarantined, .. } => quarantined.map(|reason| reason.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixtures::header;

    #[test]
    fn what_could_not_be_read_is_tried_again_after_longer_and_longer_waits() {
        let mut now = Now::default();
        let mut upload = Upload::new(header(1), None, now);
        assert!(upload.is_unread(now) && upload.is_new());
        let mut waits = Vec::new();
        for _ in 0..12 {
            upload.try_again("no room".into(), now);
            assert!(!upload.is_unread(now) && !upload.is_new(), "no round starts for it");
            assert_eq!((upload.state(), upload.reason()), (UploadState::Stored, Some("no room".into())));
            let before = now.steady;
            while !upload.is_unread(now) {
                now.steady += Duration::from_secs(1);
            }
            waits.push((now.steady - before).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
