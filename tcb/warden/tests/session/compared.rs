//! Every product twice: encrypted, and in double precision from the rows in the clear.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;

use blindsmith_learn::{Accelerator, Batch, Block, Bounds, Left, Matrix, Pass};
use blindsmith_protocol::ProjectSpec;
use blindsmith_warden::{Encrypted, ProductError};

use super::local::Local;
use super::stock::Stock;

/// rows x inner times inner x columns.
pub fn multiply(left: &Matrix, right: &Matrix) -> Vec<f64> {
    assert_eq!(left.cols(), right.rows());
    let mut out = vec![0.0; left.rows() * right.cols()];
    for (row, out) in left.iter_rows().zip(out.chunks_exact_mut(right.cols())) {
        for (a, right) in row.iter().zip(right.iter_rows()) {
            out.iter_mut().zip(right).for_each(|(o, b)| *o += f64::from(*a) * f64::from(*b));
        }
    }
    out
}

pub fn transposed(m: &Matrix) -> Matrix {
    let values = (0..m.cols()).flat_map(|j| m.iter_rows().map(move |row| row[j]));
    Matrix::from_rows(m.cols(), m.rows(), values.collect()).unwrap()
}

pub fn rms(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(s, n), v| (s + v * v, n + 1));
    (sum / f64::from(count.max(1))).sqrt()
}

/// Multiplies in double precision, over rows in the clear.
pub struct Plain {
    /// Of each upload.
    rows: Vec<Matrix>,
    block_rows: u32,
    weights: HashMap<usize, Matrix>,
    /// Weights for the next pass.
    ahead: HashMap<usize, Matrix>,
    sums: HashMap<usize, Vec<f64>>,
}

impl Plain {
    pub fn new(rows: &[Matrix], block_rows: u32) -> Self {
        let (weights, ahead, sums) = (HashMap::new(), HashMap::new(), HashMap::new());
        Plain { rows: rows.to_vec(), block_rows, weights, ahead, sums }
    }

    /// The rows of blocks.
    pub fn rows_of(&self, blocks: &[Block]) -> Matrix {
        let of = |b: &Block| self.rows[b.upload as usize].values_of(b.range(self.block_rows)).to_vec();
        let rows = blocks.iter().map(|b| b.rows as usize).sum();
        Matrix::from_rows(rows, self.rows[0].cols(), blocks.iter().flat_map(of).collect()).unwrap()
    }

    fn left(&self, left: Left<'_>) -> Matrix {
        match left {
            Left::Rows(batch) => self.rows_of(batch.blocks()),
            Left::Hidden(hidden) => hidden.clone(),
        }
    }
}

fn part(m: &Matrix, rows: Range<usize>) -> Matrix {
    Matrix::from_rows(rows.len(), m.cols(), m.values_of(rows).to_vec()).unwrap()
}

fn write(out: &mut [f32], values: &[f64]) {
    assert_eq!(out.len(), values.len());
    out.iter_mut().zip(values).for_each(|(o, v)| *o = *v as f32);
}

impl Accelerator for Plain {
    type Error = Infallible;

    fn begin(&mut self, _pass: Pass) -> Result<(), Infallible> {
        self.weights = std::mem::take(&mut self.ahead);
        self.sums.clear();
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), Infallible> {
        self.weights.insert(layer, weights.clone());
        Ok(())
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), Infallible> {
        self.ahead.insert(layer, weights.clone());
        Ok(())
    }

    fn loaded_ahead(&self, layer: usize) -> bool {
        self.weights.contains_key(&layer)
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        let product = multiply(&part(&self.left(left), rows.clone()), &self.weights[&layer]);
        write(out.values_mut(rows), &product);
        Ok(())
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        _bounds: Option<Bounds>,
    ) -> Result<(), Infallible> {
        let product = multiply(&transposed(&self.left(left)), error);
        let sum = self.sums.entry(layer).or_insert_with(|| vec![0.0; product.len()]);
        sum.iter_mut().zip(product).for_each(|(s, p)| *s += p);
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        let product = multiply(&part(error, rows.clone()), &transposed(&self.weights[&layer]));
        write(out.values_mut(rows), &product);
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), Infallible> {
        let (inputs, outputs) = self.weights[&layer].shape();
        out.reshape(inputs, outputs);
        write(out.as_mut_slice(), &self.sums.remove(&layer).unwrap());
        Ok(())
    }

    fn gradient_noise(&self, _layer: usize) -> f32 {
        0.0
    }
}

/// Goes on with the encrypted results, and remembers how far they are off.
pub struct Compared<'a> {
    pub encrypted: Encrypted<'a, Local, Stock>,
    plain: Plain,
    spec: &'a ProjectSpec,
    /// Largest error of Z and D, root mean squares over root mean squares.
    pub relative: f64,
    /// Of each gradient that is encrypted: the error's root mean square over the predicted noise, and its largest entry
    /// over it.
    pub gradients: Vec<(f64, f64)>,
    /// Gradients with bounds.
    pub bounded: usize,
    /// Products of a part of the rows.
    pub parts: usize,
    /// Weights that were loaded ahead.
    pub ahead: usize,
}

impl<'a> Compared<'a> {
    pub fn new(stock: &'a Stock, cloud: &'a Local) -> Self {
        Compared {
            encrypted: stock.encrypted(cloud),
            plain: stock.plain(),
            spec: &stock.spec,
            relative: 0.0,
            gradients: vec![],
            bounded: 0,
            parts: 0,
            ahead: 0,
        }
    }

