//! The seam between training and whoever multiplies its matrices.

use std::ops::Range;

use crate::batch::Batch;
use crate::matrix::Matrix;

/// What a pass over a batch is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// Forward only, of any number of batches.
    Inference,
    /// Forward and backward of all parts of a batch; their gradients are summed.
    Training {
        /// Parts that follow.
        micro_batches: usize,
        /// Rows of all parts together.
        rows: usize,
    },
}

/// The left operand of a layer's product.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// Layer 0: stored rows, which the accelerator knows by reference.
    Rows(&'a Batch),
    /// A hidden layer: the activations below it, rows x inputs.
    Hidden(&'a Matrix),
}

/// What holds for a gradient's operands in all micro-batches of a batch, known before the first of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// No entry of the left operand is larger in magnitude.
    pub left: f32,
    /// No entry of the error is larger in magnitude.
    pub error: f32,
}

/// Multiplies for the training loop: in the clear, encrypted in this process, or encrypted elsewhere.
///
/// With layers 0 to L - 1, weights W_l of inputs x outputs and B rows in a batch, the calls of one step are
///
/// ```text
/// begin; load_weights 0..L; for each micro-batch {
///     for l = 0 to L - 1, for each part of the rows {
///         start_forward l
///         forward l                                Z_l = H_(l-1) W_l        B x outputs
///     }
///     for l = L - 1 down to 0 {
///         start_input_gradient l for each part, unless l = 0
///         add_gradient l                           G_l += H_(l-1)^T E_l     inputs x outputs
///         input_gradient l for each part, unless l = 0    D_l = E_l W_l^T   B x inputs
/// } } take_gradient L - 1 down to 0
/// ```
///
/// and for inference `begin; load_weights 0..L; for each batch { start_forward and forward 0..L }`. Products of
/// rows are asked for in parts, one or two of them, each a range of whole blocks: a part of layer l + 1 is
/// started as soon as its activations are there, while the other part of layer l is still multiplied. Only
/// `forward`, `input_gradient` and `take_gradient` need an answer; a remote accelerator sends the others on and
/// lets the work overlap.
///
/// Matrices are finite. The error E is in sum form (see [`crate::loss`]): |e| at the last layer is at most
/// the largest class weight for softmax and logistic loss; it is unbounded for the squared
/// error and in hidden layers, where a scale has to be chosen from the matrix itself. Rows that are not
/// valid are zero in every E, but not in H.
///
/// `out` of a product of rows has the shape of the whole, of which the part's rows are written; that of
/// `take_gradient` may have any. An implementation gives every product the shape above, and reports what it
/// cannot do as its own error.
pub trait Accelerator {
    /// Why a product could not be had.
    type Error: std::error::Error;

    /// Starts a pass; what an earlier pass left behind, finished or not, is dropped, but for weights that were
    /// loaded ahead.
    fn begin(&mut self, pass: Pass) -> Result<(), Self::Error>;

    /// Makes the weights of a layer available to the pass's products. Those of layer 0 are already divided
    /// by the rms of the stored rows (see [`crate::Network`]).
    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), Self::Error>;

    /// Takes the weights of a layer for the next pass, while last gradients of this one are still due.
    fn load_ahead(&mut self, _layer: usize, _weights: &Matrix) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Whether the pass that has begun has the weights of a layer from [`Accelerator::load_ahead`].
    fn loaded_ahead(&self, _layer: usize) -> bool {
        false
    }

    /// Announces [`Accelerator::forward`] of the same part.
    fn start_forward(
        &mut self,
        _layer: usize,
        _left: Left<'_>,
        _rows: Range<usize>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The rows `rows` of left x weights of `layer`.
    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Self::Error>;

    /// Adds left^T x error to the gradient of `layer`, all rows of the micro-batch; `left` is that of the
    /// layer's last `forward`. With bounds, they hold for all micro-batches of the batch.
    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), Self::Error>;

    /// Announces [`Accelerator::input_gradient`] of the same part.
    fn start_input_gradient(
        &mut self,
        _layer: usize,
        _error: &Matrix,
        _rows: Range<usize>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The rows `rows` of error x weights^T of `layer`; `error` is that of the layer's last `add_gradient`.
    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Self::Error>;

    /// `out` = the gradient of `layer`, summed over the pass.
    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), Self::Error>;

    /// The predicted standard deviation of the noise in an entry of the gradient of `layer` that was taken
    /// last; 0 where products are exact.
    fn gradient_noise(&self, layer: usize) -> f32;
}
