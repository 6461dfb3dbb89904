//! What the accelerator keeps of the operands that the cloud holds, and what it must know of their entries.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use blindsmith_keys::{
    Checked, MaskTerms, Projection, ProjectionScalars, Projections, Scalars, Secrets, Stripe,
};
use blindsmith_learn::{Block, Matrix};
use blindsmith_matrix::{Encoding, OperandShape, ProductShape, Scale, Section};
use blindsmith_protocol::{Id, Left, Projection as Kept};
use rayon::prelude::*;

use crate::cloud::Ticket;

/// Magnitudes of an operand's entries, in real units.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Magnitudes {
    /// No entry is larger.
    pub largest: f64,
    /// Root mean square.
    pub rms: f64,
}

/// A right operand, which the warden encrypted.
pub(crate) struct RightOperand {
    pub name: u32,
    pub shape: OperandShape,
    pub scale: Scale,
    pub entries: Magnitudes,
    pub secrets: Arc<Secrets>,
    pub scalars: ProjectionScalars,
    /// Columns that are asked for at a time, and the projection of each stripe.
    pub stripes: Vec<Stripe>,
    pub projections: Projections,
}

impl RightOperand {
    /// The section of a product with it that has one of its stripes.
    pub fn section(&self, stripe: usize, left_masks: bool, right_masks: bool) -> Section {
        let columns = &self.stripes[stripe];
        Section { columns: (columns.start as u32, columns.end as u32), left_masks, right_masks }
    }

    /// Columns of each stripe but the last.
    pub fn stripe_width(&self) -> usize {
        let strip = self.shape.encoding.strip();
        self.stripes.first().map_or(strip, |stripe| stripe.len().next_multiple_of(strip))
    }
}

/// A projection of a left operand's body.
pub(crate) enum Body {
    /// Of stored rows: on its way.
    Asked(Ticket, Vec<Block>, Kept),
    /// Taken.
    There(Projection),
}

/// What tells one mask set of a left operand from another: an era of stored rows, a contributor's columns in an era, or
/// the one set of a matrix that the warden encrypted.
pub(crate) type MaskSet = (Id, u32);

/// The mask set of a matrix that the warden encrypted.
pub(crate) const OWN: MaskSet = (Id([0; 32]), 0);

/// Rows of a left operand that share a secret.
pub(crate) struct StripKeys {
    pub rows: usize,
    /// For each mask set under which they stand, which of the operand's secrets is theirs, and its strip.
    pub secrets: Vec<(usize, usize, usize)>,
}

/// A left operand: stored rows, or a matrix that the warden encrypted.
pub(crate) struct LeftOperand {
    pub name: Left,
    pub encoding: Encoding,
    /// Contraction rows, padding included.
    pub padded: usize,
    pub scale: Scale,
    pub entries: Magnitudes,
    /// One for each row.
    pub scalars: Arc<Scalars>,
    /// Its mask sets.
    pub sets: Vec<MaskSet>,
    /// For each of them, one for each residue of a mask.
    pub mask_scalars: Vec<Arc<Scalars>>,
    pub body: Body,
    /// Of all mask sets; none if the body's projection has it in it.
    pub masks: Option<Projection>,
    pub secrets: Vec<Arc<Secrets>>,
    pub strips: Vec<StripKeys>,
}

impl LeftOperand {
    /// Rows of the product.
    pub fn rows(&self) -> usize {
        self.strips.iter().map(|s| s.rows).sum()
    }

    /// Numbers the mask sets of rows anew, as they are in a list that may have others as well; none if one is missing.
    pub fn stand_under(&mut self, sets: &[MaskSet]) -> Option<()> {
        if self.sets != sets {
            for (set, _, _) in self.strips.iter_mut().flat_map(|s| &mut s.secrets) {
                *set = sets.iter().position(|s| *s == self.sets[*set])?;
            }
            self.sets = sets.to_vec();
        }
        Some(())
    }

