//! Elementary functions in `f32` as fixed sequences of additions, multiplications, maxima and integer
//! operations: no branch, table, division or square root, so that the time does not depend on the operand.
//! Every result is zero or normal for the stated ranges: subnormal numbers are slow on many processors,
//! which would tell them apart. Nothing is contracted to fused operations, so all machines give the same
//! bits. NaN in gives NaN out.
//!
//! Compilers make branches of comparisons, and of masks that they see being made of one. Selection is
//! therefore arithmetic here (maxima, signs, roundings), or by a [`mask`] that they cannot see through. Even of
//! maxima they make branches where two of one kind stand side by side and their comparisons alone are joined in a
//! vector: `docs/constant-time.md` has the test that finds it.
//!
//! The stated errors are those of `tests/learn/elementary.rs`, against `f64` references.
//!
//! Sources: exponent and logarithm by argument reduction and Taylor series (Muller, *Elementary Functions*,
//! ch. 11); reciprocals by Newton's iteration from a linear estimate on the exponent bits (Lomont, *Fast
//! Inverse Square Root*, 2003, and its analogue for the reciprocal).

use std::hint::black_box;

/// The least magnitude besides 0 of activations, errors and optimiser state: a product of two is normal.
pub const SMALLEST: f32 = 1.0 / (1_u64 << 60) as f32;

/// All ones where `condition` holds, else zero; opaque to the compiler. It keeps a loop from being
/// vectorised: for use once a row.
#[inline]
pub fn mask(condition: bool) -> u32 {
    black_box(u32::from(condition).wrapping_neg())
}

/// `value` where `mask` is all ones, +0 where it is zero.
#[inline]
pub fn keep(mask: u32, value: f32) -> f32 {
    f32::from_bits(mask & value.to_bits())
}

/// `a` where `mask` is all ones, `b` where it is zero.
#[inline]
pub fn select(mask: u32, a: f32, b: f32) -> f32 {
    f32::from_bits((mask & a.to_bits()) | (!mask & b.to_bits()))
}

/// 1 where a = b, else 0, for whole numbers up to 2^24.
#[inline]
pub fn equal(a: f32, b: f32) -> f32 {
    // Only of +0 the bits less one are negative.
    let mask = (a - b).abs().to_bits().wrapping_sub(1).cast_signed() >> 31;
    keep(mask.cast_unsigned(), 1.0)
}

/// The larger of `x` and `low`; one instruction, and NaN stays NaN (unlike `f32::max`).
#[inline]
pub fn at_least(x: f32, low: f32) -> f32 {
    if low > x { low } else { x }
}

/// The smaller of `x` and `high`; NaN stays NaN.
#[inline]
pub fn at_most(x: f32, high: f32) -> f32 {
    if high < x { high } else { x }
}

/// x rounded to a multiple of [`SMALLEST`] if |x| < 2^-38; above, within 1 ulp of x.
#[inline]
pub fn flush(x: f32) -> f32 {
    // The last place of this number, and of those near it on both sides, is SMALLEST.
    const COARSE: f32 = SMALLEST * 1.5 * (1 << 23) as f32;
    (x + COARSE) - COARSE
}

/// The same to a multiple of 2^-96, for x >= 0: the products of such a number with 2^-24 are normal.
#[inline]
pub fn flush_square(x: f32) -> f32 {
    const COARSE: f32 = 1.0 / (1_u128 << 73) as f32;
    (x + COARSE) - COARSE
}

/// 1/x for 2^-120 <= |x| <= 2^120, within 2 ulp.
#[inline]
pub fn reciprocal(x: f32) -> f32 {
    // Relative error 0.125 at first, squared by each iteration.
    let mut y = f32::from_bits(0x7ef3_11c7_u32.wrapping_sub(x.to_bits()));
    y *= 2.0 - x * y;
    y *= 2.0 - x * y;
    y + y * (1.0 - x * y)
}

/// 1/sqrt(x) for 2^-120 <= x <= 2^120, within 2 ulp.
#[inline]
pub fn reciprocal_sqrt(x: f32) -> f32 {
    // Relative error 0.035 at first; each iteration takes it to 1.5 times its square.
    let mut y = f32::from_bits(0x5f37_59df_u32.wrapping_sub(x.to_bits() >> 1));
    let half = 0.5 * x;
    y *= 1.5 - half * y * y;
    y *= 1.5 - half * y * y;
    y + y * (0.5 - half * y * y)
}

/// sqrt(x) for 2^-120 <= x <= 2^120, within 2 ulp; 2^-60 below that range, zero included.
#[inline]
pub fn sqrt(x: f32) -> f32 {
    let x = at_least(x, SMALLEST * SMALLEST);
    x * reciprocal_sqrt(x)
}

