//! The portable code for entries of matrices, compiled for vectors of four.

use super::super::entries;

#[target_feature(enable = "avx2")]
pub(super) fn encode(out: &mut [u64], x: &[f32], factor: f64) {
    entries::encode(out, x, factor);
}

#[target_feature(enable = "avx2")]
pub(super) fn decode(out: &mut [f32], x: &[u64], multiplier: u64, factor: f64) -> u64 {
    entries::decode(out, x, multiplier, factor)
}

#[target_feature(enable = "avx2")]
pub(super) fn subset_sums(sums: &mut [u64], elements: &[u64], words: &[u64]) {
    entries::subset_sums(sums, elements, words);
}
