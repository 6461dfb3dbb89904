//! What the accelerator keeps of the operands that the cloud holds, and what it must know of their entries.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use blindsmith_keys::{Scalars, Secret};
use blindsmith_learn::Group;
use blindsmith_matrix::{MaskSeed, ProductShape, Scale};
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
    /// What checks its products.
    pub checks: WeightChecks,
    /// max over outputs of the sum over inputs of |w|.
    pub column: f64,
    pub entry: f64,
}

/// Scalars and projections of encrypted weights.
pub(crate) struct WeightChecks {
    /// One scalar for each output block.
    pub outputs: Scalars,
    /// x: over the output blocks, one for each input block.
    pub across: Vec<Poly<Eval>>,
    /// One scalar for each input block.
    pub inputs: Scalars,
    /// x': over the input blocks, one for each output block; where the error is passed on to the layer below.
    pub along: Vec<Poly<Eval>>,
}

/// Scalars and projections of a part of a left operand.
pub(crate) enum PartChecks {
    /// Stored rows: their groups' projections are on their way, those of their row blocks too if they are needed.
    Asked { rows: Scalars, groups: Vec<Group>, across: Ticket, along: Option<Ticket> },
    /// u over the row blocks, one for each input block; v over the input blocks, one for each row block.
    There { rows: Scalars, across: Vec<Poly<Eval>>, along: Vec<Poly<Eval>> },
}

/// What left operands of a layer have in common during a pass, for their gradients to add up.
pub(crate) struct Common {
    pub seed: MaskSeed,
    pub masks: Masks,
    /// One scalar for each input block.
    pub inputs: Scalars,
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
    pub checks: PartChecks,
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
    pub checks: Expected,
}

/// What a product must add up to, with the scalars that are its own: those of the right operand's columns for a
/// weight gradient, those of the left operand's rows for an input gradient.
pub(crate) struct Expected {
    pub scalars: Scalars,
    pub body: Poly<Eval>,
    pub extras: Poly<Eval>,
}

/// A weight gradient that was asked for or is being accumulated, and what opens it.
pub(crate) struct Gradient {
    /// None: the cloud goes on adding.
    pub ticket: Option<Ticket>,
    pub shape: ProductShape,
    pub secrets: Vec<Secret>,
    pub cross: Vec<Poly<Eval>>,
    pub scales: [Scale; 2],
    pub checks: Expected,
}

#[derive(Default)]
pub(crate) struct Layer {
    pub weights: Option<Weights>,
    /// Those of the next pass.
    pub ahead: Option<Weights>,
    pub left: Option<LeftOperand>,
    /// Of the pass's left operands, if the warden encrypts them.
    pub common: Option<Common>,
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
    /// Projections along the strips.
    pub along: Vec<Poly<Eval>>,
    /// Projections across the strips.
    pub across: Vec<Poly<Eval>>,
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
