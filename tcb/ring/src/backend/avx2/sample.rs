//! Samplers and checks: random bytes spread to lanes, compared and counted without a branch.

use std::arch::x86_64::*;

use super::vector::*;
use crate::backend::{NOISE_BYTES, TERNARY_BYTES};
use crate::modulus::Q;

/// `out.len()` must be a multiple of four.
#[target_feature(enable = "avx2")]
pub(super) fn add_noise(out: &mut [u64], bytes: &[u8]) {
    const NOISE_CHUNK: usize = 4 * NOISE_BYTES;
    const ETA_MASK: u64 = (1 << 21) - 1;
    for (o, b) in out.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<NOISE_CHUNK>().0) {
        // The ones of 21 bits less those of 21 others are the ones of 21 bits and zeros of 21 others, less 21.
        let flipped = _mm256_xor_si256(spread(b), splat(ETA_MASK << 21));
        let ones = count_ones(_mm256_and_si256(flipped, splat((1 << 42) - 1)));
        let noise = add_if_negative(_mm256_sub_epi64(ones, splat(21)));
        let sum = _mm256_add_epi64(load(o), noise);
        store(o, reduce_once(sum));
    }
}

/// Six bytes to each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(b: &[u8; 24]) -> __m256i {
    // SAFETY: both loads of 16 bytes lie within the 24, and they need no alignment.
    let (first, last) =
        unsafe { (_mm_loadu_si128(b.as_ptr().cast()), _mm_loadu_si128(b[8..].as_ptr().cast())) };
    #[rustfmt::skip]
    let places = _mm256_setr_epi8(
        0, 1, 2, 3, 4, 5, -1, -1, 6, 7, 8, 9, 10, 11, -1, -1,
        4, 5, 6, 7, 8, 9, -1, -1, 10, 11, 12, 13, 14, 15, -1, -1,
    );
    _mm256_shuffle_epi8(_mm256_set_m128i(last, first), places)
}

/// The number of ones in each lane: a table of the sixteen half bytes, then sums of eight bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn count_ones(x: __m256i) -> __m256i {
    #[rustfmt::skip]
    let ones_of = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let half = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(ones_of, _mm256_and_si256(x, half));
    let high = _mm256_shuffle_epi8(ones_of, _mm256_and_si256(_mm256_srli_epi64::<4>(x), half));
    _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
}

/// `out.len()` must be a multiple of four.
#[target_feature(enable = "avx2")]
pub(super) fn ternary(out: &mut [u64], bytes: &[u8]) {
    // 3 r reaches 2^64 and 2^65 at these.
    const ONE_THIRD: u64 = u64::MAX / 3 + 1;
    const TWO_THIRDS: u64 = u64::MAX / 3 * 2 + 1;
    for (o, b) in out.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<{ 4 * TERNARY_BYTES }>().0) {
        // SAFETY: the reference covers the 32 bytes, and the load needs no alignment.
        let r = unsafe { _mm256_loadu_si256(b.as_ptr().cast()) };
        let value = _mm256_andnot_si256(at_least(r, ONE_THIRD), splat(Q - 1));
        // All ones are -1.
        store(o, _mm256_sub_epi64(value, at_least(r, TWO_THIRDS)));
    }
}

/// `x.len()` must be a multiple of four.
#[target_feature(enable = "avx2")]
pub(super) fn is_canonical(x: &[u64]) -> bool {
    let mut too_large = _mm256_setzero_si256();
    for x in x.as_chunks::<4>().0 {
        too_large = _mm256_or_si256(too_large, at_least(load(x), Q));
    }
    _mm256_movemask_epi8(too_large) == 0
}
