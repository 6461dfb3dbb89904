//! Signed receipts and reports.

use blindsmith_identity::{Kind, SigningKey, sign, signed_digest};
use blindsmith_keys::Key;

use crate::receipt::{FaultReport, Receipt};

/// What tells receipts from other signed messages.
pub const RECEIPT: Kind =
    Kind { content: "application/vnd.blindsmith.receipt+cbor", aad: b"blindsmith receipt v1" };
/// What tells fault reports from them.
pub const FAULT: Kind =
    Kind { content: "application/vnd.blindsmith.fault+cbor", aad: b"blindsmith fault v1" };

/// The key that signs a warden's receipts: derived from its sealing key, so it outlives restarts.
pub fn receipt_signing_key(sealing: &Key) -> SigningKey {
    SigningKey::from_seed(sealing.derive("receipts", &[]).expose())
}

/// Signs a receipt.
pub fn sign_receipt(receipt: &Receipt, key: &SigningKey) -> Vec<u8> {
    sign(receipt, &RECEIPT, key)
}

/// Signs a report.
pub fn sign_fault(report: &FaultReport, key: &SigningKey) -> Vec<u8> {
    sign(report, &FAULT, key)
}

/// What the next receipt names as its predecessor: SHA-256 of the signed bytes.
pub fn receipt_digest(bytes: &[u8]) -> [u8; 32] {
    signed_digest(bytes)
}
