//! Fixed-point scales, the bound that excludes overflow, and the noise that a product carries.

use blindsmith_ring::Q;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Standard deviation of the encryption noise: centred binomial with eta = 21, sqrt(21/2).
pub const SIGMA: f64 = 3.240_370_349_203_93;

/// Largest magnitude of the encryption noise.
const NOISE_MAX: f64 = 21.0;

/// Encoded entries never exceed this magnitude, however short the contraction is.
const ENTRY_LIMIT: f64 = (1u64 << 32) as f64;

/// Opened values stay below q/4: 2^47 of it for the message, the rest for the noise.
const MESSAGE_LIMIT: f64 = (1u64 << 47) as f64;

/// q/4 - 2^47, rounded down.
const NOISE_LIMIT: f64 = (Q / 4 - (1 << 47)) as f64;

/// A power of two by which real numbers are multiplied before they are rounded to integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scale {
    log2: i8,
}

/// A product that could exceed what the modulus holds.
#[derive(Debug, Error, PartialEq)]
#[error(
    "a product may reach {bound:.3e} at scale 2^{other_log2}, more than the modulus holds: the values are too large (did training diverge? try a smaller learning rate)"
)]
pub struct Overflow {
    /// The guaranteed bound on the magnitude of the product, in real units.
    pub bound: f64,
    /// log2 of the other operand's scale.
    pub other_log2: i8,
}

impl Scale {
    /// Exponents that are accepted.
    pub const RANGE: std::ops::RangeInclusive<i8> = -8..=40;

    /// 2^log2, clamped to [`Scale::RANGE`].
    pub fn from_log2(log2: i8) -> Self {
        Scale { log2: log2.clamp(*Self::RANGE.start(), *Self::RANGE.end()) }
    }

    /// The exponent.
    pub fn log2(self) -> i8 {
        self.log2
    }

    /// The factor, exactly.
    pub fn factor(self) -> f64 {
        f64::from_bits(((1023 + self.log2 as i64) as u64) << 52)
    }

    /// The integer nearest to `factor * x`, ties to even; exact for |factor x| < 2^51. No branch depends
    /// on `x`.
    #[inline]
    pub fn encode(factor: f64, x: f32) -> i64 {
        // Adding 1.5 * 2^52 leaves the rounded integer in the low bits of the significand.
        const MAGIC: f64 = 6_755_399_441_055_744.0;
        let bits = (x as f64 * factor + MAGIC).to_bits();
        bits.wrapping_sub(MAGIC.to_bits()) as i64
    }
}

/// What an admitted entry of stored rows is at most, over its bound and the root of the places that were tested
/// together (`docs/integrity.md`, *Admission*).
pub const ADMITTED_ENTRY: f64 = 4.4;

/// What the norm of admitted entries along the contraction is at most, over their bound and the root of their number.
pub const ADMITTED_NORM: f64 = 3.7;

/// The largest scale for one operand such that a product of magnitude at most `bound` (in real units,
/// guaranteed by the caller) stays below 2^47 when the other operand has scale `other`, and that the operand's
/// own encoded entries, of magnitude at most `entry` in real units, take at most half of the room that a contraction
/// of `padded` entries leaves to noise.
///
/// # Errors
/// [`Overflow`] for bounds that are not finite, or too large for every scale.
pub fn largest_scale(other: Scale, bound: f64, entry: f64, padded: usize) -> Result<Scale, Overflow> {
    let overflow = Overflow { bound, other_log2: other.log2 };
    if !bound.is_finite() || !entry.is_finite() {
        return Err(overflow);
    }
    let limit = (NOISE_LIMIT / padded.max(1) as f64 - NOISE_MAX * NOISE_MAX) / (2.0 * NOISE_MAX + 1.0);
    let limit = limit.clamp(1.0, ENTRY_LIMIT);
    let reach = (bound * other.factor()).max(entry * (MESSAGE_LIMIT / limit)).max(f64::MIN_POSITIVE);
    // floor(log2(limit / reach)), read from the exponent: no loop over secret magnitudes.
    let quotient = MESSAGE_LIMIT / reach;
    let log2 = (quotient.to_bits() >> 52) as i64 - 1023;
    if log2 < *Scale::RANGE.start() as i64 {
        return Err(overflow);
    }
    Ok(Scale { log2: log2.min(*Scale::RANGE.end() as i64) as i8 })
}

/// The scale at which entries of magnitude at most `entry` encode to at most 2^20, for the operand of a product
/// whose scale is chosen first.
///
/// # Errors
/// [`Overflow`] for a magnitude that is not finite, or too large for every scale.
pub fn entry_scale(entry: f64) -> Result<Scale, Overflow> {
    largest_scale(Scale { log2: 20 }, entry * f64::powi(2.0, 7), entry, 1)
}

