//! Encrypted matrix products behind the training loop's seam.

mod passes;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Mutex;

use blindsmith_keys::{
    Along, Check, Checked, Context, EncryptedStrip, Encryption, Freshness, Key, Malformed, Opener,
    OutOfRange, Received, Scalars, Secret, Share, Taken, Wrong, combine, contract, metered,
};
use blindsmith_learn::{
    Accelerator, Batch, Block, Bounds, Group, Left as Input, Matrix, Pass, largest_column_sum,
    largest_row_sum,
};
use blindsmith_matrix::{
    NoiseModel, Overflow, ProductKind, ProductShape, Scale, Shape, View, entry_scale, largest_scale,
};
use blindsmith_protocol::{BlockRef, GroupRef, Left, ProjectSpec, Projection};
use blindsmith_ring::modulus::MAX_CHAIN;
use blindsmith_ring::{Eval, LANES, PIECE, Poly, zeroed_lanes};
use rayon::prelude::*;
use thiserror::Error;

use crate::cloud::{Cloud, CloudError, ProductRequest, Ticket};
use crate::opening::{collect, open};
use crate::operands::{
    Common, Expected, Gradient, Layer, LeftOperand, LeftPart, PartChecks, Sent, Started, StartedInput,
    WeightChecks, Weights, measure,
};
use crate::transport::lock;

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
    /// More tiles would be added up than residues can take.
    #[error("a batch of {0} row blocks, where {MAX_CHAIN} are possible: choose smaller batches")]
    TooLong(usize),
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

/// The secrets of stored row blocks.
pub trait RowKeys: Sync {
    /// The secret of each block, in order.
    fn secrets(&self, blocks: &[Block]) -> Vec<Secret>;

    /// The secret scalar of each block, in order.
    fn scalars(&self, blocks: &[Block]) -> Scalars;

    /// The secret scalars of the input blocks, the same for all rows.
    fn inputs(&self) -> &Scalars;

    /// Opens kept projections as they came, and where they lie: of groups their sum, one polynomial for each input block; of rows one
    /// for each row block, in order. None if they are not what was kept.
    fn projections(&self, groups: &[Group], which: Projection, sealed: &mut [u8]) -> Option<Vec<Poly<Eval>>>;
}

/// Multiplies encrypted matrices through a [`Cloud`].
pub struct Encrypted<'a, C: Cloud, K: RowKeys> {
    cloud: &'a C,
    spec: &'a ProjectSpec,
    key: &'a Key,
    rows: &'a K,
    context: Context,
    masks: Vec<Poly<Eval>>,
    input_rms: f64,
    layers: Vec<Layer>,
    operands: u32,
    freshness: Freshness,
    /// Micro-batches of the pass, and rows of all of them.
    pass: (usize, usize),
    scaled: Matrix,
    /// Under a fixed schedule: goes on with zeros where values are too large, and remembers it.
    tolerant: bool,
    spoiled: Option<Spoiled>,
    /// Of the product that was opened last, for the next.
    memory: Mutex<Vec<u64>>,
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
    entry: f64,
    rms: f64,
}

impl<'a, C: Cloud, K: RowKeys> Encrypted<'a, C, K> {
    /// An accelerator for one round: `context` names it (its step and layer are counted here), `input_rms`
    /// is that of the stored rows.
    pub fn new(
        cloud: &'a C,
        spec: &'a ProjectSpec,
        key: &'a Key,
        rows: &'a K,
        context: Context,
        input_rms: f32,
        freshness: Freshness,
    ) -> Self {
        Encrypted {
            cloud,
            spec,
            key,
            rows,
            context,
            masks: spec.mask.expand(spec.input_blocks(), spec.security.degree()),
            input_rms: input_rms as f64,
            layers: spec.layers.iter().map(|_| Layer::default()).collect(),
            operands: 0,
            freshness,
            pass: (0, 0),
            scaled: Matrix::default(),
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

    /// Values at a scale that was chosen for them; zeros if there is none and that must not show.
    fn encodable<'m>(
        &mut self,
        values: &'m [f32],
        (entry, rms): (f64, f64),
        scale: Result<Scale, Overflow>,
    ) -> Result<Encodable<'m>, ProductError> {
        match scale {
            Ok(scale) => Ok(Encodable { values: Cow::Borrowed(values), scale, entry, rms }),
            Err(_) if self.tolerant => {
                self.spoiled.get_or_insert(Spoiled::Overflow);
                let (values, scale) = (Cow::Owned(vec![0.0; values.len()]), self.spec.feature_scale);
                Ok(Encodable { values, scale, entry: 0.0, rms: 0.0 })
            }
            Err(overflow) => Err(overflow.into()),
        }
    }

