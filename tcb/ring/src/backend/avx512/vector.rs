//! Eight residues in a register: loads, stores and the reductions that the other files share.

use std::arch::x86_64::*;

use crate::modulus::Q;

const MASK50: u64 = (1 << 50) - 1;
/// 2^50 mod q and 2^52 mod q.
const FOLD50: u64 = (1 << 14) - 1;
const FOLD52: u64 = (1 << 16) - 4;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(x: &[u64; 8]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_bytes(b: &[u8; 64]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(x: &mut [u64; 8], v: __m512i) {
    // SAFETY: the reference covers the 64 bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(x.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_floats(x: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers the 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_floats(x: &mut [f32; 8], v: __m256) {
    // SAFETY: the reference covers the 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_ps(x.as_mut_ptr(), v) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

/// `x` if `x < bound`, else `x - bound`; for `x < 2 bound`. (Below the bound the difference wraps.)
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn reduce_once(x: __m512i, bound: u64) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, splat(bound)))
}

/// Any 64-bit number, congruent below 2^50 + 2^28.
#[inline]
#[target_feature(enable = "avx512ifma")]
pub(super) fn fold(x: __m512i) -> __m512i {
    let low = _mm512_and_si512(x, splat(MASK50));
    _mm512_madd52lo_epu64(low, _mm512_srli_epi64::<50>(x), splat(FOLD50))
}

/// A constant factor w in every lane: 2^52 w mod q, and that over q mod 2^52.
pub(super) type Factor = (__m512i, __m512i);

/// offset + x w mod q, in (offset - q, offset + q), for x < 2^52: Montgomery's product with both constants
/// known (Seiler, ePrint 2018/039). The low halves cancel, so only high ones are computed.
#[inline]
#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_by(offset: __m512i, x: __m512i, (w, w_over_q): Factor) -> __m512i {
    let zero = _mm512_setzero_si512();
    let quotient = _mm512_madd52lo_epu64(zero, x, w_over_q);
    let product = _mm512_madd52hi_epu64(offset, x, w);
    _mm512_sub_epi64(product, _mm512_madd52hi_epu64(zero, quotient, splat(Q)))
}

/// x w mod q, canonical, for x < 2^52.
#[inline]
#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_by_canonical(x: __m512i, w: Factor) -> __m512i {
    add_if_negative(mul_by(_mm512_setzero_si512(), x, w))
}

/// `x` if `x >= 0`, else `x + q`: a negative number is a large unsigned one.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_if_negative(x: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_add_epi64(x, splat(Q)))
}

/// (lo + 2^52 hi) mod q, for lo < 2^54 and hi < 2^51: sums of two products.
#[inline]
#[target_feature(enable = "avx512ifma")]
pub(super) fn reduce_product(lo: __m512i, hi: __m512i) -> __m512i {
    let fold52 = splat(FOLD52);
    // hi 2^52 = hi FOLD52 < 2^67, whose part above 2^52 is below 2^15 and folds once more.
    let top = _mm512_madd52hi_epu64(_mm512_setzero_si512(), hi, fold52);
    let lo = _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(lo, hi, fold52), top, fold52);
    reduce_once(fold(lo), Q)
}

/// (lo + 2^52 hi) mod q for any lo and hi.
#[inline]
#[target_feature(enable = "avx512ifma")]
pub(super) fn reduce_pair(lo: __m512i, hi: __m512i) -> __m512i {
    reduce_product(fold(lo), fold(hi))
}
