//! The keys of one upload, from its contributor's seed.
//!
//! The row form has the project's masks and secrets of its own; the column form has masks of its own and its contributor's
//! secrets, which must not change along the contraction. Masks or secrets are shared, never both.

use std::ops::Range;
use std::sync::Arc;

use blindsmith_matrix::{Encoding, MaskSeed, Masks, OperandShape, Scale, Side, View};

use crate::encrypt::{Contraction, Encryption};
use crate::hedge::{Freshness, digest};
use crate::key::Key;
use crate::seal::SealError;
use crate::secret::Secrets;

/// Version of the derivation: it enters every key.
const VERSION: u64 = 2;

/// What an upload is encrypted for, all of it public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadContext {
    /// The project.
    pub project: [u8; 32],
    /// The seed of the row form's masks in this era.
    pub mask: MaskSeed,
    /// The era: masks of rows and secrets of columns are new in each.
    pub era: u32,
    /// How the row form is encoded: rows private, features contracted.
    pub row_form: Encoding,
    /// How the column form is encoded: features private, rows contracted.
    pub column_form: Encoding,
    /// Rows of a block.
    pub block_rows: usize,
    /// Features of a row.
    pub inputs: usize,
    /// The features' scale.
    pub scale: Scale,
}

impl UploadContext {
    /// The row form of so many rows.
    pub fn row_shape(&self, rows: usize) -> OperandShape {
        OperandShape { side: Side::Left, encoding: self.row_form, contraction: self.inputs, width: rows }
    }

    /// The column form of so many rows.
    pub fn column_shape(&self, rows: usize) -> OperandShape {
        OperandShape { side: Side::Left, encoding: self.column_form, contraction: rows, width: self.inputs }
    }

    /// The first strip of a block's row form in its upload.
    fn first_strip(&self, block: usize) -> usize {
        block * self.row_shape(self.block_rows).strips()
    }

    /// The first place of a block's column form in its upload.
    pub fn first_place(&self, block: usize) -> usize {
        block * self.column_shape(self.block_rows).places()
    }

    /// What every key is derived from, besides the seed.
    fn derive(&self, seed: &Key, label: &str, nonce: &[u8]) -> Key {
        let (r, c) = (&self.row_form, &self.column_form);
        let sizes =
            [r.roots(), r.strip(), r.rank(), c.roots(), c.strip(), c.rank(), self.block_rows, self.inputs];
        seed.derive(
            label,
            &[
                &self.project,
                &self.mask.0,
                &self.era.to_be_bytes(),
                sizes.map(|s| (s as u64).to_be_bytes()).as_flattened(),
                &[self.scale.log2() as u8],
                &VERSION.to_be_bytes(),
                nonce,
            ],
        )
    }
}

/// The secrets of a contributor's column forms in a project and era.
pub fn column_secrets(seed: &Key, context: &UploadContext) -> Secrets {
    let key = context.derive(seed, "column secrets", &[]);
    Secrets::derive(&key, context.column_form, 0..context.column_shape(1).strips())
}

/// The key of one upload: derived by its contributor when it encrypts, and by the warden from the seed that
/// the contributor released.
pub struct UploadKey {
    key: Key,
    context: UploadContext,
    nonce: [u8; 32],
}

impl UploadKey {
    /// A key for exactly these rows: the nonce is a PRF of fresh randomness, the rows and the labels, so an edited file never
    /// meets an old key.
    pub fn of_rows(
        seed: &Key,
        context: UploadContext,
        rows: &View<'_>,
        labels: &[u8],
        fresh: Freshness,
    ) -> Self {
        use sha2::Digest;
        let labels: [u8; 32] = sha2::Sha256::digest(labels).into();
        let nonce =
            context.derive(seed, "upload nonce", &[fresh.draw().as_slice(), &digest(rows), &labels].concat());
        Self::from_nonce(seed, context, *nonce.expose())
    }

    /// The key of an upload whose nonce is known.
    pub fn from_nonce(seed: &Key, context: UploadContext, nonce: [u8; 32]) -> Self {
        UploadKey { key: context.derive(seed, "upload", &nonce), context, nonce }
    }

    /// What it encrypts for.
    pub fn context(&self) -> &UploadContext {
        &self.context
    }

    /// The public nonce.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// The row form of block `block`, whose rows these are, under the project's masks.
    pub fn encrypt_rows<'a>(&self, block: usize, rows: View<'a>, masks: Arc<Masks>) -> Encryption<'a> {
        let shape = self.context.row_shape(rows.rows);
        let first = self.context.first_strip(block);
        let secrets = self.row_secrets(first..first + shape.strips()).into();
        let noise = self.key.derive("noise of rows", &[]);
        let (of, masks) = ((shape, self.context.scale), (self.context.mask, masks));
        Encryption::new((rows, Contraction::Columns), of, masks, secrets, noise).part_of_larger((first, 0))
    }

    /// The column form of block `block`, whose rows these are, under the contributor's secrets and the upload's masks, of
    /// which the first is that of the block's first place.
    pub fn encrypt_columns<'a>(
        &self,
        block: usize,
        rows: View<'a>,
        masks: (MaskSeed, Arc<Masks>),
        secrets: Arc<Secrets>,
    ) -> Encryption<'a> {
        let shape = self.context.column_shape(rows.rows);
        let noise = self.key.derive("noise of columns", &[]);
        Encryption::new((rows, Contraction::Rows), (shape, self.context.scale), masks, secrets, noise)
            .part_of_larger((0, self.context.first_place(block)))
    }

    fn row_secrets(&self, strips: Range<usize>) -> Secrets {
        Secrets::derive(&self.key.derive("row secrets", &[]), self.context.row_form, strips)
    }

    /// The secrets of the row form of a block of so many rows.
    pub fn block_secrets(&self, block: usize, rows: usize) -> Secrets {
        let first = self.context.first_strip(block);
        self.row_secrets(first..first + self.context.row_shape(rows).strips())
    }

    /// Seals the labels of block `block`.
    pub fn seal_labels(&self, block: u64, labels: &[u8]) -> Vec<u8> {
        self.key.derive("labels", &[&block.to_be_bytes()]).encrypt_once(b"", labels)
    }

    /// Opens the labels of block `block`.
    ///
    /// # Errors
    /// [`SealError`] if they are not what was sealed.
    pub fn open_labels(&self, block: u64, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.key.derive("labels", &[&block.to_be_bytes()]).decrypt_once(b"", sealed)
    }

    /// A tag on the upload's header, by which the warden knows its contributor.
    pub fn tag(&self, header: &[u8]) -> [u8; 32] {
        *self.key.derive("tag", &[header]).expose()
    }

    /// Whether a tag is right, in constant time.
    pub fn verify(&self, header: &[u8], tag: &[u8; 32]) -> bool {
        use subtle::ConstantTimeEq;
        self.tag(header).ct_eq(tag).into()
    }
}
