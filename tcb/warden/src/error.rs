//! Why a command is not carried out: what the warden's own code decides by, and words for all else.

use std::fmt;

use blindsmith_formats::{ReleaseFormatError, VALUES};
use blindsmith_identity::SignedError;
use blindsmith_keys::SealError;
use blindsmith_learn::TrainError;
use blindsmith_protocol::{FrameError, Id, SpecError};
use thiserror::Error;

use crate::accelerator::ProductError;
use crate::cloud::CloudError;
use crate::sessions::SessionError;

/// Why something is refused, in words for who asked: nobody decides by them.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Refusal(words.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// An error itself it is not: so all errors become one.
impl<E: std::error::Error> From<E> for Refusal {
    fn from(e: E) -> Self {
        Refusal(e.to_string())
    }
}

/// A release, state or model that does not fit.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// The specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The release is not signed by the owner.
    #[error("the release: {0}")]
    Signed(#[from] SignedError),
    /// The release is for another project.
    #[error("the release is for another project")]
    Project,
    /// The release does not open, or not in this session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It opens to something else.
    #[error(transparent)]
    Format(#[from] ReleaseFormatError),
    /// The sealed state or model does not open.
    #[error("{0}: {1}")]
    Sealed(&'static str, SealError),
    /// A state before the newest.
    #[error(
        "the state is that of round {found}, but round {newest} was stored: the refinery went back to an older one"
    )]
    RolledBack {
        /// Its round.
        found: u64,
        /// The newest round that was acknowledged.
        newest: u64,
    },
    /// A second history.
    #[error("this warden has another history of the project: the refinery forked it")]
    Fork,
    /// Another warden goes on with it.
    #[error(
        "this warden handed the project over to warden {0}, which went on with it: start that one, with --take-over"
    )]
    HandedOver(Id),
    /// Counters could not be read.
    #[error("the warden's counters: {0}")]
    Counters(std::io::Error),
    /// The parts do not belong together.
    #[error("the project does not fit together: {0}")]
    Mismatch(Refusal),
}

pub(crate) fn mismatch(e: impl fmt::Display) -> ProjectError {
    ProjectError::Mismatch(Refusal::new(e.to_string()))
}

/// Why a round or query was refused. It names the instruction or upload, never a value.
#[derive(Debug, Error)]
pub(crate) enum RoundError {
    /// Uploads that no contributor of this project made, or that were altered.
    #[error("{} uploads are not authentic", .0.len())]
    Forged(Vec<Id>),
    /// An upload twice in one round.
    #[error("upload {0} was given twice")]
    Twice(Id),
    /// Nothing to train on.
    #[error("no rows to train on")]
    Empty,
    /// The refinery answered wrongly: which instruction.
    #[error("the refinery answered wrongly: {0}")]
    Fault(String),
    /// The query is none.
    #[error("the query was refused")]
    Query,
    /// Values left their range. What happened is the owner's to know: every case looks alike to others.
    #[error("{VALUES}")]
    Values(String),
    /// The project's rules allow no more.
    #[error("the owner's rules do not allow it: {0}")]
    Rules(Refusal),
    /// Counters could not be read or written.
    #[error("the warden's counters: {0}")]
    Counters(#[from] std::io::Error),
    /// What was asked for does not fit the project, or cannot be computed.
    #[error("{0}")]
    Refused(Refusal),
    /// The cloud is gone.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl RoundError {
    pub(crate) fn refused(words: impl Into<String>) -> Self {
        RoundError::Refused(Refusal::new(words))
    }
}

impl From<TrainError<ProductError>> for RoundError {
    fn from(error: TrainError<ProductError>) -> Self {
        use std::error::Error;
        let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
        match error {
            TrainError::Accelerator(ProductError::Cloud(CloudError::Frame(e))) => RoundError::Frame(e),
            TrainError::Accelerator(ProductError::Fault(instruction)) => RoundError::Fault(instruction),
            TrainError::Diverged { .. }
            | TrainError::Accelerator(ProductError::Overflow(_) | ProductError::OutOfRange(_)) => {
                RoundError::Values(format!("{error}{cause}"))
            }
            error => RoundError::refused(format!("training stopped: {error}{cause}")),
        }
    }
}
