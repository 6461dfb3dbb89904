//! Which groups of row blocks form a batch, epoch by epoch.

use crate::batch::Group;
use crate::random::Random;

/// Deals groups into batches; each group once an epoch. The order follows from the seed and the epoch's
/// number alone, on every machine.
#[derive(Clone, Debug)]
pub struct Sampler {
    groups: Vec<Group>,
    rows_per_block: usize,
    batches: usize,
    seed: u64,
}

/// Groups from which no batch can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SamplerError {
    /// Nothing to train on.
    #[error("no rows to draw batches from: push data first")]
    Empty,
    /// A size of zero.
    #[error("a row block, a group and a batch have at least one row")]
    Zero,
}

impl Sampler {
    /// Batches of about `batch_rows` rows, padding included. They differ by at most one group, so that
    /// none is tiny: 1,000 rows in groups of 64 make 16 groups, hence batches of 300 rows have 5 or 6 groups.
    pub fn new(
        groups: Vec<Group>,
        rows_per_block: usize,
        batch_rows: usize,
        seed: u64,
    ) -> Result<Self, SamplerError> {
        if groups.is_empty() {
            return Err(SamplerError::Empty);
        }
        if rows_per_block == 0 || batch_rows == 0 || groups.iter().any(|g| g.blocks == 0) {
            return Err(SamplerError::Zero);
        }
        let rows = groups.iter().map(|g| g.blocks as usize).sum::<usize>() * rows_per_block;
        let nearest = (rows + batch_rows / 2) / batch_rows;
        let batches = nearest.clamp(1, groups.len());
        Ok(Sampler { groups, rows_per_block, batches, seed })
    }

    /// Rows in a row block.
    pub fn rows_per_block(&self) -> usize {
        self.rows_per_block
    }

    /// Batches in an epoch, the same in each.
    pub fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    /// The batches of epoch `epoch`, in shuffled order.
    pub fn epoch(&self, epoch: u64) -> impl ExactSizeIterator<Item = Vec<Group>> + use<> {
        let mut groups = self.groups.clone();
        Random::new(b"blindsmith/order", self.seed, epoch).shuffle(&mut groups);
        deal(groups, self.batches)
    }

    /// All groups once, in the order given, in batches of the same sizes: for validation.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = Vec<Group>> + use<> {
        deal(self.groups.clone(), self.batches)
    }
}

fn deal(groups: Vec<Group>, batches: usize) -> impl ExactSizeIterator<Item = Vec<Group>> {
    let cut = groups.len();
    (0..batches).map(move |b| groups[b * cut / batches..(b + 1) * cut / batches].to_vec())
}
