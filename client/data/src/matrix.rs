//! Dense matrices: of f64 as tables are read, of f32 once they are standardised.

use std::fmt;

/// A dense matrix in row-major order: element (i, j) is `as_slice()[i * columns + j]`.
///
/// `Debug` shows the shape alone, so that rows do not end in a log.
#[derive(Clone, PartialEq, Default)]
pub struct Matrix<T = f32> {
    rows: usize,
    columns: usize,
    values: Vec<T>,
}

impl<T: Copy + Default> Matrix<T> {
    /// A matrix of `rows` x `columns` from row-major `values`; `None` unless their number fits.
    pub fn new(rows: usize, columns: usize, values: Vec<T>) -> Option<Self> {
        (rows.checked_mul(columns)? == values.len()).then_some(Self { rows, columns, values })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Row `index`, counted from 0.
    ///
    /// # Panics
    /// When `index` is not below [`rows`](Self::rows).
    pub fn row(&self, index: usize) -> &[T] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        &self.values[index * self.columns..][..self.columns]
    }

    /// The rows in order.
    pub fn iter_rows(&self) -> impl Iterator<Item = &[T]> {
        (0..self.rows).map(|index| self.row(index))
    }

    /// All values, row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// All values, row-major.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All values, row-major.
    pub fn into_vec(self) -> Vec<T> {
        self.values
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is not below [`rows`](Self::rows).
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut values = Vec::with_capacity(indices.len() * self.columns);
        for &index in indices {
            values.extend_from_slice(self.row(index));
        }
        Matrix { rows: indices.len(), columns: self.columns, values }
    }

    /// Rearranges the columns: column `j` of the result is column `order[j]`. `order` must be a permutation.
    pub(crate) fn reorder_columns(&mut self, order: &[usize]) {
        debug_assert_eq!(order.len(), self.columns);
        let mut scratch = vec![T::default(); self.columns];
        for row in self.values.chunks_exact_mut(self.columns.max(1)) {
            scratch.copy_from_slice(row);
            for (cell, &from) in row.iter_mut().zip(order) {
                *cell = scratch[from];
            }
        }
    }
}

impl Matrix<f64> {
    /// The values in single precision, as training takes them: for numbers that need no standardisation.
    pub fn rounded(&self) -> Matrix {
        let values = self.values.iter().map(|&value| value as f32).collect();
        Matrix { rows: self.rows, columns: self.columns, values }
    }
}

impl<T> fmt::Debug for Matrix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} x {})", self.rows, self.columns)
    }
}
