//! What becomes of rounds and uploads.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::message::Blob;

/// What became of a round.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Decision {
    /// Its model is the current version from now on.
    #[default]
    Promoted,
    /// Its model was worse than the current version, which stays.
    RolledBack {
        /// Why, in words that name no value of data or model.
        reason: String,
    },
    /// It could not be brought to an end; the current version stays.
    Failed {
        /// Why, in words that name no value of data or model.
        reason: String,
    },
    /// The owner made an earlier version the current one.
    Restored {
        /// Which version.
        version: u64,
    },
    /// One of these, sealed to the owner: under a fixed schedule the refinery must not learn which.
    Sealed(Blob),
}

impl Decision {
    /// Why its model was discarded, if that is known.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Decision::RolledBack { reason } | Decision::Failed { reason } => Some(reason),
            _ => None,
        }
    }
}

/// Why an upload was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The current model is more wrong about it than the owner's rules allow, and than a model that knows nothing.
    Screened,
    /// So is a model that was trained on it.
    ScreenedAfter,
    /// The model became worse when it was trained on it.
    Worse,
    /// Trained on it, values left the range in which products are computed; without it they did not.
    OutOfRange,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Screened => {
                "its labels contradict the current model more than chance would: shuffled or wrong labels, or rows of \
                 another kind"
            }
            Reason::ScreenedAfter => {
                "its labels contradict what the other rows teach more than chance would: shuffled or wrong labels, or \
                 rows of another kind"
            }
            Reason::Worse => {
                "training on it made the model worse: wrong labels, or rows of another kind; if they are right, readmit it once \
                 more rows of their kind are there"
            }
            Reason::OutOfRange => {
                "training on it made values leave their range, which training without it does not: rows of another scale, \
                 or wrong values"
            }
        })
    }
}

/// An upload that was set aside: later rounds go on without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantined {
    /// The upload.
    pub upload: Id,
    /// Why.
    pub reason: Reason,
}
