//! Entries of matrices, eight at a time; what is left goes to the portable code.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::super::entries;
use super::pointwise;
use super::vector::*;
use crate::modulus::Q;

#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_ranks(out: &mut [u64], a: &[u64], b: &[u64], rank: usize, strip: usize) {
    let zero = _mm512_setzero_si512();
    let registers = strip / 8;
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    if rank == 1 {
        return pointwise::mul(out, a.as_flattened(), b.as_flattened());
    }
    for (j, out) in out.as_chunks_mut::<8>().0.chunks_exact_mut(registers).enumerate() {
        let at = j * rank * registers;
        for (t, out) in out.iter_mut().enumerate() {
            let mut sums = (zero, zero);
            for l in 0..rank {
                let l = at + l * registers + t;
                let (a, b) = (load(&a[l]), load(&b[l]));
                sums = (_mm512_madd52lo_epu64(sums.0, a, b), _mm512_madd52hi_epu64(sums.1, a, b));
            }
            store(out, reduce_pair(sums.0, sums.1));
        }
    }
}

#[target_feature(enable = "avx512ifma,avx512dq")]
pub(super) fn encode(out: &mut [u64], x: &[f32], factor: f64) {
    let (out, rest) = out.as_chunks_mut::<8>();
    let (x, tail) = x.as_chunks::<8>();
    let (factor_all, rounding) = (_mm512_set1_pd(factor), _mm512_set1_pd(entries::ROUNDING));
    for (out, x) in out.iter_mut().zip(x) {
        let x = _mm512_cvtps_pd(load_floats(x));
        let sum = _mm512_add_pd(_mm512_mul_pd(x, factor_all), rounding);
        let v = _mm512_sub_epi64(_mm512_castpd_si512(sum), _mm512_castpd_si512(rounding));
        store(out, add_if_negative(v));
    }
    entries::encode(rest, tail, factor);
}

#[target_feature(enable = "avx512ifma,avx512dq")]
pub(super) fn decode(out: &mut [f32], x: &[u64], multiplier: u64, factor: f64) -> u64 {
    let zero = _mm512_setzero_si512();
    let (out, rest) = out.as_chunks_mut::<8>();
    let (x, tail) = x.as_chunks::<8>();
    let mut largest = zero;
    for (out, x) in out.iter_mut().zip(x) {
        let (x, by) = (load(x), splat(multiplier));
        let product = reduce_product(_mm512_madd52lo_epu64(zero, x, by), _mm512_madd52hi_epu64(zero, x, by));
        let above = _mm512_cmpgt_epu64_mask(product, splat(Q / 2));
        let v = _mm512_mask_sub_epi64(product, above, product, splat(Q));
        largest = _mm512_max_epu64(largest, _mm512_abs_epi64(v));
        let real = _mm512_mul_pd(_mm512_cvtepi64_pd(v), _mm512_set1_pd(factor));
        store_floats(out, _mm512_cvtpd_ps(real));
    }
    let mut each = [0; 8];
    store(&mut each, largest);
    let largest = each.into_iter().fold(0, u64::max);
    largest.max(entries::decode(rest, tail, multiplier, factor))
}

/// Residues of an element that are summed up together.
const TOGETHER: usize = 8;

/// A lane is a subset: a word's bits are the masks under which a residue is added.
#[target_feature(enable = "avx512ifma,avx512dq")]
pub(super) fn subset_sums(sums: &mut [u64], elements: &[u64], words: &[u64]) {
    let len = sums.len() / 64;
    let whole = len / TOGETHER * TOGETHER;
    for at in (0..whole).step_by(TOGETHER) {
        subset_sums_of::<TOGETHER>(sums, elements, words, len, at);
    }
    for at in whole..len {
        subset_sums_of::<1>(sums, elements, words, len, at);
    }
}

#[inline]
#[target_feature(enable = "avx512ifma,avx512dq")]
fn subset_sums_of<const K: usize>(sums: &mut [u64], elements: &[u64], words: &[u64], len: usize, at: usize) {
    // Two bytes of a word at a time: sixteen subsets.
    for pair in 0..4 {
        let mut sum = [[_mm512_setzero_si512(); 2]; K];
        for (k, word) in words.iter().enumerate() {
            let masks = [(word >> (16 * pair)) as u8, (word >> (16 * pair + 8)) as u8];
            let element: &[u64; K] = elements[k * len + at..].first_chunk().expect("an element");
            for i in 0..K {
                let x = splat(element[i]);
                sum[i] = from_fn(|half| _mm512_mask_add_epi64(sum[i][half], masks[half], sum[i][half], x));
            }
        }
        for (i, halves) in sum.into_iter().enumerate() {
            for (half, sum) in halves.into_iter().enumerate() {
                let from = 64 * (at + i) + 16 * pair + 8 * half;
                let out: &mut [u64; 8] = sums[from..].first_chunk_mut().expect("eight subsets");
                let sum = _mm512_add_epi64(load(out), sum);
                store(out, sum);
            }
        }
    }
}
