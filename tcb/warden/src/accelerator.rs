//! Encrypted matrix products behind the training loop's seam.

use std::sync::Arc;

use blindsmith_keys::{
    Checked, Context, Encryption, Extras, Freshness, Key, Malformed, Opener, OutOfRange, Secret,
};
use blindsmith_learn::{Accelerator, Batch, Block, Left as Input, Matrix, Pass};
use blindsmith_matrix::{
    NoiseModel, Overflow, ProductKind, ProductShape, Scale, View, entry_scale, largest_scale,
};
use blindsmith_protocol::{BlockRef, Left, ProjectSpec};
use blindsmith_ring::modulus::MAX_CHAIN;
use blindsmith_ring::{Eval, Poly};
use rayon::prelude::*;
use thiserror::Error;

use crate::cloud::{Cloud, CloudError, ProductRequest, Sink, Ticket};

/// A product that could not be had.
#[derive(Debug, Error)]
pub enum ProductError {
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// What it returned has the wrong form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What it returned opens to nonsense.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The values are too large to be encoded. How large is a secret, and is not said.
    #[error("values became too large for the modulus: lower the learning rate or set clip_norm")]
    Overflow(Overflow),
    /// More tiles would be added up than residues can take.
    #[error("a batch of {0} row blocks, where {MAX_CHAIN} are possible: choose smaller batches")]
    TooLong(usize),
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
}

/// Weights that the cloud holds encrypted.
struct Weights {
    operand: u32,
    scale: Scale,
    secrets: Vec<Secret>,
    masks: Vec<Poly<Eval>>,
    /// max over outputs of the sum over inputs of |w|.
    column: f64,
    entry: f64,
}

/// The left operand of a layer's last product.
struct LeftOperand {
    name: Left,
    scale: Scale,
    secrets: Vec<Secret>,
    /// None: the project's masks.
    masks: Option<Arc<[Poly<Eval>]>>,
    rows: usize,
    entry: f64,
    rms: f64,
}

#[derive(Default)]
struct Layer {
    weights: Option<Weights>,
    left: Option<LeftOperand>,
    /// Gradients that were asked for.
    pending: Vec<Pending>,
    /// Variance of the gradient's noise, in real units.
    variance: f64,
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
}

/// Largest magnitude, root mean square, and whether all entries are finite, in one pass.
fn measure(values: &[f32]) -> (f64, f64) {
    // NaN must not be lost in a maximum: it spreads through the sum of squares.
    let (largest, squares) =
        values.iter().fold((0f32, 0f64), |(m, s), v| (m.max(v.abs()), s + (*v as f64) * (*v as f64)));
    let rms = (squares / values.len().max(1) as f64).sqrt();
    (if rms.is_finite() { largest as f64 } else { f64::NAN }, rms)
}

/// max over columns of the sum of magnitudes.
fn column_bound(matrix: &Matrix) -> f64 {
    let mut sums = vec![0f64; matrix.cols()];
    for row in matrix.iter_rows() {
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.abs() as f64);
    }
    sums.iter().fold(0.0, |m, s| m.max(*s))
}

