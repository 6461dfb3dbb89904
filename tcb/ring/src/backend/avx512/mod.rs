//! AVX-512: eight lanes, 52-bit multiply-add (IFMA), byte permutations (VBMI) and bit counts.

mod entries;
mod ntt;
mod pack;
mod pointwise;
mod roots;
mod sample;
mod transpose;
mod vector;

use super::{
    Backend, NOISE_BYTES, Portable, TERNARY_BYTES, assert_blocks, assert_ranks, assert_transposable,
    block_len, detected, eights,
};
use crate::{PACKED_BYTES_PER_LANES, Table, modulus};

/// The AVX-512 backend; a value proves that the processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub struct Avx512 {
    _detected: (),
}

impl Avx512 {
    /// The backend, if the processor has F, DQ, BW, VL, IFMA, VBMI and VPOPCNTDQ.
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vpopcntdq");
        all.then_some(Avx512 { _detected: () })
    }
}

impl Backend for Avx512 {
    fn name(&self) -> &'static str {
        "avx512"
    }

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

    fn mul_sub(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        if !eights([out.len(), a.len(), b.len()]) {
            return Portable.mul_sub(out, a, b);
        }
        detected!(pointwise::mul_sub(out, a, b))
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

    fn pack(&self, out: &mut [u8], x: &[u64]) {
        assert!(eights([x.len()]) && out.len() == x.len() / 8 * PACKED_BYTES_PER_LANES);
        detected!(pack::pack(out, x))
    }

    fn unpack(&self, out: &mut [u64], bytes: &[u8]) -> bool {
        assert!(eights([out.len()]) && bytes.len() == out.len() / 8 * PACKED_BYTES_PER_LANES);
        detected!(pack::unpack(out, bytes))
    }

    fn is_canonical(&self, x: &[u64]) -> bool {
        if !eights([x.len()]) {
            return Portable.is_canonical(x);
        }
        detected!(pack::is_canonical(x))
    }

    fn mul_ranks(&self, out: &mut [u64], a: &[u64], b: &[u64], rank: usize, strip: usize) {
        assert_ranks(out, a, b, rank, strip);
        if !eights([strip]) {
            return Portable.mul_ranks(out, a, b, rank, strip);
        }
        detected!(entries::mul_ranks(out, a, b, rank, strip))
    }

    fn fold_blocks(&self, out: &mut [u64], x: &[u64]) {
        assert_blocks(out, x);
        if !eights([out.len()]) || out.is_empty() {
            return Portable.fold_blocks(out, x);
        }
        detected!(entries::fold_blocks(out, x))
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
}
