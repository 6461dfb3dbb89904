//! Features with their targets, row by row.

use std::fmt;

use crate::classes::Classes;
use crate::error::{Result, SettingDefect};
use crate::frame::Frame;
use crate::shuffle::{Permutation, Use};

/// Rows of features and what is to be learnt of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Features, one row each.
    pub features: Frame,
    /// Targets, one per row of features.
    pub targets: Targets,
}

/// What is to be learnt. `Debug` shows kinds and counts alone.
#[derive(Clone, PartialEq)]
pub enum Targets {
    /// One class per row (two classes: binary, index 1 is positive).
    Classes {
        /// Names and order of the classes.
        classes: Classes,
        /// Index into the classes, one per row.
        index: Vec<u32>,
    },
    /// Several bits per row, each 0 or 1, rows x labels.
    Bits(Frame),
    /// Numbers, rows x targets.
    Values(Frame),
}

impl Dataset {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.features.rows()
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is out of bounds.
    pub fn select(&self, indices: &[usize]) -> Dataset {
        let targets = match &self.targets {
            Targets::Classes { classes, index } => Targets::Classes {
                classes: classes.clone(),
                index: indices.iter().map(|&row| index[row]).collect(),
            },
            Targets::Bits(bits) => Targets::Bits(bits.select(indices)),
            Targets::Values(values) => Targets::Values(values.select(indices)),
        };
        Dataset { features: self.features.select(indices), targets }
    }

    /// Puts the rows into the order drawn from `seed`, in place, and returns that order.
    ///
    /// Errors that name a row keep naming the file's.
    pub fn shuffle(&mut self, seed: &[u8; 32]) -> Permutation {
        let order = Permutation::keyed(self.rows(), seed);
        self.features.permute(&order);
        match &mut self.targets {
            Targets::Classes { index, .. } => order.permute_rows(index, 1),
            Targets::Bits(frame) | Targets::Values(frame) => frame.permute(&order),
        }
        order
    }

    /// Splits into rows to train on and rows held out, `share` of them rounded, drawn from `seed`. Each side
    /// keeps the order of the rows.
    ///
    /// # Errors
    /// [`SettingDefect::Split`] when either side would be empty.
    pub fn split(&self, share: f64, seed: &[u8; 32]) -> Result<(Dataset, Dataset)> {
        let rows = self.rows();
        let held_out = (share * rows as f64).round();
        if !(held_out >= 1.0 && held_out < rows as f64) {
            return Err(SettingDefect::Split { rows, share }.into());
        }
        let order = Permutation::drawn(rows, seed, Use::Split);
        let (held_out, train) = order.as_slice().split_at(held_out as usize);
        let ordered = |part: &[usize]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            self.select(&part)
        };
        Ok((ordered(train), ordered(held_out)))
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Classes { classes, index } => {
                write!(f, "Classes({:?}, {} rows)", classes.names(), index.len())
            }
            Self::Bits(bits) => write!(f, "Bits({:?})", bits.matrix()),
            Self::Values(values) => write!(f, "Values({:?})", values.matrix()),
        }
    }
}
