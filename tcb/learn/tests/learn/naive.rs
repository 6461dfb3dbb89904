//! The reference accelerator: triple loops, in `f64` inside, over rows kept in the clear.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;

use blindsmith_learn::{Accelerator, Batch, Bounds, Left, Matrix, Pass};

/// Multiplies as the definition says.
#[derive(Default)]
pub struct Naive {
    pub uploads: Vec<Matrix>,
    block_rows: u32,
    weights: Vec<Matrix>,
    gradients: Vec<Matrix>,
    /// Micro-batches that the last training pass announced.
    pub micro_batches: usize,
    /// Gradients that came with bounds, which held.
    pub bounded: usize,
    /// Weights that came ahead of their pass, and those for the next one.
    loaded: HashMap<usize, Matrix>,
    ahead: HashMap<usize, Matrix>,
    /// How many of them were multiplied with.
    pub used_ahead: usize,
    /// Added to the products of rows that are not valid.
    pub disturbance: f32,
    last: Option<Batch>,
}

impl Naive {
    /// Uploads in the clear, cut into blocks of `block_rows` rows.
    pub fn new(uploads: Vec<Matrix>, block_rows: u32) -> Self {
        Naive { uploads, block_rows, ..Naive::default() }
    }

    /// The rows of a batch.
    fn rows(&self, batch: &Batch) -> Matrix {
        let cols = self.uploads[0].cols();
        let mut values = Vec::new();
        for block in batch.blocks() {
            for r in 0..block.rows {
                let row = block.index * self.block_rows + r;
                values.extend_from_slice(self.uploads[block.upload as usize].row(row as usize));
            }
        }
        Matrix::from_rows(batch.rows(), cols, values).expect("rows of the batch")
    }

    fn left(&self, left: Left<'_>) -> Matrix {
        match left {
            Left::Rows(batch) => self.rows(batch),
            Left::Hidden(hidden) => hidden.clone(),
        }
    }

    fn disturb(&self, out: &mut Matrix, rows: Range<usize>) {
        let valid = valid_rows(self.last.as_ref().expect("a forward pass"));
        for (row, valid) in valid[rows].iter().enumerate() {
            if !valid {
                out.row_mut(row).iter_mut().for_each(|v| *v += self.disturbance);
            }
        }
    }
}

/// Which rows of a batch count: those that have a loss of their own.
fn valid_rows(batch: &Batch) -> Vec<bool> {
    (0..batch.rows()).map(|r| batch.labels().slice(r..r + 1).expect("a row").valid_rows() == 1).collect()
}

/// The product of two matrices.
pub fn multiply(left: &Matrix, right: &Matrix) -> Matrix {
    assert_eq!(left.cols(), right.rows());
    let mut out = Matrix::zeros(left.rows(), right.cols());
    for i in 0..left.rows() {
        for j in 0..right.cols() {
            let terms = (0..left.cols()).map(|k| f64::from(left.row(i)[k]) * f64::from(right.row(k)[j]));
            out.row_mut(i)[j] = terms.sum::<f64>() as f32;
        }
    }
    out
}

/// Some rows.
pub fn part(matrix: &Matrix, rows: Range<usize>) -> Matrix {
    Matrix::from_rows(rows.len(), matrix.cols(), matrix.values_of(rows).to_vec()).expect("rows")
}

/// The transpose.
pub fn transpose(matrix: &Matrix) -> Matrix {
    let mut out = Matrix::zeros(matrix.cols(), matrix.rows());
    for i in 0..matrix.rows() {
        for j in 0..matrix.cols() {
            out.row_mut(j)[i] = matrix.row(i)[j];
        }
    }
    out
}

impl Accelerator for Naive {
    type Error = Infallible;

    fn begin(&mut self, pass: Pass) -> Result<(), Infallible> {
        (self.weights, self.gradients) = (Vec::new(), Vec::new());
        self.loaded = std::mem::take(&mut self.ahead);
        if let Pass::Training { micro_batches, .. } = pass {
            self.micro_batches = micro_batches;
        }
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), Infallible> {
        assert_eq!(layer, self.weights.len(), "layers come in order");
        self.weights.push(weights.clone());
        self.gradients.push(Matrix::zeros(weights.rows(), weights.cols()));
        while let Some(weights) = self.loaded.remove(&self.weights.len()) {
            self.gradients.push(Matrix::zeros(weights.rows(), weights.cols()));
            self.weights.push(weights);
            self.used_ahead += 1;
        }
        Ok(())
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), Infallible> {
        self.ahead.insert(layer, weights.clone());
        Ok(())
    }

    fn loaded_ahead(&self, layer: usize) -> bool {
        self.loaded.contains_key(&layer) || layer < self.weights.len()
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        if let Left::Rows(batch) = left {
            self.last = Some(batch.clone());
        }
        let mut part = multiply(&part(&self.left(left), rows.clone()), &self.weights[layer]);
        self.disturb(&mut part, rows.clone());
        out.values_mut(rows).copy_from_slice(part.as_slice());
        Ok(())
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), Infallible> {
        let left = self.left(left);
        if let Some(bounds) = bounds {
            let within = |matrix: &Matrix, bound: f32| matrix.as_slice().iter().all(|v| v.abs() <= bound);
            assert!(layer == 0 || within(&left, bounds.left), "layer {layer}: {bounds:?}");
            assert!(within(error, bounds.error), "layer {layer}: {bounds:?}");
            self.bounded += 1;
        }
        let product = multiply(&transpose(&left), error);
        let sum = self.gradients[layer].as_mut_slice();
        sum.iter_mut().zip(product.as_slice()).for_each(|(s, p)| *s += p);
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        let mut part = multiply(&part(error, rows.clone()), &transpose(&self.weights[layer]));
        self.disturb(&mut part, rows.clone());
        out.values_mut(rows).copy_from_slice(part.as_slice());
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), Infallible> {
        *out = self.gradients[layer].clone();
        Ok(())
    }

    fn gradient_noise(&self, _layer: usize) -> f32 {
        0.0
    }
}