    /// The noise must stay within its part of the modulus.
    fn fits(&mut self, shape: &ProductShape, left_max: f64, right_max: f64) -> Result<(), ProductError> {
        if NoiseModel::of(&shape.left(), &shape.right()).fits(left_max, right_max) {
            return Ok(());
        }
        if self.tolerant {
            self.spoiled.get_or_insert(Spoiled::Overflow);
            return Ok(());
        }
        Err(Overflow { bound: left_max * right_max, other_log2: 0 }.into())
    }

    /// Opens a product; zeros if it is out of range and that must not show.
    fn open(
        &self,
        spoiled: &mut Option<Spoiled>,
        opener: Opener<'_>,
        out: &mut [f32],
    ) -> Result<(), ProductError> {
        let done = open(&opener, out);
        *lock(&self.memory) = opener.into_memory();
        match done {
            Err(ProductError::OutOfRange(_)) if self.tolerant => {
                spoiled.get_or_insert(Spoiled::OutOfRange);
                out.fill(0.0);
                Ok(())
            }
            done => done,
        }
    }

    /// The cloud.
    pub fn cloud(&self) -> &'a C {
        self.cloud
    }

    fn shape(&self, kind: ProductKind, layer: usize, rows: usize) -> ProductShape {
        let sizes = &self.spec.layers[layer];
        let (inputs, outputs) = (sizes.inputs as usize, sizes.outputs as usize);
        ProductShape { kind, tile: sizes.tile, rows, inputs, outputs }
    }

    fn name_operand(&mut self) -> u32 {
        self.operands += 1;
        self.operands - 1
    }

    /// Encrypts an operand and sends it, strip by strip on all cores.
    fn send(
        &self,
        (operand, layer): (u32, usize),
        shape: Shape,
        scale: Scale,
        view: View<'_>,
        taken: Taken<'_>,
        share: Share<'_>,
    ) -> Result<Sent, ProductError> {
        if shape.strip_len() > MAX_CHAIN {
            return Err(ProductError::TooLong(shape.strip_len()));
        }
        let context = Context { layer: layer as u32, part: operand, ..self.context };
        let encryption = Encryption::operand(self.key, &context, shape, scale, view, self.freshness, share);
        self.cloud.begin(operand, layer as u32, &shape, encryption.mask_seed())?;
        // Piece by piece over all strips, for the masks that they share to stay in the cache.
        let groups = shape.tile.degree() / LANES;
        let mut across: Vec<Poly<Eval>> = Vec::new();
        let workers = Mutex::new(Vec::new());
        let mut strips: Vec<EncryptedStrip> = Vec::new();
        strips.resize_with(shape.strips(), EncryptedStrip::default);
        for piece in 0..shape.strip_len().div_ceil(PIECE) {
            let len = groups * encryption.piece_places(piece).len();
            strips.par_iter_mut().enumerate().try_for_each(|(s, strip)| {
                let worker = lock(&workers).pop();
                let (mut scratch, mut out) =
                    worker.unwrap_or_else(|| (encryption.scratch(), zeroed_lanes(groups * PIECE)));
                strip.add(encryption.piece((s, piece), &taken, &mut scratch, &mut out[..len]));
                let done = self.cloud.strip(operand, s as u32, piece * PIECE * groups, &out[..len]);
                lock(&workers).push((scratch, out));
                done
            })?;
            if taken.across.is_some() {
                let from = across.len();
                across.extend(encryption.piece_places(piece).map(|_| Poly::zero(shape.tile.degree())));
                lock(&workers).iter_mut().for_each(|(scratch, _)| scratch.add_across(&mut across[from..]));
            }
        }
        let seed = encryption.mask_seed();
        let (secrets, cross, along, masks) = (vec![], vec![], vec![], encryption.into_masks());
        let mut sent = Sent { operand, secrets, cross, along, across, seed, masks };
        for strip in strips {
            sent.secrets.extend(strip.secret);
            sent.cross.extend(strip.cross);
            sent.along.extend(strip.along);
        }
        Ok(sent)
    }

    fn request(
        &self,
        shape: &ProductShape,
        layer: usize,
        left: Left,
        right: u32,
        sum: bool,
    ) -> Result<Ticket, ProductError> {
        let (kind, layer) = (shape.kind, layer as u32);
        let residues = shape.residues() + shape.extras() * shape.tile.degree();
        Ok(self.cloud.request(ProductRequest { kind, layer, left, right, sum, residues })?)
    }

    /// Waits for projections of stored rows.
    fn projections(
        &self,
        ticket: Ticket,
        groups: &[Group],
        which: Projection,
    ) -> Result<Vec<Poly<Eval>>, ProductError> {
        let mut sealed = self.cloud.bytes(ticket)?;
        let opened = self.rows.projections(groups, which, sealed.as_mut_slice());
        opened.ok_or(ProductError::Projections).map_err(self.fault("projections of stored rows", ticket))
    }

    fn weights(&self, layer: usize) -> Result<&Weights, ProductError> {
        self.layers[layer].weights.as_ref().ok_or(ProductError::Order("a product before its weights"))
    }

    fn encrypt_weights(&mut self, layer: usize, weights: &Matrix) -> Result<Weights, ProductError> {
        let measured = measure(weights.as_slice());
        let column = largest_column_sum(weights.as_slice(), weights.cols());
        let scale = match layer {
            0 => largest_scale(self.spec.feature_scale, column, measured.0),
            _ => entry_scale(measured.0),
        };
        let Encodable { values, scale, entry, .. } = self.encodable(weights.as_slice(), measured, scale)?;
        let view = View::new(&values, weights.rows(), weights.cols());
        let shape = self.shape(ProductKind::Forward, layer, 1).right();
        let name = (self.name_operand(), layer);
        let (outputs, inputs) =
            metered(|| (Scalars::random(shape.strips()), Scalars::random(shape.strip_len())));
        let passes_on = layer > 0 && self.pass.0 > 0;
        let along = if passes_on { Along::Scaled(&inputs) } else { Along::Nothing };
        let taken = Taken { cross: None, across: Some(&outputs), along };
        let sent = self.send(name, shape, scale, view, taken, Share::Nothing)?;
        let Sent { operand, secrets, masks, across, along, .. } = sent;
        let checks = WeightChecks { outputs, across, inputs, along };
        Ok(Weights { operand, scale, secrets, masks, checks, column, entry })
    }

    fn free_left(&mut self, layer: usize) -> Result<(), ProductError> {
        if let Some(LeftOperand { name: Left::Operands(operands), .. }) = self.layers[layer].left.take() {
            self.cloud.free(&operands)?;
        }
        Ok(())
    }

    /// Adds a part to a layer's left operand; the first one begins it anew.
    fn add_left(&mut self, layer: usize, left: Input<'_>, rows: Range<usize>) -> Result<(), ProductError> {
        if rows.start == 0 {
            self.free_left(layer)?;
        }
        let (name, part, secrets) = match left {
            Input::Rows(batch) => self.stored_rows(batch, rows)?,
            Input::Hidden(hidden) => self.hidden(layer, hidden, rows)?,
        };
        let LeftPart { blocks, .. } = &part;
        let state = &mut self.layers[layer];
        let whole = state.left.get_or_insert_with(|| LeftOperand {
            name: match &name {
                Left::Blocks(_) => Left::Blocks(vec![]),
                _ => Left::Operands(vec![]),
            },
            parts: vec![],
            secrets: vec![],
        });
        let (from, expected) = (whole.secrets.len(), whole.parts.last().map_or(0, |p| p.rows.end));
        if part.rows.start != expected {
            return Err(ProductError::Order("parts that do not follow each other"));
        }
        let blocks = from..from + blocks.len();
        whole.secrets.extend(secrets);
        match (&mut whole.name, name) {
            (Left::Blocks(all), Left::Blocks(more)) => all.extend(more),
            (Left::Operands(all), Left::Operand(more)) => all.push(more),
            _ => return Err(ProductError::Order("operands of two kinds")),
        }
        whole.parts.push(LeftPart { blocks, ..part });
        Ok(())
    }

    fn stored_rows(
        &self,
        batch: &Batch,
        rows: Range<usize>,
    ) -> Result<(Left, LeftPart, Vec<Secret>), ProductError> {
        let blocks: Vec<Block> = batch.blocks_of(rows.clone()).collect();
        let groups: Vec<Group> = batch.groups_of(rows.clone()).collect();
        let name = blocks.iter().map(|b| BlockRef { upload: b.upload, block: b.index }).collect();
        let index = |g: &Group| GroupRef { upload: g.upload, group: g.first_block / self.spec.group_blocks };
        let names: Vec<GroupRef> = groups.iter().map(index).collect();
        // On their way before the product is asked for, which takes longer.
        let bytes = |polynomials| names.len() * self.spec.projection_bytes(polynomials);
        let (inputs, blocks_of) = (self.spec.input_blocks(), self.spec.group_blocks as usize);
        let across = self.cloud.projections(&names, Projection::Group, bytes(inputs))?;
        let along = match self.pass.0 {
            0 => None,
            _ => Some(self.cloud.projections(&names, Projection::Rows, bytes(blocks_of))?),
        };
        let checks =
            PartChecks::Asked { rows: metered(|| self.rows.scalars(&blocks)), groups, across, along };
        let (scale, entry, rms) = (self.spec.feature_scale, 1.0, self.input_rms);
        let part = LeftPart { rows, blocks: 0..blocks.len(), scale, entry, rms, checks };
        Ok((Left::Blocks(name), part, self.rows.secrets(&blocks)))
    }

    fn hidden(
        &mut self,
        layer: usize,
        hidden: &Matrix,
        rows: Range<usize>,
    ) -> Result<(Left, LeftPart, Vec<Secret>), ProductError> {
        let values = hidden.values_of(rows.clone());
        let measured = measure(values);
        let name = (self.name_operand(), layer);
        let weights = self.weights(layer)?;
        let scale = largest_scale(weights.scale, measured.0 * weights.column, measured.0);
        let Encodable { values, scale, entry, rms } = self.encodable(values, measured, scale)?;
        let shape = self.shape(ProductKind::Forward, layer, rows.len()).left();
        let (of_rows, fresh) =
            metered(|| (Scalars::random(shape.strips()), Scalars::random(shape.strip_len())));
        let (share, inputs) = match &self.layers[layer].common {
            Some(Common { seed, masks, inputs }) => (Share::Masks(*seed, masks.clone()), inputs),
            None => (Share::Nothing, &fresh),
        };
        let along = if self.pass.0 > 0 { Along::Scaled(inputs) } else { Along::Nothing };
        let taken = Taken { cross: None, across: Some(&of_rows), along };
        let view = View::new(&values, rows.len(), hidden.cols());
        let sent = self.send(name, shape, scale, view, taken, share)?;
        let Sent { operand, secrets, across, along, seed, masks, .. } = sent;
        if self.layers[layer].common.is_none() {
            self.layers[layer].common = Some(Common { seed, masks, inputs: fresh });
        }
        let checks = PartChecks::There { rows: of_rows, across, along };
        let part = LeftPart { rows, blocks: 0..secrets.len(), scale, entry, rms, checks };
        Ok((Left::Operand(operand), part, secrets))
    }

    fn left(&self, layer: usize) -> Result<&LeftOperand, ProductError> {
        self.layers[layer].left.as_ref().ok_or(ProductError::Order("a gradient before its product"))
    }

    /// Scalars of a layer's input blocks, and masks of its left operand.
    /// Names the instruction that was answered wrongly; never a value.
    fn fault(&self, what: &str, ticket: Ticket) -> impl Fn(ProductError) -> ProductError + use<C, K> {
        let instruction = format!("{what}, step {}, answer {}", self.context.step, ticket.0);
        move |error| match error {
            ProductError::Malformed(_) | ProductError::Wrong(_) | ProductError::Projections => {
                ProductError::Fault(format!("{error}: {instruction}"))
            }
            other => other,
        }
    }

    /// Waits for a product and checks it.
    fn checked(
        &self,
        (ticket, layer): (Ticket, usize),
        shape: ProductShape,
        check: Check<'_>,
    ) -> Result<Checked, ProductError> {
        let memory = std::mem::take(&mut *lock(&self.memory));
        let product = collect(self.cloud, ticket, Received::into(shape, memory));
        let done = product.and_then(|product| Ok(check.verify(product)??));
        let what = match shape.kind {
            ProductKind::Forward => "forward product",
            ProductKind::WeightGradient => "weight gradient",
            ProductKind::InputGradient => "input gradient",
        };
        done.map_err(self.fault(&format!("{what} of layer {layer}"), ticket))
    }

    fn inputs(&self, layer: usize) -> Result<(&Scalars, &[Poly<Eval>]), ProductError> {
        match (layer, &self.layers[layer].common) {
            (0, _) => Ok((self.rows.inputs(), &self.masks)),
            (_, Some(common)) => Ok((&common.inputs, &common.masks)),
            _ => Err(ProductError::Order("a product before its left operand")),
        }
    }

    /// v of all parts of a left operand, one polynomial for each row block.
    fn along(left: &mut LeftOperand) -> Result<Vec<Poly<Eval>>, ProductError> {
        let mut all = Vec::new();
        for part in &mut left.parts {
            match &mut part.checks {
                PartChecks::There { along, .. } => all.append(along),
                PartChecks::Asked { .. } => return Err(ProductError::Order("a gradient before its product")),
            }
        }
        Ok(all)
    }

    /// Waits for the projections of a part of stored rows. All that was asked for with it: as long as an answer is
    /// not taken, no memory that is shared with the refinery is used again.
    fn fetch(&mut self, layer: usize, part: usize) -> Result<(), ProductError> {
        let left = self.layers[layer].left.as_ref().and_then(|left| left.parts.get(part));
        let Some(LeftPart { checks: PartChecks::Asked { groups, across, along, .. }, .. }) = left else {
            return Ok(());
        };
        let across = self.projections(*across, groups, Projection::Group)?;
        let along = match along {
            Some(along) => self.projections(*along, groups, Projection::Rows)?,
            None => Vec::new(),
        };
        let left = self.layers[layer].left.as_mut().and_then(|left| left.parts.get_mut(part));
        if let Some(part) = left
            && let PartChecks::Asked { rows, .. } = &mut part.checks
        {
            let rows = Scalars::join([&*rows]);
            part.checks = PartChecks::There { rows, across, along };
        }
        Ok(())
    }

    /// Scales of a weight gradient: that to which parts of the left operand with larger scales are brought by
    /// the error's rows, and the error's own.
    fn gradient_scales(
        &self,
        layer: usize,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(Scale, Result<Scale, Overflow>), ProductError> {
        let left = self.left(layer)?;
        if let Some(bounds) = bounds {
            // What holds for every micro-batch, so that they add up.
            let (entry, error) = (f64::from(bounds.left), f64::from(bounds.error));
            let base = match layer {
                0 => self.spec.feature_scale,
                _ => {
                    let weights = self.weights(layer)?;
                    match largest_scale(weights.scale, entry * weights.column, entry) {
                        Ok(base) => base,
                        // The error's scale tells.
                        overflow => return Ok((self.spec.feature_scale, overflow)),
                    }
                }
            };
            return Ok((base, largest_scale(base, entry * error * self.pass.1 as f64, error)));
        }
        let entry = left.parts.iter().fold(0.0, |m: f64, p| m.max(p.entry));
        let base = left.parts.iter().map(|p| p.scale).min().unwrap_or(self.spec.feature_scale);
        let (largest, _) = measure(error.as_slice());
        let column = largest_column_sum(error.as_slice(), error.cols());
        Ok((base, largest_scale(base, entry * column, largest)))
    }

    /// The error with its rows divided by how much larger their left operand's scale is than the `base`.
    fn rescale(&mut self, layer: usize, error: &Matrix, base: Scale) -> Result<(), ProductError> {
        let mut scaled = std::mem::take(&mut self.scaled);
        scaled.reshape(error.rows(), error.cols());
        for part in &self.left(layer)?.parts {
            let factor = (base.factor() / part.scale.factor()) as f32;
            let each =
                scaled.values_mut(part.rows.clone()).iter_mut().zip(error.values_of(part.rows.clone()));
            each.for_each(|(s, e)| *s = factor * e);
        }
        self.scaled = scaled;
        Ok(())
    }
}