/// max over rows of the sum of magnitudes.
fn row_bound(matrix: &Matrix) -> f64 {
    matrix.iter_rows().map(|row| row.iter().map(|v| v.abs() as f64).sum()).fold(0.0, f64::max)
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

    /// Encrypts an operand and sends it, strip by strip on all cores.
    fn send(
        &mut self,
        layer: usize,
        shape: blindsmith_matrix::Shape,
        scale: Scale,
        matrix: &Matrix,
        cross: Option<&[Secret]>,
    ) -> Result<Sent, ProductError> {
        if shape.strip_len() > MAX_CHAIN {
            return Err(ProductError::TooLong(shape.strip_len()));
        }
        let operand = self.operands;
        self.operands += 1;
        let context = Context { layer: layer as u32, part: operand, ..self.context };
        let view = View::new(matrix.as_slice(), matrix.rows(), matrix.cols());
        let encryption = Encryption::operand(self.key, &context, shape, scale, view, self.freshness);
        self.cloud.begin(operand, layer as u32, &shape, encryption.mask_seed())?;
        let (cloud, len) = (self.cloud, encryption.strip_lanes());
        let strips: Result<Vec<_>, CloudError> = (0..shape.strips())
            .into_par_iter()
            .map_init(
                || encryption.scratch(),
                |scratch, s| {
                    let mut made = None;
                    cloud.strip(operand, s as u32, len, &mut |out| {
                        made = Some(encryption.strip(s, cross, scratch, out));
                    })?;
                    // Unwrap safety: a cloud that takes a strip has had it filled.
                    Ok(made.expect("a strip that was filled"))
                },
            )
            .collect();
        let mut sent = Sent { operand, secrets: vec![], cross: vec![], masks: encryption.into_masks() };
        for strip in strips? {
            sent.secrets.push(strip.secret);
            sent.cross.extend(strip.cross);
        }
        Ok(sent)
    }

    fn request(
        &self,
        kind: ProductKind,
        layer: usize,
        left: &Left,
        right: u32,
    ) -> Result<Ticket, ProductError> {
        let request = ProductRequest { kind, layer: layer as u32, left: left.clone(), right };
        Ok(self.cloud.request(request)?)
    }

    /// Waits for a product and opens it into `out`.
    fn open<'b>(
        &self,
        ticket: Ticket,
        shape: ProductShape,
        opener: impl FnOnce(Checked<Extras>) -> Opener<'b>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let (rows, cols) = shape.size();
        out.reshape(rows, cols);
        let mut opening = Opening {
            shape,
            make: Some(opener),
            opener: None,
            opened: 0,
            out: out.as_mut_slice(),
            failure: None,
        };
        let done = self.cloud.collect(ticket, &mut opening);
        if let Some(e) = opening.failure {
            return Err(e);
        }
        done?;
        // What was not written would be an older product's values.
        if opening.opened == shape.grid().0 { Ok(()) } else { Err(Malformed("rows are missing").into()) }
    }

    fn weights(&self, layer: usize) -> Result<&Weights, ProductError> {
        self.layers[layer].weights.as_ref().ok_or(ProductError::Order("a product before its weights"))
    }

    fn free_left(&mut self, layer: usize) -> Result<(), ProductError> {
        if let Some(LeftOperand { name: Left::Operand(operand), .. }) = self.layers[layer].left.take() {
            self.cloud.free(&[operand])?;
        }
        Ok(())
    }

    fn prepare_left(&mut self, layer: usize, left: Input<'_>) -> Result<(), ProductError> {
        self.free_left(layer)?;
        let operand = match left {
            Input::Rows(batch) => self.stored_rows(batch),
            Input::Hidden(hidden) => self.hidden(layer, hidden)?,
        };
        self.layers[layer].left = Some(operand);
        Ok(())
    }

    fn stored_rows(&self, batch: &Batch) -> LeftOperand {
        let blocks: Vec<Block> = batch.blocks().collect();
        let name = blocks.iter().map(|b| BlockRef { upload: b.upload, block: b.index }).collect();
        LeftOperand {
            name: Left::Blocks(name),
            scale: self.spec.feature_scale,
            secrets: self.rows.secrets(&blocks),
            masks: None,
            rows: batch.rows(),
            entry: 1.0,
            rms: self.input_rms,
        }
    }

    fn hidden(&mut self, layer: usize, hidden: &Matrix) -> Result<LeftOperand, ProductError> {
        let (entry, rms) = measure(hidden.as_slice());
        let weights = self.weights(layer)?;
        let scale = largest_scale(weights.scale, entry * weights.column, entry)?;
        let shape = self.shape(ProductKind::Forward, layer, hidden.rows()).left();
        let sent = self.send(layer, shape, scale, hidden, None)?;
        Ok(LeftOperand {
            name: Left::Operand(sent.operand),
            scale,
            secrets: sent.secrets,
            masks: Some(sent.masks.into()),
            rows: hidden.rows(),
            entry,
            rms,
        })
    }
}

/// A weight gradient that was asked for, and what opens it.
struct Pending {
    ticket: Ticket,
    shape: ProductShape,
    sent: Sent,
    /// None: the project's masks.
    masks: Option<Arc<[Poly<Eval>]>>,
    scales: [Scale; 2],
}

