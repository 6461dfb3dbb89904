//! Signed receipts and reports, opened: what is beyond the limits of the format is refused, whoever signed it.

use blindsmith_identity::{PublicKey, SignedError, open};
use blindsmith_protocol::{Blob, Decision, MAX_UPLOADS};
use blindsmith_receipts::{FAULT, FaultReport, MAX_REASON, RECEIPT, RECEIPT_VERSION, Receipt};

/// Bytes of a sealed decision: salt, padded decision, tag. All of them are equally long.
pub const SEALED_DECISION: usize = 32 + 64 + 16;
/// Longest name of a kind of trusted execution environment, in bytes.
pub const MAX_TEE: usize = 64;
/// Longest measurement, in bytes.
pub const MAX_MEASUREMENT: usize = 64;

/// Opens a receipt that should be signed by `key`.
///
/// # Errors
/// [`SignedError`] if it is another's, malformed, of another version or beyond a limit.
pub fn open_receipt(bytes: &[u8], key: &PublicKey) -> Result<Receipt, SignedError> {
    let receipt: Receipt = open(bytes, &RECEIPT, key)?;
    version(receipt.version)?;
    text("tee", &receipt.tee, MAX_TEE)?;
    limit("measurement", receipt.measurement.0.len(), MAX_MEASUREMENT)?;
    limit("uploads", receipt.uploads.len(), MAX_UPLOADS)?;
    limit("quarantined", receipt.quarantined.len(), MAX_UPLOADS)?;
    match &receipt.decision {
        Decision::Promoted | Decision::Restored { .. } => {}
        Decision::Failed { reason } | Decision::RolledBack { reason } => text("reason", reason, MAX_REASON)?,
        Decision::Sealed(Blob(sealed)) if sealed.len() == SEALED_DECISION => {}
        Decision::Sealed(Blob(sealed)) => {
            return Err(SignedError::Limit(format!(
                "a sealed decision has {SEALED_DECISION} bytes, this one {}",
                sealed.len()
            )));
        }
    }
    Ok(receipt)
}

/// Opens a report that should be signed by `key`.
///
/// # Errors
/// [`SignedError`] if it is another's, malformed, of another version or beyond a limit.
pub fn open_fault(bytes: &[u8], key: &PublicKey) -> Result<FaultReport, SignedError> {
    let report: FaultReport = open(bytes, &FAULT, key)?;
    version(report.version)?;
    text("tee", &report.tee, MAX_TEE)?;
    text("instruction", &report.instruction, MAX_REASON)?;
    Ok(report)
}

fn version(version: u32) -> Result<(), SignedError> {
    if version == RECEIPT_VERSION { Ok(()) } else { Err(SignedError::Version(version)) }
}

fn limit(what: &str, len: usize, most: usize) -> Result<(), SignedError> {
    if len <= most { Ok(()) } else { Err(SignedError::Limit(format!("{what}: {len}, at most {most}"))) }
}

/// Texts are shown to people: control characters could disguise what is shown.
fn text(what: &str, text: &str, most: usize) -> Result<(), SignedError> {
    limit(what, text.len(), most)?;
    if text.chars().any(char::is_control) {
        return Err(SignedError::Limit(format!("{what}: control characters")));
    }
    Ok(())
}
