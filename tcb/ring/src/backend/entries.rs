//! The reference for entries of matrices: encoding, decoding, and sums over secret subsets. Compiled once more for wider
//! vectors by the backends that have them.

use crate::modulus::{self, Q};

/// Adding it leaves the rounded integer in the low bits of the significand: 1.5 * 2^52.
pub(super) const ROUNDING: f64 = 6_755_399_441_055_744.0;

#[inline(always)]
pub(super) fn encode(out: &mut [u64], x: &[f32], factor: f64) {
    assert_eq!(out.len(), x.len());
    for (out, x) in out.iter_mut().zip(x) {
        let bits = (f64::from(*x) * factor + ROUNDING).to_bits();
        let v = bits.wrapping_sub(ROUNDING.to_bits()) as i64;
        *out = (v + (Q as i64 & (v >> 63))) as u64;
    }
}

#[inline(always)]
pub(super) fn decode(out: &mut [f32], x: &[u64], multiplier: u64, factor: f64) -> u64 {
    assert_eq!(out.len(), x.len());
    let mut largest = 0;
    for (out, x) in out.iter_mut().zip(x) {
        let v = modulus::to_signed(modulus::mul(*x, multiplier));
        largest = largest.max(v.unsigned_abs());
        *out = (v as f64 * factor) as f32;
    }
    largest
}

#[inline(always)]
pub(super) fn subset_sums(sums: &mut [u64], elements: &[u64], words: &[u64]) {
    let len = sums.len() / 64;
    assert!(sums.len() == 64 * len && elements.len() == len * words.len());
    for (i, sums) in sums.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for (k, word) in words.iter().enumerate() {
            let x = elements[k * len + i];
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_add(x & (word >> j & 1).wrapping_neg());
            }
        }
    }
}