/// The scale of stored rows of `inputs` features with this root mean square, bounded by 1, for weights as a new
/// layer has them: the two relative errors of a product are about equal.
pub fn feature_scale(inputs: usize, input_rms: f64) -> Scale {
    let inputs = inputs.max(1) as f64;
    // He's initialisation: weights of variance 2 / inputs, columns of norm 2^(1/2), with some room to grow.
    let (weight_rms, norm) = ((2.0 / inputs).sqrt(), 1.6);
    let product = MESSAGE_LIMIT / (ADMITTED_NORM * inputs.sqrt() * norm);
    let log2 = 0.5 * (product * weight_rms / input_rms).log2();
    Scale::from_log2((log2.round() as i8).clamp(10, 24))
}

/// Predicts the noise of a product's entries, in units of the product's integers (divide by both scales for
/// real units).
///
/// With entries a + e and b + e', an entry of the product has the noise a e' + e b + e e' summed over the padded
/// contraction; rounding adds a uniform error of variance 1/12 to each entry that meets the other operand.
#[derive(Debug, Clone, Copy)]
pub struct NoiseModel {
    /// Entries along the contraction, padding included.
    pub padded: usize,
}

impl NoiseModel {
    /// Standard deviation, given the root mean squares of the operands' encoded entries along the padded
    /// contraction.
    pub fn std(&self, left_rms: f64, right_rms: f64) -> f64 {
        let variance = SIGMA * SIGMA;
        let squares = left_rms * left_rms + right_rms * right_rms;
        (self.padded as f64 * (squares * (variance + 1.0 / 12.0) + variance * variance)).sqrt()
    }

    /// A bound that the noise never exceeds, given the largest magnitudes of the encoded entries.
    pub fn worst(&self, left_max: f64, right_max: f64) -> f64 {
        // Half a unit of rounding beside the noise.
        let each = (NOISE_MAX + 0.5) * (left_max + right_max) + NOISE_MAX * NOISE_MAX;
        self.padded as f64 * each
    }

    /// Whether the noise stays below q/4 - 2^47, so that message and noise together stay below q/4.
    pub fn fits(&self, left_max: f64, right_max: f64) -> bool {
        self.worst(left_max, right_max) < NOISE_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_rounds_to_the_nearest_integer() {
        for (x, expected) in [(0.0, 0), (1.0, 1024), (-1.0, -1024), (0.0005, 1), (-0.0005, -1), (1.5, 1536)] {
            assert_eq!(Scale::encode(1024.0, x), expected);
        }
        // Ties go to even.
        assert_eq!(Scale::encode(1.0, 2.5), 2);
        assert_eq!(Scale::encode(1.0, -3.5), -4);
        assert_eq!(Scale::encode(f64::powi(2.0, 30), 1_000_000.0), 1_000_000 << 30);
    }

    #[test]
    fn the_chosen_scale_is_the_largest_that_fits() {
        for bound in [1e-6, 0.3, 1.0, 1.000_001, 250.0, 4.0e4] {
            let other = Scale::from_log2(20);
            let scale = largest_scale(other, bound, 1.0, 1024).unwrap();
            assert!(bound * other.factor() * scale.factor() <= MESSAGE_LIMIT);
            // Two operands of such entries leave the noise its room.
            let noise = NoiseModel { padded: 1024 };
            assert!(noise.fits(scale.factor(), scale.factor()));
            let doubled = 2.0 * scale.factor();
            assert!(bound * other.factor() * doubled > MESSAGE_LIMIT || !noise.fits(doubled, doubled));
        }
    }

    #[test]
    fn non_finite_and_huge_bounds_are_refused() {
        let other = Scale::from_log2(20);
        for bound in [f64::INFINITY, f64::NAN, 1e20] {
            assert!(largest_scale(other, bound, 1.0, 8).is_err());
            assert!(largest_scale(other, 1.0, bound, 8).is_err());
        }
        assert_eq!(largest_scale(other, 0.0, 0.0, 8).unwrap().log2(), *Scale::RANGE.end());
    }

    #[test]
    fn long_contractions_get_smaller_entries() {
        let other = Scale::from_log2(10);
        let log2 = |padded| largest_scale(other, 1e-3, 1.0, padded).unwrap().log2();
        assert!(log2(64) > log2(4096) && log2(4096) > log2(1 << 16));
        // 2^26.6 for both operands at 65,536, of which one has half.
        assert_eq!(log2(1 << 16), 25);
        assert!(!NoiseModel { padded: 1 << 16 }.fits(f64::powi(2.0, 26), f64::powi(2.0, 26)));
        assert!(NoiseModel { padded: 4096 }.fits(f64::powi(2.0, 29), f64::powi(2.0, 29)));
    }

    #[test]
    fn the_scale_of_rows_balances_the_two_errors() {
        for inputs in [1, 4, 30, 64, 784, 4096, 65_536] {
            let scale = feature_scale(inputs, 0.125);
            let norm = 1.6;
            let bound = ADMITTED_NORM * (inputs as f64).sqrt() * norm;
            let weights = largest_scale(scale, bound, 1.0, inputs).unwrap();
            let rows = scale.factor() * 0.125;
            let weights = weights.factor() * (2.0 / inputs as f64).sqrt();
            assert!((rows / weights).log2().abs() < 3.6, "{inputs}: {rows} {weights}");
        }
        assert_eq!(feature_scale(784, 0.125).log2(), 19);
    }
}
