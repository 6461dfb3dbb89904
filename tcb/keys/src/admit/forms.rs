//! The two forms of a block: opened sums over subsets of their places, and what these must be.

use blindsmith_matrix::OperandShape;
use blindsmith_ring::{Eval, Mixed, Poly, backend, modulus};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::subsets::{SUMS, Subsets, TESTS};
use crate::secret::Secrets;

/// The largest magnitude of the noise.
const NOISE: f64 = 21.0;
/// What the mean square of signed sums stays below, over its expectation for entries that are all at their bound: the tail of a
/// chi-squared law with [`TESTS`] degrees at 2^-60.
const TIGHT: f64 = 3.6;
/// How far sums that are equal may differ, in standard deviations of their noise.
const DEVIATIONS: f64 = 10.0;
/// Variance of an entry's noise in both forms together.
const VARIANCE: f64 = 21.0;

/// One form of a block.
pub(super) struct Form<'a> {
    pub(super) shape: OperandShape,
    /// The largest magnitude of an encoded entry.
    pub(super) bound: f64,
    pub(super) secrets: &'a Secrets,
}

/// Sums over subsets of places, opened: centred residues by sum, private entry, and contraction entry of a place.
pub(super) struct OpenedSums {
    values: Zeroizing<Vec<i64>>,
    shape: OperandShape,
}

impl OpenedSums {
    fn of(&self, sum: usize, private: usize) -> &[i64] {
        let roots = self.shape.encoding.roots();
        &self.values[(sum * self.shape.width + private) * roots..][..roots]
    }
}

impl Form<'_> {
    /// Opens sums of a matrix that lies row by row, a row for each private entry.
    pub(super) fn open_rows(
        &self,
        residues: &[u64],
        stride: usize,
        subsets: (&Subsets, &[u64]),
    ) -> OpenedSums {
        let size = self.shape.encoding.strip();
        let strip = |strip: usize| {
            let width = size.min(self.shape.width - strip * size);
            // Contraction rows of the strip, as the other form lies.
            let mut turned = vec![0; self.shape.padded() * size];
            for b in 0..width {
                let row = &residues[(strip * size + b) * stride..][..self.shape.padded()];
                row.iter().enumerate().for_each(|(k, x)| turned[k * size + b] = *x);
            }
            self.open_strip(strip, &turned, subsets)
        };
        self.gather((0..self.shape.strips()).into_par_iter().map(strip).collect())
    }

    /// Opens sums of a matrix that lies contraction row by contraction row.
    pub(super) fn open_columns(&self, residues: &[u64], subsets: (&Subsets, &[u64])) -> OpenedSums {
        let (size, stride) = (self.shape.encoding.strip(), self.shape.stride());
        let strip = |strip: usize| {
            let width = size.min(self.shape.width - strip * size);
            let mut part = vec![0; self.shape.padded() * size];
            for (out, row) in part.chunks_exact_mut(size).zip(residues.chunks_exact(stride)) {
                out[..width].copy_from_slice(&row[strip * size..][..width]);
            }
            self.open_strip(strip, &part, subsets)
        };
        self.gather((0..self.shape.strips()).into_par_iter().map(strip).collect())
    }

    /// Sums of one strip: its elements in mixed form, place by place. By sum, private entry, contraction entry.
    fn open_strip(
        &self,
        strip: usize,
        elements: &[u64],
        (subsets, masks): (&Subsets, &[u64]),
    ) -> Zeroizing<Vec<i64>> {
        let encoding = self.shape.encoding;
        let (roots, size, degree) = (encoding.roots(), encoding.strip(), encoding.degree());
        let sums = subsets.sums(elements, degree);
        let mut out = Zeroizing::new(vec![0; SUMS * degree]);
        let mut buffer = Poly::<Eval>::zero(degree);
        for (j, out) in out.chunks_exact_mut(degree).enumerate() {
            let mask = &masks[j * encoding.dimension()..][..encoding.dimension()];
            let secret = self.secrets.strip(strip);
            backend::active().mul_ranks(buffer.as_mut_slice(), mask, secret, encoding.rank(), size);
            let mut mixed: Poly<Mixed> = buffer.into_mixed(roots);
            backend::active().add_assign(mixed.as_mut_slice(), &sums[j * degree..][..degree]);
            let opened = mixed.into_coeff(roots);
            for (i, b) in (0..roots).flat_map(|i| (0..size).map(move |b| (i, b))) {
                // A left operand: entry i stands at z^-i, with the sign that wrapping brings.
                let (block, negative) = if i == 0 { (0, false) } else { (roots - i, true) };
                let v = centred(opened.as_slice()[block * size + b]);
                out[b * roots + i] = if negative { -v } else { v };
            }
            buffer = opened.recycle();
        }
        out
    }

    fn gather(&self, strips: Vec<Zeroizing<Vec<i64>>>) -> OpenedSums {
        let encoding = self.shape.encoding;
        let (roots, size, width) = (encoding.roots(), encoding.strip(), self.shape.width);
        let mut values = Zeroizing::new(vec![0; SUMS * width * roots]);
        for (strip, part) in strips.into_iter().enumerate() {
            let count = size.min(width - strip * size) * roots;
            for (j, part) in part.chunks_exact(encoding.degree()).enumerate() {
                values[(j * width + strip * size) * roots..][..count].copy_from_slice(&part[..count]);
            }
        }
        OpenedSums { values, shape: self.shape }
    }

    /// Not zero if a sum is beyond what well-formed entries within their bound give, in constant time.
    pub(super) fn beyond(&self, opened: &OpenedSums) -> u64 {
        let roots = self.shape.encoding.roots();
        let places = self.shape.places() as f64;
        let mut beyond = 0;
        for i in 0..roots {
            // Places in which the contraction entry i is one of the matrix.
            let entries = (self.shape.contraction + roots - 1 - i) / roots;
            let limit = entries as f64 * (self.bound + 0.5) + places * NOISE;
            // All of them at the bound, and noise elsewhere.
            let square = entries as f64 * (self.bound + 0.5 + NOISE).powi(2)
                + (places - entries as f64) * NOISE * NOISE;
            for private in 0..self.shape.width {
                let all = opened.of(TESTS, private)[i];
                let mut squares = 0.0;
                for j in 0..TESTS {
                    let sum = opened.of(j, private)[i];
                    let signed = centred_difference(2 * sum, all);
                    beyond |= above(sum as f64, limit) | above(signed as f64, limit);
                    squares += signed as f64 * signed as f64;
                }
                beyond |= above(squares, TESTS as f64 * TIGHT * square);
            }
        }
        beyond
    }
}

