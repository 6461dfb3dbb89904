//! Samplers: random bytes spread to lanes, compared and counted without a branch.

use std::arch::x86_64::*;

use super::vector::*;
use crate::backend::{NOISE_BYTES, TERNARY_BYTES};
use crate::modulus::Q;

const NOISE_CHUNK: usize = 8 * NOISE_BYTES;

/// `out.len()` must be a multiple of eight.
#[target_feature(enable = "avx512ifma,avx512vbmi,avx512vpopcntdq")]
pub(super) fn add_noise(out: &mut [u64], bytes: &[u8]) {
    // Byte k < 6 of lane i comes from byte 6i + k.
    let spread = load_bytes(&std::array::from_fn(|at| (NOISE_BYTES * (at / 8) + at % 8) as u8));
    const LOW_6_BYTES_OF_EACH_LANE: u64 = 0x3f3f_3f3f_3f3f_3f3f;
    for (o, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<NOISE_CHUNK>().0) {
        let r = _mm512_maskz_permutexvar_epi8(LOW_6_BYTES_OF_EACH_LANE, spread, load_chunk(b));
        // The ones of 21 bits less those of 21 others are the ones of 21 bits and zeros of 21 others, less 21.
        const ETA_MASK: u64 = (1 << 21) - 1;
        let flipped = _mm512_xor_si512(r, splat(ETA_MASK << 21));
        let ones = _mm512_popcnt_epi64(_mm512_and_si512(flipped, splat((1 << 42) - 1)));
        let noise = add_if_negative(_mm512_sub_epi64(ones, splat(21)));
        let sum = _mm512_add_epi64(load(o), noise);
        store(o, reduce_once(sum, Q));
    }
}

/// `out.len()` must be a multiple of eight.
#[target_feature(enable = "avx512ifma")]
pub(super) fn ternary(out: &mut [u64], bytes: &[u8]) {
    // 3 r reaches 2^64 and 2^65 at these.
    const ONE_THIRD: u64 = u64::MAX / 3 + 1;
    const TWO_THIRDS: u64 = u64::MAX / 3 * 2 + 1;
    for (o, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<{ 8 * TERNARY_BYTES }>().0) {
        let r = load_bytes(b);
        let at_least_0 = _mm512_cmpge_epu64_mask(r, splat(ONE_THIRD));
        let at_least_1 = _mm512_cmpge_epu64_mask(r, splat(TWO_THIRDS));
        let value = _mm512_mask_mov_epi64(splat(Q - 1), at_least_0, _mm512_setzero_si512());
        store(o, _mm512_mask_mov_epi64(value, at_least_1, splat(1)));
    }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn load_chunk(b: &[u8; NOISE_CHUNK]) -> __m512i {
    // SAFETY: the mask selects the bytes that the reference covers; the others are not accessed.
    unsafe { _mm512_maskz_loadu_epi8((1 << NOISE_CHUNK) - 1, b.as_ptr().cast()) }
}