struct Sent {
    operand: u32,
    secrets: Vec<Secret>,
    cross: Vec<Poly<Eval>>,
    masks: Vec<Poly<Eval>>,
}

/// A product being opened as it arrives.
struct Opening<'o, 'a, F> {
    shape: ProductShape,
    make: Option<F>,
    opener: Option<Opener<'a>>,
    /// Rows of the grid opened so far.
    opened: usize,
    out: &'o mut [f32],
    failure: Option<ProductError>,
}

impl<'a, F: FnOnce(Checked<Extras>) -> Opener<'a>> Opening<'_, 'a, F> {
    fn open(&mut self, first: usize, residues: &[u64]) -> Result<(), ProductError> {
        let opener = self.opener.as_ref().ok_or(ProductError::Order("rows before extras"))?;
        let body = Checked::rows(&self.shape, residues)?;
        if first != self.opened {
            return Err(Malformed("rows out of order").into());
        }
        let per_row = opener.rows_per_grid_row() * self.shape.size().1;
        let end = self.opened + body.count(&self.shape);
        if end > self.shape.grid().0 {
            return Err(Malformed("rows that do not exist").into());
        }
        let out = self.out.get_mut(first * per_row..).unwrap_or_default();
        let count = out.len().min(body.count(&self.shape) * per_row);
        open_rows(&self.shape, opener, first, &body, &mut out[..count])?;
        self.opened = end;
        Ok(())
    }

    /// Keeps the cause and tells the cloud's side to stop.
    fn keep(&mut self, done: Result<(), ProductError>) -> Result<(), CloudError> {
        done.map_err(|cause| {
            self.failure = Some(cause);
            CloudError::Refused("the warden refused a product".into())
        })
    }
}

impl<'a, F: FnOnce(Checked<Extras>) -> Opener<'a>> Sink for Opening<'_, 'a, F> {
    fn extras(&mut self, residues: &[u64]) -> Result<(), CloudError> {
        let checked = Checked::extras(&self.shape, residues).map_err(ProductError::from);
        let done = checked.and_then(|extras| {
            let make = self.make.take().ok_or(ProductError::Order("a product twice"))?;
            self.opener = Some(make(extras));
            Ok(())
        });
        self.keep(done)
    }

    fn rows(&mut self, first: usize, residues: &[u64]) -> Result<(), CloudError> {
        let done = self.open(first, residues);
        self.keep(done)
    }
}

fn open_rows(
    shape: &ProductShape,
    opener: &Opener<'_>,
    first: usize,
    body: &Checked<&[u64]>,
    out: &mut [f32],
) -> Result<(), ProductError> {
    let per_row = opener.rows_per_grid_row() * shape.size().1;
    // Every row is opened before the outcome is known, so that a failure does not show which one.
    out.par_chunks_mut(per_row)
        .enumerate()
        .map_init(
            || Poly::<Eval>::zero(shape.tile.degree()),
            |scratch, (i, out)| opener.open_row(first + i, &body.row(shape, i), scratch, out),
        )
        .reduce(|| Ok(()), |a, b| a.and(b))?;
    Ok(())
}

