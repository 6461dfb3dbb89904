//! Sums of residues as integers, products as doubles.

use std::arch::x86_64::*;

use super::roots::Constant;
use super::vector::*;
use crate::modulus;

/// out\[i\] = f(out\[i\], inputs\[..\]\[i\]), four at a time; all slices have one length, a multiple of four.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn map<const K: usize>(out: &mut [u64], inputs: [&[u64]; K], f: impl Fn(__m256i, [__m256i; K]) -> __m256i) {
    let registers = out.as_chunks_mut::<4>().0;
    let chunks = inputs.map(|x| &x.as_chunks::<4>().0[..registers.len()]);
    for (i, o) in registers.iter_mut().enumerate() {
        let value = f(load(o), chunks.map(|c| load(&c[i])));
        store(o, value);
    }
}

/// [`map`] on doubles, whose results lie between -8q and 8q.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn map_doubles<const K: usize>(
    out: &mut [u64],
    inputs: [&[u64]; K],
    f: impl Fn(__m256d, [__m256d; K]) -> __m256d,
) {
    map(out, inputs, |o, x| to_residues(f(to_doubles(o), x.map(|x| to_doubles(x)))));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn add_assign(out: &mut [u64], a: &[u64]) {
    map(out, [a], |o, [a]| reduce_once(_mm256_add_epi64(o, a)));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn sub_assign(out: &mut [u64], a: &[u64]) {
    map(out, [a], |o, [a]| add_if_negative(_mm256_sub_epi64(o, a)));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul(out: &mut [u64], a: &[u64], b: &[u64]) {
    map(out, [a, b], |_, [a, b]| lift(product(to_doubles(a), to_doubles(b))));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_add(out: &mut [u64], a: &[u64], b: &[u64]) {
    map_doubles(out, [a, b], |o, [a, b]| _mm256_add_pd(o, product(a, b)));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce_pairs(out: &mut [u64], lo: &[u64], hi: &[u64]) {
    let two_to_52 = Constant::new((1 << 52) % crate::modulus::Q);
    let factor = (_mm256_set1_pd(two_to_52.w), _mm256_set1_pd(two_to_52.w_over_q));
    map(out, [lo, hi], |_, [lo, hi]| {
        let high = mul_by(to_doubles(fold(hi)), factor);
        to_residues(_mm256_add_pd(high, to_doubles(fold(lo))))
    });
}

/// `lo` and `hi` have the length of each of the `scalars.len()` inputs in `a`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn scale_accumulate(lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]) {
    let (lo, hi) = (lo.as_chunks_mut::<4>().0, hi.as_chunks_mut::<4>().0);
    let (a, len) = (a.as_chunks::<4>().0, lo.len());
    for (g, (lo, hi)) in lo.iter_mut().zip(hi).enumerate() {
        let (mut low, mut high) = (load(lo), load(hi));
        for (k, scalar) in scalars.iter().enumerate() {
            let (l, h) = split_product(to_doubles(load(&a[k * len + g])), to_doubles(splat(*scalar)));
            (low, high) = (_mm256_add_epi64(low, l), _mm256_add_epi64(high, h));
        }
        store(lo, low);
        store(hi, high);
    }
}

/// The sum of a b mod q; the length must be a multiple of eight.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dot(a: &[u64], b: &[u64]) -> u64 {
    // Sums in flight at a time, and products between reductions: 0.51 + 4 x 0.8 stays below 8.
    const SUMS: usize = 4;
    const PRODUCTS: usize = 4;
    let mut sums = [_mm256_setzero_pd(); SUMS];
    let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
    for (a, b) in a.chunks(SUMS * PRODUCTS).zip(b.chunks(SUMS * PRODUCTS)) {
        for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = _mm256_add_pd(*sum, product(to_doubles(load(a)), to_doubles(load(b))));
            }
        }
        sums = sums.map(|sum| reduce(sum));
    }
    let [x, y, z, w] = sums;
    let mut lanes = [0; 4];
    store(&mut lanes, to_residues(_mm256_add_pd(_mm256_add_pd(x, y), _mm256_add_pd(z, w))));
    lanes.into_iter().fold(0, modulus::add)
}
