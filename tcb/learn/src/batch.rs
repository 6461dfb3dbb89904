//! A batch: rows that an accelerator holds, named by upload and block, with their labels.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::labels::{Labels, LabelsError};

/// A block of consecutive rows of one upload, cut when the upload was made: the unit of sampling. A batch is
/// a union of whole blocks, so that what is precomputed for a block serves every batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Block {
    /// The upload's number.
    pub upload: u32,
    /// The block's number in that upload, from 0.
    pub index: u32,
    /// Its rows, at least 1: as many as the project's blocks have, or fewer in an upload's last block.
    pub rows: u32,
}

impl Block {
    /// The blocks of an upload of `rows` rows in order, `block_rows` rows each (at least 1), the last one maybe
    /// fewer.
    pub fn of_upload(upload: u32, rows: u32, block_rows: u32) -> impl Iterator<Item = Block> {
        let block_rows = block_rows.max(1);
        (0..rows.div_ceil(block_rows)).map(move |index| {
            let rows = block_rows.min(rows - index * block_rows);
            Block { upload, index, rows }
        })
    }

    /// Where its rows stand in the upload, whose blocks have `block_rows` rows.
    pub fn range(self, block_rows: u32) -> Range<usize> {
        let first = self.index as usize * block_rows as usize;
        first..first + self.rows as usize
    }
}

/// Rows of a part, at least: fewer are not worth a product of their own.
const PART_ROWS: usize = 256;

/// Blocks by reference, in order, and the labels of their rows.
#[derive(Clone, Debug)]
pub struct Batch {
    blocks: Vec<Block>,
    labels: Labels,
}

/// A batch that does not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// Labels for another number of rows.
    #[error("labels of {labels} rows for a batch of {rows} rows: give one for each row")]
    Rows {
        /// Rows with labels.
        labels: usize,
        /// Rows in the batch.
        rows: usize,
    },
    /// A block of an upload that is not there.
    #[error("upload {upload} is not among the {uploads} given")]
    Upload {
        /// The upload's number.
        upload: u32,
        /// How many uploads there are.
        uploads: usize,
    },
    /// Labels that do not fit each other.
    #[error(transparent)]
    Labels(#[from] LabelsError),
}

impl Batch {
    /// The rows of `blocks` in order, with one label a row.
    ///
    /// # Errors
    /// Another number of labels than of rows.
    pub fn new(blocks: Vec<Block>, labels: Labels) -> Result<Self, BatchError> {
        let rows = rows_of(&blocks);
        if labels.rows() != rows {
            return Err(BatchError::Rows { labels: labels.rows(), rows });
        }
        Ok(Batch { blocks, labels })
    }

    /// The rows of `blocks` in order, with labels from those of whole uploads: see [`gather_labels`].
    ///
    /// # Errors
    /// Those of [`gather_labels`].
    pub fn gather(blocks: &[Block], block_rows: u32, uploads: &[Labels]) -> Result<Self, BatchError> {
        Batch::new(blocks.to_vec(), gather_labels(blocks, block_rows, uploads)?)
    }

    /// Rows of `blocks` without labels, for predictions: none of them counts.
    pub fn unlabelled(blocks: Vec<Block>) -> Self {
        let labels = Labels::none(rows_of(&blocks));
        Batch { blocks, labels }
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.labels.rows()
    }

    /// The labels of the rows in order.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The rows in parts of whole blocks, two of them if there are enough rows: while one part is multiplied,
    /// the other is treated.
    pub fn parts(&self) -> Vec<Range<usize>> {
        let rows = self.rows();
        let ends = self.blocks.iter().scan(0, |end, block| {
            *end += block.rows as usize;
            Some(*end)
        });
        // The larger part is the less to wait for, the closer the two are.
        let middle = ends.filter(|end| *end < rows).min_by_key(|end| (*end).max(rows - end));
        match middle {
            Some(middle) if rows >= 2 * PART_ROWS => vec![0..middle, middle..rows],
            _ => std::iter::once(0..rows).collect(),
        }
    }

    /// The blocks of one of the [`Batch::parts`], in order.
    pub fn blocks_of(&self, rows: Range<usize>) -> impl Iterator<Item = Block> {
        let mut row = 0;
        self.blocks.iter().copied().filter(move |block| {
            let first = row;
            row += block.rows as usize;
            rows.contains(&first)
        })
    }

    /// The batch in parts of whole blocks, of at most `rows` rows each unless one block has more.
    ///
    /// # Errors
    /// None for a batch that was made by this type.
    pub fn micro_batches(&self, rows: usize) -> Result<Vec<Batch>, BatchError> {
        let mut parts = Vec::new();
        let (mut from, mut row) = (0, 0);
        while from < self.blocks.len() {
            let (mut to, mut end) = (from, row);
            while let Some(block) = self.blocks.get(to) {
                let next = end + block.rows as usize;
                if to > from && next - row > rows {
                    break;
                }
                (to, end) = (to + 1, next);
            }
            parts.push(Batch::new(self.blocks[from..to].to_vec(), self.labels.slice(row..end)?)?);
            (from, row) = (to, end);
        }
        Ok(parts)
    }
}

/// The labels of the rows of `blocks` in order, from those of whole uploads, whose blocks have `block_rows`
/// rows.
///
/// # Errors
/// No block at all, a block of an upload that is not among `uploads` or beyond its rows, or labels of two
/// kinds.
pub fn gather_labels(blocks: &[Block], block_rows: u32, uploads: &[Labels]) -> Result<Labels, BatchError> {
    let mut gathered: Option<Labels> = None;
    for block in blocks {
        let upload = uploads
            .get(block.upload as usize)
            .ok_or(BatchError::Upload { upload: block.upload, uploads: uploads.len() })?;
        let rows = block.range(block_rows);
        match &mut gathered {
            Some(labels) => labels.append(upload, rows)?,
            None => gathered = Some(upload.slice(rows)?),
        }
    }
    gathered.ok_or(BatchError::Rows { labels: 0, rows: 0 })
}

fn rows_of(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.rows as usize).sum()
}