/// The representative in (-q/2, q/2] of a canonical residue. The mask goes through memory: otherwise the compiler makes a
/// branch of it here.
fn centred(x: u64) -> i64 {
    let above = std::hint::black_box(((modulus::Q / 2) as i64 - x as i64) >> 63);
    x as i64 - (modulus::Q as i64 & above)
}

/// a - b modulo q, centred; for |a| < 2q, |b| < q.
fn centred_difference(a: i64, b: i64) -> i64 {
    let q = modulus::Q as i64;
    // From -3q to 3q, brought to 0..q and then to the centre.
    let mut residue = (a - b + 3 * q) as u64;
    for bound in [4 * modulus::Q, 2 * modulus::Q, modulus::Q] {
        let less = residue.wrapping_sub(bound);
        let keep = ((less as i64) >> 63) as u64;
        residue = less.wrapping_add(bound & keep);
    }
    centred(residue)
}

/// One if |value| > limit, else zero, without a branch; values are finite.
fn above(value: f64, limit: f64) -> u64 {
    (limit - value.abs()).to_bits() >> 63
}

/// Not zero if the two forms of a block do not hold the same rows, in constant time: sums over rows of the row form, over the column
/// form's subsets, against sums over features of the column form, over the row form's subsets. A pair of subsets of a
/// places and b groups sums up a b entries, whose noise decides what a difference is.
pub(super) fn differing(
    (rows, of_places): (&OpenedSums, &Subsets),
    (columns, of_groups): (&OpenedSums, &Subsets),
) -> u64 {
    let (places, groups) = (of_places.places(), of_groups.places());
    let (place_sizes, group_sizes) = (of_places.sizes(), of_groups.sizes());
    let (n, l) = (rows.shape.encoding.roots(), columns.shape.encoding.roots());
    let mut beyond = 0;
    // One offset within the groups of rows at a time: sums of all pairs of subsets at once.
    let mut by_group = Zeroizing::new(vec![0; groups * TESTS * n]);
    let mut by_place = Zeroizing::new(vec![0; places * TESTS * n]);
    for offset in 0..l {
        for (g, element) in by_group.chunks_exact_mut(TESTS * n).enumerate() {
            let row = g * l + offset;
            for (j, out) in element.chunks_exact_mut(n).enumerate() {
                match row < rows.shape.width {
                    true => out.copy_from_slice(rows.of(j, row)),
                    false => out.fill(0),
                }
            }
        }
        for (k, element) in by_place.chunks_exact_mut(TESTS * n).enumerate() {
            for (j, out) in element.chunks_exact_mut(n).enumerate() {
                for (i, out) in out.iter_mut().enumerate() {
                    let input = k * n + i;
                    *out = if input < columns.shape.width { columns.of(j, input)[offset] } else { 0 };
                }
            }
        }
        // By subset of places, contraction entry, subset of groups; and with the subsets exchanged.
        let left = Zeroizing::new(of_groups.signed_sums(&by_group, TESTS * n));
        let right = Zeroizing::new(of_places.signed_sums(&by_place, TESTS * n));
        for (at, left) in left.chunks_exact(TESTS).enumerate() {
            let (j, i) = (at / n, at % n);
            let square = DEVIATIONS * DEVIATIONS * VARIANCE * place_sizes[j];
            for (other, left) in left.iter().enumerate() {
                let right = right[(other * n + i) * TESTS + j];
                let difference = left.wrapping_sub(right) as f64;
                beyond |= above(difference * difference, square * group_sizes[other]);
            }
        }
    }
    beyond
}
