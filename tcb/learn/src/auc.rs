//! Area under the receiver operating characteristic from histograms of the scores: bounded memory, no
//! sorting, no index that depends on a score.

use crate::elementary::{at_least, at_most};

/// Scores are log-odds; the bins are 1/32 wide and cover -16 to 16, beyond which scores count as the end.
const BINS: usize = 1024;
const LIMIT: f32 = 15.98;
const BINS_PER_UNIT: f32 = 32.0;
/// Adding this to |x| <= 2^22 leaves the nearest integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Scores of positive and negative rows of one output.
#[derive(Clone)]
pub(crate) struct Histogram {
    positive: [u32; BINS],
    negative: [u32; BINS],
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { positive: [0; BINS], negative: [0; BINS] }
    }

    /// Counts one row that is `valid` (mask) with a score in log-odds, positive or not (mask). Touches
    /// every bin, so that the memory access tells nothing; their number is fixed, so that the loop consists of
    /// vectors only and its comparisons stay masks.
    pub(crate) fn add(&mut self, score: f32, is_positive: u32, valid: u32) {
        let offset = (at_most(at_least(score, -LIMIT), LIMIT)) * BINS_PER_UNIT;
        let bin = (offset + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(BINS as u32 / 2);
        let (one_positive, one_negative) = (valid & is_positive & 1, valid & !is_positive & 1);
        for (b, (p, n)) in self.positive.iter_mut().zip(&mut self.negative).enumerate() {
            let here = u32::from(b as u32 == bin).wrapping_neg();
            *p += here & one_positive;
            *n += here & one_negative;
        }
    }

    /// The area, and how far at most it is from that of the unrounded scores: pairs in one bin count as
    /// half in order. Not finite if there is no positive or no negative row.
    pub(crate) fn area(&self) -> (f64, f64) {
        let (mut below, mut ordered, mut tied) = (0.0, 0.0, 0.0);
        for (&p, &n) in self.positive.iter().zip(&self.negative) {
            let (p, n) = (f64::from(p), f64::from(n));
            ordered += p * below;
            tied += p * n;
            below += n;
        }
        let pairs = below * self.positive.iter().map(|&p| f64::from(p)).sum::<f64>();
        ((ordered + 0.5 * tied) / pairs, 0.5 * tied / pairs)
    }
}
