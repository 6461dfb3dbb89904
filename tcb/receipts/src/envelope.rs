//! Signed receipts and reports.

use blindsmith_identity::{Kind, PublicKey, SignedError, SigningKey, open, sign, signed_digest};
use blindsmith_keys::Key;

use crate::{FaultReport, Receipt};

/// The content type of receipts.
pub const RECEIPT_TYPE: &str = "application/vnd.blindsmith.receipt+cbor";
/// The content type of fault reports.
pub const FAULT_TYPE: &str = "application/vnd.blindsmith.fault+cbor";

const RECEIPT: Kind = Kind { content: RECEIPT_TYPE, aad: b"blindsmith receipt v1" };
const FAULT: Kind = Kind { content: FAULT_TYPE, aad: b"blindsmith fault v1" };

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

/// Opens a receipt that should be signed by `key`.
pub fn open_receipt(bytes: &[u8], key: &PublicKey) -> Result<Receipt, SignedError> {
    let receipt: Receipt = open(bytes, &RECEIPT, key)?;
    receipt.validate()?;
    Ok(receipt)
}

/// Opens a report that should be signed by `key`.
pub fn open_fault(bytes: &[u8], key: &PublicKey) -> Result<FaultReport, SignedError> {
    let report: FaultReport = open(bytes, &FAULT, key)?;
    report.validate()?;
    Ok(report)
}

/// What the next receipt names as its predecessor: SHA-256 of the signed bytes.
pub fn receipt_digest(bytes: &[u8]) -> [u8; 32] {
    signed_digest(bytes)
}
