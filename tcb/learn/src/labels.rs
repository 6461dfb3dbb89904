//! What rows are to be taught: targets, and which rows count at all.

use std::fmt;
use std::ops::Range;

use crate::matrix::Matrix;

/// The answers that belong to rows.
#[derive(Clone, PartialEq)]
pub enum Targets {
    /// One class number a row, from 0, for softmax cross-entropy.
    Classes(Vec<u32>),
    /// One row of values a row: 0 to 1 for the logistic loss, standardised to about unit variance for
    /// regression.
    Values(Matrix),
}

impl Targets {
    fn rows(&self) -> usize {
        match self {
            Targets::Classes(classes) => classes.len(),
            Targets::Values(values) => values.rows(),
        }
    }
}

/// Targets and validity of rows in order. `Debug` shows the number of rows only.
#[derive(Clone, PartialEq)]
pub struct Labels {
    pub(crate) targets: Targets,
    /// Rows that are not valid (excluded, without labels) have zero error and count nowhere.
    pub(crate) valid: Vec<bool>,
}

/// Labels that do not fit each other or their rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelsError {
    /// A list of another length.
    #[error("{found} {what} for {rows} rows: give one for each row")]
    Length {
        /// What the list is of.
        what: &'static str,
        /// Entries found.
        found: usize,
        /// Rows there are.
        rows: usize,
    },
    /// Class numbers beside values, or values of different widths.
    #[error(
        "labels of two kinds or widths cannot stand in one batch: bring all to the model's loss and outputs"
    )]
    Kind,
    /// Rows beyond the end.
    #[error("rows {start} to {end} of labels that have {rows} rows: the labels belong to another upload")]
    Range {
        /// First row asked for.
        start: usize,
        /// One beyond the last row asked for.
        end: usize,
        /// Rows there are.
        rows: usize,
    },
}

impl Labels {
    /// Labels for which every row counts.
    pub fn new(targets: Targets) -> Self {
        let rows = targets.rows();
        Labels { targets, valid: vec![true; rows] }
    }

    /// The same with a flag for each row: does it count?
    pub fn with_valid(mut self, valid: Vec<bool>) -> Result<Self, LabelsError> {
        self.length("flags of validity", valid.len())?;
        self.valid = valid;
        Ok(self)
    }

    /// No labels for `rows` rows, none of which counts.
    pub(crate) fn none(rows: usize) -> Self {
        let targets = Targets::Values(Matrix::zeros(rows, 0));
        Labels { targets, valid: vec![false; rows] }
    }

    /// The number of rows, valid or not.
    pub fn rows(&self) -> usize {
        self.valid.len()
    }

    /// The number of valid rows.
    pub fn valid_rows(&self) -> u32 {
        self.valid.iter().map(|&v| u32::from(v)).sum()
    }

    /// A copy of some of the rows.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, LabelsError> {
        let targets = match &self.targets {
            Targets::Classes(_) => Targets::Classes(Vec::new()),
            Targets::Values(values) => Targets::Values(Matrix::zeros(0, values.cols())),
        };
        let mut slice = Labels::new(targets);
        slice.append(self, range)?;
        Ok(slice)
    }

    /// Adds some of the rows of `other` at the end.
    pub fn append(&mut self, other: &Labels, range: Range<usize>) -> Result<(), LabelsError> {
        if range.start > range.end || range.end > other.rows() {
            return Err(LabelsError::Range { start: range.start, end: range.end, rows: other.rows() });
        }
        match (&mut self.targets, &other.targets) {
            (Targets::Classes(own), Targets::Classes(new)) => own.extend_from_slice(&new[range.clone()]),
            (Targets::Values(own), Targets::Values(new)) if own.cols() == new.cols() => {
                let old = own.rows();
                own.reshape(old + range.len(), new.cols());
                let cols = new.cols();
                own.as_mut_slice()[old * cols..]
                    .copy_from_slice(&new.as_slice()[range.start * cols..range.end * cols]);
            }
            _ => return Err(LabelsError::Kind),
        }
        self.valid.extend_from_slice(&other.valid[range]);
        Ok(())
    }

    fn length(&self, what: &'static str, found: usize) -> Result<(), LabelsError> {
        let rows = self.rows();
        if found == rows { Ok(()) } else { Err(LabelsError::Length { what, found, rows }) }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Labels({} rows)", self.rows())
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Targets({} rows)", self.rows())
    }
}
