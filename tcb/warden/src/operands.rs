//! What the accelerator keeps of the operands that the cloud holds, and what it must know of their entries.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use blindsmith_keys::Secret;
use blindsmith_learn::Matrix;
use blindsmith_matrix::{MaskSeed, ProductShape, Scale, View};
use blindsmith_protocol::Left;
use blindsmith_ring::{Eval, Poly};

use crate::cloud::Ticket;

pub(crate) type Masks = Arc<[Poly<Eval>]>;

/// Weights that the cloud holds encrypted.
pub(crate) struct Weights {
    pub operand: u32,
    pub scale: Scale,
    pub secrets: Vec<Secret>,
    pub masks: Masks,
    /// max over outputs of the sum over inputs of |w|.
    pub column: f64,
    pub entry: f64,
}

/// The left operand of a layer's products, part by part.
pub(crate) struct LeftOperand {
    pub name: Left,
    pub parts: Vec<LeftPart>,
    /// Of all parts' row blocks, in order.
    pub secrets: Vec<Secret>,
}

pub(crate) struct LeftPart {
    pub rows: Range<usize>,
    /// Its row blocks' secrets.
    pub blocks: Range<usize>,
    pub scale: Scale,
    pub entry: f64,
    pub rms: f64,
}

/// A forward product that was asked for.
pub(crate) struct Started {
    pub ticket: Ticket,
    pub part: usize,
}

/// An input gradient that was asked for, and what opens it.
pub(crate) struct StartedInput {
    pub ticket: Ticket,
    pub rows: Range<usize>,
    pub shape: ProductShape,
    pub sent: Sent,
    pub scales: [Scale; 2],
}

/// A weight gradient that was asked for or is being accumulated, and what opens it.
pub(crate) struct Gradient {
    /// None: the cloud goes on adding.
    pub ticket: Option<Ticket>,
    pub shape: ProductShape,
    pub secrets: Vec<Secret>,
    pub cross: Vec<Poly<Eval>>,
    pub scales: [Scale; 2],
}

#[derive(Default)]
pub(crate) struct Layer {
    pub weights: Option<Weights>,
    /// Those of the next pass.
    pub ahead: Option<Weights>,
    pub left: Option<LeftOperand>,
    /// Of the pass's left operands, if the warden encrypts them: the same for all, so that their gradients add
    /// up.
    pub masks: Option<(MaskSeed, Masks)>,
    pub forward: VecDeque<Started>,
    pub input: VecDeque<StartedInput>,
    /// Micro-batches whose gradient was asked for.
    pub micro_batches: usize,
    pub gradients: Vec<Gradient>,
    /// Variance of the gradient's noise, in real units.
    pub variance: f64,
}

pub(crate) struct Sent {
    pub operand: u32,
    pub secrets: Vec<Secret>,
    pub cross: Vec<Poly<Eval>>,
    pub seed: MaskSeed,
    pub masks: Masks,
}

/// Largest magnitude, root mean square, and whether all entries are finite, in one pass.
pub(crate) fn measure(values: &[f32]) -> (f64, f64) {
    // NaN must not be lost in a maximum: it spreads through the sum of squares.
    let (largest, squares) =
        values.iter().fold((0f32, 0f64), |(m, s), v| (m.max(v.abs()), s + (*v as f64) * (*v as f64)));
    let rms = (squares / values.len().max(1) as f64).sqrt();
    (if rms.is_finite() { largest as f64 } else { f64::NAN }, rms)
}

pub(crate) fn view(matrix: &Matrix) -> View<'_> {
    View::new(matrix.as_slice(), matrix.rows(), matrix.cols())
}
