//! Products that are added up. They may stand under different mask sets: the sum has the sets of all of them.

use blindsmith_matrix::ProductShape;
use blindsmith_protocol::Id;
use blindsmith_ring::backend as ring;
use rayon::prelude::*;

use super::buffer::zeroed;
use super::error::EngineError::{self, Unfit};

/// What tells one mask set of a left operand from another: a contributor and an era, where they matter.
pub(super) type SetName = (Id, u32);

/// A product, or a sum of some.
#[derive(Debug)]
pub(super) struct Sum {
    pub shape: ProductShape,
    /// Names of its mask sets, also where the product has no parts of theirs.
    pub sets: Vec<SetName>,
    pub residues: Vec<u64>,
}

/// The shape of a sum and another product, and its mask sets: those of the first, then those that are new.
///
/// # Errors
/// [`EngineError::Unfit`] if the products differ in anything else.
pub(super) fn united(
    sum: &Sum,
    second: &ProductShape,
    others: &[SetName],
) -> Result<(ProductShape, Vec<SetName>), EngineError> {
    let (first, sets) = (&sum.shape, &sum.sets);
    let masked = (first.mask_sets > 0, second.mask_sets > 0);
    let alike = ProductShape { mask_sets: first.mask_sets, ..*second };
    if *first != alike || masked.0 != masked.1 {
        return Err(Unfit("a sum of another shape"));
    }
    let mut all = sets.clone();
    all.extend(others.iter().filter(|set| !sets.contains(set)));
    let mask_sets = if masked.0 { all.len() } else { 0 };
    Ok((ProductShape { mask_sets, ..*first }, all))
}

impl Sum {
    /// self + other.
    ///
    /// # Errors
    /// As [`united`].
    pub fn add(self, other: &Sum) -> Result<Sum, EngineError> {
        let (shape, sets) = united(&self, &other.shape, &other.sets)?;
        let mut sum = match shape == self.shape {
            true => Sum { sets, ..self },
            false => {
                let mut sum = Sum { shape, sets, residues: zeroed(shape.residues())? };
                sum.add_parts(&self);
                sum
            }
        };
        sum.add_parts(other);
        Ok(sum)
    }

    /// Adds a product whose mask sets all are among this one's.
    fn add_parts(&mut self, other: &Sum) {
        let (own, others) = (self.shape.ranges(), other.shape.ranges());
        // C and Q have no sets.
        for part in [0, 2] {
            add(&mut self.residues[own[part].clone()], &other.residues[others[part].clone()]);
        }
        for part in [1, 3] {
            let (to, from) = (own[part].clone(), others[part].clone());
            let len = from.len().checked_div(other.shape.mask_sets).unwrap_or(0);
            for (i, set) in other.sets.iter().enumerate().take(other.shape.mask_sets) {
                let Some(at) = self.sets.iter().position(|s| s == set) else { continue };
                let to = &mut self.residues[to.clone()][at * len..][..len];
                add(to, &other.residues[from.clone()][i * len..][..len]);
            }
        }
    }
}

/// sum += residues, modulo q.
fn add(sum: &mut [u64], residues: &[u64]) {
    const AT_ONCE: usize = 1 << 14;
    let parts = sum.par_chunks_mut(AT_ONCE).zip(residues.par_chunks(AT_ONCE));
    parts.for_each(|(sum, residues)| ring::active().add_assign(sum, residues));
}
