//! The keys of one operand: hedged and misuse-resistant.
//!
//! A (mask, secret, noise) triple must encrypt one message only, or the difference of two messages is
//! public. Fresh randomness alone does not guarantee it (a cloned or restored process), so the keys come
//! from a PRF of everything that names the operand, of the message itself, and of fresh randomness: a
//! changed message changes the secrets, and an equal message repeats the ciphertext at worst. (Hedged
//! encryption: Bellare et al., ASIACRYPT 2009; deterministic nonces from the message: Rogaway and
//! Shrimpton, EUROCRYPT 2006.)

use blindsmith_matrix::{OperandShape, Scale, View};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::encrypt::Contraction;
use crate::key::{Key, random_bytes};

/// Names an operand that the warden encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The project.
    pub project: [u8; 32],
    /// The round within the project.
    pub round: u64,
    /// The attempt at this round.
    pub attempt: u32,
    /// The step within the round.
    pub step: u64,
    /// The layer.
    pub layer: u32,
    /// Which of the step's operands.
    pub part: u32,
    /// The product that it is made for.
    pub product: ProductKind,
}

impl Context {
    /// The first operand of a round's first attempt.
    pub fn of_round(project: [u8; 32], round: u64) -> Self {
        let product = ProductKind::Forward;
        Context { project, round, attempt: 0, step: 0, layer: 0, part: 0, product }
    }
}

/// The products of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ProductKind {
    /// Z = X W.
    Forward = 0,
    /// G = X^T E.
    WeightGradient = 1,
    /// D = E W^T.
    InputGradient = 2,
}

/// Whether fresh randomness enters the derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// 256 bits of the operating system's generator for each operand: the rule.
    Fresh,
    /// None: equal operands give equal ciphertexts, bit for bit; different ones never share keys.
    Reproducible,
}

impl Freshness {
    pub(crate) fn draw(self) -> [u8; 32] {
        match self {
            Freshness::Fresh => random_bytes(),
            Freshness::Reproducible => [0; 32],
        }
    }
}

/// Entries that are hashed together.
const CHUNK: usize = 1 << 15;

/// The digest of the message: dimensions, and the digests of its entries, so many at a time.
pub(crate) fn digest(view: &View<'_>) -> [u8; 32] {
    let chunk =
        |entries: &[f32]| -> [u8; 32] { Sha256::digest(bytemuck::cast_slice::<f32, u8>(entries)).into() };
    let chunks: Vec<[u8; 32]> = view.data.par_chunks(CHUNK).map(chunk).collect();
    let mut hash = Sha256::new();
    hash.update((view.rows as u64).to_be_bytes());
    hash.update((view.cols as u64).to_be_bytes());
    hash.update(chunks.as_flattened());
    hash.finalize().into()
}

impl Key {
    /// The key of the operand that `context`, its shape, its scale and its message name. Entries and scale
    /// determine the encoded integers, so they stand for them. Two forms of one matrix differ in side, sizes or
    /// contraction, so they never share noise or secrets.
    pub(crate) fn operand(
        &self,
        context: &Context,
        shape: &OperandShape,
        scale: Scale,
        (view, contraction): (&View<'_>, Contraction),
        fresh: Freshness,
    ) -> Key {
        let encoding = shape.encoding;
        let sizes = [
            encoding.roots(),
            encoding.strip(),
            encoding.rank(),
            shape.contraction,
            shape.width,
            context.product as usize,
        ];
        self.derive(
            "operand",
            &[
                &context.project,
                &context.round.to_be_bytes(),
                &context.attempt.to_be_bytes(),
                &context.step.to_be_bytes(),
                &context.layer.to_be_bytes(),
                &context.part.to_be_bytes(),
                &[shape.side as u8, contraction as u8, scale.log2() as u8],
                sizes.map(|s| (s as u64).to_be_bytes()).as_flattened(),
                &digest(view),
                &fresh.draw(),
            ],
        )
    }
}
