//! What is multiplied, and where the results lie.

use std::ops::Range;

use crate::backend::{self, Device};
use crate::row::Row;

/// The left operand: `rows` private rows, contracted along places and roots.
#[derive(Debug, Clone, Copy)]
pub enum Left<'a> {
    /// Row i holds entries (i, k) for every contraction index k.
    Rows(&'a [Row<'a>]),
    /// Row k holds entries (i, k) for every i: the matrix transposed.
    Transposed(&'a [Row<'a>]),
}

/// One set of public masks of the left operand. All sets of a product have masks of one length N_l.
#[derive(Debug, Clone, Copy)]
pub struct MaskSet<'a> {
    /// The places of the contraction at which the masks stand.
    pub places: &'a [u32],
    /// For each of these places N_l residues, `[root][rest]`.
    pub rows: &'a [&'a [u64]],
}

/// A name for some of the left operand's rows, in the order in which [`Left`] lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Which rows.
    pub rows: Range<usize>,
    /// The name.
    pub id: u64,
}

/// Names for operands that stay where they are from call to call. A device may keep a copy of what a name
/// stands for, so within a process one name must always stand for the same residues. A device without memory
/// of its own ignores them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    /// Of stored rows of the left operand.
    pub left: &'a [Name],
    /// One of each set of the left operand's masks, or none at all.
    pub left_masks: &'a [u64],
    /// Of the right operand's masks.
    pub right_masks: Option<u64>,
}

/// The product of two masked matrices and their masks: all that a training step asks for. A contraction
/// index is k n + j, for place k and root j < n.
///
/// The result is C, P, Q, R, one after the other, in canonical residues. With v = N_l / n and w = N_r / n:
///
/// - C\[row\]\[column\] = sum over k, j of left\[row, (k, j)\] right\[(k, j), column\],
/// - P\[set\]\[column\]\[j v + x\] = sum over k in the set of mask_l\[k\]\[j v + x\] right\[(k, j), column\],
/// - Q\[row\]\[j w + y\] = sum over k of left\[row, (k, j)\] mask_r\[k\]\[j w + y\],
/// - R\[set\]\[j\]\[x\]\[y\] = sum over k in the set of mask_l\[k\]\[j v + x\] mask_r\[k\]\[j w + y\].
#[derive(Debug, Clone)]
pub struct Product<'a> {
    /// n, a power of two.
    pub roots: usize,
    /// Private rows of the left operand.
    pub rows: usize,
    /// The left operand.
    pub left: Left<'a>,
    /// Its masks; may be empty.
    pub left_masks: &'a [MaskSet<'a>],
    /// The right operand: one row of columns for each contraction index.
    pub right: &'a [Row<'a>],
    /// The columns of it that are wanted.
    pub columns: Range<usize>,
    /// Its masks, N_r residues for each place, `[root][rest]`.
    pub right_masks: Option<&'a [&'a [u64]]>,
    /// Names for what stays.
    pub names: Names<'a>,
}

/// Where the parts of a result lie in its buffer, in residues. See [`Product`] for their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Left times right.
    pub c: Range<usize>,
    /// Masks of the left times right.
    pub p: Range<usize>,
    /// Left times masks of the right.
    pub q: Range<usize>,
    /// Masks times masks.
    pub r: Range<usize>,
}

/// Why a product is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of roots is no power of two.
    #[error("{roots} roots: a power of two is needed")]
    Roots {
        /// Roots given.
        roots: usize,
    },
    /// Nothing to multiply.
    #[error("a product of {rows} rows, {contraction} contraction indices and {columns} columns is empty")]
    Empty {
        /// Private rows of the left operand.
        rows: usize,
        /// Contraction rows of the right operand.
        contraction: usize,
        /// Columns wanted.
        columns: usize,
    },
    /// An operand has another number of rows.
    #[error("the {operand} has {found} rows, {needed} are needed")]
    Rows {
        /// Which operand.
        operand: &'static str,
        /// Rows given.
        found: usize,
        /// Rows needed.
        needed: usize,
    },
    /// A row is too short, or is not a whole number of packed units; a mask is of another length than the
    /// others.
    #[error("row {row} of the {operand} has {found} residues, {needed} are needed")]
    RowLength {
        /// Which operand.
        operand: &'static str,
        /// Which of its rows.
        row: usize,
        /// Residues given.
        found: usize,
        /// Residues needed.
        needed: usize,
    },
    /// A mask set without places, or at a place that is not there.
    #[error("mask set {set} does not stand at places below {places}")]
    Places {
        /// Which set.
        set: usize,
        /// Places of the contraction.
        places: usize,
    },
    /// The names do not fit what they name.
    #[error("the names do not fit the operands")]
    Names,
    /// The buffer for the result is of the wrong size.
    #[error("the result needs {needed} residues, the buffer has {found}")]
    OutputLength {
        /// Residues needed.
        needed: usize,
        /// Residues of the buffer.
        found: usize,
    },
}

