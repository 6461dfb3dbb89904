//! Opening of products: two multiply-adds a point, an inverse transform, and a read of the coefficients
//! that matter. Only products are opened; there is no function that opens an operand.

use blindsmith_matrix::{ProductKind, ProductShape, Scale};
use blindsmith_ring::{Eval, Poly, Q, Table, backend, modulus};
use thiserror::Error;

use crate::{Checked, Secret};

/// An opened value at or above q/4: an operand was not what it should be, or the product is wrong.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a product is out of range: it was not computed from the right operands")]
pub struct OutOfRange;

/// What opens one product: for each row and each column of the grid two factors whose products, added, are
/// the warden's own term.
///
/// - Z = C + alpha_b t_j + s_b (beta_j + t_j gamma)
/// - G = C + r_i t'_j + a_i y_j
/// - D = C + s'_b rho_k + y'_b c_k
pub struct Opener<'a> {
    product: Checked,
    rows: [Factors<'a>; 2],
    cols: [Factors<'a>; 2],
    sums: Vec<Poly<Eval>>,
    factor: f64,
    /// A folded product is n times the coefficient: 1/n mod q, or 1.
    unfold: u64,
}

/// Where the factors of the rows or columns are.
enum Factors<'a> {
    Given(&'a [Poly<Eval>]),
    /// The extra polynomials from this index on.
    Extras(usize),
    /// beta_j + t_j gamma.
    Sums,
}

impl<'a> Opener<'a> {
    /// For Z: the secrets of the left rows and of the right columns.
    pub fn forward(product: Checked, left: &'a [Secret], right: &'a [Secret], scales: [Scale; 2]) -> Self {
        assert_eq!(product.shape().kind, ProductKind::Forward);
        let (rows, cols) = product.shape().grid();
        let (beta, gamma) = product.extras()[rows..].split_at(cols);
        let sum = |(beta, t): (&Poly<Eval>, &Secret)| {
            let mut sum = Poly::zero(beta.points());
            sum.add_assign(beta);
            sum.mul_add(t, &gamma[0]);
            sum
        };
        let sums = beta.iter().zip(right).map(sum).collect();
        let rows = [Factors::Extras(0), Factors::Given(left)];
        Self::new(product, rows, [Factors::Given(right), Factors::Sums], sums, scales)
    }

    /// For G: the masks of the left operand (one for each input block), the secrets of the error and the
    /// sums y that its encryption left.
    pub fn weight_gradient(
        product: Checked,
        masks: &'a [Poly<Eval>],
        right: &'a [Secret],
        cross: &'a [Poly<Eval>],
        scales: [Scale; 2],
    ) -> Self {
        assert_eq!(product.shape().kind, ProductKind::WeightGradient);
        let rows = [Factors::Extras(0), Factors::Given(masks)];
        let cols = [Factors::Given(right), Factors::Given(cross)];
        Self::new(product, rows, cols, Vec::new(), scales)
    }

    /// For D: the masks of the weights (one for each input block), the secrets of the error and the sums y'
    /// that its encryption left.
    pub fn input_gradient(
        product: Checked,
        masks: &'a [Poly<Eval>],
        left: &'a [Secret],
        cross: &'a [Poly<Eval>],
        scales: [Scale; 2],
    ) -> Self {
        assert_eq!(product.shape().kind, ProductKind::InputGradient);
        let rows = [Factors::Given(left), Factors::Given(cross)];
        let cols = [Factors::Extras(0), Factors::Given(masks)];
        Self::new(product, rows, cols, Vec::new(), scales)
    }

    fn new(
        product: Checked,
        rows: [Factors<'a>; 2],
        cols: [Factors<'a>; 2],
        sums: Vec<Poly<Eval>>,
        scales: [Scale; 2],
    ) -> Self {
        let factor = 1.0 / (scales[0].factor() * scales[1].factor());
        let shape = *product.shape();
        let unfold = match shape.kind {
            ProductKind::Forward => modulus::inv(shape.tile.n() as u64),
            _ => 1,
        };
        let opener = Opener { product, rows, cols, sums, factor, unfold };
        let (r, c) = shape.grid();
        assert_eq!(opener.product.extras().len(), shape.extras());
        assert!(opener.rows.iter().all(|f| opener.count(f) >= r));
        assert!(opener.cols.iter().all(|f| opener.count(f) >= c));
        opener
    }

    fn count(&self, factors: &Factors<'_>) -> usize {
        match factors {
            Factors::Given(given) => given.len(),
            Factors::Extras(from) => self.product.extras().len() - from,
            Factors::Sums => self.sums.len(),
        }
    }

    fn factor<'b>(&'b self, factors: &'b Factors<'_>, index: usize) -> &'b [u64] {
        match factors {
            Factors::Given(given) => given[index].as_slice(),
            Factors::Extras(from) => self.product.extras()[from + index].as_slice(),
            Factors::Sums => self.sums[index].as_slice(),
        }
    }

    /// The product's shape.
    pub fn shape(&self) -> &ProductShape {
        self.product.shape()
    }

    /// The memory that the product was in, for another one.
    pub fn into_memory(self) -> Vec<u64> {
        self.product.into_memory()
    }

    /// Plain rows that one row of the grid yields (the last may yield fewer).
    pub fn rows_per_grid_row(&self) -> usize {
        self.shape().tile_size().0
    }

    /// Opens row `row` of the grid into `out`: the plain rows that it holds, of all columns.
    ///
    /// # Panics
    /// If `out` is not a whole number of plain rows, or the row does not exist.
    pub fn open_row(&self, row: usize, scratch: &mut Poly<Eval>, out: &mut [f32]) -> Result<(), OutOfRange> {
        let shape = self.shape();
        let (_, cols) = shape.size();
        assert!(out.len().is_multiple_of(cols) && out.len() / cols <= shape.tile_size().0);
        let mut largest = 0;
        for (col, tile) in self.product.row(row).chunks_exact(shape.tile_residues()).enumerate() {
            self.own_term(row, col, tile, scratch);
            largest = largest.max(self.read_tile(col, scratch.as_slice(), out));
        }
        // One public outcome for the whole row, after all of it was read.
        if largest < Q / 4 { Ok(()) } else { Err(OutOfRange) }
    }

    /// The product's wanted residues, own term added, compacted in the order of the body.
    fn own_term(&self, row: usize, col: usize, body: &[u64], scratch: &mut Poly<Eval>) {
        let backend = backend::active();
        let tile = &self.shape().tile;
        let degree = tile.degree();
        let [a, c] = self.rows.each_ref().map(|f| self.factor(f, row));
        let [b, d] = self.cols.each_ref().map(|f| self.factor(f, col));
        let x = scratch.as_mut_slice();
        match self.shape().kind {
            ProductKind::Forward => {
                let points = degree / tile.n();
                let x = &mut x[..points];
                backend.dot2_fold(x, a, b, c, d, tile.n());
                backend.add_assign(x, body);
                backend.inverse(Table::of(points), x);
            }
            ProductKind::WeightGradient => {
                backend.dot2(x, a, b, c, d);
                backend.inverse_window(Table::of(degree), x, tile.window());
                backend.add_assign(&mut x[..tile.window()], body);
            }
            ProductKind::InputGradient => {
                backend.dot2(x, a, b, c, d);
                backend.inverse(Table::of(degree), x);
                for b in 0..tile.m() {
                    x.copy_within(b * tile.window()..b * tile.window() + tile.n(), b * tile.n());
                }
                backend.add_assign(&mut x[..tile.m() * tile.n()], body);
            }
        }
    }

    /// Reads one tile into the plain rows; returns the largest magnitude.
    fn read_tile(&self, col: usize, x: &[u64], out: &mut [f32]) -> u64 {
        let shape = self.shape();
        let tile = &shape.tile;
        let (_, cols) = shape.size();
        let (tile_rows, tile_cols) = shape.tile_size();
        let first = col * tile_cols;
        let count = tile_cols.min(cols - first);
        let mut largest = 0;
        for (r, row) in out.chunks_exact_mut(cols).enumerate().take(tile_rows) {
            for (c, out) in row[first..first + count].iter_mut().enumerate() {
                let at = match shape.kind {
                    ProductKind::Forward => tile.product(r, c) / tile.n(),
                    ProductKind::WeightGradient => tile.weight_gradient(r, c),
                    ProductKind::InputGradient => r * tile.n() + c,
                };
                let v = modulus::to_signed(modulus::mul(x[at], self.unfold));
                largest = largest.max(v.unsigned_abs());
                *out = (v as f64 * self.factor) as f32;
            }
        }
        largest
    }
}
