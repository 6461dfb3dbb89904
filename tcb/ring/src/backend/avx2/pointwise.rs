//! Sums of residues as integers, products as doubles.

use std::arch::x86_64::*;

use super::roots::Constant;
use super::vector::*;

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
pub(super) fn mul_sub(out: &mut [u64], a: &[u64], b: &[u64]) {
    map_doubles(out, [a, b], |o, [a, b]| _mm256_sub_pd(o, product(a, b)));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dot2(out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64]) {
    map_doubles(out, [a, b, c, d], |_, [a, b, c, d]| two_products(a, b, c, d));
}

/// a b + c d, at most 1.6 q.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn two_products(a: __m256d, b: __m256d, c: __m256d, d: __m256d) -> __m256d {
    _mm256_add_pd(product(a, b), product(c, d))
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce_pairs(out: &mut [u64], lo: &[u64], hi: &[u64]) {
    let two_to_52 = Constant::new((1 << 52) % crate::Q);
    let factor = (_mm256_set1_pd(two_to_52.w), _mm256_set1_pd(two_to_52.w_over_q));
    map(out, [lo, hi], |_, [lo, hi]| {
        let high = mul_by(to_doubles(fold(hi)), factor);
        to_residues(_mm256_add_pd(high, to_doubles(fold(lo))))
    });
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn encode_signed(out: &mut [u64], v: &[u64]) {
    map(out, [v], |_, [v]| add_if_negative(v));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_accumulate(lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
    let (lo, hi) = (lo.as_chunks_mut::<4>().0, hi.as_chunks_mut::<4>().0);
    let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
    for (((lo, hi), a), b) in lo.iter_mut().zip(hi).zip(a).zip(b) {
        let (low, high) = split_product(to_doubles(load(a)), to_doubles(load(b)));
        let (low, high) = (_mm256_add_epi64(load(lo), low), _mm256_add_epi64(load(hi), high));
        store(lo, low);
        store(hi, high);
    }
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

#[target_feature(enable = "avx2,fma")]
pub(super) fn dot2_fold(out: &mut [u64], inputs: [&[u64]; 4], fold: usize) {
    match fold {
        1 => fold_registers(out, inputs, 1, |[x]| x),
        2 => fold_registers(out, inputs, 1, |[x, y]| neighbour_sums(x, y)),
        _ => fold_registers(out, inputs, fold / 4, |[x, y, z, w]| {
            neighbour_sums(neighbour_sums(x, y), neighbour_sums(z, w))
        }),
    }
}

/// Four outputs from WIDTH sums, each over `depth` registers, which `join` adds up to one register.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fold_registers<const WIDTH: usize>(
    out: &mut [u64],
    inputs: [&[u64]; 4],
    depth: usize,
    join: impl Fn([__m256d; WIDTH]) -> __m256d,
) {
    let chunks = inputs.map(|x| x.as_chunks::<4>().0);
    for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let mut sums = [_mm256_setzero_pd(); WIDTH];
        for (j, sum) in sums.iter_mut().enumerate() {
            for k in (i * WIDTH + j) * depth..(i * WIDTH + j + 1) * depth {
                let [a, b, c, d] = chunks.map(|x| to_doubles(load(&x[k])));
                *sum = reduce(_mm256_add_pd(*sum, two_products(a, b, c, d)));
            }
        }
        store(out, to_residues(join(sums)));
    }
}

/// The sums of neighbouring lanes of two registers, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn neighbour_sums(x: __m256d, y: __m256d) -> __m256d {
    // x0 + x1, y0 + y1, x2 + x3, y2 + y3.
    _mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_hadd_pd(x, y))
}
