//! The envelope: COSE_Sign1 (RFC 9052, section 4.2) with one fixed form, so that every receipt has one encoding.

use blindsmith_protocol::{from_cbor, to_cbor};
use coset::iana::Algorithm;
use coset::{
    ContentType, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{FaultReport, Receipt, ReceiptKey, SigningKey};

/// Longest signed receipt or report, in bytes.
pub const MAX_RECEIPT: usize = 1 << 20;
/// The content type of receipts.
pub const RECEIPT_TYPE: &str = "application/vnd.blindsmith.receipt+cbor";
/// The content type of fault reports.
pub const FAULT_TYPE: &str = "application/vnd.blindsmith.fault+cbor";

/// What tells the two kinds of signed messages apart: to readers, and in the signature.
struct Kind {
    content: &'static str,
    aad: &'static [u8],
}

const RECEIPT: Kind = Kind { content: RECEIPT_TYPE, aad: b"blindsmith receipt v1" };
const FAULT: Kind = Kind { content: FAULT_TYPE, aad: b"blindsmith fault v1" };

/// Why a receipt or a report is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// Longer than [`MAX_RECEIPT`].
    #[error("{0} bytes, where at most {MAX_RECEIPT} are possible")]
    Long(usize),
    /// Not the structure, or more than it.
    #[error("not one COSE_Sign1 message: {0}")]
    Malformed(String),
    /// Another algorithm, or none.
    #[error("the algorithm is not EdDSA")]
    Algorithm,
    /// Another content type, or none.
    #[error("the content type is not {0}")]
    ContentType(&'static str),
    /// Critical headers.
    #[error("critical headers, which this version does not know")]
    Critical,
    /// Another key identifier, or none.
    #[error("the key identifier is not the expected key")]
    KeyId,
    /// Further headers, protected or not.
    #[error("headers beyond algorithm, content type and key identifier")]
    Headers,
    /// No embedded payload.
    #[error("no payload")]
    Payload,
    /// The expected key is none.
    #[error("the expected key is not an Ed25519 public key")]
    Key,
    /// Not signed by the expected key.
    #[error("the signature is not one of the expected key")]
    Signature,
    /// Encoded in another way than signing does.
    #[error("not encoded in the one way that counts")]
    NotCanonical,
    /// Signed, but no receipt or report.
    #[error("the payload cannot be read: {0}")]
    Content(String),
    /// Another version.
    #[error("version {0}, where only version 1 is known")]
    Version(u32),
    /// Beyond a limit.
    #[error("beyond a limit: {0}")]
    Limit(String),
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
pub fn open_receipt(bytes: &[u8], key: &ReceiptKey) -> Result<Receipt, ReceiptError> {
    let receipt: Receipt = open(bytes, &RECEIPT, key)?;
    receipt.validate()?;
    Ok(receipt)
}

/// Opens a report that should be signed by `key`.
pub fn open_fault(bytes: &[u8], key: &ReceiptKey) -> Result<FaultReport, ReceiptError> {
    let report: FaultReport = open(bytes, &FAULT, key)?;
    report.validate()?;
    Ok(report)
}

/// What the next receipt names as its predecessor: SHA-256 of the signed bytes.
pub fn receipt_digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn header(kind: &Kind, key: &ReceiptKey) -> Header {
    HeaderBuilder::new()
        .algorithm(Algorithm::EdDSA)
        .content_type(kind.content.to_owned())
        .key_id(key.0.to_vec())
        .build()
}

fn sign<T: Serialize>(value: &T, kind: &Kind, key: &SigningKey) -> Vec<u8> {
    let message = CoseSign1Builder::new()
        .protected(header(kind, &key.verifying()))
        .payload(to_cbor(value))
        .create_signature(kind.aad, |signed| key.sign(signed).to_vec())
        .build();
    // Unwrap safety: writing to memory does not fail, and the headers are distinct.
    message.to_tagged_vec().expect("a message of plain data")
}

fn open<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    kind: &Kind,
    key: &ReceiptKey,
) -> Result<T, ReceiptError> {
    if bytes.len() > MAX_RECEIPT {
        return Err(ReceiptError::Long(bytes.len()));
    }
    let mut message =
        CoseSign1::from_tagged_slice(bytes).map_err(|e| ReceiptError::Malformed(e.to_string()))?;
    check_headers(&message, kind, key)?;
    let payload = message.payload.as_deref().ok_or(ReceiptError::Payload)?;
    let verifying = VerifyingKey::from_bytes(&key.0).map_err(|_| ReceiptError::Key)?;
    message.verify_signature(kind.aad, |signature, signed| {
        let signature = Signature::from_slice(signature).map_err(|_| ReceiptError::Signature)?;
        // Strict: whoever has the key cannot make a signature on which two verifiers disagree.
        verifying.verify_strict(signed, &signature).map_err(|_| ReceiptError::Signature)
    })?;
    let value: T = from_cbor(payload).map_err(|e| ReceiptError::Content(e.to_string()))?;
    // Receipts are named by the digest of their bytes: a second encoding would be a second name.
    let canonical = to_cbor(&value) == payload;
    message.protected.original_data = None;
    if !canonical || message.to_tagged_vec().ok().as_deref() != Some(bytes) {
        return Err(ReceiptError::NotCanonical);
    }
    Ok(value)
}

fn check_headers(message: &CoseSign1, kind: &Kind, key: &ReceiptKey) -> Result<(), ReceiptError> {
    let protected = &message.protected.header;
    if protected.alg != Some(RegisteredLabelWithPrivate::Assigned(Algorithm::EdDSA)) {
        return Err(ReceiptError::Algorithm);
    }
    if protected.content_type != Some(ContentType::Text(kind.content.to_owned())) {
        return Err(ReceiptError::ContentType(kind.content));
    }
    if !protected.crit.is_empty() {
        return Err(ReceiptError::Critical);
    }
    if protected.key_id != key.0 {
        return Err(ReceiptError::KeyId);
    }
    let expected = header(kind, key);
    if *protected != expected || !message.unprotected.is_empty() {
        return Err(ReceiptError::Headers);
    }
    Ok(())
}
