//! Opening of products: the masks' terms are brought back from full evaluation to mixed form, added, and the mean over the roots is
//! taken. Only products are opened; there is no function that opens an operand.
//!
//! With secrets s of the left operand's strips and v of the right one's (`docs/arithmetic.md`, *Opening*):
//!
//! ```text
//! P' = P + back( sum over l' of R v )                                once for each column strip
//! A B = 1/n ( C + sum over roots of  back( sum over l of s P' ) + back( sum over l' of Q v ) )
//! ```

use blindsmith_matrix::{Encoding, Scale};
use blindsmith_ring::{Q, Table, backend, modulus};
use rayon::prelude::*;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::reading_weights;
use crate::{Checked, Secrets};

/// An opened value at or above q/4: an operand was not what it should be, or the product is wrong.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a product is out of range: it was not computed from the right operands")]
pub struct OutOfRange;

/// The terms of the left operand's masks, with the right operand's secrets worked in: P'.
pub struct MaskTerms {
    left: Encoding,
    columns: usize,
    /// Mask sets x columns x N.
    terms: Zeroizing<Vec<u64>>,
}

/// Rows of a product under one secret of the left operand.
pub struct RowStrip<'a> {
    /// How many, at most a strip's.
    pub rows: usize,
    /// Which of the operand's mask sets it stands under, with its secret for that set. The terms of several sets add up.
    pub secrets: Vec<(usize, SecretRef<'a>)>,
}

/// One strip's secret.
pub struct SecretRef<'a>(&'a [u64]);

impl Secrets {
    /// The secret of a strip, for opening.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn reference(&self, strip: usize) -> SecretRef<'_> {
        SecretRef(self.strip(strip))
    }
}

/// Columns that are brought back together, a cache line of each row.
const TOGETHER: usize = 8;

impl MaskTerms {
    /// Of a product's parts P and R; R may be of another product with the same masks. `first` is the strip of `right` in which
    /// the columns begin.
    ///
    /// # Panics
    /// If parts are missing, or secrets are fewer than columns need.
    pub fn new(of_columns: &Checked, of_masks: &Checked, right: &Secrets, first: usize) -> Self {
        let shape = of_columns.shape();
        let (left, encoding) = (shape.left, shape.right);
        assert!(of_masks.shape().right_masks && of_masks.shape().mask_sets == shape.mask_sets);
        let mut terms = Zeroizing::new(of_columns.left_masks().to_vec());
        let each = left.per_root() * encoding.dimension();
        let sets = terms.chunks_exact_mut((shape.columns * left.dimension()).max(1));
        for (set, terms) in sets.enumerate() {
            let both = &of_masks.both_masks()[set * each..][..each];
            let strips = terms.chunks_mut(encoding.strip() * left.dimension()).enumerate();
            for (strip, terms) in strips {
                add_masks_of_both((left, encoding), both, right.strip(first + strip), terms);
            }
        }
        MaskTerms { left, columns: shape.columns, terms }
    }

    /// The terms of a column under a mask set.
    fn column(&self, set: usize, column: usize) -> &[u64] {
        let dimension = self.left.dimension();
        &self.terms[(set * self.columns + column) * dimension..][..dimension]
    }
}

