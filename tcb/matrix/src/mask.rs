//! Public masks, expanded from a seed so that they need not be stored or sent.

use blindsmith_ring::sample::Stream;
use serde::{Deserialize, Serialize};

/// The public seed of masks: the mask of place k is the k-th stream of uniform residues under this key (AES-256 in
/// counter mode). The N residues of a mask are its values in full evaluation: root by root, for each root the r
/// elements, for each element its m points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MaskSeed(pub [u8; 32]);

/// Masks of consecutive places.
#[derive(Clone, Default)]
pub struct Masks {
    dimension: usize,
    residues: Vec<u64>,
}

impl MaskSeed {
    /// The masks of places `first` and those that follow it, as many as fit `out`, of `dimension` residues each.
    pub fn expand_into(&self, first: usize, dimension: usize, out: &mut [u64]) {
        let mut stream = Stream::new(self.0);
        for (k, mask) in out.chunks_exact_mut(dimension).enumerate() {
            stream.uniform_into((first + k) as u64, mask);
        }
    }

    /// The masks of places 0 to `count`, of `dimension` residues each.
    pub fn expand(&self, count: usize, dimension: usize) -> Masks {
        let mut masks = Masks::zero(count, dimension);
        self.expand_into(0, dimension, masks.as_mut_slice());
        masks
    }
}

impl Masks {
    /// Room for the masks of `count` places.
    pub fn zero(count: usize, dimension: usize) -> Self {
        Masks { dimension, residues: vec![0; count * dimension] }
    }

    /// Places.
    pub fn count(&self) -> usize {
        self.residues.len().checked_div(self.dimension).unwrap_or(0)
    }

    /// N: residues of a place.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The mask of place k.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn place(&self, k: usize) -> &[u64] {
        &self.residues[k * self.dimension..][..self.dimension]
    }

    /// All of them, one after the other.
    pub fn as_slice(&self) -> &[u64] {
        &self.residues
    }

    /// All of them, to be overwritten.
    pub fn as_mut_slice(&mut self) -> &mut [u64] {
        &mut self.residues
    }
}
