//! What a store says when it cannot do what is asked.

use std::io;
use std::path::{Path, PathBuf};

use blindsmith_protocol::{Id, UploadError};
use thiserror::Error;

/// A store that cannot do what is asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk.
    #[error("the store at {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The database.
    #[error("the store's metadata at {place}: {source}")]
    Metadata {
        /// Which database, without a password.
        place: String,
        /// What it says.
        source: sqlx::Error,
    },
    /// The object store.
    #[error("the store's blobs at {place}: {source}")]
    Remote {
        /// Which object.
        place: String,
        /// What the service says.
        source: object_store::Error,
    },
    /// A URL, or a combination of arguments, that names no store.
    #[error("{0}")]
    Place(String),
    /// Something that is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file, or which database.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An upload that does not fit.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Somebody else serves it.
    #[error("the {what} {place} is in use by another refinery: stop that one, or choose another {what}")]
    InUse {
        /// `directory` or `database`.
        what: &'static str,
        /// Which one, without a password.
        place: String,
    },
    /// Another refinery took it over while this one served it.
    #[error("another refinery took over the database {place}: this one writes nothing more, and ends")]
    Taken {
        /// Which database, without a password.
        place: String,
    },
    /// The lock that makes this the one refinery that writes was lost.
    #[error(
        "the lock on the database {place} was lost ({why}): nothing is written until it is held again, try again"
    )]
    Unlocked {
        /// Which database, without a password.
        place: String,
        /// How it was lost.
        why: String,
    },
    /// A database or an object store that does not answer.
    #[error("the {what} {place} is not reachable ({why}): try again")]
    Unreachable {
        /// `database` or `object store`.
        what: &'static str,
        /// Which one, without a password.
        place: String,
        /// What was seen.
        why: String,
    },
    /// An object store that cannot be used as it is.
    #[error("the object store {place} cannot be used: {why}; {advice}")]
    Objects {
        /// Which one.
        place: String,
        /// What was tried, and what it said.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// Written by version 0.1, as a directory of files.
    #[error(
        "{0} is a store in the format of version 0.1, which this version does not read: choose another \
         directory, or serve it with version 0.1"
    )]
    OldFormat(PathBuf),
    /// Written by a later version.
    #[error(
        "the metadata at {place} is of version {found}, this program knows versions up to {known}: install the \
         later version that wrote it"
    )]
    Newer {
        /// Which database.
        place: String,
        /// Its version.
        found: i64,
        /// The last version that is known here.
        known: i64,
    },
    /// Written by an earlier version, and opened to be looked at only.
    #[error(
        "the metadata at {0} is of an earlier version: start this version's refinery on it once, then try again"
    )]
    Older(String),
    /// The project exists with another content.
    #[error("the project {0} exists already")]
    Exists(Id),
    /// There is no such thing.
    #[error("the store has no {0}")]
    Missing(String),
    /// The rows were withdrawn: they are gone, and do not come back under the same header.
    #[error("the upload {0} was withdrawn: encrypt its rows anew to contribute them again")]
    Withdrawn(Id),
    /// An order that does not follow the last one.
    #[error("the next order of this project has number {expected}, not {got}")]
    Order {
        /// The number that is next.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// Bytes of a resumable upload that do not follow those that are there.
    #[error("{durable} bytes of this upload are stored: go on from there")]
    Offset {
        /// Bytes that are there, whatever happens.
        durable: u64,
    },
    /// A job whose lease ran out, or that was finished.
    #[error("the job's lease is over: another has it, or it is done")]
    Lease,
}

impl StoreError {
    /// Whether it may pass by itself, as what is kept elsewhere could not be reached.
    pub fn is_away(&self) -> bool {
        matches!(self, StoreError::Unreachable { .. } | StoreError::Unlocked { .. })
    }
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

pub(super) fn damaged(path: &Path, why: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why: why.into() }
}
