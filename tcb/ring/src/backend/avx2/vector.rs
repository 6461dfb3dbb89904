//! Four residues in a register, as integers or as doubles: loads, stores, conversions, reductions.
//!
//! AVX2 multiplies no 52-bit integers, but a fused multiply-add gives both halves of a product of doubles
//! exactly (van der Hoeven, Lecerf and Quintin, ACM TOMS 2016). Doubles here are signed integers below 2^53,
//! so all sums are exact, and none is ever subnormal, which could take its own time. Bounds are in multiples
//! of q.

use std::arch::x86_64::*;

use crate::modulus::Q;

/// 2^52 + 2^51: adding it rounds a double below 2^51 to an integer, subtracting it gives that back.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// 2^52, whose mantissa is empty.
const EMPTY_MANTISSA: f64 = 4_503_599_627_370_496.0;
const MASK50: u64 = (1 << 50) - 1;

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(x: &[u64; 4]) -> __m256i {
    // SAFETY: the reference covers the 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(x: &mut [u64; 4], v: __m256i) {
    // SAFETY: the reference covers the 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(x.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn splat(x: u64) -> __m256i {
    _mm256_set1_epi64x(x as i64)
}

/// Doubles from the place of residues, where a transform keeps them between its passes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_doubles(x: &[u64; 4]) -> __m256d {
    _mm256_castsi256_pd(load(x))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_doubles(x: &mut [u64; 4], v: __m256d) {
    store(x, _mm256_castpd_si256(v));
}

/// Integers below 2^52 as doubles.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn to_doubles(x: __m256i) -> __m256d {
    let empty = _mm256_set1_pd(EMPTY_MANTISSA);
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(empty))), empty)
}

/// The residues of doubles between -8 and 8.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn to_residues(x: __m256d) -> __m256i {
    lift(reduce(x))
}

/// The residues of doubles between -1 and 1.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn lift(x: __m256d) -> __m256i {
    let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
    let x = _mm256_add_pd(x, _mm256_and_pd(negative, _mm256_set1_pd(Q as f64)));
    let empty = _mm256_set1_pd(EMPTY_MANTISSA);
    _mm256_castpd_si256(_mm256_xor_pd(_mm256_add_pd(x, empty), empty))
}

/// Congruent to `x` and at most 0.51, for `x` between -8 and 8.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce(x: __m256d) -> __m256d {
    let quotient = round_product(x, _mm256_set1_pd(1.0 / Q as f64));
    _mm256_fnmadd_pd(quotient, _mm256_set1_pd(Q as f64), x)
}

/// A constant factor w in every lane, |w| <= q/2, and w/q.
pub(super) type Factor = (__m256d, __m256d);

/// x w modulo q, for `x` between -4 and 4: at most 1/2 + |x|/16 (from rounding to an integer, and from
/// w/q being off by 2^-54 and the quotient below 2^51), so at most 3/4.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_by(x: __m256d, (w, w_over_q): Factor) -> __m256d {
    let quotient = round_product(x, w_over_q);
    less_multiple_of_q(x, w, _mm256_mul_pd(x, w), quotient)
}

/// a b modulo q for residues, at most 0.8.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn product(a: __m256d, b: __m256d) -> __m256d {
    let high = _mm256_mul_pd(a, b);
    less_multiple_of_q(a, b, high, round_product(high, _mm256_set1_pd(1.0 / Q as f64)))
}

/// a b - quotient q, where `high` is a b rounded.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn less_multiple_of_q(a: __m256d, b: __m256d, high: __m256d, quotient: __m256d) -> __m256d {
    let low = _mm256_fmsub_pd(a, b, high);
    _mm256_add_pd(_mm256_fnmadd_pd(quotient, _mm256_set1_pd(Q as f64), high), low)
}

/// a b rounded to an integer, if it is below 2^51.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn round_product(a: __m256d, b: __m256d) -> __m256d {
    let rounder = _mm256_set1_pd(ROUNDER);
    _mm256_sub_pd(_mm256_fmadd_pd(a, b, rounder), rounder)
}

/// (a b mod 2^52, a b / 2^52) as integers, for residues.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn split_product(a: __m256d, b: __m256d) -> (__m256i, __m256i) {
    // A double of 2^104 and more counts in units of 2^52: the sum rounds a b / 2^52 to an integer.
    let base = _mm256_set1_pd((1u128 << 104) as f64);
    let rounded = _mm256_fmadd_pd(a, b, base);
    let rest = _mm256_fmsub_pd(a, b, _mm256_sub_pd(rounded, base));
    let high = _mm256_sub_epi64(_mm256_castpd_si256(rounded), _mm256_castpd_si256(base));
    // From -2^51 to 2^51: a negative rest borrows from the high part.
    let rounder = _mm256_set1_pd(ROUNDER);
    let rest = _mm256_castpd_si256(_mm256_add_pd(rest, rounder));
    let rest = _mm256_sub_epi64(rest, _mm256_castpd_si256(rounder));
    let low = _mm256_and_si256(rest, splat((1 << 52) - 1));
    (low, _mm256_add_epi64(high, negative(rest)))
}

/// All ones in the lanes that are negative as signed integers.
#[inline]
#[target_feature(enable = "avx2")]
fn negative(x: __m256i) -> __m256i {
    _mm256_cmpgt_epi64(_mm256_setzero_si256(), x)
}

/// `x` if `x >= 0`, else `x + q`, for signed integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_if_negative(x: __m256i) -> __m256i {
    _mm256_add_epi64(x, _mm256_and_si256(negative(x), splat(Q)))
}

/// `x` if `x < q`, else `x - q`, for integers `x < 2q`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn reduce_once(x: __m256i) -> __m256i {
    add_if_negative(_mm256_sub_epi64(x, splat(Q)))
}

/// Any 64-bit integer, congruent below 2^50 + 2^28.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn fold(x: __m256i) -> __m256i {
    let top = _mm256_srli_epi64::<50>(x);
    // 2^50 = 2^14 - 1 modulo q.
    let folded = _mm256_sub_epi64(_mm256_slli_epi64::<14>(top), top);
    _mm256_add_epi64(_mm256_and_si256(x, splat(MASK50)), folded)
}

/// All ones where `x >= bound` as unsigned integers; `bound > 0`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn at_least(x: __m256i, bound: u64) -> __m256i {
    // The comparison is signed: flipping the top bits keeps the order.
    const TOP: u64 = 1 << 63;
    _mm256_cmpgt_epi64(_mm256_xor_si256(x, splat(TOP)), splat((bound - 1) ^ TOP))
}
