//! Opening of products: the masks' terms are brought back from full evaluation to mixed form, added, and the mean over the roots is
//! taken. Only products are opened; there is no function that opens an operand.
//!
//! With secrets s of the left operand's strips and v of the right one's (`docs/arithmetic.md`, *Opening*):
//!
//! ```text
//! P' = P + back( sum over l' of R v )                                once for each column
//! A B = 1/n ( C + sum over roots of  back( sum over l of s P' ) + back( sum over l' of Q v ) )
//! ```

use blindsmith_matrix::{Encoding, ProductShape, Scale};
use blindsmith_ring::{Q, Table, backend, modulus};
use rayon::prelude::*;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::check::Checked;
use crate::secret::{Secrets, reading_weights};

/// An opened value at or above q/4: an operand was not what it should be, or the product is wrong.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a product is out of range: it was not computed from the right operands")]
pub struct OutOfRange;

/// back( sum over l' of R v ): what the terms of the left operand's masks get from the right one's, for some columns.
pub struct MaskTerms {
    left: Encoding,
    right: Encoding,
    /// How many columns there are, and the strip in which they begin.
    columns: (usize, usize),
    sets: usize,
    /// For each mask set, strip of columns, eight residues of the left mask over a root and eight columns: for each root and
    /// column, eight residues. That is as they are read.
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

/// Columns, or residues of masks, that are treated together: a cache line of each row.
const TOGETHER: usize = 8;

impl MaskTerms {
    /// Of a product's part R, for so many columns, which begin in a strip of `right`.
    ///
    /// # Panics
    /// If the product has no part R, or secrets are fewer than columns need.
    pub fn new(of_masks: &Checked, columns: usize, right: (&Secrets, usize)) -> Self {
        Self::into(Zeroizing::default(), of_masks, columns, right)
    }

    /// The same in memory that is used again.
    ///
    /// # Panics
    /// As [`MaskTerms::new`].
    pub fn into(
        mut terms: Zeroizing<Vec<u64>>,
        of_masks: &Checked,
        columns: usize,
        (right, first): (&Secrets, usize),
    ) -> Self {
        let ProductShape { left, right: encoding, right_masks, mask_sets, .. } = *of_masks.shape();
        assert!(right_masks && encoding.strip().is_multiple_of(TOGETHER));
        let strips = columns.div_ceil(encoding.strip());
        let each = left.per_root() * encoding.degree();
        if terms.len() < mask_sets * strips * each {
            terms = Zeroizing::new(vec![0; mask_sets * strips * each]);
        }
        let both = of_masks.both_masks().chunks_exact(left.per_root() * encoding.dimension());
        for (terms, both) in terms.chunks_exact_mut((strips * each).max(1)).zip(both) {
            for (s, terms) in terms.chunks_exact_mut(each).enumerate() {
                bring_back_both((left, encoding), both, right.strip(first + s), terms);
            }
        }
        MaskTerms { left, right: encoding, columns: (columns, first), sets: mask_sets, terms }
    }

    /// The memory that they are in, for others.
    pub fn into_memory(self) -> Zeroizing<Vec<u64>> {
        self.terms
    }