impl Product<'_> {
    /// The parts of the result. Of a product that does not fit together it says nothing useful.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let (left, right) = (self.left_mask_len(), self.right_mask_len());
        let sets = self.left_masks.len();
        let mut end = 0usize;
        let mut next = |sizes: [usize; 3]| {
            let start = end;
            end = sizes.iter().fold(1usize, |len, &size| len.saturating_mul(size)).saturating_add(start);
            start..end
        };
        Layout {
            c: next([1, self.rows, self.columns.len()]),
            p: next([sets, self.columns.len(), left]),
            q: next([1, self.rows, right]),
            r: next([sets, left, right / self.roots.max(1)]),
        }
    }

    /// Residues of the whole result.
    #[must_use]
    pub fn residues(&self) -> usize {
        self.layout().r.end
    }

    /// Multiplies on the active device into `out`, with all threads of the current rayon pool where the
    /// device is this processor. With `add`, adds to the canonical residues that are there.
    ///
    /// # Errors
    /// Names what does not fit; then nothing has been written.
    pub fn multiply(&self, add: bool, out: &mut [u64]) -> Result<(), Error> {
        self.multiply_on(backend::active(), add, out)
    }

    /// [`Product::multiply`] on a chosen device.
    ///
    /// # Errors
    /// As [`Product::multiply`].
    pub fn multiply_on(&self, device: &dyn Device, add: bool, out: &mut [u64]) -> Result<(), Error> {
        self.validate()?;
        let needed = self.residues();
        if out.len() != needed {
            return Err(Error::OutputLength { needed, found: out.len() });
        }
        device.multiply(self, add, out);
        Ok(())
    }

    /// N_l, zero without masks of the left.
    pub(crate) fn left_mask_len(&self) -> usize {
        self.left_masks.first().and_then(|set| set.rows.first()).map_or(0, |row| row.len())
    }

    /// N_r, zero without masks of the right.
    pub(crate) fn right_mask_len(&self) -> usize {
        self.right_masks.and_then(|rows| rows.first()).map_or(0, |row| row.len())
    }

    fn validate(&self) -> Result<(), Error> {
        let (roots, contraction) = (self.roots, self.right.len());
        if !roots.is_power_of_two() {
            return Err(Error::Roots { roots });
        }
        if self.rows == 0 || contraction == 0 || self.columns.is_empty() {
            return Err(Error::Empty { rows: self.rows, contraction, columns: self.columns.len() });
        }
        count("right operand", contraction, contraction.next_multiple_of(roots))?;
        rows("right operand", self.right, self.columns.end)?;
        match self.left {
            Left::Rows(left) => {
                count("left operand", left.len(), self.rows)?;
                rows("left operand", left, contraction)?;
            }
            Left::Transposed(left) => {
                count("left operand", left.len(), contraction)?;
                rows("left operand", left, self.rows)?;
            }
        }
        let places = contraction / roots;
        for (index, set) in self.left_masks.iter().enumerate() {
            if set.places.is_empty() || set.places.iter().any(|&place| place as usize >= places) {
                return Err(Error::Places { set: index, places });
            }
            count("left operand's masks", set.rows.len(), set.places.len())?;
            masks("left operand's masks", set.rows, self.left_mask_len(), roots)?;
        }
        if let Some(rows) = self.right_masks {
            count("right operand's masks", rows.len(), places)?;
            masks("right operand's masks", rows, self.right_mask_len(), roots)?;
        }
        self.validate_names()
    }

    fn validate_names(&self) -> Result<(), Error> {
        let (Left::Rows(left) | Left::Transposed(left)) = self.left;
        let names = &self.names;
        let inside = names.left.iter().all(|name| left.get(name.rows.clone()).is_some());
        let each_set = names.left_masks.is_empty() || names.left_masks.len() == self.left_masks.len();
        let right = names.right_masks.is_none() || self.right_masks.is_some();
        if inside && each_set && right { Ok(()) } else { Err(Error::Names) }
    }
}

fn count(operand: &'static str, found: usize, needed: usize) -> Result<(), Error> {
    if found == needed { Ok(()) } else { Err(Error::Rows { operand, found, needed }) }
}

fn rows(operand: &'static str, rows: &[Row<'_>], needed: usize) -> Result<(), Error> {
    match rows.iter().position(|row| row.residues() < needed || !row.is_whole()) {
        None => Ok(()),
        Some(row) => Err(Error::RowLength { operand, row, found: rows[row].residues(), needed }),
    }
}

fn masks(operand: &'static str, rows: &[&[u64]], len: usize, roots: usize) -> Result<(), Error> {
    let needed = len.max(1).next_multiple_of(roots);
    match rows.iter().position(|row| row.len() != needed) {
        None => Ok(()),
        Some(row) => Err(Error::RowLength { operand, row, found: rows[row].len(), needed }),
    }
}
