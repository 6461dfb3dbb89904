//! Sums and products of residues point by point: 104-bit products in pairs of 52-bit accumulators.

use std::arch::x86_64::*;

use super::vector::*;
use crate::modulus::Q;

/// out\[i\] = f(out\[i\], inputs\[..\]\[i\]), eight at a time; all slices have one length, a multiple of eight.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn map<const K: usize>(out: &mut [u64], inputs: [&[u64]; K], f: impl Fn(__m512i, [__m512i; K]) -> __m512i) {
    let registers = out.as_chunks_mut::<8>().0;
    let chunks = inputs.map(|x| &x.as_chunks::<8>().0[..registers.len()]);
    for (i, o) in registers.iter_mut().enumerate() {
        let value = f(load(o), chunks.map(|c| load(&c[i])));
        store(o, value);
    }
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn add_assign(out: &mut [u64], a: &[u64]) {
    map(out, [a], |o, [a]| reduce_once(_mm512_add_epi64(o, a), Q));
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn sub_assign(out: &mut [u64], a: &[u64]) {
    map(out, [a], |o, [a]| add_if_negative(_mm512_sub_epi64(o, a)));
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn mul(out: &mut [u64], a: &[u64], b: &[u64]) {
    let zero = _mm512_setzero_si512();
    map(out, [a, b], |_, [a, b]| {
        let (lo, hi) = accumulate((zero, zero), a, b);
        reduce_product(lo, hi)
    });
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_add(out: &mut [u64], a: &[u64], b: &[u64]) {
    map(out, [a, b], |o, [a, b]| {
        let (lo, hi) = accumulate((o, _mm512_setzero_si512()), a, b);
        reduce_product(lo, hi)
    });
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_sub(out: &mut [u64], a: &[u64], b: &[u64]) {
    map(out, [a, b], |o, [a, b]| {
        let minus_a = _mm512_sub_epi64(splat(Q), a);
        let (lo, hi) = accumulate((o, _mm512_setzero_si512()), minus_a, b);
        reduce_product(lo, hi)
    });
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn dot2(out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64]) {
    let zero = _mm512_setzero_si512();
    map(out, [a, b, c, d], |_, [a, b, c, d]| {
        let (lo, hi) = accumulate(accumulate((zero, zero), a, b), c, d);
        reduce_product(lo, hi)
    });
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn reduce_pairs(out: &mut [u64], lo: &[u64], hi: &[u64]) {
    map(out, [lo, hi], |_, [lo, hi]| reduce_pair(lo, hi));
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn encode_signed(out: &mut [u64], v: &[u64]) {
    map(out, [v], |_, [v]| add_if_negative(v));
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_accumulate(lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
    let (lo, hi) = (lo.as_chunks_mut::<8>().0, hi.as_chunks_mut::<8>().0);
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (((lo, hi), a), b) in lo.iter_mut().zip(hi).zip(a).zip(b) {
        let sums = accumulate((load(lo), load(hi)), load(a), load(b));
        store(lo, sums.0);
        store(hi, sums.1);
    }
}

/// `lo` and `hi` have the length of each of the `scalars.len()` inputs in `a`.
#[target_feature(enable = "avx512ifma")]
pub(super) fn scale_accumulate(lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]) {
    let (lo, hi) = (lo.as_chunks_mut::<8>().0, hi.as_chunks_mut::<8>().0);
    let (a, len) = (a.as_chunks::<8>().0, lo.len());
    for (g, (lo, hi)) in lo.iter_mut().zip(hi).enumerate() {
        let mut sums = (load(lo), load(hi));
        for (k, scalar) in scalars.iter().enumerate() {
            sums = accumulate(sums, load(&a[k * len + g]), splat(*scalar));
        }
        store(lo, sums.0);
        store(hi, sums.1);
    }
}

/// (lo, hi) + a b.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn accumulate((lo, hi): (__m512i, __m512i), a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    (_mm512_madd52lo_epu64(lo, a, b), _mm512_madd52hi_epu64(hi, a, b))
}

/// `out.len()` must be a multiple of eight.
#[target_feature(enable = "avx512ifma")]
pub(super) fn dot2_fold(out: &mut [u64], inputs: [&[u64]; 4], fold: usize) {
    match fold {
        1 => fold_registers::<1>(out, inputs, 1),
        2 => fold_registers::<2>(out, inputs, 1),
        4 => fold_registers::<4>(out, inputs, 1),
        _ => fold_registers::<8>(out, inputs, fold / 8),
    }
}

/// Eight outputs from WIDTH sums, each over `depth` registers.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn fold_registers<const WIDTH: usize>(out: &mut [u64], inputs: [&[u64]; 4], depth: usize) {
    let [a, b, c, d] = inputs.map(|x| x.as_chunks::<8>().0);
    let zero = _mm512_setzero_si512();
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let (mut lo, mut hi) = ([zero; WIDTH], [zero; WIDTH]);
        for j in 0..WIDTH {
            let mut sums = (zero, zero);
            for k in (i * WIDTH + j) * depth..(i * WIDTH + j + 1) * depth {
                sums = accumulate(sums, load(&a[k]), load(&b[k]));
                sums = accumulate(sums, load(&c[k]), load(&d[k]));
            }
            // Up to 2^10 products below 2^52 in a lane: the sum of eight lanes would not fit.
            (lo[j], hi[j]) = (fold(sums.0), sums.1);
        }
        store(out, reduce_pair(neighbour_sums(lo), neighbour_sums(hi)));
    }
}

/// The sums of each WIDTH neighbouring lanes of WIDTH registers (1, 2, 4 or 8), in order.
#[inline]
#[target_feature(enable = "avx512f")]
fn neighbour_sums<const WIDTH: usize>(mut x: [__m512i; WIDTH]) -> __m512i {
    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    let mut count = WIDTH;
    while count > 1 {
        count /= 2;
        for i in 0..count {
            let (a, b) = (x[2 * i], x[2 * i + 1]);
            let evens = _mm512_permutex2var_epi64(a, even, b);
            x[i] = _mm512_add_epi64(evens, _mm512_permutex2var_epi64(a, odd, b));
        }
    }
    x[0]
}
