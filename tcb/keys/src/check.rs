//! Products are checked before anything of them is opened (Freivalds, "Probabilistic machines can use less
//! running time", 1977; for outsourced layers Tramèr and Boneh, Slalom, ICLR 2019).
//!
//! With secret scalars l for the rows of the grid and r for its columns, an honest product C = A B has
//! sum l_i r_j C\[i,j\] = (sum l_i A\[i,.\]) (sum r_j B\[.,j\]), exactly, modulo q. The right side is made of
//! projections that the warden took while it wrote or read the operands; the left side of what came. A wrong
//! product passes with probability at most 2/q, see `docs/integrity.md`.

use blindsmith_matrix::{ProductKind, ProductShape};
use blindsmith_ring::{Eval, Poly, backend, modulus};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::meter::metered;
use crate::sum::{Scalars, Sum, contract};

/// A product of wrong size, or with a residue that is not below q.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the refinery returned a malformed product: {0}")]
pub struct Malformed(pub &'static str);

/// A product that is not the one that was asked for. Which part of it is wrong is not said.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the refinery returned a wrong product")]
pub struct Wrong;

/// A product as it arrives: of the right form, copied to where nobody else writes, and not trusted.
pub struct Received {
    pub(crate) shape: ProductShape,
    pub(crate) extras: Vec<u64>,
    pub(crate) body: Vec<u64>,
}

impl Received {
    /// Nothing yet of a product of this shape.
    pub fn new(shape: ProductShape) -> Self {
        Received::into(shape, Vec::new())
    }

    /// The same in memory that is used again ([`crate::Opener::into_memory`]): a large product would spend more on
    /// fresh pages than on its check.
    pub fn into(shape: ProductShape, mut memory: Vec<u64>) -> Self {
        memory.clear();
        memory.reserve_exact(shape.residues());
        Received { shape, extras: Vec::new(), body: memory }
    }

    /// Takes the extra polynomials, given as consecutive residues.
    pub fn extras(&mut self, residues: &[u64]) -> Result<(), Malformed> {
        if !self.extras.is_empty() || residues.len() != self.shape.extras() * self.shape.tile.degree() {
            return Err(Malformed("wrong number of extra polynomials"));
        }
        self.extras = canonical(residues)?.to_vec();
        Ok(())
    }

    /// Takes whole rows of the grid, `first` and those that follow it; they come in order.
    pub fn rows(&mut self, first: usize, residues: &[u64]) -> Result<(), Malformed> {
        let row = self.shape.grid().1 * self.shape.tile_residues();
        if self.extras.is_empty() {
            return Err(Malformed("rows before extra polynomials"));
        }
        if residues.is_empty() || !residues.len().is_multiple_of(row) {
            return Err(Malformed("not a whole number of rows"));
        }
        if first != self.body.len() / row {
            return Err(Malformed("rows out of order"));
        }
        if self.body.len() + residues.len() > self.shape.residues() {
            return Err(Malformed("rows that do not exist"));
        }
        self.body.extend_from_slice(canonical(residues)?);
        Ok(())
    }
}

fn canonical(residues: &[u64]) -> Result<&[u64], Malformed> {
    match backend::active().is_canonical(residues) {
        true => Ok(residues),
        false => Err(Malformed("a residue is not below the modulus")),
    }
}

/// A product that passed its [`Check`]: there is no other way to one, and [`crate::Opener`] takes nothing else.
pub struct Checked {
    shape: ProductShape,
    body: Vec<u64>,
    extras: Vec<Poly<Eval>>,
}

impl Checked {
    /// Its shape.
    pub fn shape(&self) -> &ProductShape {
        &self.shape
    }

    pub(crate) fn into_memory(self) -> Vec<u64> {
        self.body
    }

    pub(crate) fn extras(&self) -> &[Poly<Eval>] {
        &self.extras
    }

    /// The residues of one row of the grid.
    pub(crate) fn row(&self, index: usize) -> &[u64] {
        let len = self.shape.grid().1 * self.shape.tile_residues();
        &self.body[index * len..][..len]
    }
}

/// What a product must be: secret scalars for the rows and the columns of its grid, and what its body and its
/// extra polynomials add up to under them.
///
/// | product | body | extra polynomials |
/// |---|---|---|
/// | Z | sum_k u_k x_k | sum_k u_k c_k + a_k (x_k + c_k), each extra weighted as its row or column, the corner with 1 |
/// | G | sum_j r_j sum_b v_b E0\[b,j\] | sum_b v_b e_b |
/// | D | sum_b l_b sum_j E0\[b,j\] x'_j | sum_j e'_j x'_j |
///
/// with u_k = sum_b l_b A0\[b,k\], v_b = sum_k l_k A0\[b,k\], x_k = sum_j r_j B0\[k,j\], x'_j = sum_k r_k B0\[k,j\].
pub struct Check<'a> {
    /// One for each row of the grid.
    pub rows: &'a Scalars,
    /// One for each column of the grid.
    pub cols: &'a Scalars,
    /// The body's projection, at full length.
    pub body: Poly<Eval>,
    /// The extra polynomials' projection.
    pub extras: Poly<Eval>,
}

