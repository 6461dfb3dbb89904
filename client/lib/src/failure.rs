//! What can go wrong.

use std::path::Path;

use thiserror::Error;

/// Why an operation failed: each variant is a kind that a caller handles in its own way.
#[derive(Debug, Error)]
pub enum Failure {
    /// Rows or a model file.
    #[error(transparent)]
    Data(#[from] blindsmith_data::Error),
    /// No refinery.
    #[error("no refinery answers at {socket}: {source}. Start one with: blindsmith-refinery --store DIR")]
    Unreachable {
        /// Where.
        socket: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the refinery: {0}")]
    Connection(#[source] blindsmith_protocol::FrameError),
    /// Whoever waited asked for the end: see [`Interrupter`](crate::Interrupter).
    #[error("interrupted: nothing of it counts")]
    Interrupted,
    /// Refused.
    #[error("refused: {0}")]
    Refused(String),
    /// Rows that were pushed from this directory before.
    #[error(
        "these rows were pushed before, as upload {upload}. With --again they are pushed once more, and count twice"
    )]
    Repeated {
        /// The upload that has them.
        upload: String,
    },
    /// The warden is not one to trust.
    #[error("secrets were not released: {0:#}")]
    NotTrusted(#[from] blindsmith_attest::Refused),
    /// The keys do not open what came.
    #[error(
        "{what} does not open with this project's keys: they belong to another project, or the data was altered"
    )]
    Keys {
        /// What was to be opened.
        what: &'static str,
    },
    /// Project files.
    #[error("{path}: {message}")]
    Project {
        /// Which file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// Receipts, models or orders that do not verify.
    #[error("what the refinery shows does not verify: {0}")]
    NotProven(String),
    /// Evidence that the appraisal refused.
    #[error("the evidence is refused: {0}")]
    EvidenceRefused(String),
    /// Evidence, collateral or a policy that cannot be appraised.
    #[error("{path}: {message}")]
    Unusable {
        /// Which file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Settings(String),
    /// The same of `attest`.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// About a file of a project.
    pub fn project(path: &Path, message: impl std::fmt::Display) -> Self {
        Failure::Project { path: path.display().to_string(), message: message.to_string() }
    }

    /// About a file that cannot be appraised.
    pub fn unusable(path: &Path, message: impl std::fmt::Display) -> Self {
        Failure::Unusable { path: path.display().to_string(), message: message.to_string() }
    }
}

/// What a transfer fails with that is interrupted.
#[derive(Debug, Error)]
#[error("interrupted")]
pub(crate) struct Stopped;

impl From<blindsmith_protocol::FrameError> for Failure {
    fn from(error: blindsmith_protocol::FrameError) -> Self {
        match &error {
            blindsmith_protocol::FrameError::Io(e) if e.get_ref().is_some_and(|e| e.is::<Stopped>()) => {
                Failure::Interrupted
            }
            _ => Failure::Connection(error),
        }
    }
}

/// The refinery answered what no refinery should.
pub fn unexpected() -> Failure {
    blindsmith_protocol::FrameError::Unexpected("the refinery answered something else").into()
}
