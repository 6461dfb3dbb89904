//! The seam between algorithms and instructions: one trait, one place that chooses.
//!
//! Every method takes canonical residues and returns canonical residues; all backends give the same
//! bits. None branches or indexes on residues.

use std::sync::OnceLock;

use crate::modulus::MAX_CHAIN;
use crate::table::Table;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod entries;
mod portable;
#[cfg(target_arch = "x86_64")]
mod roots;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use portable::Portable;

/// Calls a function that is compiled for more instructions than the baseline, from a method of a backend
/// whose values exist only where the processor has them.
#[cfg(target_arch = "x86_64")]
macro_rules! detected {
    ($call:expr) => {
        // SAFETY: `self` was made by `detect`, which found every feature that the function enables.
        unsafe { $call }
    };
}
#[cfg(target_arch = "x86_64")]
use detected;

/// The methods that all backends with vectors have alike: each checks that the lengths are those that its functions
/// serve, and leaves the others to [`Portable`]. The functions are those of the modules of the backend that expands this.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_methods {
    () => {
        fn forward_mixed(&self, table: &Table, x: &mut [u64], roots: usize) {
            if !ntt::serves(x.len(), block_len(table, x, roots)) {
                return Portable.forward_mixed(table, x, roots);
            }
            detected!(ntt::forward_mixed(table, x, roots))
        }

        fn inverse_mixed(&self, table: &Table, x: &mut [u64], roots: usize) {
            if !ntt::serves(x.len(), block_len(table, x, roots)) {
                return Portable.inverse_mixed(table, x, roots);
            }
            detected!(ntt::inverse_mixed(table, x, roots))
        }

        fn mixed_to_eval(&self, table: &Table, x: &mut [u64], roots: usize) {
            if !ntt::serves(x.len(), block_len(table, x, roots)) {
                return Portable.mixed_to_eval(table, x, roots);
            }
            detected!(ntt::mixed_to_eval(table, x, roots))
        }

        fn eval_to_mixed(&self, table: &Table, x: &mut [u64], roots: usize) {
            if !ntt::serves(x.len(), block_len(table, x, roots)) {
                return Portable.eval_to_mixed(table, x, roots);
            }
            detected!(ntt::eval_to_mixed(table, x, roots))
        }

        fn add_assign(&self, out: &mut [u64], a: &[u64]) {
            if !eights([out.len(), a.len()]) {
                return Portable.add_assign(out, a);
            }
            detected!(pointwise::add_assign(out, a))
        }

        fn sub_assign(&self, out: &mut [u64], a: &[u64]) {
            if !eights([out.len(), a.len()]) {
                return Portable.sub_assign(out, a);
            }
            detected!(pointwise::sub_assign(out, a))
        }

        fn mul(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
            if !eights([out.len(), a.len(), b.len()]) {
                return Portable.mul(out, a, b);
            }
            detected!(pointwise::mul(out, a, b))
        }

        fn mul_add(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
            if !eights([out.len(), a.len(), b.len()]) {
                return Portable.mul_add(out, a, b);
            }
            detected!(pointwise::mul_add(out, a, b))
        }

        fn scale_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]) {
            if !eights([lo.len(), hi.len()]) || a.len() != lo.len() * scalars.len() {
                return Portable.scale_accumulate(lo, hi, a, scalars);
            }
            detected!(pointwise::scale_accumulate(lo, hi, a, scalars))
        }

        fn reduce_pairs(&self, out: &mut [u64], lo: &[u64], hi: &[u64]) {
            if !eights([out.len(), lo.len(), hi.len()]) {
                return Portable.reduce_pairs(out, lo, hi);
            }
            detected!(pointwise::reduce_pairs(out, lo, hi))
        }

        fn dot(&self, a: &[u64], b: &[u64]) -> u64 {
            assert_eq!(a.len(), b.len());
            let whole = a.len() / 8 * 8;
            let rest = Portable.dot(&a[whole..], &b[whole..]);
            modulus::add(rest, detected!(pointwise::dot(&a[..whole], &b[..whole])))
        }

        fn transpose(&self, out: &mut [u64], out_stride: usize, x: &[u64], rows: usize, cols: usize) {
            assert_transposable(out, out_stride, x, rows, cols);
            detected!(transpose::transpose(out, out_stride, x, rows, cols))
        }

        fn add_noise(&self, out: &mut [u64], bytes: &[u8]) {
            if !eights([NOISE_BYTES * out.len(), bytes.len()]) || !eights([out.len()]) {
                return Portable.add_noise(out, bytes);
            }
            detected!(sample::add_noise(out, bytes))
        }

        fn ternary(&self, out: &mut [u64], bytes: &[u8]) {
            if !eights([TERNARY_BYTES * out.len(), bytes.len()]) || !eights([out.len()]) {
                return Portable.ternary(out, bytes);
            }
            detected!(sample::ternary(out, bytes))
        }

        fn encode(&self, out: &mut [u64], x: &[f32], factor: f64) {
            assert_eq!(out.len(), x.len());
            detected!(entries::encode(out, x, factor))
        }

        fn decode(&self, out: &mut [f32], x: &[u64], multiplier: u64, factor: f64) -> u64 {
            assert_eq!(out.len(), x.len());
            detected!(entries::decode(out, x, multiplier, factor))
        }

        fn subset_sums(&self, sums: &mut [u64], elements: &[u64], words: &[u64]) {
            assert!(sums.len().is_multiple_of(64) && elements.len() == sums.len() / 64 * words.len());
            detected!(entries::subset_sums(sums, elements, words))
        }
    };
}
#[cfg(target_arch = "x86_64")]
use vector_methods;

