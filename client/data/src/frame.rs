//! Named columns of numbers that know which rows of which file they came from.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::error::{Error, FileDefect, Place, Result};
use crate::matrix::Matrix;
use crate::origin::Origin;
use crate::shuffle::Permutation;

/// A matrix with the names of its columns and the origin of its rows: features, targets or bits.
///
/// Numbers are of double precision: rounded before their mean is subtracted, those that lie close together far from
/// zero, such as times in seconds since 1970, would be told apart no more.
///
/// `Debug` shows origin and shape alone: the order of rows may be secret.
#[derive(Clone, PartialEq)]
pub struct Frame {
    origin: Origin,
    names: Option<Vec<String>>,
    matrix: Matrix<f64>,
    /// Data row of the file, from 0, of each row here; `None` while the order is the file's.
    source_rows: Option<Vec<u32>>,
}

impl Frame {
    /// Columns of numbers in the file's order of rows. `origin` is where they came from, as errors will show it;
    /// `names` has one entry per column, or is `None`.
    ///
    /// # Panics
    /// When there are names, but not one per column.
    pub fn new(origin: impl Into<Origin>, names: Option<Vec<String>>, matrix: Matrix<f64>) -> Self {
        if let Some(names) = &names {
            assert_eq!(names.len(), matrix.columns(), "one name per column");
        }
        Self { origin: origin.into(), names, matrix, source_rows: None }
    }

    /// The file, or the directory, as the caller named it.
    pub fn origin(&self) -> &str {
        self.origin.name()
    }

    /// Names of the columns, where the file has names.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The numbers.
    pub fn matrix(&self) -> &Matrix<f64> {
        &self.matrix
    }

    /// The numbers.
    pub fn into_matrix(self) -> Matrix<f64> {
        self.matrix
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.matrix.rows()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.matrix.columns()
    }

    /// Where a cell came from; `row` and `column` count from 0.
    ///
    /// # Panics
    /// When `row` or `column` is out of bounds.
    pub fn place(&self, row: usize, column: usize) -> Place {
        assert!(row < self.rows() && column < self.columns());
        let source = self.source_rows.as_ref().map_or(row as u64, |rows| u64::from(rows[row]));
        let column = match &self.names {
            Some(names) => format!("{:?}", names[column]),
            None => format!("#{}", column + 1),
        };
        self.origin.place(source, column)
    }

    /// Puts the columns into the recorded order and refuses a missing or an additional one by name. Where
    /// either side has no names, only the number of columns is compared.
    ///
    /// # Errors
    /// [`FileDefect::MissingFeatures`], [`FileDefect::ExtraFeatures`] and [`FileDefect::FeatureCount`].
    pub fn align(&mut self, recorded: Option<&[String]>, count: usize) -> Result<()> {
        let (Some(recorded), Some(names)) = (recorded, &self.names) else {
            let found = self.columns();
            let defect = FileDefect::FeatureCount { expected: count, found };
            return if found == count { Ok(()) } else { Err(Error::file(self.origin(), defect)) };
        };
        if recorded == names.as_slice() {
            return Ok(());
        }
        let positions: HashMap<&str, usize> =
            names.iter().enumerate().map(|(column, name)| (name.as_str(), column)).collect();
        let absent = |name: &&String| !positions.contains_key(name.as_str());
        let missing: Vec<String> = recorded.iter().filter(absent).cloned().collect();
        if !missing.is_empty() {
            return Err(Error::file(self.origin(), FileDefect::MissingFeatures { names: missing }));
        }
        let wanted: HashSet<&str> = recorded.iter().map(String::as_str).collect();
        let extra: Vec<String> =
            names.iter().filter(|name| !wanted.contains(name.as_str())).cloned().collect();
        if !extra.is_empty() || recorded.len() != names.len() {
            return Err(Error::file(self.origin(), FileDefect::ExtraFeatures { names: extra }));
        }
        let order: Vec<usize> = recorded.iter().map(|name| positions[name.as_str()]).collect();
        self.matrix.reorder_columns(&order);
        self.names = Some(recorded.to_vec());
        Ok(())
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is out of bounds.
    pub fn select(&self, indices: &[usize]) -> Frame {
        let source = |&index: &usize| match &self.source_rows {
            Some(rows) => rows[index],
            None => index as u32,
        };
        Frame {
            origin: self.origin.clone(),
            names: self.names.clone(),
            matrix: self.matrix.select(indices),
            source_rows: Some(indices.iter().map(source).collect()),
        }
    }

    /// Puts the rows into the permutation's order, in place.
    ///
    /// # Panics
    /// When the permutation is of another length.
    pub fn permute(&mut self, order: &Permutation) {
        let (rows, columns) = self.matrix.shape();
        let mut source = self.source_rows.take().unwrap_or_else(|| (0..rows as u32).collect());
        order.permute_rows(&mut source, 1);
        self.source_rows = Some(source);
        order.permute_rows(self.matrix.as_mut_slice(), columns);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?}, {} x {})", self.origin(), self.rows(), self.columns())
    }
}
