//! What a warden signs: receipts of rounds, and reports of wrong answers.

use blindsmith_protocol::{Blob, Decision, Id, Quarantined};
use serde::{Deserialize, Serialize};

/// The version of both payloads.
pub const RECEIPT_VERSION: u32 = 3;
/// Longest reason of a failure, and longest name of an instruction, in bytes.
pub const MAX_REASON: usize = 256;

/// What a warden attests of one round. Public: commitments and digests stand for what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`RECEIPT_VERSION`].
    pub version: u32,
    /// The project.
    pub project: Id,
    /// Kind of trusted execution environment; `simulated` is none.
    pub tee: String,
    /// The warden's measurement; empty for simulated ones.
    pub measurement: Blob,
    /// The digest of the owner's rules, [`crate::Rules::digest`].
    #[serde(with = "serde_bytes")]
    pub rules: [u8; 32],
    /// The round; 0 is the release of the secrets.
    pub round: u64,
    /// Attempts begun at this round, this one included.
    pub attempts: u32,
    /// Wrong answers of the refinery since the previous receipt.
    pub faults: u32,
    /// [`crate::receipt_digest`] of the previous receipt; none for round 0 only.
    #[serde(with = "serde_bytes")]
    pub previous: Option<[u8; 32]>,
    /// The number of the owner's last order that the warden knew, see `blindsmith-identity`.
    pub orders: u64,
    /// The digest of all orders up to that one; zero before the first.
    pub orders_digest: Id,
    /// The commitment to the recipe, [`crate::commit`].
    pub recipe: Id,
    /// The version that is current after this round: its own number if it was promoted.
    pub current: u64,
    /// Trainings that the round took.
    pub trials: u32,
    /// The uploads used, in order.
    pub uploads: Vec<Id>,
    /// The uploads set aside; none where decisions are sealed.
    pub quarantined: Vec<Quarantined>,
    /// Rows used.
    pub rows: u64,
    /// Steps taken.
    pub steps: u64,
    /// Commitment to the model before, [`crate::commit`].
    #[serde(with = "serde_bytes")]
    pub before: [u8; 32],
    /// Commitment to the model after.
    #[serde(with = "serde_bytes")]
    pub after: [u8; 32],
    /// What became of the round.
    pub decision: Decision,
    /// SHA-256 of the sealed metrics.
    #[serde(with = "serde_bytes")]
    pub metrics: [u8; 32],
}

/// A wrong answer of the refinery, found by the warden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultReport {
    /// [`RECEIPT_VERSION`].
    pub version: u32,
    /// The project.
    pub project: Id,
    /// Kind of trusted execution environment; `simulated` is none.
    pub tee: String,
    /// The round in which it was found.
    pub round: u64,
    /// Which attempt at the round.
    pub attempt: u32,
    /// Wrong answers since the newest receipt, this one included.
    pub fault: u32,
    /// The instruction that was answered wrongly; never a value.
    pub instruction: String,
    /// [`crate::receipt_digest`] of the newest receipt.
    #[serde(with = "serde_bytes")]
    pub previous: Option<[u8; 32]>,
}