impl<C: Cloud, K: RowKeys> Accelerator for Encrypted<'_, C, K> {
    type Error = ProductError;

    fn begin(&mut self, _pass: Pass) -> Result<(), ProductError> {
        let held = |layer: &Layer| {
            let left = layer.left.as_ref().and_then(|l| match l.name {
                Left::Operand(operand) => Some(operand),
                Left::Blocks(_) => None,
            });
            layer.weights.as_ref().map(|w| w.operand).into_iter().chain(left).collect::<Vec<_>>()
        };
        let operands: Vec<u32> = self.layers.iter().flat_map(held).collect();
        if !operands.is_empty() {
            self.cloud.free(&operands)?;
        }
        for layer in &mut self.layers {
            layer.weights = None;
            layer.left = None;
            layer.variance = 0.0;
            layer.pending.clear();
        }
        self.context.step += 1;
        self.operands = 0;
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        let (entry, _) = measure(weights.as_slice());
        let column = column_bound(weights);
        let scale = match layer {
            0 => largest_scale(self.spec.feature_scale, column, entry)?,
            _ => entry_scale(entry)?,
        };
        let shape = self.shape(ProductKind::Forward, layer, 1).right();
        let sent = self.send(layer, shape, scale, weights, None)?;
        let Sent { operand, secrets, masks, .. } = sent;
        self.layers[layer].weights = Some(Weights { operand, scale, secrets, masks, column, entry });
        Ok(())
    }

    fn forward(&mut self, layer: usize, left: Input<'_>, out: &mut Matrix) -> Result<(), ProductError> {
        self.prepare_left(layer, left)?;
        let weights = self.weights(layer)?;
        let left = self.layers[layer].left.as_ref().ok_or(ProductError::Order("no left operand"))?;
        let shape = self.shape(ProductKind::Forward, layer, left.rows);
        fits(&shape, left.entry * left.scale.factor(), weights.entry * weights.scale.factor())?;
        let opener = |extras| {
            Opener::forward(shape, extras, &left.secrets, &weights.secrets, [left.scale, weights.scale])
        };
        let ticket = self.request(ProductKind::Forward, layer, &left.name, weights.operand)?;
        self.open(ticket, shape, opener, out)
    }

    fn add_gradient(&mut self, layer: usize, _left: Input<'_>, error: &Matrix) -> Result<(), ProductError> {
        let left =
            self.layers[layer].left.take().ok_or(ProductError::Order("a gradient before its product"))?;
        let (entry, rms) = measure(error.as_slice());
        let scale = largest_scale(left.scale, left.entry * column_bound(error), entry)?;
        let shape = self.shape(ProductKind::WeightGradient, layer, left.rows);
        fits(&shape, left.entry * left.scale.factor(), entry * scale.factor())?;
        let sent = self.send(layer, shape.right(), scale, error, Some(&left.secrets))?;
        let ticket = self.request(ProductKind::WeightGradient, layer, &left.name, sent.operand)?;
        self.cloud.free(&[sent.operand])?;
        let scales = [left.scale, scale];
        let model = NoiseModel::of(&shape.left(), &shape.right());
        let noise = model.std(left.rms * left.scale.factor(), rms * scale.factor())
            / (left.scale.factor() * scale.factor());
        let state = &mut self.layers[layer];
        state.variance += noise * noise;
        // Opened when it is needed: meanwhile the cloud multiplies and the warden goes on.
        let masks = left.masks.clone();
        state.left = Some(left);
        state.pending.push(Pending { ticket, shape, sent, masks, scales });
        Ok(())
    }

    fn input_gradient(&mut self, layer: usize, error: &Matrix, out: &mut Matrix) -> Result<(), ProductError> {
        let weights =
            self.layers[layer].weights.take().ok_or(ProductError::Order("a product before its weights"))?;
        let (entry, _) = measure(error.as_slice());
        let bound = row_bound(error) * weights.entry;
        let scale = largest_scale(weights.scale, bound, entry)?;
        let shape = self.shape(ProductKind::InputGradient, layer, error.rows());
        fits(&shape, entry * scale.factor(), weights.entry * weights.scale.factor())?;
        let sent = self.send(layer, shape.left(), scale, error, Some(&weights.secrets))?;
        let scales = [scale, weights.scale];
        let opener = |extras| {
            Opener::input_gradient(shape, extras, &weights.masks, &sent.secrets, &sent.cross, scales)
        };
        let left = Left::Operand(sent.operand);
        let ticket = self.request(ProductKind::InputGradient, layer, &left, weights.operand)?;
        self.cloud.free(&[sent.operand])?;
        self.open(ticket, shape, opener, out)?;
        self.layers[layer].weights = Some(weights);
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), ProductError> {
        let mut part = Matrix::default();
        for (i, pending) in std::mem::take(&mut self.layers[layer].pending).iter().enumerate() {
            let Pending { ticket, shape, sent, masks, scales } = pending;
            let masks = masks.as_deref().unwrap_or(&self.masks);
            let opener =
                |extras| Opener::weight_gradient(*shape, extras, masks, &sent.secrets, &sent.cross, *scales);
            if i == 0 {
                self.open(*ticket, *shape, opener, out)?;
            } else {
                self.open(*ticket, *shape, opener, &mut part)?;
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