/// Adds back( sum over l' of R v ) to the terms of one strip's columns.
fn add_masks_of_both((left, right): (Encoding, Encoding), both: &[u64], secret: &[u64], terms: &mut [u64]) {
    let (roots, per_root, degree) = (right.roots(), left.per_root(), right.degree());
    let table = Table::of(degree);
    let mut brought = Zeroizing::new(vec![0; per_root * degree]);
    // For each residue of the left mask over a root, all roots together: root, then column.
    brought.par_chunks_exact_mut(degree).enumerate().for_each_init(
        || vec![0; right.dimension()],
        |gathered, (x, out)| {
            for (j, row) in gathered.chunks_exact_mut(right.per_root()).enumerate() {
                row.copy_from_slice(&both[(j * per_root + x) * right.per_root()..][..right.per_root()]);
            }
            let backend = backend::active();
            backend.mul_ranks(out, gathered, secret, right.rank(), right.strip());
            backend.eval_to_mixed(table, out, roots);
        },
    );
    let dimension = left.dimension();
    terms.par_chunks_mut(TOGETHER * dimension).enumerate().for_each(|(group, terms)| {
        let backend = backend::active();
        let (mut tile, mut turned) = ([0; TOGETHER * TOGETHER], [0; TOGETHER * TOGETHER]);
        let first = group * TOGETHER;
        let columns = terms.len() / dimension;
        // Tiles of eight residues of masks by eight columns, turned.
        for j in 0..roots {
            for x in (0..per_root).step_by(TOGETHER) {
                for (i, row) in tile.chunks_exact_mut(TOGETHER).enumerate() {
                    let at = (x + i) * degree + j * right.strip() + first;
                    row[..columns].copy_from_slice(&brought[at..at + columns]);
                }
                backend.transpose(&mut turned, TOGETHER, &tile, TOGETHER, TOGETHER);
                for (column, part) in turned.chunks_exact(TOGETHER).enumerate().take(columns) {
                    let out = &mut terms[column * dimension + j * per_root + x..][..TOGETHER];
                    backend.add_assign(out, part);
                }
            }
        }
    });
}

/// What opens one product, or a section of it.
pub struct Opener<'a> {
    /// The part C.
    pub product: &'a Checked,
    /// The terms of the left masks, for the same columns.
    pub terms: &'a MaskTerms,
    /// The part Q, of the same rows: it may have come with other columns.
    pub of_right_masks: &'a Checked,
    /// The rows in order.
    pub strips: &'a [RowStrip<'a>],
    /// The right operand's secrets.
    pub right: &'a Secrets,
    /// The strip of the right operand in which the columns begin.
    pub first: usize,
    /// Both operands' scales.
    pub scales: [Scale; 2],
}

