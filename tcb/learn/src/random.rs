//! Random numbers that follow from a policy's seeds: for initial weights and shuffles, never for encryption.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// ChaCha20 keyed by a purpose and a seed; `stream` separates, for instance, epochs.
pub(crate) struct Random(ChaCha20Rng);

impl Random {
    pub(crate) fn new(purpose: &[u8; 16], seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(purpose);
        key[16..24].copy_from_slice(&seed.to_le_bytes());
        let mut generator = ChaCha20Rng::from_seed(key);
        generator.set_stream(stream);
        Random(generator)
    }

    /// Uniform on the multiples of 2^-23 in [-1, 1).
    pub(crate) fn symmetric(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0
    }

    /// Uniform below `bound`, which is not 0; by rejection, hence unbiased.
    fn below(&mut self, bound: u64) -> u64 {
        let unfair = u64::MAX - u64::MAX % bound;
        loop {
            let number = self.0.next_u64();
            if number < unfair {
                return number % bound;
            }
        }
    }

    /// Fisher and Yates: every order is equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