    /// P' = P + the terms of a mask set, for up to eight columns from `first` on, of which `of_left` is the part P.
    fn add(&self, set: usize, first: usize, of_left: &[u64], out: &mut [u64]) {
        let (dimension, per_root) = (self.left.dimension(), self.left.per_root());
        let (strip, degree) = (self.right.strip(), self.right.degree());
        let strips = self.columns.0.div_ceil(strip);
        let terms = &self.terms[(set * strips + first / strip) * per_root * degree..][..per_root * degree];
        let terms = terms.as_chunks::<TOGETHER>().0;
        let group = first % strip / TOGETHER;
        let each = self.right.roots() * TOGETHER;
        for (x, terms) in terms.chunks_exact(degree).enumerate() {
            for (j, terms) in terms[group * each..][..each].as_chunks::<TOGETHER>().0.iter().enumerate() {
                let at = j * per_root + x * TOGETHER;
                let columns = out.chunks_exact_mut(dimension).zip(terms);
                columns.for_each(|(out, part)| out[at..at + TOGETHER].copy_from_slice(part));
            }
        }
        backend::active().add_assign(&mut out[..of_left.len()], of_left);
    }
}

/// The terms of one strip of columns.
fn bring_back_both((left, right): (Encoding, Encoding), both: &[u64], secret: &[u64], terms: &mut [u64]) {
    let (roots, per_root, degree) = (right.roots(), left.per_root(), right.degree());
    let table = Table::of(degree);
    let scratch =
        || (vec![0; right.dimension()], [(); 2].map(|()| Zeroizing::new(vec![0; TOGETHER * degree])));
    let groups = terms.par_chunks_exact_mut(TOGETHER * degree).enumerate();
    groups.for_each_init(scratch, |(gathered, [elements, turned]), (group, out)| {
        let backend = backend::active();
        for (i, element) in elements.chunks_exact_mut(degree).enumerate() {
            let x = group * TOGETHER + i;
            for (j, row) in gathered.chunks_exact_mut(right.per_root()).enumerate() {
                row.copy_from_slice(&both[(j * per_root + x) * right.per_root()..][..right.per_root()]);
            }
            backend.mul_ranks(element, gathered, secret, right.rank(), right.strip());
            backend.eval_to_mixed(table, element, roots);
        }
        // Root by root, and column by column; then columns eight by eight, all roots of them.
        backend.transpose(turned, TOGETHER, elements, TOGETHER, degree);
        let tile = TOGETHER * TOGETHER;
        for (j, turned) in turned.chunks_exact(right.strip() * TOGETHER).enumerate() {
            for (group, turned) in turned.chunks_exact(tile).enumerate() {
                out[(group * roots + j) * tile..][..tile].copy_from_slice(turned);
            }
        }
    });
}

/// What opens one product, or a section of it.
pub struct Opener<'a> {
    /// The part C.
    pub product: &'a Checked,
    /// The part P, of the same columns: it may have come with other rows.
    pub of_left_masks: &'a Checked,
    /// The terms of the masks, for the same columns.
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
        assert_eq!((rows, (shape.columns, self.first)), (shape.rows, self.terms.columns));
        let of_left = self.of_left_masks.shape();
        assert_eq!((of_left.left, of_left.columns), (self.terms.left, shape.columns));
        assert_eq!((of_left.mask_sets, shape.right), (self.terms.sets, self.terms.right));
        assert!(self.of_right_masks.shape().right_masks && self.of_right_masks.shape().rows == rows);
        let (mut largest, mut first) = (0, 0);
        let mut of_left = Zeroizing::new(Vec::new());
        let mut rest = self.strips;
        while !rest.is_empty() {
            let (strips, after) = rest.split_at(self.at_once(rest));
            let rows = self.of_left_masks(strips, &mut of_left);
            let out = &mut out[first * stride..][..rows * stride];
            largest = largest.max(self.finish(first, rows, &of_left, (out, stride, at)));
            (first, rest) = (first + rows, after);
        }
        // One public outcome for everything, after all of it was read.
        if largest < Q / 4 { Ok(()) } else { Err(OutOfRange) }
    }

    /// Rows of a strip up to which each is read off by itself: a transform reads them all.
    const FEW: usize = 2;
    /// Residues of rows that are opened at a time before their last terms are added, about.
    const AT_ONCE: usize = 1 << 21;

    /// How many strips come next; their columns' terms are made once for all of them.
    fn at_once(&self, strips: &[RowStrip<'_>]) -> usize {
        let mut residues = 0;
        let fits = |strip: &&RowStrip<'_>| {
            residues += strip.rows * self.terms.columns.0;
            residues <= Self::AT_ONCE
        };
        strips.iter().take_while(fits).count().max(1)
    }

    /// Sum over roots of back( sum over l of s P' ) for the rows of some strips, and how many they are: of each eight
    /// columns, for each row eight residues.
    fn of_left_masks(&self, strips: &[RowStrip<'_>], out: &mut Vec<u64>) -> usize {
        let left = self.terms.left;
        let rows: usize = strips.iter().map(|s| s.rows).sum();
        let size = left.strip();
        out.resize(self.terms.columns.0.div_ceil(TOGETHER) * rows * TOGETHER, 0);
        let readers: Vec<Reader<'_>> = strips.iter().map(|strip| Reader::new(left, strip)).collect();
        let sets = self.of_left_masks.shape().mask_sets;
        let (dimension, of_left) = (left.dimension(), self.of_left_masks.left_masks());
        let scratch = || {
            let room = |len| Zeroizing::new(vec![0; len]);
            let terms = room(sets * TOGETHER * dimension);
            (terms, room(strips.len() * TOGETHER * size), room(2 * left.degree() + TOGETHER * size))
        };
        let groups = out.par_chunks_exact_mut((rows * TOGETHER).max(1)).enumerate();
        groups.for_each_init(scratch, |(terms, folded, scratch), (group, out)| {
            let (element, turned) = scratch.split_at_mut(2 * left.degree());
            let first = group * TOGETHER;
            let columns = TOGETHER.min(self.terms.columns.0 - first);
            for (set, terms) in terms.chunks_exact_mut(TOGETHER * dimension).enumerate() {
                let from = (set * self.terms.columns.0 + first) * dimension;
                self.terms.add(set, first, &of_left[from..][..columns * dimension], terms);
            }
            for column in 0..columns {
                let term = |set: usize| &terms[(set * TOGETHER + column) * dimension..][..dimension];
                for (folded, reader) in folded.chunks_exact_mut(TOGETHER * size).zip(&readers) {
                    reader.read(term, element, &mut folded[column * size..][..size]);
                }
            }
            let mut at = 0;
            for (folded, strip) in folded.chunks_exact(TOGETHER * size).zip(strips) {
                let out = &mut out[at..][..strip.rows * TOGETHER];
                if strip.rows == size {
                    backend::active().transpose(out, TOGETHER, folded, TOGETHER, size);
                } else {
                    backend::active().transpose(turned, TOGETHER, folded, TOGETHER, size);
                    out.copy_from_slice(&turned[..out.len()]);
                }
                at += strip.rows * TOGETHER;
            }
        });
        rows
    }

    /// Adds everything of the rows from `first` on, and writes the values; the largest magnitude.
    fn finish(
        &self,
        first: usize,
        rows: usize,
        of_left: &[u64],
        (out, stride, at): (&mut [f32], usize, usize),
    ) -> u64 {
        let (columns, right) = (self.terms.columns.0, self.product.shape().right);
        let multiplier = modulus::inv(right.roots() as u64);
        let factor = 1.0 / (self.scales[0].factor() * self.scales[1].factor());
        let (degree, size, dimension) = (right.degree(), right.strip(), right.dimension());
        let table = Table::of(degree);
        let of_left = of_left.as_chunks::<TOGETHER>().0;
        let padded = columns.next_multiple_of(TOGETHER);
        let scratch = || Zeroizing::new(vec![0; degree + size + TOGETHER * padded]);
        let groups = out.par_chunks_mut(TOGETHER * stride).enumerate();
        let largest = groups.map_init(scratch, |scratch, (group, out)| {
            let backend = backend::active();
            let (element, rest) = scratch.split_at_mut(degree);
            let (folded, sums) = rest.split_at_mut(size);
            let from = group * TOGETHER;
            for (g, of_left) in of_left.chunks_exact(rows).enumerate() {
                let sums = sums.chunks_exact_mut(padded).zip(&of_left[from..]);
                sums.for_each(|(sums, part)| sums[g * TOGETHER..][..TOGETHER].copy_from_slice(part));
            }
            let mut largest = 0;
            for ((i, out), sums) in
                out.chunks_exact_mut(stride).enumerate().zip(sums.chunks_exact_mut(padded))
            {
                let row = first + from + i;
                let sums = &mut sums[..columns];
                backend.add_assign(sums, &self.product.body()[row * columns..][..columns]);
                let masked = &self.of_right_masks.right_masks()[row * dimension..][..dimension];
                for (strip, sums) in sums.chunks_mut(size).enumerate() {
                    let secret = self.right.strip(self.first + strip);
                    backend.mul_fold(table, folded, masked, secret, element);
                    backend.add_assign(sums, &folded[..sums.len()]);
                }
                largest = largest.max(backend.decode(&mut out[at..at + columns], sums, multiplier, factor));
            }
            largest
        });
        largest.max().unwrap_or(0)
    }
}

