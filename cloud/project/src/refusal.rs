//! Why a project does not take what a client sends. Nothing was changed.

use blindsmith_identity::{RosterError, SignedError};
use blindsmith_protocol::{Id, MAX_UPLOADS};
use thiserror::Error;

use crate::queue::MOST_ROUNDS;

/// Why not, and what to do.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Nobody can run a round.
    #[error("no warden holds this project's secrets: run init again")]
    NotReleased,
    /// The connected warden cannot run a round.
    #[error("{0}")]
    Unable(String),
    /// There are no rows, or none that a round may use.
    #[error("nothing to train on: {}", if *.refused { "the rows were refused, see blindsmith status" } else { "push rows first" })]
    NothingToTrainOn {
        /// Whether there are rows that the warden refused.
        refused: bool,
    },
    /// Enough rounds wait.
    #[error("{MOST_ROUNDS} rounds of this project wait or run: ask again when one is over")]
    TooManyRounds,
    /// The upload was withdrawn.
    #[error("the upload {0} was withdrawn: encrypt its rows anew to contribute them again")]
    Withdrawn(Id),
    /// The project is full.
    #[error("a project has at most {MAX_UPLOADS} uploads: gather rows into larger ones")]
    TooManyUploads,
    /// More than the owner allows the contributor.
    #[error(
        "with this upload you would store {wanted} {what}, and the owner allows {allowed}: withdraw another, or ask the \
         owner for more"
    )]
    Quota {
        /// Rows, bytes or uploads.
        what: &'static str,
        /// How many there would be.
        wanted: u64,
        /// How many there may be.
        allowed: u64,
    },
    /// The contributor has no such upload.
    #[error("{contributor} has no upload {upload} in this project")]
    NotYours {
        /// The contributor.
        contributor: Id,
        /// The upload.
        upload: Id,
    },
    /// Bytes that are no order of the owner.
    #[error("the order was refused: {0}")]
    Order(SignedError),
    /// An order of another project.
    #[error("the order was refused: it is of another project")]
    OtherProject,
    /// An order about a version that there is not.
    #[error("the order was refused: there is no version {version}: the newest is {newest}")]
    NoVersion {
        /// The version.
        version: u64,
        /// The newest one.
        newest: u64,
    },
    /// An order about an upload that there is not.
    #[error("the order was refused: there is no upload {0} in this project")]
    NoUpload(Id),
    /// An order that does not follow those before it.
    #[error("the order was refused: {0}")]
    Roster(RosterError),
}
