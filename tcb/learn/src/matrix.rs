//! Row-major `f32` matrices.

use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

/// A dense matrix, row by row in one vector. It holds opened values: `Debug` shows the shape only, and its memory is
/// wiped in the end.
#[derive(Clone, PartialEq, Default)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Zeroizing<Vec<f32>>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Matrix { rows, cols, data: vec![0.0; rows * cols].into() }
    }

    /// The matrix whose rows stand one after the other in `data`; `None` unless `data.len() == rows * cols`.
    pub fn from_rows(rows: usize, cols: usize, data: Vec<f32>) -> Option<Self> {
        (rows.checked_mul(cols) == Some(data.len())).then(|| Matrix { rows, cols, data: data.into() })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Gives the matrix another shape, keeping its memory. If the number of columns stays, so do the values of
    /// the rows that stay, and new rows are zero; otherwise the values are unspecified.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        self.data.resize(rows * cols, 0.0);
        (self.rows, self.cols) = (rows, cols);
    }

    /// All values, row by row.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// All values, row by row.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, row by row, without a copy.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.data)
    }

    /// Row `row`. Panics if there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.cols..][..self.cols]
    }

    /// Row `row`. Panics if there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.cols..][..self.cols]
    }

    /// The values of some rows, row by row. Panics if there are no such rows.
    pub fn values_of(&self, rows: Range<usize>) -> &[f32] {
        &self.data[rows.start * self.cols..rows.end * self.cols]
    }

    /// The values of some rows, row by row. Panics if there are no such rows.
    pub fn values_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        &mut self.data[rows.start * self.cols..rows.end * self.cols]
    }

    /// Some rows in order. Panics if there are no such rows.
    pub fn rows_of(&self, rows: Range<usize>) -> impl ExactSizeIterator<Item = &[f32]> {
        let cols = self.cols.max(1);
        self.values_of(rows).chunks_exact(cols)
    }

    /// Some rows in order. Panics if there are no such rows.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let cols = self.cols.max(1);
        self.values_mut(rows).chunks_exact_mut(cols)
    }

    /// The rows in order. A matrix without columns has none to show.
    pub fn iter_rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.cols.max(1))
    }

    /// The rows in order. A matrix without columns has none to show.
    pub fn iter_rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        self.data.chunks_exact_mut(self.cols.max(1))
    }
}

/// The largest sum of magnitudes of a column of rows of `cols` values.
pub fn largest_column_sum(values: &[f32], cols: usize) -> f64 {
    let mut sums = vec![0f64; cols];
    for row in values.chunks_exact(cols) {
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(v.abs()));
    }
    sums.into_iter().fold(0.0, f64::max)
}

/// The largest sum of magnitudes of a row of `cols` values.
pub fn largest_row_sum(values: &[f32], cols: usize) -> f64 {
    values.chunks_exact(cols).map(|row| row.iter().map(|v| f64::from(v.abs())).sum()).fold(0.0, f64::max)
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} x {})", self.rows, self.cols)
    }
}
