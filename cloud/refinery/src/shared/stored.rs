//! An upload as the refinery has it in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blindsmith_api::message::{UploadState, UploadSummary};
use blindsmith_protocol::{AdmittedUpload, Id, ProjectSpec, Reason, Role, UploadHeader};

use crate::store::Verdict;

/// How long after something failed it is tried again, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Changes of uploads, of all projects, in this run of the refinery.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// The number of the last change. Changes are made, and counted, under the lock of the state alone.
pub fn last_change() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

fn next_change() -> u64 {
    CHANGES.fetch_add(1, Ordering::Relaxed) + 1
}

/// An upload in memory.
pub struct Stored {
    pub id: Id,
    pub header: UploadHeader,
    /// Since when it could be trained on, in seconds since 1970: it arrived then, or was to be tried again.
    since: u64,
    standing: Standing,
    /// The number of the change that made it what clients are told.
    changed: u64,
}

/// What became of an upload.
#[derive(Default)]
struct Standing {
    /// Whether a round used it.
    used: bool,
    /// Whether the last round was given it: it is not new.
    given: bool,
    /// Why a round set it aside.
    quarantined: Option<Reason>,
    /// If its contributor took it back, the rounds that used it: from and to, in order.
    withdrawn: Option<Vec<(u64, u64)>>,
    /// What the warden found when it read it.
    verdict: Option<Verdict>,
    /// Why it could not be read, and when it is tried again.
    trouble: Option<Trouble>,
}

/// Something that may pass by itself: a full disk, an object store that does not answer.
pub struct Trouble {
    pub why: String,
    again: Instant,
    wait: Duration,
}

impl Trouble {
    /// To be tried again after a while, each time after twice as long.
    pub fn after(before: Option<&Trouble>, why: String) -> Self {
        let wait = before.map_or(FIRST_WAIT, |trouble| (2 * trouble.wait).min(LONGEST_WAIT));
        Trouble { why, again: Instant::now() + wait, wait }
    }

    /// Whether it is too early.
    pub fn waits(&self) -> bool {
        self.again > Instant::now()
    }
}

/// Adds a round, if it is not among them, to ranges that end before it or with it.
pub(crate) fn add(ranges: &mut Vec<(u64, u64)>, round: u64) {
    match ranges.last_mut() {
        Some((_, to)) if *to >= round => {}
        Some((_, to)) if *to + 1 == round => *to = round,
        _ => ranges.push((round, round)),
    }
}

impl Stored {
    /// One that arrived at this time, in seconds since 1970.
    pub fn new(header: UploadHeader, verdict: Option<Verdict>, arrived: u64) -> Self {
        let standing = Standing { verdict, ..Standing::default() };
        Stored { id: header.id(), header, since: arrived, standing, changed: next_change() }
    }

    /// Changes it, so that who has seen it before is told.
    fn change(&mut self, change: impl FnOnce(&mut Standing)) {
        let told = |upload: &Self| (upload.state(), upload.reason(), upload.standing.withdrawn.clone());
        let before = told(self);
        change(&mut self.standing);
        if told(self) != before {
            self.changed = next_change();
        }
    }

    /// Takes note of what the warden found; whether it could not be read before.
    pub fn judge(&mut self, verdict: Verdict) -> bool {
        let troubled = self.standing.trouble.is_some();
        self.change(|s| (s.verdict, s.trouble) = (Some(verdict), None));
        troubled
    }

    /// The warden reads it again, from this time on.
    pub fn forget_verdict(&mut self, at: u64) {
        self.since = self.since.max(at);
        self.change(|s| s.verdict = None);
    }

    /// It could not be read, and is tried again.
    pub fn try_again(&mut self, why: String) {
        self.change(|s| s.trouble = Some(Trouble::after(s.trouble.as_ref(), why)));
    }

    /// Takes note of a round: whether it was given it, unless that does not count, its number if it used it, and why it
    /// set it aside, if it did.
    pub fn round(&mut self, given: Option<bool>, used: Option<u64>, aside: Option<Reason>) {
        self.change(|s| {
            s.given = given.unwrap_or(s.given);
            s.used |= used.is_some();
            if let (Some(rounds), Some(round)) = (&mut s.withdrawn, used) {
                add(rounds, round);
            }
            s.quarantined = aside.or(s.quarantined);
        });
    }