/// Bytes of randomness that one coefficient of centred binomial noise consumes.
pub const NOISE_BYTES: usize = 6;
/// Bytes of randomness that one ternary coefficient consumes.
pub const TERNARY_BYTES: usize = 8;

/// Operations on slices of residues. Lengths must agree (asserted). Multiples of eight are fast, others are left to
/// the portable code; packing takes multiples of eight only (asserted).
pub trait Backend: Sync + Send {
    /// The name by which `BLINDSMITH_BACKEND` chooses it.
    fn name(&self) -> &'static str;

    /// Forward negacyclic transform in place: natural order in, bit-reversed order out.
    fn forward(&self, table: &Table, x: &mut [u64]) {
        self.mixed_to_eval(table, x, 1);
    }
    /// Inverse of [`Backend::forward`], the factor 1/N included.
    fn inverse(&self, table: &Table, x: &mut [u64]) {
        self.eval_to_mixed(table, x, 1);
    }
    /// Coefficients to the mixed form with `roots` = n blocks of m = N/n residues, in place: block j is the
    /// polynomial modulo t^m = zeta_j, with zeta_j point j of the transform of n points. These are the first
    /// log2 n stages of [`Backend::forward`]. `roots` is a power of two from 1 to N, as for the next three.
    fn forward_mixed(&self, table: &Table, x: &mut [u64], roots: usize);
    /// Inverse of [`Backend::forward_mixed`], the factor 1/n included.
    fn inverse_mixed(&self, table: &Table, x: &mut [u64], roots: usize);
    /// The mixed form to values, in place: the stages of [`Backend::forward`] that
    /// [`Backend::forward_mixed`] leaves. Block j then holds the values at the points tau with tau^m = zeta_j.
    fn mixed_to_eval(&self, table: &Table, x: &mut [u64], roots: usize);
    /// Inverse of [`Backend::mixed_to_eval`], the factor 1/m included.
    fn eval_to_mixed(&self, table: &Table, x: &mut [u64], roots: usize);
    /// out = out + a.
    fn add_assign(&self, out: &mut [u64], a: &[u64]);
    /// out = out - a.
    fn sub_assign(&self, out: &mut [u64], a: &[u64]);
    /// out = a b, point by point.
    fn mul(&self, out: &mut [u64], a: &[u64], b: &[u64]);
    /// out = out + a b.
    fn mul_add(&self, out: &mut [u64], a: &[u64], b: &[u64]);
    /// lo + 2^52 hi += the sum over k of scalars\[k\] a_k, unreduced, with a_k the k-th `lo.len()` residues of `a`;
    /// at most [`crate::modulus::MAX_CHAIN`] terms in all.
    fn scale_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]);
    /// out = (lo + 2^52 hi) mod q.
    fn reduce_pairs(&self, out: &mut [u64], lo: &[u64], hi: &[u64]);
    /// The sum of a b mod q, over any length.
    #[must_use]
    fn dot(&self, a: &[u64], b: &[u64]) -> u64;

    /// out\[c out_stride + r\] = x\[r cols + c\] for all r < `rows` and c < `cols`, of any size; the rest of `out`
    /// stays as it is. `x.len() == rows * cols`, `out_stride >= rows`, and `out` reaches at least to the last
    /// place that is written (all asserted). Any words, not only residues.
    fn transpose(&self, out: &mut [u64], out_stride: usize, x: &[u64], rows: usize, cols: usize);

    /// out = out + noise, centred binomial with eta = 21: of each six little-endian bytes, the number of
    /// ones in bits 0..21 less the number of ones in bits 21..42. `bytes.len() == 6 * out.len()`.
    fn add_noise(&self, out: &mut [u64], bytes: &[u8]);
    /// out = uniform over {-1, 0, 1}: floor(3 r / 2^64) - 1 for each eight little-endian bytes r (bias
    /// below 2^-63). `bytes.len() == 8 * out.len()`.
    fn ternary(&self, out: &mut [u64], bytes: &[u8]);

    /// Packs residues to 50 bits each, little-endian, eight residues in 50 bytes.
    fn pack(&self, out: &mut [u8], x: &[u64]);
    /// Unpacks; false if a value is not below q (then `out` holds the values as they came).
    #[must_use]
    fn unpack(&self, out: &mut [u64], bytes: &[u8]) -> bool;
    /// True if every value is below q.
    #[must_use]
    fn is_canonical(&self, x: &[u64]) -> bool;

    /// out\[j m + t\] = the sum over l below `rank` of a\[(j r + l) m + t\] b\[(j r + l) m + t\]: vectors of `rank`
    /// elements multiplied root by root, `strip` = m points each. `a` and `b` have `rank` times the residues of `out`,
    /// which has whole strips; `rank` is from 1 to [`MAX_CHAIN`] (all asserted).
    fn mul_ranks(&self, out: &mut [u64], a: &[u64], b: &[u64], rank: usize, strip: usize) {
        assert_ranks(out, a, b, rank, strip);
        for (j, out) in out.chunks_exact_mut(strip).enumerate() {
            let of = |l: usize| (j * rank + l) * strip..(j * rank + l + 1) * strip;
            self.mul(out, &a[of(0)], &b[of(0)]);
            (1..rank).for_each(|l| self.mul_add(out, &a[of(l)], &b[of(l)]));
        }
    }

    /// out = the sum of the blocks of `x`, each as long as `out`; at most 2^13 of them (asserted).
    fn fold_blocks(&self, out: &mut [u64], x: &[u64]) {
        assert_blocks(out, x);
        out.fill(0);
        x.chunks_exact(out.len().max(1)).for_each(|block| self.add_assign(out, block));
    }

    /// out = the sum over roots of back(the sum over l of a_l b_l): [`Backend::mul_ranks`], [`Backend::eval_to_mixed`] and
    /// [`Backend::fold_blocks`], with strips as long as `out`. `a` and `b` have a whole number of times the table's points,
    /// at most [`MAX_CHAIN`]; `element` is room for those of one (all asserted).
    fn mul_fold(&self, table: &Table, out: &mut [u64], a: &[u64], b: &[u64], element: &mut [u64]) {
        let (roots, rank) = assert_foldable(table, out, (a, b), element);
        self.mul_ranks(element, a, b, rank, out.len());
        self.eval_to_mixed(table, element, roots);
        self.fold_blocks(out, element);
    }

    /// out\[i\] = the residue of the integer nearest to factor x\[i\], ties to even, for |factor x| < q.
    fn encode(&self, out: &mut [u64], x: &[f32], factor: f64) {
        entries::encode(out, x, factor);
    }

    /// out\[i\] = factor times the centred residue of multiplier x\[i\], rounded twice; the largest magnitude among these
    /// residues.
    #[must_use]
    fn decode(&self, out: &mut [f32], x: &[u64], multiplier: u64, factor: f64) -> u64 {
        entries::decode(out, x, multiplier, factor)
    }

    /// sums\[64 i + j\] += the sum, modulo 2^64, of elements\[k len + i\] over all k for which bit j of words\[k\] is set:
    /// sums over 64 subsets at once. `sums` has 64 `len` values, `elements` `len` for each word.
    fn subset_sums(&self, sums: &mut [u64], elements: &[u64], words: &[u64]) {
        entries::subset_sums(sums, elements, words);
    }
}

