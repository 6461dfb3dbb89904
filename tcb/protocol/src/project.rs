//! What a project is, as far as the refinery may know: shapes, encodings, masks.

use blindsmith_matrix::{Encoding, MAX_ROOTS, MaskSeed, Scale, Security};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::Id;
use crate::upload::Role;
use crate::{
    MAX_BATCH_ROWS, MAX_BLOCK_ROWS, MAX_BODY, MAX_CONTRACTION, MAX_LABEL_BYTES, MAX_LAYERS, MAX_NAME,
    MAX_WIDTH, MIN_BLOCK_ROWS, to_cbor,
};

/// How many contraction entries an element has (n) in each product of a layer that the refinery multiplies: powers
/// of two from 1 to 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offload {
    /// In Z = X W, over the inputs.
    pub forward: u16,
    /// In G = X^T E, over the rows.
    pub gradient: u16,
    /// In D = E W^T, over the outputs; 1 for the first layer, which has no such product.
    pub input: u16,
}

/// A dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Inputs.
    pub inputs: u32,
    /// Outputs.
    pub outputs: u32,
    /// How the refinery multiplies for it; the warden computes a layer without by itself.
    pub offload: Option<Offload>,
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
    /// The seed from which all masks of stored rows derive.
    pub mask: MaskSeed,
    /// Bytes of labels for one row.
    pub label_bytes: u32,
    /// Rows of a block, the unit of uploads and of sampling: a power of two from 8 to 4096. The last block of an upload
    /// may have fewer.
    pub block_rows: u32,
    /// The encoding of stored rows for Z = X W: inputs contracted, rows of a block private.
    pub row_form: Encoding,
    /// The encoding of stored rows for G = X^T E: rows contracted, inputs private.
    pub column_form: Encoding,
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
    ///
    /// # Errors
    /// [`SpecError`] that names the first field out of range.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.name.len() > MAX_NAME || self.name.chars().any(char::is_control) {
            return fail(format!("the name must have at most {MAX_NAME} bytes and no control characters"));
        }
        self.validate_layers()?;
        if !(1..=MAX_LABEL_BYTES).contains(&self.label_bytes) {
            return fail(format!(
                "{} bytes of labels a row, where 1 to {MAX_LABEL_BYTES} are possible",
                self.label_bytes
            ));
        }
        self.validate_forms()?;
        self.validate_batch()?;
        if !(1..=30).contains(&self.feature_scale.log2()) {
            return fail("the feature scale must be 2^1 to 2^30".into());
        }
        if self.trigger.daily.is_some_and(|minute| minute >= 24 * 60)
            || self.trigger.rounds_per_day == Some(0)
        {
            return fail("a day has minutes 0 to 1439, and a limit of rounds allows at least one".into());
        }
        Ok(())
    }

    fn validate_layers(&self) -> Result<(), SpecError> {
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
            if i > 0 && self.layers[i - 1].outputs != layer.inputs {
                return fail(format!("layer {i} does not take what layer {} gives", i - 1));
            }
            let Some(Offload { forward, gradient, input }) = layer.offload else { continue };
            let possible = |n: u16| n.is_power_of_two() && usize::from(n) <= MAX_ROOTS;
            if ![forward, gradient, input].into_iter().all(possible) {
                return fail(format!(
                    "layer {i} has n = {forward}, {gradient} and {input}, where powers of two from 1 to {MAX_ROOTS} \
                     are possible"
                ));
            }
        }
        Ok(())
    }

    /// The encodings of stored rows: of the security level, and as the first layer multiplies.
    fn validate_forms(&self) -> Result<(), SpecError> {
        let rows = self.block_rows;
        if !rows.is_power_of_two() || !(MIN_BLOCK_ROWS..=MAX_BLOCK_ROWS).contains(&rows) {
            return fail(format!(
                "blocks of {rows} rows, where powers of two from {MIN_BLOCK_ROWS} to {MAX_BLOCK_ROWS} are possible"
            ));
        }
        let dimension = self.security.degree();
        if self.row_form.dimension() != dimension || self.column_form.dimension() != dimension {
            return fail(format!("the forms of stored rows must have n m r = {dimension}"));
        }
        let Some(offload) = self.layers[0].offload else {
            return fail("the refinery must multiply for the first layer: its rows are never opened".into());
        };
        let roots = (usize::from(offload.forward), usize::from(offload.gradient));
        if roots != (self.row_form.roots(), self.column_form.roots()) || offload.input != 1 {
            return fail(
                "the first layer must multiply with the n of the row form and of the column form, and with 1 where it \
                 has no product"
                    .into(),
            );
        }
        // All are powers of two, so the smaller divides the larger.
        if self.row_form.strip() > self.block_rows() || self.column_form.roots() > self.block_rows() {
            return fail(format!(
                "blocks of {rows} rows do not hold whole strips of {} rows and whole groups of {}",
                self.row_form.strip(),
                self.column_form.roots()
            ));
        }
        let bytes = self.block_bytes(Role::Training, rows);
        if bytes > MAX_BODY {
            return fail(format!(
                "blocks of {bytes} bytes, where {MAX_BODY} are possible: choose blocks of fewer rows"
            ));
        }
        Ok(())
    }

    /// The longest batch has one and a half times the rows asked for, and the rest of a block.
    fn validate_batch(&self) -> Result<(), SpecError> {
        if !(1..=MAX_BATCH_ROWS).contains(&self.batch_rows) {
            return fail(format!(
                "batches of {} rows, where 1 to {MAX_BATCH_ROWS} are possible",
                self.batch_rows
            ));
        }
        let rows = self.batch_rows as usize * 3 / 2 + self.block_rows();
        if rows > MAX_CONTRACTION {
            return fail(format!(
                "batches of about {} rows may have {rows}, where a product adds up at most {MAX_CONTRACTION}: choose \
                 smaller batches",
                self.batch_rows
            ));
        }
        Ok(())
    }
}

fn fail(why: String) -> Result<(), SpecError> {
    Err(SpecError(why))
}
