//! A batch: rows that an accelerator holds, named by upload and row block, with their labels.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Matrix;
use crate::labels::{Labels, LabelsError, Targets};

/// A sampling group: consecutive row blocks of one upload, fixed when the upload is admitted. Batches are
/// unions of whole groups, so that what is precomputed for a group serves every batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Group {
    /// The upload's number.
    pub upload: u32,
    /// The group's first row block in that upload.
    pub first_block: u32,
    /// How many row blocks it has, at least 1.
    pub blocks: u32,
}

/// One row block of one upload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Block {
    /// The upload's number.
    pub upload: u32,
    /// The row block's number in that upload.
    pub index: u32,
}

impl Group {
    /// The groups of an upload that has `blocks` row blocks: `group_blocks` each, the last one maybe fewer.
    pub fn of_upload(upload: u32, blocks: u32, group_blocks: u32) -> impl Iterator<Item = Group> {
        let size = group_blocks.max(1);
        (0..blocks.div_ceil(size)).map(move |g| {
            let first_block = g * size;
            Group { upload, first_block, blocks: size.min(blocks - first_block) }
        })
    }

    /// The row blocks in order.
    pub fn blocks(self) -> impl Iterator<Item = Block> {
        (0..self.blocks).map(move |i| Block { upload: self.upload, index: self.first_block + i })
    }
}

/// Rows of a part, at least: fewer are not worth a product of their own.
const PART_ROWS: usize = 256;

/// Row blocks by reference, in order, and the labels of their rows.
#[derive(Clone, Debug)]
pub struct Batch {
    groups: Vec<Group>,
    rows_per_block: usize,
    labels: Labels,
}

/// A batch that does not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// Labels for another number of rows.
    #[error("labels of {labels} rows for a batch of {rows} rows: pad them as the row blocks are padded")]
    Rows {
        /// Rows with labels.
        labels: usize,
        /// Rows in the batch.
        rows: usize,
    },
    /// A group of an upload that is not there.
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
    /// The rows of `groups` in order, each row block `rows_per_block` rows, with one label a row.
    pub fn new(groups: Vec<Group>, rows_per_block: usize, labels: Labels) -> Result<Self, BatchError> {
        let rows = rows_of(&groups, rows_per_block);
        if labels.rows() != rows {
            return Err(BatchError::Rows { labels: labels.rows(), rows });
        }
        Ok(Batch { groups, rows_per_block, labels })
    }

    /// The same with the labels gathered from those of whole uploads, padded to full blocks.
    pub fn gather(groups: &[Group], rows_per_block: usize, uploads: &[Labels]) -> Result<Self, BatchError> {
        let labels = gather_labels(groups, rows_per_block, uploads)?;
        Batch::new(groups.to_vec(), rows_per_block, labels)
    }

    /// Rows of `groups` without labels, for predictions: none of them counts.
    pub fn unlabelled(groups: Vec<Group>, rows_per_block: usize) -> Self {
        let rows = rows_of(&groups, rows_per_block);
        let labels = Labels::new(Targets::Values(Matrix::zeros(0, 0))).padded_to(rows);
        Batch { groups, rows_per_block, labels }
    }

    /// The groups in order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The row blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        self.groups.iter().flat_map(|g| g.blocks())
    }

    /// Rows in a row block.
    pub fn rows_per_block(&self) -> usize {
        self.rows_per_block
    }

    /// Rows in the batch, padding included.
    pub fn rows(&self) -> usize {
        self.labels.rows()
    }

    /// The rows in parts of whole groups, two of them if there are enough rows and one end of a group lies at a
    /// multiple of `step` rows: while one part is multiplied, the other is treated.
    pub fn parts(&self, step: usize) -> Vec<Range<usize>> {
        let rows = self.rows();
        let ends = self.groups.iter().scan(0, |end, g| {
            *end += g.blocks as usize * self.rows_per_block;
            Some(*end)
        });
        let fits = |end: &usize| *end < rows && end.is_multiple_of(step.max(1));
        // The larger part is the less to wait for, the closer the two are.
        let middle = ends.filter(fits).min_by_key(|end| (*end).max(rows - end));
        let ends = match middle {
            Some(middle) if rows >= 2 * PART_ROWS => vec![middle, rows],
            _ => vec![rows],
        };
        let starts = std::iter::once(0).chain(ends.clone());
        starts.zip(ends).map(|(start, end)| start..end).collect()
    }

    /// The row blocks of one of the [`Batch::parts`], in order.
    pub fn blocks_of(&self, rows: Range<usize>) -> impl Iterator<Item = Block> {
        let (first, end) = (rows.start / self.rows_per_block, rows.end / self.rows_per_block);
        self.blocks().skip(first).take(end - first)
    }

    /// The groups of one of the [`Batch::parts`], in order.
    pub fn groups_of(&self, rows: Range<usize>) -> impl Iterator<Item = Group> {
        let mut row = 0;
        self.groups.iter().copied().filter(move |g| {
            let first = row;
            row += g.blocks as usize * self.rows_per_block;
            rows.contains(&first)
        })
    }

    /// The labels of the rows in order.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The batch in parts of whole groups, of at most `rows` rows each unless one group has more.
    pub fn micro_batches(&self, rows: usize) -> Result<Vec<Batch>, BatchError> {
        let mut parts = Vec::new();
        let (mut from, mut row) = (0, 0);
        while from < self.groups.len() {
            let mut to = from + 1;
            while to < self.groups.len() && rows_of(&self.groups[from..=to], self.rows_per_block) <= rows {
                to += 1;
            }
            let groups = self.groups[from..to].to_vec();
            let end = row + rows_of(&groups, self.rows_per_block);
            parts.push(Batch::new(groups, self.rows_per_block, self.labels.slice(row..end)?)?);
            (from, row) = (to, end);
        }
        Ok(parts)
    }
}

/// The labels of the rows of `groups` in order, from those of whole uploads, padded to full blocks.
pub fn gather_labels(
    groups: &[Group],
    rows_per_block: usize,
    uploads: &[Labels],
) -> Result<Labels, BatchError> {
    let mut gathered: Option<Labels> = None;
    for group in groups {
        let upload = uploads
            .get(group.upload as usize)
            .ok_or(BatchError::Upload { upload: group.upload, uploads: uploads.len() })?;
        let start = group.first_block as usize * rows_per_block;
        let rows = start..start + group.blocks as usize * rows_per_block;
        match &mut gathered {
            Some(labels) => labels.append(upload, rows)?,
            None => gathered = Some(upload.slice(rows)?),
        }
    }
    gathered.ok_or(BatchError::Rows { labels: 0, rows: 0 })
}

fn rows_of(groups: &[Group], rows_per_block: usize) -> usize {
    groups.iter().map(|g| g.blocks as usize * rows_per_block).sum()
}
