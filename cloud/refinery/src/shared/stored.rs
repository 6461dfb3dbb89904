//! An upload as the refinery has it in memory.

use std::time::{Duration, Instant};

use blindsmith_protocol::{
    AdmittedUpload, Id, ProjectSpec, Reason, Role, UploadHeader, UploadState, UploadSummary,
};

use crate::store::Verdict;

/// How long after something failed it is tried again, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// An upload in memory.
pub struct Stored {
    pub id: Id,
    pub header: UploadHeader,
    /// Whether a round used it.
    pub used: bool,
    /// Whether the last round was given it: it is not new.
    pub given: bool,
    /// Why a round set it aside.
    pub quarantined: Option<Reason>,
    /// Whether its contributor took it back.
    pub withdrawn: bool,
    /// What the warden found when it read it.
    pub verdict: Option<Verdict>,
    /// Why it could not be read, and when it is tried again.
    pub trouble: Option<Trouble>,
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

impl Stored {
    pub fn new(header: UploadHeader, verdict: Option<Verdict>) -> Self {
        Stored {
            id: header.id(),
            header,
            used: false,
            given: false,
            quarantined: None,
            withdrawn: false,
            verdict,
            trouble: None,
        }
    }

    /// Whether there are rows to train on, as far as is known.
    pub fn trains(&self) -> bool {
        self.header.role == Role::Training && !self.refused() && !self.withdrawn && self.quarantined.is_none()
    }

    /// Whether there are rows to train on that the last round was not given.
    pub fn is_new(&self) -> bool {
        self.trains() && !self.given && self.trouble.is_none()
    }

    /// Whether the warden is to read it now.
    pub fn is_unread(&self) -> bool {
        let waits = self.trouble.as_ref().is_some_and(Trouble::waits);
        self.verdict.is_none() && !self.withdrawn && !waits
    }

    /// It could not be read, and is tried again.
    pub fn try_again(&mut self, why: String) {
        self.trouble = Some(Trouble::after(self.trouble.as_ref(), why));
    }

    pub fn refused(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Refused(_)))
    }

    /// It as a round is given it.
    pub fn admitted(&self) -> Option<AdmittedUpload> {
        match &self.verdict {
            Some(Verdict::Admitted(admission)) if !self.withdrawn => {
                Some(AdmittedUpload { header: self.header.clone(), admission: admission.clone() })
            }
            _ => None,
        }
    }

    pub fn summary(&self, spec: &ProjectSpec) -> UploadSummary {
        UploadSummary {
            upload: self.id,
            role: self.header.role,
            rows: self.header.rows,
            bytes: self.header.body_bytes(spec),
            contributor: self.header.contributor,
            state: self.state(),
            reason: self.reason(),
        }
    }

    /// What became of it.
    pub fn state(&self) -> UploadState {
        match &self.verdict {
            _ if self.withdrawn => UploadState::Withdrawn,
            Some(Verdict::Refused(_)) => UploadState::Refused,
            _ if self.quarantined.is_some() => UploadState::Quarantined,
            _ if self.used => UploadState::Used,
            Some(Verdict::Admitted(_)) => UploadState::Admitted,
            None => UploadState::Stored,
        }
    }

    /// Why it was refused or set aside.
    pub fn reason(&self) -> Option<String> {
        match &self.verdict {
            Some(Verdict::Refused(reason)) => Some(reason.clone()),
            None if self.trouble.is_some() => self.trouble.as_ref().map(|trouble| trouble.why.clone()),
            _ => self.quarantined.map(|reason| reason.to_string()),
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
            rows: 1,
            terms: [0; 32],
            root: Id([4; 32]),
            tag: [5; 32],
        };
        let mut upload = Stored::new(header, None);
        assert!(upload.is_unread() && upload.is_new());
        let mut waits = Vec::new();
        for _ in 0..12 {
            upload.try_again("no room".into());
            assert!(!upload.is_unread() && !upload.is_new(), "no round starts for it");
            assert_eq!((upload.state(), upload.reason()), (UploadState::Stored, Some("no room".into())));
            let trouble = upload.trouble.as_mut().unwrap();
            waits.push(trouble.wait.as_secs());
            trouble.again = Instant::now();
            assert!(upload.is_unread());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
