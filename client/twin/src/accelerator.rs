//! The accelerator that multiplies in the clear.

use std::ops::Range;

use blindsmith_learn::{Accelerator, Batch, Block, Bounds, Left, Matrix, Pass};

use crate::product::{Into, View, multiply};

/// Rows of uploads in the clear, and the operands of the pass in progress.
pub struct Twin {
    uploads: Vec<Matrix>,
    block_rows: u32,
    threads: usize,
    weights: Vec<Matrix>,
    gradients: Vec<Gradient>,
    gathered: Matrix,
    noise: Vec<Vec<f32>>,
    step: usize,
}

#[derive(Default)]
struct Gradient {
    sum: Matrix,
    started: bool,
}

/// What the twin was asked for and does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TwinError {
    /// Rows of another width.
    #[error("rows of {found} inputs where the earlier uploads have {expected}")]
    Inputs {
        /// Columns found.
        found: usize,
        /// Columns of the earlier uploads.
        expected: usize,
    },
    /// A block that is none of the uploads'.
    #[error("upload {} has no block {} of {} rows", .0.upload, .0.index, .0.rows)]
    Block(Block),
    /// A product before its operands, or of operands that do not fit.
    #[error("{product} of layer {layer}: the operands are missing or do not fit each other")]
    Operands {
        /// Which product.
        product: &'static str,
        /// The layer, from 0.
        layer: usize,
    },
}

impl Twin {
    /// A twin without rows, which are cut into blocks of `block_rows` rows, at least 1; it multiplies in
    /// `threads` threads.
    pub fn new(block_rows: u32, threads: usize) -> Self {
        Twin {
            uploads: Vec::new(),
            block_rows: block_rows.max(1),
            threads,
            weights: Vec::new(),
            gradients: Vec::new(),
            gathered: Matrix::default(),
            noise: Vec::new(),
            step: 0,
        }
    }

    /// Takes the rows of an upload; returns its number.
    ///
    /// # Errors
    /// Rows without columns, or of another width than those of earlier uploads.
    pub fn push(&mut self, rows: Matrix) -> Result<u32, TwinError> {
        let expected = self.uploads.first().map_or(rows.cols(), Matrix::cols);
        if rows.cols() != expected || expected == 0 {
            return Err(TwinError::Inputs { found: rows.cols(), expected });
        }
        self.uploads.push(rows);
        Ok(self.uploads.len() as u32 - 1)
    }

    /// The blocks of an upload in order; none if there is no upload of that number.
    pub fn blocks(&self, upload: u32) -> impl Iterator<Item = Block> + use<> {
        let rows = self.uploads.get(upload as usize).map_or(0, Matrix::rows);
        Block::of_upload(upload, rows as u32, self.block_rows)
    }

    /// Reports the noise of an encrypted run, one entry a layer for each of its training steps in order, so
    /// that rules that depend on it take the same steps. Beyond the end it is 0.
    pub fn replay_noise(&mut self, steps: Vec<Vec<f32>>) {
        (self.noise, self.step) = (steps, 0);
    }

    /// Copies the batch's rows together, unless they are consecutive as they lie.
    fn gather(&mut self, batch: &Batch) -> Result<(), TwinError> {
        let mut copy = std::mem::take(&mut self.gathered);
        let runs = self.runs(batch)?;
        if runs.len() != 1 {
            copy.reshape(batch.rows(), self.inputs());
            let mut to = copy.as_mut_slice();
            for run in runs {
                let (here, rest) = to.split_at_mut(run.len());
                here.copy_from_slice(run);
                to = rest;
            }
        }
        self.gathered = copy;
        Ok(())
    }

    /// The left operand; rows were gathered by the layer's `forward`.
    fn left<'a>(&'a self, left: Left<'a>) -> Result<View<'a>, TwinError> {
        match left {
            Left::Hidden(hidden) => Ok(View::of(hidden)),
            Left::Rows(batch) => match self.runs(batch)?[..] {
                [run] => Ok(View::rows(run, self.inputs())),
                _ if self.gathered.shape() == (batch.rows(), self.inputs()) => Ok(View::of(&self.gathered)),
                _ => Err(TwinError::Operands { product: "weight gradient", layer: 0 }),
            },
        }
    }

