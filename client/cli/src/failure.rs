//! What can go wrong, and the exit code that scripts see.

use std::path::Path;

use thiserror::Error;

/// A failed command. Exit codes: 1 other, 2 wrong usage (from the argument parser), 3 data refused, 4 no
/// refinery, 5 refused by refinery or warden, 6 warden not trusted, 7 keys do not fit, 8 files of the project,
/// policies or receipts that cannot be read, 9 receipts that do not verify. Appraisal has three of its own: 2 evidence
/// refused, 3 input that cannot be appraised, 64 wrong usage.
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
    Connection(#[from] blindsmith_protocol::FrameError),
    /// Refused.
    #[error("refused: {0}")]
    Refused(String),
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
    /// The exit code of wrong usage where 2 says that evidence is refused: EX_USAGE of sysexits.
    pub const USAGE: u8 = 64;

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Other(_) => 1,
            Failure::Settings(_) | Failure::EvidenceRefused(_) => 2,
            Failure::Data(_) | Failure::Unusable { .. } => 3,
            Failure::Unreachable { .. } | Failure::Connection(_) => 4,
            Failure::Refused(_) => 5,
            Failure::NotTrusted(_) => 6,
            Failure::Keys { .. } => 7,
            Failure::Project { .. } => 8,
            Failure::NotProven(_) => 9,
            Failure::Usage(_) => Failure::USAGE,
        }
    }

    pub(crate) fn project(path: &Path, message: impl std::fmt::Display) -> Self {
        Failure::Project { path: path.display().to_string(), message: message.to_string() }
    }

    pub(crate) fn unusable(path: &Path, message: impl std::fmt::Display) -> Self {
        Failure::Unusable { path: path.display().to_string(), message: message.to_string() }
    }
}