/// Adding this rounds a float below 2^22 to an integer, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 = `LN_2_HIGH` + `LN_2_LOW`; the high part is so short that its multiples here are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// x = n ln 2 + r with |r| <= 0.35: returns 2^n and e^r - 1, for -87 <= x <= 88.
#[inline]
fn exp_parts(x: f32) -> (f32, f32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Taylor to the 7th power: remainder below 6e-9.
    let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + r * (1.0 / 120.0 + r * series);
    let series = r + r * r * (0.5 + r * (1.0 / 6.0 + r * series));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    (power, series)
}

/// e^x within 2 ulp; x is clamped to [-87, 88], where the result is normal.
#[inline]
pub fn exp(x: f32) -> f32 {
    let (power, series) = exp_parts(at_most(at_least(x, -87.0), 88.0));
    power + power * series
}

/// ln x for positive normal x, within 2 ulp, or 1e-7 absolutely where |ln x| < 1/2.
#[inline]
pub fn ln(x: f32) -> f32 {
    // x = 2^n m with sqrt(1/2) <= m < sqrt(2); ln m = 2 artanh((m - 1)/(m + 1)), |argument| < 0.172.
    let offset = x.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()).cast_signed();
    let n = offset >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((n << 23).cast_unsigned()));
    let n = n as f32;
    let s = (m - 1.0) * reciprocal(m + 1.0);
    let square = s * s;
    let series = 1.0 / 7.0 + square * (1.0 / 9.0);
    let series = square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * series));
    // An infinity or NaN would otherwise pass as a large number.
    let lost = 0.0 * x;
    n * LN_2_HIGH + (2.0 * (s + s * series) + n * LN_2_LOW) + lost
}

/// 1/(1 + e^-x), absolute error below 1e-7, and its derivative within 5 ulp; for |x| <= 60, to which x is
/// clamped.
#[inline]
pub fn sigmoid(x: f32) -> (f32, f32) {
    let e = exp(at_least(-x.abs(), -60.0));
    let large = reciprocal(1.0 + e);
    let small = e * large;
    (0.5 + (0.5 * (large - small)).copysign(x), small * large)
}

/// tanh x within 4 ulp for 2^-60 <= |x|, never above 1 in magnitude.
#[inline]
pub fn tanh(x: f32) -> f32 {
    // With t = e^2|x| - 1, which the parts give without cancellation: tanh|x| = t/(t + 2).
    let (power, series) = exp_parts(2.0 * at_most(x.abs(), 10.0));
    let t = (power - 1.0) + power * series;
    at_most(t * reciprocal(t + 2.0), 1.0).copysign(x)
}

/// Phi(-|x|) and phi(x) of the normal distribution, absolute errors below 3e-7 and 5e-8 and relative ones
/// below 3e-6 for |x| <= 5; x is clamped to |x| <= 12.
#[inline]
pub fn normal_tail(x: f32) -> (f32, f32) {
    let a = at_most(x.abs(), 12.0);
    let (power, series) = exp_parts(-0.5 * a * a);
    let gauss = power + power * series;
    // Phi(-a) e^(a a/2) as a polynomial in t = 1/(1 + 0.26 a), interpolated at the ten Chebyshev nodes of
    // t(12) <= t <= 1: relative error 1e-8. The form is that of Abramowitz and Stegun 7.1.26.
    let t = reciprocal(1.0 + 0.26 * a);
    let p = TAIL[..9].iter().rev().fold(TAIL[9], |sum, &c| sum * t + c);
    (p * gauss, gauss * 0.398_942_3)
}

const TAIL: [f32; 10] = [
    -3.819_532e-6,
    0.103_844_04,
    0.102_219_34,
    0.107_187_07,
    0.037_720_526,
    0.188_156_68,
    -0.186_583_38,
    0.280_396_97,
    -0.166_042_73,
    0.033_105_294,
];

/// z Phi(z), absolute error below 5e-7, or 2e-7 of |z| where that is more, and its derivative,
/// Phi(z) + z phi(z), absolute error below 5e-7.
#[inline]
pub fn gelu(z: f32) -> (f32, f32) {
    // Beyond 12 the density is nothing, and z must not grow against it.
    let a = at_most(z.abs(), 12.0);
    let (tail, density) = normal_tail(a);
    let phi = 0.5 + (0.5 - tail).copysign(z);
    (at_least(z, 0.0) - z.abs() * tail, phi + a.copysign(z) * density)
}