    fn inputs(&self) -> usize {
        self.uploads.first().map_or(1, Matrix::cols)
    }

    /// The batch's values in runs as long as possible.
    fn runs(&self, batch: &Batch) -> Result<Vec<&[f32]>, TwinError> {
        let mut ranges: Vec<(u32, Range<usize>)> = Vec::new();
        for block in batch.blocks() {
            let rows = block.range(self.block_rows);
            let upload = self.uploads.get(block.upload as usize).map_or(0, Matrix::rows);
            if rows.is_empty() || rows.end > upload || block.rows > self.block_rows {
                return Err(TwinError::Block(*block));
            }
            match ranges.last_mut() {
                Some((upload, last)) if *upload == block.upload && last.end == rows.start => {
                    last.end = rows.end;
                }
                _ => ranges.push((block.upload, rows)),
            }
        }
        Ok(ranges.into_iter().map(|(upload, rows)| self.uploads[upload as usize].values_of(rows)).collect())
    }

    fn layer_weights(&self, product: &'static str, layer: usize) -> Result<View<'_>, TwinError> {
        let weights = self.weights.get(layer).filter(|w| !w.as_slice().is_empty());
        weights.map(View::of).ok_or(TwinError::Operands { product, layer })
    }
}

/// Some rows of left x right, or what does not fit.
fn product(
    name: &'static str,
    layer: usize,
    left: View<'_>,
    right: View<'_>,
    rows: Range<usize>,
    out: &mut Matrix,
    threads: usize,
) -> Result<(), TwinError> {
    let fits = left.cols() == right.height() && out.shape() == (left.height(), right.cols());
    if !fits || rows.is_empty() || rows.end > left.height() {
        return Err(TwinError::Operands { product: name, layer });
    }
    multiply(left.part(rows.clone()), right, out.values_mut(rows), Into::Replace, threads);
    Ok(())
}

impl Accelerator for Twin {
    type Error = TwinError;

    fn begin(&mut self, pass: Pass) -> Result<(), TwinError> {
        self.step += usize::from(matches!(pass, Pass::Training { .. }));
        self.gradients.iter_mut().for_each(|g| g.started = false);
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), TwinError> {
        if self.weights.len() <= layer {
            self.weights.resize_with(layer + 1, Matrix::default);
            self.gradients.resize_with(layer + 1, Gradient::default);
        }
        let own = &mut self.weights[layer];
        own.reshape(weights.rows(), weights.cols());
        own.as_mut_slice().copy_from_slice(weights.as_slice());
        Ok(())
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), TwinError> {
        if let (Left::Rows(batch), 0) = (left, rows.start) {
            self.gather(batch)?;
        }
        let weights = self.layer_weights("forward", layer)?;
        product("forward", layer, self.left(left)?, weights, rows, out, self.threads)
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        _bounds: Option<Bounds>,
    ) -> Result<(), TwinError> {
        let name = "weight gradient";
        let missing = TwinError::Operands { product: name, layer };
        let mut gradient = std::mem::take(self.gradients.get_mut(layer).ok_or(missing)?);
        let left = self.left(left)?.transposed();
        let right = View::of(error);
        let other_shape = gradient.sum.shape() != (left.height(), right.cols());
        if left.cols() != right.height() || (gradient.started && other_shape) {
            return Err(missing);
        }
        let into = if gradient.started { Into::Add } else { Into::Replace };
        gradient.sum.reshape(left.height(), right.cols());
        multiply(left, right, gradient.sum.as_mut_slice(), into, self.threads);
        gradient.started = true;
        self.gradients[layer] = gradient;
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), TwinError> {
        let weights = self.layer_weights("input gradient", layer)?.transposed();
        product("input gradient", layer, View::of(error), weights, rows, out, self.threads)
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), TwinError> {
        let missing = TwinError::Operands { product: "weight gradient", layer };
        let gradient = self.gradients.get_mut(layer).filter(|g| g.started).ok_or(missing)?;
        // Changing places keeps both memories for the next step.
        std::mem::swap(&mut gradient.sum, out);
        gradient.started = false;
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        let step = self.step.checked_sub(1).and_then(|s| self.noise.get(s));
        step.and_then(|layers| layers.get(layer)).copied().unwrap_or(0.0)
    }
}