    /// A round tries it again, though one set it aside: since this time it is new.
    pub fn readmit(&mut self, at: u64) {
        self.since = self.since.max(at);
        self.change(|s| (s.quarantined, s.given) = (None, false));
    }

    /// Its contributor took it back. Rounds that use it from here on are remembered.
    pub fn withdraw(&mut self) {
        self.change(|s| _ = s.withdrawn.get_or_insert_default());
    }

    /// Takes note of the rounds that used it up to the one that is stored last.
    pub fn used_before(&mut self, mut rounds: Vec<(u64, u64)>) {
        self.change(|s| {
            let since = s.withdrawn.take().unwrap_or_default();
            since.into_iter().flat_map(|(from, to)| from..=to).for_each(|round| add(&mut rounds, round));
            s.withdrawn = Some(rounds);
        });
    }

    /// How many ranges of rounds clients are told of.
    pub fn ranges(&self) -> usize {
        self.standing.withdrawn.as_ref().map_or(0, Vec::len)
    }

    /// The number of the change that made it what clients are told.
    pub fn changed(&self) -> u64 {
        self.changed
    }

    pub fn withdrawn(&self) -> bool {
        self.standing.withdrawn.is_some()
    }

    /// Since when it could be trained on, in seconds since 1970.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Whether it could not be read, and is tried again.
    pub fn troubled(&self) -> bool {
        self.standing.trouble.is_some()
    }

    /// Whether there are rows to train on, as far as is known.
    pub fn trains(&self) -> bool {
        let Standing { withdrawn, quarantined, .. } = &self.standing;
        self.header.role == Role::Training && !self.refused() && withdrawn.is_none() && quarantined.is_none()
    }

    /// Whether there are rows to train on that the last round was not given.
    pub fn is_new(&self) -> bool {
        self.trains() && !self.standing.given && !self.troubled()
    }

    /// Whether the warden is to read it now.
    pub fn is_unread(&self) -> bool {
        let Standing { verdict, withdrawn, trouble, .. } = &self.standing;
        verdict.is_none() && withdrawn.is_none() && !trouble.as_ref().is_some_and(Trouble::waits)
    }

    pub fn refused(&self) -> bool {
        matches!(self.standing.verdict, Some(Verdict::Refused(_)))
    }

    /// It as a round is given it.
    pub fn admitted(&self) -> Option<AdmittedUpload> {
        match &self.standing.verdict {
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
            used_in: self.standing.withdrawn.clone().unwrap_or_default(),
        }
    }

    /// What became of it.
    pub fn state(&self) -> UploadState {
        match &self.standing {
            Standing { withdrawn: Some(_), .. } => UploadState::Withdrawn,
            Standing { verdict: Some(Verdict::Refused(_)), .. } => UploadState::Refused,
            Standing { quarantined: Some(_), .. } => UploadState::Quarantined,
            s if s.used => UploadState::Used,
            Standing { verdict: Some(Verdict::Admitted(_)), .. } => UploadState::Admitted,
            Standing { verdict: None, .. } => UploadState::Stored,
        }
    }

    /// Why it was refused or set aside.
    pub fn reason(&self) -> Option<String> {
        match &self.standing {
            Standing { verdict: Some(Verdict::Refused(reason)), .. } => Some(reason.clone()),
            Standing { verdict: None, trouble: Some(trouble), .. } => Some(trouble.why.clone()),
            Standing { quarantined, .. } => quarantined.map(|reason| reason.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_tried_again_after_longer_and_longer_waits() {
        let header = UploadHeader {
            project: Id([1; 32]),
            contributor: Id([2; 32]),
            nonce: [3; 32],
            role: Role::Training,
            era: 0,
            rows: 1,
            terms: [0; 32],
            root: Id([4; 32]),
            tag: [5; 32],
        };
        let mut upload = Stored::new(header, None, 0);
        assert!(upload.is_unread() && upload.is_new());
        let mut waits = Vec::new();
        for _ in 0..12 {
            upload.try_again("no room".into());
            assert!(!upload.is_unread() && !upload.is_new(), "no round starts for it");
            assert_eq!((upload.state(), upload.reason()), (UploadState::Stored, Some("no room".into())));
            let trouble = upload.standing.trouble.as_mut().unwrap();
            waits.push(trouble.wait.as_secs());
            trouble.again = Instant::now();
            assert!(upload.is_unread());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
