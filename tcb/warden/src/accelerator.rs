//! Encrypted matrix products behind the training loop's seam.

use std::ops::Range;
use std::sync::Mutex;

use blindsmith_keys::{
    Along, Check, Checked, Context, EncryptedStrip, Encryption, Freshness, Key, Malformed, Opener,
    OutOfRange, Scalars, Secret, Share, Taken, Wrong, combine, contract,
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
    WeightChecks, Weights, measure, view,
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

    /// Opens kept projections as they came: of groups their sum, one polynomial for each input block; of rows one
    /// for each row block, in order. None if they are not what was kept.
    fn projections(&self, groups: &[Group], which: Projection, sealed: &[u8]) -> Option<Vec<Poly<Eval>>>;
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
                strip.add(encryption.piece((s, piece), taken, &mut scratch, &mut out[..len]));
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
        kind: ProductKind,
        layer: usize,
        left: Left,
        right: u32,
        sum: bool,
    ) -> Result<Ticket, ProductError> {
        Ok(self.cloud.request(ProductRequest { kind, layer: layer as u32, left, right, sum })?)
    }

    /// Waits for projections of stored rows.
    fn projections(
        &self,
        ticket: Ticket,
        groups: &[Group],
        which: Projection,
    ) -> Result<Vec<Poly<Eval>>, ProductError> {
        let sealed = self.cloud.bytes(ticket)?;
        let opened = self.rows.projections(groups, which, sealed.as_slice());
        opened.ok_or(ProductError::Projections).map_err(self.fault("projections of stored rows", ticket))
    }

    fn weights(&self, layer: usize) -> Result<&Weights, ProductError> {
        self.layers[layer].weights.as_ref().ok_or(ProductError::Order("a product before its weights"))
    }

    fn encrypt_weights(&mut self, layer: usize, weights: &Matrix) -> Result<Weights, ProductError> {
        let (entry, _) = measure(weights.as_slice());
        let column = largest_column_sum(weights.as_slice(), weights.cols());
        let scale = match layer {
            0 => largest_scale(self.spec.feature_scale, column, entry)?,
            _ => entry_scale(entry)?,
        };
        let shape = self.shape(ProductKind::Forward, layer, 1).right();
        let name = (self.name_operand(), layer);
        let (outputs, inputs) = (Scalars::random(shape.strips()), Scalars::random(shape.strip_len()));
        let passes_on = layer > 0 && self.pass.0 > 0;
        let along = if passes_on { Along::Scaled(&inputs) } else { Along::Nothing };
        let taken = Taken { cross: None, across: Some(&outputs), along };
        let sent = self.send(name, shape, scale, view(weights), taken, Share::Nothing)?;
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
        let across = self.cloud.projections(&names, Projection::Group)?;
        let along = match self.pass.0 {
            0 => None,
            _ => Some(self.cloud.projections(&names, Projection::Rows)?),
        };
        let checks = PartChecks::Stored { rows: self.rows.scalars(&blocks), groups, across, along };
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
        let (entry, rms) = measure(values);
        let name = (self.name_operand(), layer);
        let weights = self.weights(layer)?;
        let scale = largest_scale(weights.scale, entry * weights.column, entry)?;
        let shape = self.shape(ProductKind::Forward, layer, rows.len()).left();
        let of_rows = Scalars::random(shape.strips());
        let fresh = Scalars::random(shape.strip_len());
        let (share, inputs) = match &self.layers[layer].common {
            Some(Common { seed, masks, inputs }) => (Share::Masks(*seed, masks.clone()), inputs),
            None => (Share::Nothing, &fresh),
        };
        let along = if self.pass.0 > 0 { Along::Scaled(inputs) } else { Along::Nothing };
        let taken = Taken { cross: None, across: Some(&of_rows), along };
        let view = View::new(values, rows.len(), hidden.cols());
        let sent = self.send(name, shape, scale, view, taken, share)?;
        let Sent { operand, secrets, across, along, seed, masks, .. } = sent;
        if self.layers[layer].common.is_none() {
            self.layers[layer].common = Some(Common { seed, masks, inputs: fresh });
        }
        let checks = PartChecks::Own { rows: of_rows, across, along };
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
        let product = collect(self.cloud, ticket, shape);
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
    fn along(&self, left: &mut LeftOperand) -> Result<Vec<Poly<Eval>>, ProductError> {
        let mut all = Vec::new();
        for part in &mut left.parts {
            all.append(&mut match &mut part.checks {
                PartChecks::Own { along, .. } => std::mem::take(along),
                PartChecks::Stored { groups, along, .. } => {
                    let ticket = along.take().ok_or(ProductError::Order("a gradient in an inference"))?;
                    self.projections(ticket, groups, Projection::Rows)?
                }
            });
        }
        Ok(all)
    }

    /// Scales of a weight gradient: that to which parts of the left operand with larger scales are brought by
    /// the error's rows, and the error's own.
    fn gradient_scales(
        &self,
        layer: usize,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<[Scale; 2], ProductError> {
        let left = self.left(layer)?;
        if let Some(bounds) = bounds {
            // What holds for every micro-batch, so that they add up.
            let (entry, error) = (f64::from(bounds.left), f64::from(bounds.error));
            let base = match layer {
                0 => self.spec.feature_scale,
                _ => {
                    let weights = self.weights(layer)?;
                    largest_scale(weights.scale, entry * weights.column, entry)?
                }
            };
            return Ok([base, largest_scale(base, entry * error * self.pass.1 as f64, error)?]);
        }
        let entry = left.parts.iter().fold(0.0, |m: f64, p| m.max(p.entry));
        let base = left.parts.iter().map(|p| p.scale).min().unwrap_or(self.spec.feature_scale);
        let (largest, _) = measure(error.as_slice());
        Ok([base, largest_scale(base, entry * largest_column_sum(error.as_slice(), error.cols()), largest)?])
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

impl<C: Cloud, K: RowKeys> Accelerator for Encrypted<'_, C, K> {
    type Error = ProductError;

    fn part_rows(&self) -> usize {
        // Sizes of tiles are powers of two: the largest is a multiple of all.
        self.spec.layers.iter().map(|l| l.tile.m()).max().unwrap_or(1)
    }

    fn begin(&mut self, pass: Pass) -> Result<(), ProductError> {
        let mut old = Vec::new();
        for layer in &mut self.layers {
            let Layer { weights, ahead, left, .. } = std::mem::take(layer);
            old.extend(weights.map(|w| w.operand));
            if let Some(LeftOperand { name: Left::Operands(operands), .. }) = left {
                old.extend(operands);
            }
            layer.weights = ahead;
        }
        if !old.is_empty() {
            self.cloud.free(&old)?;
        }
        self.context.step += 1;
        self.pass = match pass {
            Pass::Inference => (0, 0),
            Pass::Training { micro_batches, rows } => (micro_batches, rows),
        };
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        let weights = self.encrypt_weights(layer, weights)?;
        self.layers[layer].weights = Some(weights);
        Ok(())
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        let weights = self.encrypt_weights(layer, weights)?;
        self.layers[layer].ahead = Some(weights);
        Ok(())
    }

    fn loaded_ahead(&self, layer: usize) -> bool {
        self.layers[layer].weights.is_some()
    }

    fn start_forward(
        &mut self,
        layer: usize,
        left: Input<'_>,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        self.add_left(layer, left, rows)?;
        let (weights, left) = (self.weights(layer)?, self.left(layer)?);
        let index = left.parts.len() - 1;
        let part = &left.parts[index];
        let shape = self.shape(ProductKind::Forward, layer, part.rows.len());
        fits(&shape, part.entry * part.scale.factor(), weights.entry * weights.scale.factor())?;
        let name = match &left.name {
            Left::Blocks(blocks) => Left::Blocks(blocks[part.blocks.clone()].to_vec()),
            Left::Operands(operands) => Left::Operand(operands[index]),
            Left::Operand(operand) => Left::Operand(*operand),
        };
        let ticket = self.request(ProductKind::Forward, layer, name, weights.operand, false)?;
        self.layers[layer].forward.push_back(Started { ticket, part: index });
        Ok(())
    }

    fn forward(
        &mut self,
        layer: usize,
        _left: Input<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        const UNASKED: ProductError = ProductError::Order("a product that was not announced");
        let Started { ticket, part } = self.layers[layer].forward.pop_front().ok_or(UNASKED)?;
        let (weights, left) = (self.weights(layer)?, self.left(layer)?);
        let part = left.parts.get(part).filter(|part| part.rows == rows).ok_or(UNASKED)?;
        let shape = self.shape(ProductKind::Forward, layer, rows.len());
        let fetched;
        let (scalars, across) = match &part.checks {
            PartChecks::Own { rows, across, .. } => (rows, across),
            PartChecks::Stored { rows, groups, across, .. } => {
                fetched = self.projections(*across, groups, Projection::Group)?;
                (rows, &fetched)
            }
        };
        let (_, masks) = self.inputs(layer)?;
        let checks = &weights.checks;
        let of_weights = (&checks.outputs, &checks.across[..], &weights.masks[..]);
        let check = Check::forward((scalars, across, masks), of_weights);
        let product = self.checked((ticket, layer), shape, check)?;
        let (secrets, scales) = (&left.secrets[part.blocks.clone()], [part.scale, weights.scale]);
        open(&Opener::forward(product, secrets, &weights.secrets, scales), out.values_mut(rows))
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        _left: Input<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), ProductError> {
        let bounds = bounds.filter(|_| self.pass.0 > 1);
        let scales = self.gradient_scales(layer, error, bounds)?;
        let split = bounds.is_some() || self.left(layer)?.parts.len() > 1;
        if split {
            self.rescale(layer, error, scales[0])?;
        }
        let name = (self.name_operand(), layer);
        // In place while it is borrowed.
        let (left, mut sums) =
            (self.layers[layer].left.take(), std::mem::take(&mut self.layers[layer].gradients));
        let mut left = left.ok_or(ProductError::Order("a gradient before its product"))?;
        let projections = self.along(&mut left)?;
        let error = if split { &self.scaled } else { error };
        let shape = self.shape(ProductKind::WeightGradient, layer, error.rows());
        let (entry, rms) = measure(error.as_slice());
        let encoded = |part: &LeftPart| part.entry * part.scale.factor();
        let whole = ProductShape { rows: shape.rows.max(bounds.map_or(0, |_| self.pass.1)), ..shape };
        let largest = left.parts.iter().map(encoded).fold(0.0, f64::max);
        fits(&whole, largest, entry * scales[1].factor())?;

        let open = sums.last_mut().filter(|sum| sum.ticket.is_none());
        let share = open.as_ref().map_or(Share::Nothing, |sum| Share::Secrets(&sum.secrets));
        let taken = Taken { cross: Some(&left.secrets), across: None, along: Along::Times(&projections) };
        let sent = self.send(name, shape.right(), scales[1], view(error), taken, share)?;
        let state = &self.layers[layer];
        let last = bounds.is_none() || state.micro_batches + 1 == self.pass.0;
        let ticket = if last {
            let (kind, left) = (ProductKind::WeightGradient, left.name.clone());
            Some(self.request(kind, layer, left, sent.operand, open.is_some())?)
        } else {
            self.cloud.accumulate(layer as u32, left.name.clone(), sent.operand)?;
            None
        };
        self.cloud.free(&[sent.operand])?;
        match open {
            Some(sum) => {
                sum.ticket = ticket;
                sum.cross.iter_mut().zip(&sent.cross).for_each(|(sum, y)| sum.add_assign(y));
                let Expected { scalars, body, extras } = &mut sum.checks;
                body.add_assign(&combine(&sent.along, scalars));
                extras.add_assign(&contract(&projections, &sent.masks));
            }
            None => {
                let Sent { secrets, cross, along, masks, .. } = sent;
                let scalars = Scalars::random(secrets.len());
                let body = combine(&along, &scalars);
                let checks = Expected { scalars, body, extras: contract(&projections, &masks) };
                sums.push(Gradient { ticket, shape, secrets, cross, scales, checks });
            }
        }

        let square = |part: &LeftPart| {
            let encoded = part.rms * part.scale.factor();
            part.rows.len() as f64 * encoded * encoded
        };
        let left_rms = (left.parts.iter().map(square).sum::<f64>() / shape.rows as f64).sqrt();
        let model = NoiseModel::of(&shape.left(), &shape.right());
        let noise = model.std(left_rms, rms * scales[1].factor()) / (scales[0].factor() * scales[1].factor());
        let state = &mut self.layers[layer];
        state.variance += noise * noise;
        state.micro_batches += 1;
        // Opened when it is needed: meanwhile the cloud multiplies and the warden goes on.
        (state.left, state.gradients) = (Some(left), sums);
        Ok(())
    }

    fn start_input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        let name = (self.name_operand(), layer);
        let weights = self.weights(layer)?;
        let view = View::new(error.values_of(rows.clone()), rows.len(), error.cols());
        let (entry, _) = measure(view.data);
        let bound = largest_row_sum(view.data, error.cols()) * weights.entry;
        let scale = largest_scale(weights.scale, bound, entry)?;
        let shape = self.shape(ProductKind::InputGradient, layer, rows.len());
        fits(&shape, entry * scale.factor(), weights.entry * weights.scale.factor())?;
        let checks = &weights.checks;
        let (cross, along) = (Some(&weights.secrets[..]), Along::Times(&checks.along));
        let sent =
            self.send(name, shape.left(), scale, view, Taken { cross, across: None, along }, Share::Nothing)?;
        let scalars = Scalars::random(sent.along.len());
        let body = combine(&sent.along, &scalars);
        let checks = Expected { scalars, body, extras: contract(&sent.masks, &checks.along) };
        let left = Left::Operand(sent.operand);
        let ticket = self.request(ProductKind::InputGradient, layer, left, weights.operand, false)?;
        self.cloud.free(&[sent.operand])?;
        let scales = [scale, weights.scale];
        self.layers[layer].input.push_back(StartedInput { ticket, rows, shape, sent, scales, checks });
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        _error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let started = self.layers[layer].input.pop_front().filter(|started| started.rows == rows);
        let StartedInput { ticket, shape, sent, scales, checks, .. } =
            started.ok_or(ProductError::Order("a product that was not announced"))?;
        let weights = self.weights(layer)?;
        let Expected { scalars, body, extras } = checks;
        let check = Check { rows: &scalars, cols: &weights.checks.inputs, body, extras };
        let product = self.checked((ticket, layer), shape, check)?;
        let opener = Opener::input_gradient(product, &weights.masks, &sent.secrets, &sent.cross, scales);
        open(&opener, out.values_mut(rows))
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), ProductError> {
        let mut part = Matrix::default();
        let gradients = std::mem::take(&mut self.layers[layer].gradients);
        let (inputs, masks) = self.inputs(layer)?;
        for (i, gradient) in gradients.into_iter().enumerate() {
            let Gradient { ticket, shape, secrets, cross, scales, checks } = gradient;
            let ticket = ticket.ok_or(ProductError::Order("a gradient before its last micro-batch"))?;
            let Expected { scalars, body, extras } = checks;
            let check = Check { rows: inputs, cols: &scalars, body, extras };
            let product = self.checked((ticket, layer), shape, check)?;
            let opener = Opener::weight_gradient(product, masks, &secrets, &cross, scales);
            let (rows, cols) = shape.size();
            let to = if i == 0 { &mut *out } else { &mut part };
            to.reshape(rows, cols);
            open(&opener, to.as_mut_slice())?;
            if i > 0 {
                out.as_mut_slice().iter_mut().zip(part.as_slice()).for_each(|(s, g)| *s += g);
            }
        }
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        self.layers[layer].variance.sqrt() as f32
    }
}

/// The noise must stay within its part of the modulus.
fn fits(shape: &ProductShape, left_max: f64, right_max: f64) -> Result<(), ProductError> {
    if NoiseModel::of(&shape.left(), &shape.right()).fits(left_max, right_max) {
        Ok(())
    } else {
        Err(Overflow { bound: left_max * right_max, other_log2: 0 }.into())
    }
}
