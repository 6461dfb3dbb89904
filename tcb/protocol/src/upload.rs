//! Uploads: a header, and row blocks of sealed labels and packed ciphertext.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Blob, Id, MAX_ROWS, ProjectSpec, to_cbor};

/// What an upload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Rows to train on.
    Training,
    /// Rows that judge the model and are never trained on.
    Validation,
    /// Rows of a query: answered and forgotten.
    Query,
}

/// One row block of one upload of a round or query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Index into the round's list of uploads.
    pub upload: u32,
    /// Index of the row block in the upload.
    pub block: u32,
}

/// One sampling group of one upload of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupRef {
    /// Index into the command's list of uploads.
    pub upload: u32,
    /// Index of the group in the upload.
    pub group: u32,
}

/// An upload that a warden admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedUpload {
    /// Its header.
    pub header: UploadHeader,
    /// What the warden sealed for itself when it admitted it.
    pub admission: Blob,
}

/// The authenticated header of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadHeader {
    /// The project.
    pub project: Id,
    /// Who contributes it: its public key (Ed25519); zero for queries.
    pub contributor: Id,
    /// The digest of the terms that it accepted; zero for the owner, whose own rules hold, and for queries.
    #[serde(with = "serde_bytes")]
    pub terms: [u8; 32],
    /// What it is for.
    pub role: Role,
    /// The nonce of its key.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
    /// Rows, without padding.
    pub rows: u32,
    /// Digest of the digests of its row blocks, see [`root_digest`].
    pub root: Id,
    /// The contributor's tag on everything above.
    #[serde(with = "serde_bytes")]
    pub tag: [u8; 32],
}

/// An upload that does not fit its project.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UploadError {
    /// Made for another project.
    #[error("the upload belongs to another project")]
    OtherProject,
    /// No rows, or too many.
    #[error("an upload of {0} rows, where 1 to {MAX_ROWS} are possible")]
    Rows(u32),
    /// Fewer or more bytes than its rows need.
    #[error(
        "the upload has {got} bytes, its {rows} rows need {expected}: it was truncated or belongs to another plan"
    )]
    Length {
        /// Bytes that came.
        got: u64,
        /// Bytes needed.
        expected: u64,
        /// Rows announced.
        rows: u32,
    },
    /// A digest differs.
    #[error("the upload's digest does not match its content: it was altered on the way, send it again")]
    Digest,
    /// A residue at or above the modulus.
    #[error("row block {0} holds a residue that is not below the modulus")]
    Residue(u32),
}

impl UploadHeader {
    /// What the tag authenticates: the CBOR of the header with a zero tag.
    pub fn authenticated(&self) -> Vec<u8> {
        to_cbor(&UploadHeader { tag: [0; 32], ..self.clone() })
    }

    /// The upload's identifier: digest of the whole header.
    pub fn id(&self) -> Id {
        let mut hash = blake3::Hasher::new_derive_key("blindsmith upload header v1");
        hash.update(&to_cbor(self));
        Id(*hash.finalize().as_bytes())
    }

    /// Number of row blocks.
    pub fn blocks(&self, spec: &ProjectSpec) -> u32 {
        self.rows.div_ceil(spec.block_rows() as u32)
    }

    /// Number of sampling groups.
    pub fn groups(&self, spec: &ProjectSpec) -> u32 {
        self.blocks(spec).div_ceil(spec.group_blocks)
    }

    /// Row blocks of a sampling group; the last one may have fewer, those that do not exist have none.
    pub fn group_blocks(&self, spec: &ProjectSpec, group: u32) -> u32 {
        let first = u64::from(group) * u64::from(spec.group_blocks);
        u64::from(self.blocks(spec)).saturating_sub(first).min(u64::from(spec.group_blocks)) as u32
    }

    /// Bytes of all row blocks.
    pub fn body_bytes(&self, spec: &ProjectSpec) -> u64 {
        self.blocks(spec) as u64 * spec.block_bytes() as u64
    }

    /// Checks the header against its project.
    pub fn validate(&self, project: &Id) -> Result<(), UploadError> {
        if self.project != *project {
            return Err(UploadError::OtherProject);
        }
        if !(1..=MAX_ROWS).contains(&self.rows) {
            return Err(UploadError::Rows(self.rows));
        }
        Ok(())
    }
}

/// The digest of row block `index`.
pub fn block_digest(index: u32, bytes: &[u8]) -> Id {
    let mut hash = blake3::Hasher::new_derive_key("blindsmith row block v1");
    hash.update(&index.to_le_bytes());
    hash.update(bytes);
    Id(*hash.finalize().as_bytes())
}

/// The digest of all row blocks' digests, in order.
pub fn root_digest<'a>(digests: impl IntoIterator<Item = &'a Id>) -> Id {
    let mut hash = blake3::Hasher::new_derive_key("blindsmith upload root v1");
    for digest in digests {
        hash.update(&digest.0);
    }
    Id(*hash.finalize().as_bytes())
}
