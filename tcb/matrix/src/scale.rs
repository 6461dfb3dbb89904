//! Fixed-point scales, the bound that excludes overflow, and the noise that a product carries.

use blindsmith_ring::Q;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Form, Shape};

/// Standard deviation of the encryption noise: centred binomial with eta = 21, sqrt(21/2).
pub const SIGMA: f64 = 3.240_370_349_203_93;

/// Largest magnitude of the encryption noise.
const NOISE_MAX: f64 = 21.0;

/// Encoded entries stay below this magnitude, so that their noise terms stay small.
const ENTRY_LIMIT: f64 = (1u64 << 27) as f64;

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

/// The largest scale for one operand such that a product of magnitude at most `bound` (in real units,
/// guaranteed by the caller) stays below 2^47 when the other operand has scale `other`, and that the operand's
/// own encoded entries, of magnitude at most `entry` in real units, stay below 2^27.
///
/// Non-finite or absurd bounds are refused.
pub fn largest_scale(other: Scale, bound: f64, entry: f64) -> Result<Scale, Overflow> {
    let overflow = Overflow { bound, other_log2: other.log2 };
    if !bound.is_finite() || !entry.is_finite() {
        return Err(overflow);
    }
    let reach = (bound * other.factor()).max(entry * (MESSAGE_LIMIT / ENTRY_LIMIT)).max(f64::MIN_POSITIVE);
    // floor(log2(limit / reach)), read from the exponent: no loop over secret magnitudes.
    let quotient = MESSAGE_LIMIT / reach;
    let log2 = (quotient.to_bits() >> 52) as i64 - 1023;
    if log2 < *Scale::RANGE.start() as i64 {
        return Err(overflow);
    }
    Ok(Scale { log2: log2.min(*Scale::RANGE.end() as i64) as i8 })
}

/// The scale at which entries of magnitude at most `entry` encode below 2^20, for the operand of a product
/// whose scale is chosen first.
pub fn entry_scale(entry: f64) -> Result<Scale, Overflow> {
    largest_scale(Scale { log2: 20 }, entry * f64::powi(2.0, 7), entry)
}

/// Predicts the noise of a product's entries, in units of the product's integers (divide by both scales for
/// real units).
///
/// With tiles A + e and B + e' the noise of a coefficient is A e' + e B + e e', summed over the tiles of the
/// contraction; rounding adds a uniform error of variance 1/12 to each entry that meets the other operand.
#[derive(Debug, Clone, Copy)]
pub struct NoiseModel {
    /// Ring degree.
    pub degree: usize,
    /// Tiles along the contraction.
    pub contraction_blocks: usize,
    /// Entries of a tile along the contraction.
    pub contraction_per_block: usize,
    /// Entries in a left tile.
    pub left_entries: usize,
    /// Entries in a right tile.
    pub right_entries: usize,
}

impl NoiseModel {
    /// The model of the product of two operands of one layer.
    pub fn of(left: &Shape, right: &Shape) -> Self {
        let entries = |s: &Shape| s.tile_size().0 * s.tile_size().1;
        let tile = &left.tile;
        let (blocks, per_block) = match (left.form, right.form) {
            (Form::Rows, Form::ErrorRight) => (left.strips(), tile.m()),
            (Form::ErrorLeft, _) => (left.strip_len(), tile.p()),
            _ => (left.strip_len(), tile.n()),
        };
        NoiseModel {
            degree: tile.degree(),
            contraction_blocks: blocks,
            contraction_per_block: per_block,
            left_entries: entries(left),
            right_entries: entries(right),
        }
    }

    /// Standard deviation, given the root mean squares of the operands' encoded entries.
    pub fn std(&self, left_rms: f64, right_rms: f64) -> f64 {
        let variance = SIGMA * SIGMA;
        let (l2, r2) = (left_rms * left_rms, right_rms * right_rms);
        let per_block = variance * (self.left_entries as f64 * l2 + self.right_entries as f64 * r2)
            + self.degree as f64 * variance * variance
            + self.contraction_per_block as f64 * (l2 + r2) / 12.0;
        (self.contraction_blocks as f64 * per_block).sqrt()
    }

    /// A bound that the noise never exceeds, given the largest magnitudes of the encoded entries.
    pub fn worst(&self, left_max: f64, right_max: f64) -> f64 {
        let per_block = NOISE_MAX
            * (self.left_entries as f64 * left_max + self.right_entries as f64 * right_max)
            + self.degree as f64 * NOISE_MAX * NOISE_MAX
            + self.contraction_per_block as f64 * (left_max + right_max + 1.0) / 2.0;
        self.contraction_blocks as f64 * per_block
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
            let scale = largest_scale(other, bound, 1.0).unwrap();
            assert!(bound * other.factor() * scale.factor() <= MESSAGE_LIMIT);
            assert!(scale.factor() <= ENTRY_LIMIT);
            let doubled = 2.0 * scale.factor();
            assert!(bound * other.factor() * doubled > MESSAGE_LIMIT || doubled > ENTRY_LIMIT);
        }
        assert_eq!(entry_scale(1.0).unwrap().log2(), 20);
        assert_eq!(entry_scale(3.0).unwrap().log2(), 18);
    }

    #[test]
    fn non_finite_and_huge_bounds_are_refused() {
        let other = Scale::from_log2(20);
        for bound in [f64::INFINITY, f64::NAN, 1e20] {
            assert!(largest_scale(other, bound, 1.0).is_err());
            assert!(largest_scale(other, 1.0, bound).is_err());
        }
        assert_eq!(largest_scale(other, 0.0, 0.0).unwrap().log2(), *Scale::RANGE.end());
    }
}
