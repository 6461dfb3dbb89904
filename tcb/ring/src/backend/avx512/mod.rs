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
    Backend, NOISE_BYTES, Portable, TERNARY_BYTES, assert_foldable, assert_ranks, assert_transposable,
    block_len, detected, eights, vector_methods,
};
use crate::table::Table;
use crate::{PACKED_BYTES_PER_LANES, modulus};

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

    vector_methods!();

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

    fn mul_fold(&self, table: &Table, out: &mut [u64], a: &[u64], b: &[u64], element: &mut [u64]) {
        let (_, rank) = assert_foldable(table, out, (a, b), element);
        if !ntt::folds(out.len()) {
            return Portable.mul_fold(table, out, a, b, element);
        }
        detected!(ntt::mul_fold(table, out, (a, b), rank, element))
    }
}
