//! Whether a project takes what a client sends. These change nothing.

use blindsmith_identity::PublicKey;
use blindsmith_protocol::{Id, MAX_UPLOADS, UploadHeader};

use crate::project::Project;
use crate::queue::MOST_ROUNDS;
use crate::refusal::Refusal;
use crate::upload::Upload;

/// What a contributor has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stock {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Uploads.
    pub uploads: u32,
}

impl Project {
    /// Whether an upload may be stored; false if it is there already.
    ///
    /// # Errors
    /// [`Refusal`] if it was withdrawn, or goes beyond what the project or the contributor may have.
    pub fn check_upload(&self, header: &UploadHeader) -> Result<bool, Refusal> {
        let upload = header.id();
        match self.upload(&upload) {
            Some(there) if there.withdrawn() => return Err(Refusal::Withdrawn(upload)),
            Some(_) => return Ok(false),
            None if self.uploads.len() >= MAX_UPLOADS => return Err(Refusal::TooManyUploads),
            None => self.check_quota(header)?,
        }
        Ok(true)
    }

    /// Whether a client may ask for a round. `warden` says whether one is connected.
    ///
    /// # Errors
    /// [`Refusal`] if none could run, or enough wait.
    pub fn check_round(&self, warden: bool) -> Result<(), Refusal> {
        if self.rounds.is_empty() {
            return Err(Refusal::NotReleased);
        }
        if let (true, false, Some(failure)) = (warden, self.ready(), self.failure()) {
            return Err(Refusal::Unable(failure.to_owned()));
        }
        if !self.uploads.iter().any(Upload::trains) {
            return Err(Refusal::NothingToTrainOn { refused: self.uploads.iter().any(Upload::refused) });
        }
        if self.unfinished() >= MOST_ROUNDS {
            return Err(Refusal::TooManyRounds);
        }
        Ok(())
    }

    /// Whether this contributor may withdraw an upload.
    ///
    /// # Errors
    /// [`Refusal::NotYours`] if the upload is another's, or not there.
    pub fn check_withdrawal(&self, upload: &Id, contributor: &Id) -> Result<(), Refusal> {
        match self.upload(upload).is_some_and(|u| u.header().contributor == *contributor) {
            true => Ok(()),
            false => Err(Refusal::NotYours { contributor: *contributor, upload: *upload }),
        }
    }

    /// What a contributor has stored. What it withdrew does not count.
    pub fn stock(&self, contributor: &Id) -> Stock {
        let own = |u: &&Upload| u.header().contributor == *contributor && !u.withdrawn();
        self.uploads.iter().filter(own).fold(Stock::default(), |stock, u| Stock {
            rows: stock.rows + u64::from(u.header().rows),
            bytes: stock.bytes + u.header().body_bytes(&self.spec),
            uploads: stock.uploads + 1,
        })
    }

    /// Owners have no quota.
    fn check_quota(&self, header: &UploadHeader) -> Result<(), Refusal> {
        let Some(member) = self.roster.contributor(&PublicKey::from(header.contributor)) else {
            return Ok(());
        };
        let (stock, quota) = (self.stock(&header.contributor), member.quota);
        let more = header.body_bytes(&self.spec);
        let sums = [
            ("rows", stock.rows.saturating_add(header.rows.into()), quota.rows),
            ("bytes", stock.bytes.saturating_add(more), quota.bytes),
            ("uploads", u64::from(stock.uploads) + 1, u64::from(quota.uploads)),
        ];
        match sums.into_iter().find(|(_, wanted, allowed)| wanted > allowed) {
            None => Ok(()),
            Some((what, wanted, allowed)) => Err(Refusal::Quota { what, wanted, allowed }),
        }
    }
}
