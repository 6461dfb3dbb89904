//! Encrypted matrix products behind the training loop's seam.
//!
//! All three products of a step are one: a left operand, stored rows or a matrix that the warden encrypts, times a right
//! operand that it encrypts. `send` makes operands, `products` asks for products and opens them, `passes` are the calls of
//! the training loop.

mod collect;
mod passes;
mod products;
mod send;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use blindsmith_keys::{Context, Freshness, Key, Malformed, OutOfRange, Projection, Scalars, Secrets, Wrong};
use blindsmith_learn::{Block, Matrix};
use blindsmith_matrix::{NoiseModel, Overflow, Scale};
use blindsmith_protocol::{Id, Offload, ProjectSpec, Projection as Kept};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cloud::{Cloud, CloudError};
use crate::operands::{Layer, Magnitudes};

/// A product that could not be had.
#[derive(Debug, Error)]
pub enum ProductError {
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// What it returned has the wrong form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What it returned is not what was asked for.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// Projections that it kept are not those that it was given.
    #[error("the refinery returned projections that the warden did not give it")]
    Projections,
    /// A product opens to nonsense.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The values are too large to be encoded. How large is a secret, and is not said.
    #[error("values became too large for the modulus: lower the learning rate or set clip_norm")]
    Overflow(Overflow),
    /// The refinery answered an instruction wrongly.
    #[error("the refinery answered wrongly: {0}")]
    Fault(String),
    /// The training loop called out of order.
    #[error("the training loop asked for {0}")]
    Order(&'static str),
}

impl From<Overflow> for ProductError {
    fn from(overflow: Overflow) -> Self {
        // Not as a source: its message names a bound on secret values.
        ProductError::Overflow(overflow)
    }
}

/// Under which secrets columns of stored rows stand: those of a contributor in an era.
pub type ColumnOwner = (Id, u32);

/// The secrets of stored rows, and what they are checked with.
pub trait RowKeys: Sync {
    /// The secrets of each block's row form, in order.
    fn row_secrets(&self, blocks: &[Block]) -> Vec<Secrets>;

    /// The secret scalar of each row of the blocks, in order.
    fn row_scalars(&self, blocks: &[Block]) -> Scalars;

    /// The era of a block's upload.
    fn era(&self, block: &Block) -> u32;

    /// The secret scalars of an era's masks, one for each residue.
    fn era_scalars(&self, era: u32) -> Scalars;

    /// Whose column secrets a block stands under.
    fn owner(&self, block: &Block) -> ColumnOwner;

    /// The secrets of an owner's column forms.
    fn column_secrets(&self, owner: &ColumnOwner) -> Arc<Secrets>;

    /// The secret scalars of the masks of an owner's column forms, one for each residue.
    fn column_scalars(&self, owner: &ColumnOwner) -> Arc<Scalars>;

    /// The secret scalars of the features, the same for all rows.
    fn inputs(&self) -> Arc<Scalars>;

    /// Opens kept projections as they came: one for each block, in order. None if they are not what was kept.
    fn projections(&self, blocks: &[Block], which: Kept, sealed: &mut [u8]) -> Option<Vec<Projection>>;
}

/// What the products of a round are made with.
pub struct Round<'a, C: Cloud, K: RowKeys> {
    /// Who multiplies.
    pub cloud: &'a C,
    /// The project.
    pub spec: &'a ProjectSpec,
    /// The key from which those of all operands follow.
    pub key: &'a Key,
    /// Those of stored rows.
    pub rows: &'a K,
    /// Names the round; step and layer are counted by the accelerator.
    pub context: Context,
    /// The root mean square of the stored rows.
    pub input_rms: f32,
    /// Whether fresh randomness enters the operands' keys.
    pub freshness: Freshness,
}

