//! What several messages carry, and what a round leaves.

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Quarantined};
use crate::id::Id;

/// Bytes inside a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Blob(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a warden says of itself, and a report in which its environment vouches for that; see `blindsmith-evidence`. A
/// simulated warden proves nothing: its claims say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The encoded claims.
    pub claims: Blob,
    /// The quote or report.
    pub report: Blob,
    /// What the host adds; nobody vouches for it.
    pub auxiliary: Blob,
}

/// How far a round is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The round.
    pub round: u64,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
}

/// A round as the refinery sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RoundSummary {
    /// The round; 0 is the initial model.
    pub round: u64,
    /// Uploads used.
    pub uploads: u32,
    /// Rows trained on.
    pub rows: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Wall-clock time in which the refinery multiplied.
    pub cloud_seconds: f64,
    /// Core time of the refinery's process in the round.
    pub cloud_cpu_seconds: f64,
    /// Wall-clock time in which the warden did not wait for the refinery.
    pub warden_seconds: f64,
    /// Core time of the warden's process in the round.
    pub warden_cpu_seconds: f64,
    /// Core time of the warden that went into checking what the refinery returned.
    pub check_cpu_seconds: f64,
    /// Bytes between refinery and warden.
    pub traffic_bytes: u64,
    /// Largest resident memory of the warden's process so far.
    pub warden_peak_bytes: u64,
    /// Metrics, sealed to the owner.
    pub metrics: Blob,
    /// What became of it.
    pub decision: Decision,
    /// The version that is current after it: its own number if it was promoted.
    pub current: u64,
    /// Uploads that it set aside; none under a fixed schedule, where the owner alone learns of them.
    pub quarantined: Vec<Quarantined>,
    /// Trainings that it took: more than one where uploads were tried apart.
    pub trials: u32,
    /// The number of the last order of the owner that it knew.
    pub orders: u64,
    /// When the refinery stored it, in seconds since 1970.
    pub at: u64,
    /// Whether somebody asked for it; else a trigger started it.
    pub asked: bool,
}

/// What a finished round leaves, stored in one piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// The public part.
    pub summary: RoundSummary,
    /// The uploads that it was given.
    pub given: Vec<Id>,
    /// Those of them that its model was trained on or that it was judged with.
    pub used: Vec<Id>,
    /// The warden's sealed state.
    pub state: Blob,
    /// The model and what opens the receipt's commitment to it, sealed to the owner.
    pub model: Blob,
    /// The warden's signed receipt.
    pub receipt: Blob,
}