impl Opener<'_> {
    /// Opens all rows into `out`: `columns` values of each row, of rows that lie `stride` values apart, beginning at
    /// value `at` of a row.
    ///
    /// # Errors
    /// [`OutOfRange`], after all was opened.
    ///
    /// # Panics
    /// If strips, terms and product do not fit each other.
    pub fn open(&self, out: &mut [f32], stride: usize, at: usize) -> Result<(), OutOfRange> {
        let shape = self.product.shape();
        let rows: usize = self.strips.iter().map(|s| s.rows).sum();
        assert_eq!((rows, shape.columns), (shape.rows, self.terms.columns));
        assert!(self.of_right_masks.shape().right_masks && self.of_right_masks.shape().rows == rows);
        let (mut largest, mut first) = (0, 0);
        let mut of_strip = Vec::new();
        for strip in self.strips {
            self.of_left_masks(strip, &mut of_strip);
            let out = &mut out[first * stride..][..strip.rows * stride];
            largest = largest.max(self.finish(first, strip.rows, &of_strip, (out, stride, at)));
            first += strip.rows;
        }
        zeroize::Zeroize::zeroize(&mut of_strip);
        // One public outcome for everything, after all of it was read.
        if largest < Q / 4 { Ok(()) } else { Err(OutOfRange) }
    }

    /// Rows of a strip up to which each is read off by itself: a transform reads them all.
    const FEW: usize = 2;

    /// Sum over roots of back( sum over l of s P' ), column by column, [`RowStrip::rows`] residues each.
    fn of_left_masks(&self, strip: &RowStrip<'_>, out: &mut Vec<u64>) {
        let left = self.terms.left;
        out.clear();
        out.resize(self.terms.columns * strip.rows, 0);
        if strip.rows <= Self::FEW.min(left.strip()) {
            return self.few_rows(strip, out);
        }
        let (roots, degree, size) = (left.roots(), left.degree(), left.strip());
        let table = Table::of(degree);
        let scratch = || Zeroizing::new(vec![0; 2 * degree + size]);
        out.par_chunks_exact_mut(strip.rows).enumerate().for_each_init(scratch, |scratch, (column, out)| {
            let backend = backend::active();
            let (sum, rest) = scratch.split_at_mut(degree);
            let (term, folded) = rest.split_at_mut(degree);
            for (i, (set, secret)) in strip.secrets.iter().enumerate() {
                let terms = self.terms.column(*set, column);
                if i == 0 {
                    backend.mul_ranks(sum, terms, secret.0, left.rank(), size);
                } else {
                    backend.mul_ranks(term, terms, secret.0, left.rank(), size);
                    backend.add_assign(sum, term);
                }
            }
            backend.eval_to_mixed(table, sum, roots);
            backend.fold_blocks(folded, sum);
            out.copy_from_slice(&folded[..out.len()]);
        });
    }

    /// The same for a few rows: each is a sum over all points, weighted.
    fn few_rows(&self, strip: &RowStrip<'_>, out: &mut [u64]) {
        let left = self.terms.left;
        let scale = modulus::inv(left.strip() as u64);
        for b in 0..strip.rows {
            let weights = reading_weights(left, b);
            let weighted: Vec<(usize, Zeroizing<Vec<u64>>)> = strip
                .secrets
                .iter()
                .map(|(set, secret)| {
                    let mut product = Zeroizing::new(vec![0; weights.len()]);
                    backend::active().mul(&mut product, &weights, secret.0);
                    (*set, product)
                })
                .collect();
            out.par_chunks_exact_mut(strip.rows).enumerate().for_each(|(column, out)| {
                let dots = weighted
                    .iter()
                    .map(|(set, secret)| backend::active().dot(secret, self.terms.column(*set, column)));
                out[b] = modulus::mul(dots.fold(0, modulus::add), scale);
            });
        }
    }

    /// Adds everything of the rows from `first` on, and writes the values; the largest magnitude.
    fn finish(
        &self,
        first: usize,
        rows: usize,
        of_strip: &[u64],
        (out, stride, at): (&mut [f32], usize, usize),
    ) -> u64 {
        let (columns, right) = (self.terms.columns, self.product.shape().right);
        let multiplier = modulus::inv(right.roots() as u64);
        let factor = 1.0 / (self.scales[0].factor() * self.scales[1].factor());
        let (degree, size, dimension) = (right.degree(), right.strip(), right.dimension());
        let table = Table::of(degree);
        let scratch = || Zeroizing::new(vec![0; degree + size + TOGETHER * columns]);
        let groups = out.par_chunks_mut(TOGETHER * stride).enumerate();
        let largest = groups.map_init(scratch, |scratch, (group, out)| {
            let backend = backend::active();
            let (element, rest) = scratch.split_at_mut(degree);
            let (folded, sums) = rest.split_at_mut(size);
            let from = group * TOGETHER;
            let count = TOGETHER.min(rows - from);
            for (column, part) in of_strip.chunks_exact(rows).enumerate() {
                for (i, v) in part[from..from + count].iter().enumerate() {
                    sums[i * columns + column] = *v;
                }
            }
            let mut largest = 0;
            for (i, out) in out.chunks_exact_mut(stride).enumerate() {
                let row = first + from + i;
                let sums = &mut sums[i * columns..][..columns];
                backend.add_assign(sums, &self.product.body()[row * columns..][..columns]);
                let masked = &self.of_right_masks.right_masks()[row * dimension..][..dimension];
                for (strip, sums) in sums.chunks_mut(size).enumerate() {
                    let secret = self.right.strip(self.first + strip);
                    backend.mul_ranks(element, masked, secret, right.rank(), size);
                    backend.eval_to_mixed(table, element, right.roots());
                    backend.fold_blocks(folded, element);
                    backend.add_assign(sums, &folded[..sums.len()]);
                }
                largest = largest.max(backend.decode(&mut out[at..at + columns], sums, multiplier, factor));
            }
            largest
        });
        largest.max().unwrap_or(0)
    }
}
