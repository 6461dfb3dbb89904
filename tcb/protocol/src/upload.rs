//! Uploads: a header, and blocks of sealed labels and packed ciphertext. See `layout` for the blocks.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::Id;
use crate::message::Blob;
use crate::project::ProjectSpec;
use crate::{MAX_ERAS, MAX_ROWS, to_cbor};

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

/// One block of one upload of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Index into the command's list of uploads.
    pub upload: u32,
    /// Index of the block in the upload.
    pub block: u32,
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
    /// The era of its row masks and of its contributor's column secrets: below [`MAX_ERAS`].
    pub era: u32,
    /// Rows.
    pub rows: u32,
    /// Digest of the digests of its blocks, see [`root_digest`].
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
    /// An era that cannot be.
    #[error("an upload of era {0}, where eras below {MAX_ERAS} are possible")]
    Era(u32),
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
    #[error("block {0} holds a residue that is not below the modulus")]
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

    /// Number of blocks.
    pub fn blocks(&self, spec: &ProjectSpec) -> u32 {
        spec.blocks(self.rows)
    }

    /// Rows of block `index`: fewer in the last one, none in those that do not exist.
    pub fn rows_of_block(&self, spec: &ProjectSpec, index: u32) -> u32 {
        spec.rows_of_block(self.rows, index)
    }

    /// Where block `index` begins in the body.
    pub fn block_offset(&self, spec: &ProjectSpec, index: u32) -> u64 {
        spec.block_offset(self.role, index)
    }

    /// Bytes of all blocks.
    pub fn body_bytes(&self, spec: &ProjectSpec) -> u64 {
        spec.body_bytes(self.role, self.rows)
    }

    /// Checks the header against its project.
    ///
    /// # Errors
    /// [`UploadError`] for another project, and for rows or an era out of range.
    pub fn validate(&self, project: &Id) -> Result<(), UploadError> {
        if self.project != *project {
            return Err(UploadError::OtherProject);
        }
        if !(1..=MAX_ROWS).contains(&self.rows) {
            return Err(UploadError::Rows(self.rows));
        }
        if self.era >= MAX_ERAS {
            return Err(UploadError::Era(self.era));
        }
        Ok(())
    }
}

/// The digest of block `index`.
pub fn block_digest(index: u32, bytes: &[u8]) -> Id {
    let mut hash = blake3::Hasher::new_derive_key("blindsmith row block v1");
    hash.update(&index.to_le_bytes());
    hash.update(bytes);
    Id(*hash.finalize().as_bytes())
}

/// The digest of all blocks' digests, in order.
pub fn root_digest<'a>(digests: impl IntoIterator<Item = &'a Id>) -> Id {
    let mut hash = blake3::Hasher::new_derive_key("blindsmith upload root v1");
    for digest in digests {
        hash.update(&digest.0);
    }
    Id(*hash.finalize().as_bytes())
}
