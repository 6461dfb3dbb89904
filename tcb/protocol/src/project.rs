//! What a project is, as far as the refinery may know: shapes, tiles, masks.

use std::fmt;
use std::str::FromStr;

use blindsmith_matrix::{MaskSeed, Scale, Security, Tile};
use blindsmith_ring::modulus::MAX_CHAIN;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{MAX_BATCH_ROWS, MAX_BODY, MAX_LABEL_BYTES, MAX_LAYERS, MAX_NAME, MAX_WIDTH, to_cbor};

/// A 256-bit digest that names a project or an upload; zero where there is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = SpecError;

    fn from_str(s: &str) -> Result<Self, SpecError> {
        let bad = || SpecError("an identifier has 64 hexadecimal digits".into());
        if s.len() != 64 || !s.is_ascii() {
            return Err(bad());
        }
        let mut id = [0; 32];
        for (byte, digits) in id.iter_mut().zip(s.as_bytes().as_chunks::<2>().0) {
            let digit = |d: u8| (d as char).to_digit(16).ok_or_else(bad);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Ok(Id(id))
    }
}

/// A layer's sizes and tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Inputs.
    pub inputs: u32,
    /// Outputs.
    pub outputs: u32,
    /// Tile sizes; the first layer's also shape the uploads.
    pub tile: Tile,
}

/// When rounds start by themselves: the refinery keeps to it, nobody relies on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// As soon as there are so many new rows; never because of rows, if none.
    pub rows: Option<u64>,
    /// At this minute of the day, UTC, 0 to 1439, if new rows had arrived by then.
    pub daily: Option<u16>,
    /// Most rounds in 24 hours; those that somebody asks for do not count.
    pub rounds_per_day: Option<u32>,
}

impl Trigger {
    /// As soon as rows arrive.
    pub const AT_ONCE: Trigger = Trigger { rows: Some(1), daily: None, rounds_per_day: None };
    /// Only when somebody asks.
    pub const MANUAL: Trigger = Trigger { rows: None, daily: None, rounds_per_day: None };
}

/// The public part of a project. Its digest is the project's identifier, so everything in it is bound into
/// every key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectSpec {
    /// A name for people.
    pub name: String,
    /// 256 random bits: two projects of equal shape have different identifiers.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 32],
    /// The owner's public key (Ed25519): what it signs changes the project.
    pub owner: Id,
    /// Security level, which fixes the ring degree.
    pub security: Security,
    /// The dense layers, in order.
    pub layers: Vec<Layer>,
    /// The scale of encrypted features.
    pub feature_scale: Scale,
    /// The seed of the project's row of masks.
    pub mask: MaskSeed,
    /// Bytes of labels for one row.
    pub label_bytes: u32,
    /// Consecutive row blocks that epochs keep together.
    pub group_blocks: u32,
    /// Rows of a batch.
    pub batch_rows: u32,
    /// When rounds start by themselves.
    pub trigger: Trigger,
}

/// A specification that is out of range.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the project's specification is not valid: {0}")]
pub struct SpecError(pub String);

impl ProjectSpec {
    /// The project's identifier: BLAKE3 of the specification's CBOR, keyed by purpose.
    pub fn id(&self) -> Id {
        let mut hash = blake3::Hasher::new_derive_key("blindsmith project specification v1");
        hash.update(&to_cbor(self));
        Id(*hash.finalize().as_bytes())
    }

