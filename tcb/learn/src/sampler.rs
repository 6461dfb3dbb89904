//! Which blocks of rows form a batch, epoch by epoch.

use std::ops::Range;

use crate::batch::Block;
use crate::random::Random;

/// Deals blocks into batches; each block once an epoch. The order follows from the seed and the epoch's
/// number alone, on every machine.
#[derive(Clone, Debug)]
pub struct Sampler {
    blocks: Vec<Block>,
    batches: usize,
    seed: u64,
}

/// Blocks from which no batch can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SamplerError {
    /// Nothing to train on.
    #[error("no rows to draw batches from: push data first")]
    Empty,
    /// A size of zero.
    #[error("a block and a batch have at least one row")]
    Zero,
}

impl Sampler {
    /// Batches of about `batch_rows` rows, at least 1. Their number is the nearest to the rows over
    /// `batch_rows`, with at least one block for each. A batch ends with the block whose end is nearest to its
    /// even share, so that none is tiny: 1,000 rows in blocks of 64 in three batches make 320, 320 and 360 rows.
    ///
    /// # Errors
    /// No block, a block without rows, or `batch_rows` of zero.
    pub fn new(blocks: Vec<Block>, batch_rows: usize, seed: u64) -> Result<Self, SamplerError> {
        if blocks.is_empty() {
            return Err(SamplerError::Empty);
        }
        if batch_rows == 0 || blocks.iter().any(|block| block.rows == 0) {
            return Err(SamplerError::Zero);
        }
        let rows = blocks.iter().map(|block| block.rows as usize).sum::<usize>();
        let nearest = rows / batch_rows + usize::from(rows % batch_rows >= batch_rows.div_ceil(2));
        let batches = nearest.clamp(1, blocks.len());
        Ok(Sampler { blocks, batches, seed })
    }

    /// Batches in an epoch, the same in each.
    pub fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    /// The batches of epoch `epoch`, in shuffled order.
    pub fn epoch(&self, epoch: u64) -> impl ExactSizeIterator<Item = Vec<Block>> + use<> {
        let mut blocks = self.blocks.clone();
        Random::new(b"blindsmith/order", self.seed, epoch).shuffle(&mut blocks);
        deal(blocks, self.batches)
    }

    /// All blocks once, in the order given, in as many batches: for validation.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = Vec<Block>> + use<> {
        deal(self.blocks.clone(), self.batches)
    }
}

/// The blocks in order, cut into `batches` batches, 1 to as many as there are blocks.
fn deal(blocks: Vec<Block>, batches: usize) -> impl ExactSizeIterator<Item = Vec<Block>> {
    let cuts = cuts(&blocks, batches);
    cuts.into_iter().map(move |range| blocks[range].to_vec())
}

/// Where batches of like rows lie among the blocks, at least one block each.
fn cuts(blocks: &[Block], batches: usize) -> Vec<Range<usize>> {
    let total: u128 = blocks.iter().map(|block| u128::from(block.rows)).sum();
    let mut cuts = Vec::with_capacity(batches);
    let (mut from, mut end) = (0, 0_u128);
    for batch in 1..=batches {
        // In units of 1/batches of a row, all numbers are whole.
        let share = batch as u128 * total;
        // Each later batch has a block of its own.
        let last = blocks.len() - (batches - batch);
        let start = from;
        while from < last {
            let next = end + u128::from(blocks[from].rows);
            let nearer = (next * batches as u128).abs_diff(share) <= (end * batches as u128).abs_diff(share);
            if from > start && !nearer {
                break;
            }
            (from, end) = (from + 1, next);
        }
        cuts.push(start..from);
    }
    cuts
}