    /// What a gradient keeps of it.
    pub fn gradient(&self) -> GradientLeft {
        GradientLeft {
            scale: self.scale,
            scalars: self.scalars.clone(),
            owners: self.sets.clone(),
            mask_scalars: self.mask_scalars.clone(),
            secrets: self.secrets.clone(),
            rows: self.strips.iter().map(|s| s.rows).collect(),
        }
    }
}

/// Masks of the left operand times a right one: asked for once, and used for all rows under these masks.
pub(crate) struct SharedTerms {
    /// The mask sets that they are of.
    pub sets: Vec<MaskSet>,
    /// The product that has them.
    pub product: Checked,
    pub terms: MaskTerms,
}

/// A product that was asked for.
pub(crate) struct Started {
    pub ticket: Ticket,
    pub shape: ProductShape,
    pub stripe: usize,
    pub rows: Range<usize>,
    pub left: LeftOperand,
    pub left_masks: bool,
}

/// A weight gradient that was asked for or is being accumulated, stripe by stripe, and what opens it.
pub(crate) struct Gradient {
    /// One for each stripe; none while the cloud goes on adding.
    pub tickets: Vec<Ticket>,
    pub left: GradientLeft,
    pub right: RightOperand,
    /// What each stripe must add up to.
    pub expected: Vec<u64>,
    pub shapes: Vec<ProductShape>,
}

/// What all micro-batches of a gradient have in common on the left: strips of the private index, and for each mask set the
/// secrets of all of them.
pub(crate) struct GradientLeft {
    pub scale: Scale,
    pub scalars: Arc<Scalars>,
    pub owners: Vec<MaskSet>,
    pub mask_scalars: Vec<Arc<Scalars>>,
    pub secrets: Vec<Arc<Secrets>>,
    /// Rows of each strip.
    pub rows: Vec<usize>,
}

impl GradientLeft {
    /// The left side of a sum with a further micro-batch, whose owners may be others: as the refinery adds up, those that are
    /// new come last.
    pub fn with(&self, further: GradientLeft) -> GradientLeft {
        let mut all = GradientLeft {
            owners: self.owners.clone(),
            mask_scalars: self.mask_scalars.clone(),
            secrets: self.secrets.clone(),
            scalars: further.scalars,
            rows: further.rows,
            ..*self
        };
        let each = further.owners.into_iter().zip(further.mask_scalars).zip(further.secrets);
        for ((owner, scalars), secrets) in each {
            if !all.owners.contains(&owner) {
                all.owners.push(owner);
                all.mask_scalars.push(scalars);
                all.secrets.push(secrets);
            }
        }
        all
    }

    /// The strips, each under all sets.
    pub fn strips(&self) -> Vec<StripKeys> {
        let sets = self.owners.len();
        let strip = |(s, rows): (usize, &usize)| StripKeys {
            rows: *rows,
            secrets: (0..sets).map(|set| (set, set, s)).collect(),
        };
        self.rows.iter().enumerate().map(strip).collect()
    }
}

/// What is kept of a layer during a pass.
#[derive(Default)]
pub(crate) struct Layer {
    /// Weights of a layer that the warden computes itself.
    pub plain: Option<Matrix>,
    /// Weights as the right operand of Z.
    pub weights: Option<Weights>,
    /// Those of the next pass.
    pub ahead: Option<Weights>,
    pub forward: VecDeque<Started>,
    /// Projections of the column forms of stored rows that were asked for.
    pub columns: VecDeque<(Ticket, Vec<Block>)>,
    pub input: VecDeque<Started>,
    /// Micro-batches whose gradient was asked for.
    pub micro_batches: usize,
    pub gradients: Vec<Gradient>,
    /// The gradient of a layer that the warden computes itself.
    pub sum: Matrix,
    /// Variance of the gradient's noise, in real units.
    pub variance: f64,
}

