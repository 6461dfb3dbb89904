//! AVX2 and FMA: four lanes, 50-bit products in pairs of doubles.

mod entries;
mod ntt;
mod pointwise;
mod roots;
mod sample;
mod transpose;
mod vector;

use super::{
    Backend, NOISE_BYTES, Portable, TERNARY_BYTES, assert_transposable, block_len, detected, eights,
    vector_methods,
};
use crate::modulus;
use crate::table::Table;

/// The AVX2 backend; a value proves that the processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub struct Avx2 {
    _detected: (),
}

impl Avx2 {
    /// The backend, if the processor has AVX2 and FMA.
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        all.then_some(Avx2 { _detected: () })
    }
}

impl Backend for Avx2 {
    fn name(&self) -> &'static str {
        "avx2"
    }

    vector_methods!();

    fn pack(&self, out: &mut [u8], x: &[u64]) {
        // 50-bit values straddle the halves of a register, which AVX2 shuffles apart: words do well.
        Portable.pack(out, x);
    }

    fn unpack(&self, out: &mut [u64], bytes: &[u8]) -> bool {
        Portable.unpack(out, bytes)
    }

    fn is_canonical(&self, x: &[u64]) -> bool {
        if !eights([x.len()]) {
            return Portable.is_canonical(x);
        }
        detected!(sample::is_canonical(x))
    }
}
