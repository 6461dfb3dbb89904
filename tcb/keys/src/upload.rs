//! The keys of one upload, from its contributor's seed.

use blindsmith_matrix::{Form, MaskSeed, Scale, Shape, Tile, View};
use blindsmith_ring::{Eval, Poly};

use crate::encrypt::{Encryption, Secret};
use crate::hedge::digest;
use crate::{Freshness, Key, SealError};

/// Version of the derivation: it enters every key.
const VERSION: u64 = 1;

/// What an upload is encrypted for, all of it public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadContext {
    /// The project.
    pub project: [u8; 32],
    /// The project's mask row.
    pub mask: MaskSeed,
    /// The first layer's tile.
    pub tile: Tile,
    /// Features of a row.
    pub inputs: usize,
    /// The features' scale.
    pub scale: Scale,
}

/// The key of one upload: derived by its contributor when it encrypts, and by the warden from the seed that
/// the contributor released.
pub struct UploadKey {
    key: Key,
    context: UploadContext,
    nonce: [u8; 32],
}

impl UploadKey {
    /// Encrypts exactly these rows, under the project's masks (expanded once by the caller): the nonce is a
    /// PRF of fresh randomness, the rows and the labels, so an edited file never meets an old key.
    pub fn encrypt<'a>(
        seed: &Key,
        context: UploadContext,
        rows: View<'a>,
        labels: &[u8],
        masks: Vec<Poly<Eval>>,
        fresh: Freshness,
    ) -> (Self, Encryption<'a>) {
        use sha2::Digest;
        let labels: [u8; 32] = sha2::Sha256::digest(labels).into();
        let nonce = seed.derive("upload nonce", &[&fresh.draw(), &digest(&rows), &labels]);
        let key = Self::from_nonce(seed, context, *nonce.expose());
        let shape = Shape::new(Form::Rows, context.tile, rows.rows, rows.cols);
        let encryption = Encryption::new(rows, shape, context.scale, masks.into(), context.mask, &key.key);
        (key, encryption)
    }

    /// The key of an upload whose nonce is known.
    pub fn from_nonce(seed: &Key, context: UploadContext, nonce: [u8; 32]) -> Self {
        let tile = &context.tile;
        let sizes = [tile.m(), tile.n(), tile.p(), context.inputs].map(|s| (s as u64).to_be_bytes());
        let key = seed.derive(
            "upload",
            &[
                &context.project,
                &context.mask.0,
                sizes.as_flattened(),
                &[context.scale.log2() as u8],
                &VERSION.to_be_bytes(),
                &nonce,
            ],
        );
        UploadKey { key, context, nonce }
    }

    /// What it encrypts for.
    pub fn context(&self) -> &UploadContext {
        &self.context
    }

    /// The public nonce.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// The secrets of the given row blocks.
    pub fn secrets(&self, blocks: impl Iterator<Item = usize>) -> Vec<Secret> {
        let key = self.key.derive("secrets", &[]);
        let mut stream = blindsmith_ring::sample::Stream::new(*key.expose());
        blocks.map(|b| stream.ternary(b as u64, self.context.tile.degree())).collect()
    }

    /// Seals the labels of row block `block`.
    pub fn seal_labels(&self, block: u64, labels: &[u8]) -> Vec<u8> {
        self.key.derive("labels", &[&block.to_be_bytes()]).encrypt_once(b"", labels)
    }

    /// Opens the labels of row block `block`.
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