/// Weights that the cloud holds encrypted.
pub(crate) struct Weights {
    /// Of Z.
    pub forward: RightOperand,
    pub terms: Option<SharedTerms>,
    /// The mask sets whose terms were asked for last.
    pub asked: Option<Vec<MaskSet>>,
    /// Transposed, of D, if the error is passed on to the layer below.
    pub input: Option<RightOperand>,
    /// max over outputs of the sum over inputs of |w|, and of the root of the sum of squares.
    pub columns: Norms,
    /// The same over inputs, of the sums over outputs.
    pub rows: Norms,
}

/// Largest norms of a matrix' rows or columns.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Norms {
    /// Of absolute values.
    pub sum: f64,
    /// The Euclidean one.
    pub euclidean: f64,
}

/// Entries that are looked at side by side.
const LANES: usize = 16;

impl Norms {
    /// Of the columns of a matrix of so many, row by row.
    pub fn of_columns(values: &[f32], cols: usize) -> Self {
        let rows = (CHUNK / cols.max(1)).max(1) * cols.max(1);
        let chunk = |values: &[f32]| {
            let mut sums = vec![(0f64, 0f64); cols];
            for row in values.chunks_exact(cols.max(1)) {
                for (sums, v) in sums.iter_mut().zip(row) {
                    let v = f64::from(v.abs());
                    *sums = (sums.0 + v, sums.1 + v * v);
                }
            }
            sums
        };
        let each: Vec<Vec<(f64, f64)>> = values.par_chunks(rows).map(chunk).collect();
        let mut all = vec![(0f64, 0f64); cols];
        each.iter().for_each(|sums| all.iter_mut().zip(sums).for_each(|(a, b)| *a = (a.0 + b.0, a.1 + b.1)));
        Norms::largest(all.into_iter())
    }

    /// Of the rows of a matrix with so many columns.
    pub fn of_rows(values: &[f32], cols: usize) -> Self {
        let rows = values.par_chunks_exact(cols.max(1)).with_min_len(CHUNK / cols.max(1) + 1);
        let each: Vec<(f64, f64)> = rows.map(sums).map(|s| (s.sum, s.squares)).collect();
        Norms::largest(each.into_iter())
    }

    fn largest(each: impl Iterator<Item = (f64, f64)>) -> Self {
        let (sum, square) = each.fold((0f64, 0f64), |(a, b), (sum, square)| (a.max(sum), b.max(square)));
        Norms { sum, euclidean: square.sqrt() }
    }
}

/// Entries that one core looks at at a time.
const CHUNK: usize = 1 << 14;

/// Of the magnitudes of some entries.
#[derive(Clone, Copy, Default)]
struct Sums {
    largest: f32,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn with(self, other: Sums) -> Sums {
        Sums {
            largest: self.largest.max(other.largest),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    fn add(&mut self, v: f32) {
        let v = v.abs();
        let wide = f64::from(v);
        *self = self.with(Sums { largest: v, sum: wide, squares: wide * wide });
    }
}

/// The order in which entries are added depends on their number alone.
fn sums(values: &[f32]) -> Sums {
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut each = [Sums::default(); LANES];
    lanes.iter().for_each(|lanes| each.iter_mut().zip(lanes).for_each(|(sums, v)| sums.add(*v)));
    let mut all = each.into_iter().fold(Sums::default(), Sums::with);
    rest.iter().for_each(|v| all.add(*v));
    all
}

/// Largest magnitude and root mean square; both not a number if an entry is not finite.
pub(crate) fn measure(values: &[f32]) -> Magnitudes {
    let each: Vec<Sums> = values.par_chunks(CHUNK).map(sums).collect();
    let Sums { largest, squares, .. } = each.into_iter().fold(Sums::default(), Sums::with);
    // NaN must not be lost in a maximum: it spreads through the sum of squares.
    let rms = (squares / values.len().max(1) as f64).sqrt();
    Magnitudes { largest: if rms.is_finite() { f64::from(largest) } else { f64::NAN }, rms }
}
