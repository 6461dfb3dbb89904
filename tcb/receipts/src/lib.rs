//! Receipts: what a warden signs of each round, as COSE_Sign1 (RFC 9052) with Ed25519 (RFC 8032). A receipt
//! names its predecessor, so they form a chain. `client/attest` opens receipts and verifies chains.
//!
//! See `docs/receipts.md` for the formats in words.

#![forbid(unsafe_code)]

mod commitment;
mod envelope;
mod receipt;
mod rules;

pub use blindsmith_identity::{MAX_SIGNED, PublicKey, SignedError, SigningKey};
pub use blindsmith_protocol::{Decision, Quarantined, Reason};
pub use commitment::commit;
pub use envelope::{FAULT, RECEIPT, receipt_digest, receipt_signing_key, sign_fault, sign_receipt};
pub use receipt::{FaultReport, MAX_REASON, RECEIPT_VERSION, Receipt};
pub use rules::{FixedSchedule, Rules, RulesError};