/// The backend that this process uses: the fastest that the processor has, or the one that the
/// environment variable `BLINDSMITH_BACKEND` names.
///
/// # Panics
/// If the variable names a backend that does not exist or that this processor cannot run. Programs ask
/// [`chosen`] first.
pub fn active() -> &'static dyn Backend {
    static ACTIVE: OnceLock<&'static dyn Backend> = OnceLock::new();
    *ACTIVE.get_or_init(|| chosen().unwrap_or_else(|e| panic!("{e}")))
}

/// What [`active`] gives.
///
/// # Errors
/// What is wrong with the variable, in words for whoever set it.
pub fn chosen() -> Result<&'static dyn Backend, String> {
    match std::env::var("BLINDSMITH_BACKEND") {
        Ok(name) if !name.is_empty() => named(&name),
        _ => Ok(available()[0]),
    }
}

fn named(name: &str) -> Result<&'static dyn Backend, String> {
    let found = available().iter().find(|b| b.name() == name);
    found.copied().ok_or_else(|| format!("BLINDSMITH_BACKEND={name}: this machine has {}", names()))
}

/// The backends that this processor can run, the fastest first.
pub fn available() -> &'static [&'static dyn Backend] {
    static AVAILABLE: OnceLock<Vec<&'static dyn Backend>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut all: Vec<&'static dyn Backend> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(|b| -> &'static dyn Backend { Box::leak(Box::new(b)) }));
            all.extend(Avx2::detect().map(|b| -> &'static dyn Backend { Box::leak(Box::new(b)) }));
        }
        all.push(&Portable);
        all
    })
}