/// Multiplies encrypted matrices through a [`Cloud`].
pub struct Encrypted<'a, C: Cloud, K: RowKeys> {
    cloud: &'a C,
    spec: &'a ProjectSpec,
    key: &'a Key,
    rows: &'a K,
    context: Context,
    input_rms: f64,
    /// Of the masks of rows, era by era: their scalars, and their projection.
    eras: HashMap<u32, (Arc<Scalars>, Projection)>,
    layers: Vec<Layer>,
    operands: u32,
    freshness: Freshness,
    /// Micro-batches of the pass, and rows of all of them.
    pass: (usize, usize),
    /// Of the column forms of the rows at hand, for their gradient.
    columns: Projection,
    /// Under a fixed schedule: goes on with zeros where values are too large, and remembers it.
    tolerant: bool,
    spoiled: Option<Spoiled>,
    memory: Mutex<Memory>,
}

/// What was used to open products, for the next ones: fresh pages cost more than what is done with them.
#[derive(Default)]
struct Memory {
    /// The largest one last.
    products: Vec<Vec<u64>>,
    terms: Zeroizing<Vec<u64>>,
}

/// Why what is computed is of no use, though nobody but the owner may learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    /// Values became too large to be encoded.
    Overflow,
    /// A product was out of range.
    OutOfRange,
}

/// Values to be encoded, and what was measured of them.
struct Encodable<'m> {
    values: Cow<'m, [f32]>,
    scale: Scale,
    entries: Magnitudes,
}

impl<'a, C: Cloud, K: RowKeys> Encrypted<'a, C, K> {
    /// An accelerator for one round.
    pub fn new(round: Round<'a, C, K>) -> Self {
        let Round { cloud, spec, key, rows, context, input_rms, freshness } = round;
        Encrypted {
            cloud,
            spec,
            key,
            rows,
            context,
            input_rms: input_rms.into(),
            eras: HashMap::new(),
            layers: spec.layers.iter().map(|_| Layer::default()).collect(),
            operands: 0,
            freshness,
            pass: (0, 0),
            columns: Projection::default(),
            tolerant: false,
            spoiled: None,
            memory: Mutex::default(),
        }
    }

    /// The same under a fixed schedule: what is asked for does not depend on values, not even on whether they fit.
    pub fn tolerant(self, tolerant: bool) -> Self {
        Encrypted { tolerant, ..self }
    }

    /// Whether what was computed is of no use.
    pub fn spoiled(&self) -> Option<Spoiled> {
        self.spoiled
    }

    /// The cloud.
    pub fn cloud(&self) -> &'a C {
        self.cloud
    }

    /// How a layer's products are encoded; none if the warden computes them itself.
    fn offload(&self, layer: usize) -> Option<Offload> {
        self.spec.layers[layer].offload
    }

    /// Values at a scale that was chosen for them; zeros if there is none and that must not show.
    fn encodable<'m>(
        &mut self,
        values: &'m [f32],
        entries: Magnitudes,
        scale: Result<Scale, Overflow>,
    ) -> Result<Encodable<'m>, ProductError> {
        match scale {
            Ok(scale) => Ok(Encodable { values: Cow::Borrowed(values), scale, entries }),
            Err(_) if self.tolerant => {
                self.spoiled.get_or_insert(Spoiled::Overflow);
                let (values, scale) = (Cow::Owned(vec![0.0; values.len()]), self.spec.feature_scale);
                Ok(Encodable { values, scale, entries: Magnitudes::default() })
            }
            Err(overflow) => Err(overflow.into()),
        }
    }

    /// The noise must stay within its part of the modulus.
    fn fits(&mut self, padded: usize, left_max: f64, right_max: f64) -> Result<(), ProductError> {
        if (NoiseModel { padded }).fits(left_max, right_max) {
            return Ok(());
        }
        if self.tolerant {
            self.spoiled.get_or_insert(Spoiled::Overflow);
            return Ok(());
        }
        Err(Overflow { bound: left_max * right_max, other_log2: 0 }.into())
    }

    /// What became of opening a product into `out`: zeros if it is out of range and that must not show.
    fn opened(&mut self, done: Result<(), OutOfRange>, out: &mut Matrix) -> Result<(), ProductError> {
        match done {
            Err(_) if self.tolerant => {
                self.spoiled.get_or_insert(Spoiled::OutOfRange);
                out.as_mut_slice().fill(0.0);
                Ok(())
            }
            done => Ok(done?),
        }
    }

    fn name_operand(&mut self) -> u32 {
        self.operands += 1;
        self.operands - 1
    }
}