/// What reads the rows of a strip off the terms of a column.
enum Reader<'a> {
    /// All of them by a transform.
    Whole(Encoding, &'a [(usize, SecretRef<'a>)]),
    /// A few rows: each is a sum over all points, weighted, under each mask set.
    Few(Encoding, Vec<Vec<(usize, Zeroizing<Vec<u64>>)>>),
}

impl<'a> Reader<'a> {
    fn new(left: Encoding, strip: &'a RowStrip<'a>) -> Self {
        if strip.rows > Opener::FEW.min(left.strip()) {
            return Reader::Whole(left, &strip.secrets);
        }
        let weighted = |b| {
            let weights = reading_weights(left, b);
            let weigh = |(set, secret): &(usize, SecretRef<'_>)| {
                let mut product = Zeroizing::new(vec![0; weights.len()]);
                backend::active().mul(&mut product, &weights, secret.0);
                (*set, product)
            };
            strip.secrets.iter().map(weigh).collect()
        };
        Reader::Few(left, (0..strip.rows).map(weighted).collect())
    }

    /// Writes the residues of the strip's rows, at least. `element` is room for two elements.
    fn read<'t>(&self, terms: impl Fn(usize) -> &'t [u64], element: &mut [u64], out: &mut [u64]) {
        let backend = backend::active();
        match self {
            Reader::Whole(left, secrets) => {
                let (element, further) = element.split_at_mut(left.degree());
                let (table, further) = (Table::of(left.degree()), &mut further[..left.strip()]);
                for (i, (set, secret)) in secrets.iter().enumerate() {
                    let product = if i == 0 { &mut *out } else { &mut *further };
                    backend.mul_fold(table, product, terms(*set), secret.0, element);
                    if i > 0 {
                        backend.add_assign(out, further);
                    }
                }
            }
            Reader::Few(left, rows) => {
                let scale = modulus::inv(left.strip() as u64);
                for (out, weighted) in out.iter_mut().zip(rows) {
                    let dots = weighted.iter().map(|(set, secret)| backend.dot(secret, terms(*set)));
                    *out = modulus::mul(dots.fold(0, modulus::add), scale);
                }
            }
        }
    }
}
