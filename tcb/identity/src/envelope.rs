//! The envelope: COSE_Sign1 (RFC 9052, section 4.2) with one fixed form, so that every message has one encoding.

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

use crate::key::{PublicKey, SigningKey};

/// Longest signed message, in bytes.
pub const MAX_SIGNED: usize = 1 << 20;

/// What tells kinds of signed messages apart: to readers, and in the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The content type.
    pub content: &'static str,
    /// Enters the signature.
    pub aad: &'static [u8],
}

/// Why a signed message is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignedError {
    /// Longer than [`MAX_SIGNED`].
    #[error("{0} bytes, where at most {MAX_SIGNED} are possible")]
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
    /// Signed, but not what was expected.
    #[error("the payload cannot be read: {0}")]
    Content(String),
    /// Another version.
    #[error("version {0}, which this program does not know")]
    Version(u32),
    /// Beyond a limit.
    #[error("beyond a limit: {0}")]
    Limit(String),
}

/// SHA-256 of a signed message's bytes: what other messages name it by.
pub fn signed_digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn header(kind: &Kind, key: &PublicKey) -> Header {
    HeaderBuilder::new()
        .algorithm(Algorithm::EdDSA)
        .content_type(kind.content.to_owned())
        .key_id(key.0.to_vec())
        .build()
}

/// Signs a message.
pub fn sign<T: Serialize>(value: &T, kind: &Kind, key: &SigningKey) -> Vec<u8> {
    let message = CoseSign1Builder::new()
        .protected(header(kind, &key.verifying()))
        .payload(to_cbor(value))
        .create_signature(kind.aad, |signed| key.sign(signed).to_vec())
        .build();
    // Unwrap safety: writing to memory does not fail, and the headers are distinct.
    message.to_tagged_vec().expect("a message of plain data")
}

/// Opens a message that should be signed by `key`.
pub fn open<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    kind: &Kind,
    key: &PublicKey,
) -> Result<T, SignedError> {
    if bytes.len() > MAX_SIGNED {
        return Err(SignedError::Long(bytes.len()));
    }
    let mut message =
        CoseSign1::from_tagged_slice(bytes).map_err(|e| SignedError::Malformed(e.to_string()))?;
    check_headers(&message, kind, key)?;
    let payload = message.payload.as_deref().ok_or(SignedError::Payload)?;
    let verifying = VerifyingKey::from_bytes(&key.0).map_err(|_| SignedError::Key)?;
    message.verify_signature(kind.aad, |signature, signed| {
        let signature = Signature::from_slice(signature).map_err(|_| SignedError::Signature)?;
        // Strict: whoever has the key cannot make a signature on which two verifiers disagree.
        verifying.verify_strict(signed, &signature).map_err(|_| SignedError::Signature)
    })?;
    let value: T = from_cbor(payload).map_err(|e| SignedError::Content(e.to_string()))?;
    // Messages are named by the digest of their bytes: a second encoding would be a second name.
    let canonical = to_cbor(&value) == payload;
    message.protected.original_data = None;
    if !canonical || message.to_tagged_vec().ok().as_deref() != Some(bytes) {
        return Err(SignedError::NotCanonical);
    }
    Ok(value)
}

fn check_headers(message: &CoseSign1, kind: &Kind, key: &PublicKey) -> Result<(), SignedError> {
    let protected = &message.protected.header;
    if protected.alg != Some(RegisteredLabelWithPrivate::Assigned(Algorithm::EdDSA)) {
        return Err(SignedError::Algorithm);
    }
    if protected.content_type != Some(ContentType::Text(kind.content.to_owned())) {
        return Err(SignedError::ContentType(kind.content));
    }
    if !protected.crit.is_empty() {
        return Err(SignedError::Critical);
    }
    if protected.key_id != key.0 {
        return Err(SignedError::KeyId);
    }
    let expected = header(kind, key);
    if *protected != expected || !message.unprotected.is_empty() {
        return Err(SignedError::Headers);
    }
    Ok(())
}