impl<'a> Check<'a> {
    /// Of Z: the left operand's scalars, projection u and masks a, and the right one's scalars, projection x and
    /// masks c.
    pub fn forward(
        (rows, u, a): (&'a Scalars, &[Poly<Eval>], &[Poly<Eval>]),
        (cols, x, c): (&'a Scalars, &[Poly<Eval>], &[Poly<Eval>]),
    ) -> Self {
        metered(|| {
            let mut extras = contract(u, c);
            extras.add_assign(&contract(a, x));
            extras.add_assign(&contract(a, c));
            Check { rows, cols, body: contract(u, x), extras }
        })
    }

    /// Checks all of a product; only the verdict shows.
    ///
    /// # Errors
    /// [`Malformed`] while rows are missing; then [`Wrong`].
    ///
    /// # Panics
    /// If the scalars are not as many as rows and columns.
    pub fn verify(self, product: Received) -> Result<Result<Checked, Wrong>, Malformed> {
        let Received { shape, extras, body } = product;
        let (rows, cols) = shape.grid();
        let degree = shape.tile.degree();
        assert_eq!((self.rows.len(), self.cols.len()), (rows, cols));
        if body.len() != shape.residues() {
            return Err(Malformed("rows are missing"));
        }
        let projected = project(&shape, &body, self.rows, self.cols);
        let expected = metered(|| wanted(&shape, self.body));
        let mut difference = differing(&projected, &expected);

        let one = [1];
        let weights: [&[u64]; 3] = match shape.kind {
            ProductKind::Forward => [self.rows.as_slice(), self.cols.as_slice(), &one],
            ProductKind::WeightGradient => [self.rows.as_slice(), &[], &[]],
            ProductKind::InputGradient => [self.cols.as_slice(), &[], &[]],
        };
        let (mut sum, mut rest) = (Sum::new(degree), extras.as_slice());
        for weights in weights {
            let (these, others) = rest.split_at(degree * weights.len());
            metered(|| sum.scale(these, weights));
            rest = others;
        }
        difference |= differing(sum.finish().as_slice(), self.extras.as_slice());
        if difference != 0 {
            return Ok(Err(Wrong));
        }
        let poly = |values: &[u64]| {
            let mut poly = Poly::zero(degree);
            poly.as_mut_slice().copy_from_slice(values);
            poly
        };
        Ok(Ok(Checked { shape, body, extras: extras.chunks_exact(degree).map(poly).collect() }))
    }
}

/// Zero if they are equal, in constant time.
fn differing(a: &[u64], b: &[u64]) -> u64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0, |any, (a, b)| any | (a ^ b))
}

/// The sum over the grid of rows\[i\] cols\[j\] body\[i\]\[j\].
fn project(shape: &ProductShape, body: &[u64], rows: &Scalars, cols: &Scalars) -> Vec<u64> {
    use rayon::prelude::*;
    let (tile, row) = (shape.tile_residues(), shape.grid().1 * shape.tile_residues());
    let empty = || (Sum::new(tile), Sum::new(tile), vec![0; tile]);
    let sums = body.par_chunks_exact(row).zip(rows.as_slice()).fold(empty, |mut sums, (body, scalar)| {
        metered(|| {
            let (all, each, reduced) = &mut sums;
            each.scale(body, cols.as_slice());
            each.take(reduced);
            all.scale(reduced, &[*scalar]);
        });
        sums
    });
    let add = |mut a: Vec<u64>, b: Vec<u64>| {
        backend::active().add_assign(&mut a, &b);
        a
    };
    let reduce = |(mut all, _, mut out): (Sum, Sum, Vec<u64>)| {
        all.take(&mut out);
        out
    };
    sums.map(reduce).reduce(|| vec![0; tile], add)
}

/// What of a polynomial travels in a product's body, see [`ProductShape::tile_residues`].
fn wanted(shape: &ProductShape, full: Poly<Eval>) -> Zeroizing<Vec<u64>> {
    let tile = &shape.tile;
    let mut out = Zeroizing::new(Vec::with_capacity(shape.tile_residues()));
    match shape.kind {
        ProductKind::Forward => {
            let fold = |points: &[u64]| points.iter().fold(0, |sum, x| modulus::add(sum, *x));
            out.extend(full.as_slice().chunks_exact(tile.n()).map(fold));
        }
        ProductKind::WeightGradient => out.extend_from_slice(&full.into_coeff().as_slice()[..tile.window()]),
        ProductKind::InputGradient => {
            let full = full.into_coeff();
            let windows = full.as_slice().chunks_exact(tile.window());
            windows.for_each(|window| out.extend_from_slice(&window[..tile.n()]));
        }
    }
    out
}
