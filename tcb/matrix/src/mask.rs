//! Public masks, expanded from a seed so that they need not be stored or sent.

use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Eval, LANES, Lanes, Poly, zeroed_lanes};
use serde::{Deserialize, Serialize};

/// The public seed of a row or column of masks: mask k is the k-th uniform polynomial of its AES-256
/// counter stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MaskSeed(pub [u8; 32]);

impl MaskSeed {
    /// The first `count` masks of degree `degree`.
    pub fn expand(&self, count: usize, degree: usize) -> Vec<Poly<Eval>> {
        let mut stream = Stream::new(self.0);
        (0..count as u64).map(|k| stream.uniform(k, degree)).collect()
    }
}

/// Masks laid out as one strip: groups of eight points, in each the masks in order.
pub fn mask_strip(masks: &[Poly<Eval>]) -> Vec<Lanes> {
    let groups = masks.first().map_or(0, |m| m.points() / LANES);
    let mut strip = zeroed_lanes(groups * masks.len());
    for (k, mask) in masks.iter().enumerate() {
        for (g, lanes) in mask.lanes().iter().enumerate() {
            strip[g * masks.len() + k] = *lanes;
        }
    }
    strip
}