/// True if the length that all have (asserted) is a multiple of eight, as vector code wants it.
#[cfg(target_arch = "x86_64")]
fn eights<const K: usize>(lengths: [usize; K]) -> bool {
    assert!(lengths.iter().all(|&len| len == lengths[0]), "lengths differ: {lengths:?}");
    lengths[0].is_multiple_of(8)
}

/// Asserts what the mixed transforms ask of their arguments and gives m, the length of a block.
fn block_len(table: &Table, x: &[u64], roots: usize) -> usize {
    assert!(x.len() == table.points(), "{} residues for {} points", x.len(), table.points());
    assert!(roots.is_power_of_two() && roots <= x.len(), "{roots} roots for {} points", x.len());
    x.len() / roots
}

/// Asserts what [`Backend::mul_ranks`] asks of its arguments.
fn assert_ranks(out: &[u64], a: &[u64], b: &[u64], rank: usize, strip: usize) {
    assert!(a.len() == b.len() && Some(a.len()) == out.len().checked_mul(rank), "vectors of rank {rank}");
    assert!((1..=MAX_CHAIN).contains(&rank), "vectors of rank {rank}");
    assert!(strip > 0 && out.len().is_multiple_of(strip), "{} residues in strips of {strip}", out.len());
}

/// Asserts what [`Backend::mul_fold`] asks of its arguments; how many roots, and which rank.
fn assert_foldable(table: &Table, out: &[u64], (a, b): (&[u64], &[u64]), element: &[u64]) -> (usize, usize) {
    assert!(!out.is_empty(), "strips of no residues");
    let (roots, rank) = (table.points() / out.len(), a.len() / table.points());
    assert_eq!(block_len(table, element, roots), out.len(), "whole strips");
    assert_ranks(element, a, b, rank, out.len());
    (roots, rank)
}

/// Asserts what [`Backend::fold_blocks`] asks of its arguments.
fn assert_blocks(out: &[u64], x: &[u64]) {
    // Their sum fits 64 bits.
    const MOST: usize = 1 << 13;
    let whole = x.len().is_multiple_of(out.len()) && x.len() <= MOST * out.len();
    assert!(whole, "{} residues in blocks of {}", x.len(), out.len());
}

/// Asserts what [`Backend::transpose`] asks of its arguments.
fn assert_transposable(out: &[u64], out_stride: usize, x: &[u64], rows: usize, cols: usize) {
    assert!(Some(x.len()) == rows.checked_mul(cols), "{} words for {rows} rows of {cols}", x.len());
    assert!(out_stride >= rows, "{rows} rows in strides of {out_stride}");
    if !x.is_empty() {
        let end = (cols - 1).checked_mul(out_stride).and_then(|start| start.checked_add(rows));
        assert!(end.is_some_and(|end| end <= out.len()), "{} words for {cols} strides", out.len());
    }
}

fn names() -> String {
    available().iter().map(|b| b.name()).collect::<Vec<_>>().join(", ")
}
