//! What travels: frames, messages, the upload format, and their limits. Everything here is public
//! material; secrets cross only inside sealed byte strings.
//!
//! See `docs/protocol.md` for the formats in words.

mod decision;
mod frame;
mod id;
mod layout;
mod limits;
mod link;
mod message;
mod project;
mod upload;

pub use decision::{Decision, Quarantined, Reason};
pub use frame::{FrameError, HEADER_BYTES, MAGIC, PROTOCOL_VERSION, read_body, read_head, write_frame};
pub use id::Id;
pub use layout::{BlockLayout, packed_bytes};
pub use limits::*;
pub use link::{FromWarden, Instruction, Lane, Left, Outcome, Place, Projection, ToWarden, operand_residues};
pub use message::{Blob, Evidence, Progress, RoundRecord, RoundSummary};
pub use project::{Layer, Offload, ProjectSpec, SpecError, Trigger};
pub use upload::{AdmittedUpload, BlockRef, Role, UploadError, UploadHeader, block_digest, root_digest};

/// Decodes one CBOR item from bytes that came from outside; trailing bytes are refused.
pub fn from_cbor<T: serde::de::DeserializeOwned>(mut bytes: &[u8]) -> Result<T, FrameError> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, CBOR_DEPTH)
        .map_err(|e| FrameError::Malformed(e.to_string()))?;
    if bytes.is_empty() { Ok(value) } else { Err(FrameError::Malformed("bytes after the end".into())) }
}

/// Encodes as CBOR.
pub fn to_cbor<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_cbor(value, &mut bytes);
    bytes
}

/// Appends it as CBOR: where there is room for it, nothing is copied.
pub fn append_cbor<T: serde::Serialize>(value: &T, bytes: &mut Vec<u8>) {
    // Unwrap safety: writing to memory does not fail, and our messages have no unserialisable parts.
    ciborium::into_writer(value, bytes).expect("a message of plain data");
}