    /// Errors are those that were predicted.
    pub fn assert_close(&self) {
        assert!(self.relative < 1e-4, "Z or D is off by {} of its size", self.relative);
        assert!(!self.gradients.is_empty());
        // Noise is predicted for all columns together; of one whose errors are large it is up to twice as much.
        for (i, (rms, largest)) in self.gradients.iter().enumerate() {
            let rms_fits = (0.5..1.3).contains(rms);
            assert!(rms_fits && *largest < 10.0, "gradient {i}: {rms} times the noise, {largest} at most");
        }
    }

    fn compare(&mut self, found: &Matrix, plain: &Matrix, rows: Range<usize>) {
        let pairs = found.values_of(rows.clone()).iter().zip(plain.values_of(rows.clone()));
        let error = rms(pairs.map(|(a, b)| f64::from(a - b)));
        let size = rms(plain.values_of(rows.clone()).iter().map(|v| f64::from(*v)));
        self.parts += usize::from(rows.len() < found.rows());
        self.relative = self.relative.max(error / size);
    }
}

impl Accelerator for Compared<'_> {
    type Error = ProductError;

    fn begin(&mut self, pass: Pass) -> Result<(), ProductError> {
        self.plain.begin(pass).unwrap();
        self.encrypted.begin(pass)
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        self.plain.load_weights(layer, weights).unwrap();
        self.encrypted.load_weights(layer, weights)
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        self.ahead += 1;
        self.plain.load_ahead(layer, weights).unwrap();
        self.encrypted.load_ahead(layer, weights)
    }

    fn loaded_ahead(&self, layer: usize) -> bool {
        self.encrypted.loaded_ahead(layer)
    }

    fn start_forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        self.encrypted.start_forward(layer, left, rows)
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let mut plain = Matrix::zeros(out.rows(), out.cols());
        self.plain.forward(layer, left, rows.clone(), &mut plain).unwrap();
        self.encrypted.forward(layer, left, rows.clone(), out)?;
        self.compare(out, &plain, rows);
        Ok(())
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), ProductError> {
        self.bounded += usize::from(bounds.is_some());
        self.plain.add_gradient(layer, left, error, bounds).unwrap();
        self.encrypted.add_gradient(layer, left, error, bounds)
    }

    fn start_input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        self.encrypted.start_input_gradient(layer, error, rows)
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let mut plain = Matrix::zeros(out.rows(), out.cols());
        self.plain.input_gradient(layer, error, rows.clone(), &mut plain).unwrap();
        self.encrypted.input_gradient(layer, error, rows.clone(), out)?;
        self.compare(out, &plain, rows);
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), ProductError> {
        let mut plain = Matrix::default();
        self.plain.take_gradient(layer, &mut plain).unwrap();
        self.encrypted.take_gradient(layer, out)?;
        assert_eq!(out.shape(), plain.shape());
        let errors = out.as_slice().iter().zip(plain.as_slice()).map(|(a, b)| f64::from(a - b));
        let predicted = f64::from(self.encrypted.gradient_noise(layer));
        if self.spec.layers[layer].offload.is_none() {
            assert_eq!(predicted, 0.0);
            assert!(rms(errors) < 1e-5 * rms(plain.as_slice().iter().map(|v| f64::from(*v))));
            return Ok(());
        }
        let largest = errors.clone().fold(0f64, |m, e| m.max(e.abs()));
        self.gradients.push((rms(errors) / predicted, largest / predicted));
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        self.encrypted.gradient_noise(layer)
    }
}

/// One batch by hand, without activations: Z of each layer, then G and D with the errors given for the last one.
/// Bounds, if there are any, are those of all micro-batches, one for each layer.
pub fn pass_over(
    accelerator: &mut Compared<'_>,
    batch: &Batch,
    errors: &Matrix,
    bounds: &[Option<Bounds>],
) -> Result<(), ProductError> {
    let layers = accelerator.spec.layers.clone();
    let bound = |l: usize| bounds.get(l).copied().flatten();
    let mut hidden: Vec<Matrix> = Vec::new();
    for (l, layer) in layers.iter().enumerate() {
        let left = hidden.last().map_or(Left::Rows(batch), Left::Hidden);
        let mut out = Matrix::zeros(batch.rows(), layer.outputs as usize);
        for rows in batch.parts() {
            accelerator.start_forward(l, left, rows)?;
        }
        for rows in batch.parts() {
            accelerator.forward(l, left, rows, &mut out)?;
        }
        hidden.push(out);
    }
    let mut error = errors.clone();
    for (l, layer) in layers.iter().enumerate().rev() {
        let left = if l == 0 { Left::Rows(batch) } else { Left::Hidden(&hidden[l - 1]) };
        let mut out = Matrix::zeros(batch.rows(), layer.inputs as usize);
        for rows in batch.parts().into_iter().filter(|_| l > 0) {
            accelerator.start_input_gradient(l, &error, rows)?;
        }
        accelerator.add_gradient(l, left, &error, bound(l))?;
        for rows in batch.parts().into_iter().filter(|_| l > 0) {
            accelerator.input_gradient(l, &error, rows, &mut out)?;
        }
        error = out;
    }
    Ok(())
}