    /// Checks every range.
    pub fn validate(&self) -> Result<(), SpecError> {
        let fail = |why: String| Err(SpecError(why));
        if self.name.len() > MAX_NAME || self.name.chars().any(char::is_control) {
            return fail(format!("the name must have at most {MAX_NAME} bytes and no control characters"));
        }
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return fail(format!("{} layers, where 1 to {MAX_LAYERS} are possible", self.layers.len()));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let sizes = [layer.inputs, layer.outputs];
            if sizes.iter().any(|s| !(1..=MAX_WIDTH).contains(s)) {
                return fail(format!(
                    "layer {i} has {sizes:?} inputs and outputs, where 1 to {MAX_WIDTH} are possible"
                ));
            }
            if layer.tile.degree() != self.security.degree() {
                return fail(format!("the tile of layer {i} does not have the ring's degree"));
            }
            if i > 0 && self.layers[i - 1].outputs != layer.inputs {
                return fail(format!("layer {i} does not take what layer {} gives", i - 1));
            }
        }
        if self.label_bytes == 0 || self.label_bytes > MAX_LABEL_BYTES {
            return fail(format!(
                "{} bytes of labels a row, where 1 to {MAX_LABEL_BYTES} are possible",
                self.label_bytes
            ));
        }
        if !(1..=MAX_BATCH_ROWS).contains(&self.batch_rows) || !(1..=1 << 16).contains(&self.group_blocks) {
            return fail("the batch or the sampling group has an impossible size".into());
        }
        if let Some((layer, rows)) = self.too_long() {
            return fail(format!(
                "batches of about {} rows may have {rows}, which makes chains of more than {MAX_CHAIN} tiles in layer \
                 {layer}: choose smaller batches or layers",
                self.batch_rows
            ));
        }
        if !(1..=30).contains(&self.feature_scale.log2()) {
            return fail("the feature scale must be 2^1 to 2^30".into());
        }
        if self.trigger.daily.is_some_and(|minute| minute >= 24 * 60)
            || self.trigger.rounds_per_day == Some(0)
        {
            return fail("a day has minutes 0 to 1439, and a limit of rounds allows at least one".into());
        }
        // The warden reads whole groups.
        let group = (self.group_blocks as usize).saturating_mul(self.block_bytes());
        if group > MAX_BODY {
            return fail(format!("a sampling group of {group} bytes, where {MAX_BODY} are possible"));
        }
        Ok(())
    }

    /// The first layer with a product that adds up more tiles than residues can take, and the rows of the
    /// longest batch: one and a half times those asked for, and the rest of a group.
    fn too_long(&self) -> Option<(usize, usize)> {
        let group = self.group_blocks as usize * self.block_rows();
        let rows = self.batch_rows as usize * 3 / 2 + group;
        let too_long = |layer: &Layer| {
            let tile = &layer.tile;
            let inputs = (layer.inputs as usize).div_ceil(tile.n());
            let outputs = (layer.outputs as usize).div_ceil(tile.p());
            inputs.max(outputs).max(rows.div_ceil(tile.m())) > MAX_CHAIN
        };
        Some((self.layers.iter().position(too_long)?, rows))
    }

    /// Features of a row.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs as usize
    }

    /// The tile of uploads.
    pub fn tile(&self) -> Tile {
        self.layers[0].tile
    }

    /// Rows in a row block.
    pub fn block_rows(&self) -> usize {
        self.tile().m()
    }

    /// Input blocks: tiles in a row block.
    pub fn input_blocks(&self) -> usize {
        self.inputs().div_ceil(self.tile().n())
    }

    /// Bytes of a row block's ciphertext, packed.
    pub fn packed_block_bytes(&self) -> usize {
        self.input_blocks() * self.security.degree() / 8 * 50
    }

    /// Bytes of a row block's sealed labels: of every row of the block, and the tag.
    pub fn sealed_label_bytes(&self) -> usize {
        self.block_rows() * self.label_bytes as usize + 16
    }

    /// Bytes of the sealed projections of so many polynomials.
    pub fn projection_bytes(&self, polynomials: usize) -> usize {
        polynomials * (self.security.degree() / 8 * 50) + 16
    }

    /// Bytes of what is kept of a sampling group of `blocks` row blocks: its projection, then its rows'.
    pub fn kept_bytes(&self, blocks: u32) -> usize {
        self.projection_bytes(self.input_blocks()) + self.projection_bytes(blocks as usize)
    }

    /// Bytes of a row block as it is sent and stored: sealed labels, then ciphertext.
    pub fn block_bytes(&self) -> usize {
        self.sealed_label_bytes() + self.packed_block_bytes()
    }
}
