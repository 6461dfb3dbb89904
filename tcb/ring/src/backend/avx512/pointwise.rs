//! Sums and products of residues point by point: 104-bit products in pairs of 52-bit accumulators.

use std::arch::x86_64::*;

use super::vector::*;
use crate::modulus::{self, MAX_CHAIN, Q};

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
pub(super) fn reduce_pairs(out: &mut [u64], lo: &[u64], hi: &[u64]) {
    map(out, [lo, hi], |_, [lo, hi]| reduce_pair(lo, hi));
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

/// The sum of a b mod q; the length must be a multiple of eight.
#[target_feature(enable = "avx512ifma")]
pub(super) fn dot(a: &[u64], b: &[u64]) -> u64 {
    // Sums in flight at a time: enough to hide the latency of a multiply-add.
    const SUMS: usize = 4;
    let zero = _mm512_setzero_si512();
    let mut total = zero;
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (a, b) in a.chunks(SUMS * MAX_CHAIN).zip(b.chunks(SUMS * MAX_CHAIN)) {
        let mut sums = [(zero, zero); SUMS];
        for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = accumulate(*sum, load(a), load(b));
            }
        }
        for (lo, hi) in sums {
            total = reduce_once(_mm512_add_epi64(total, reduce_pair(lo, hi)), Q);
        }
    }
    modulus::reduce_wide(_mm512_reduce_add_epi64(total) as u128)
}

/// (lo, hi) + a b.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn accumulate((lo, hi): (__m512i, __m512i), a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    (_mm512_madd52lo_epu64(lo, a, b), _mm512_madd52hi_epu64(hi, a, b))
}
