//! Keyed orders of rows.
//!
//! Rows are packed several to a ciphertext, so their order is fixed before packing. It is drawn from a secret
//! seed: whoever knows neither seed nor order learns nothing from a row's position.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// What a seed is used for; one ChaCha20 stream each, so that one seed may serve both.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Shuffle = 0,
    Split = 1,
}

/// An order of rows: row `i` of the result is row `as_slice()[i]` of the input.
///
/// It is as secret as its seed, hence without `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Permutation(Vec<usize>);

impl Permutation {
    /// A uniformly drawn order of `rows` rows: Fisher-Yates (Knuth, TAOCP 2, algorithm P) with ChaCha20 in
    /// counter mode keyed by `seed`. The same seed gives the same order on every machine.
    ///
    /// # Panics
    /// When `rows` exceeds `u32::MAX`.
    ///
    /// ```
    /// use blindsmith_data::Permutation;
    ///
    /// let order = Permutation::keyed(3, &[7; 32]);
    /// let mut rows = [10, 11, 20, 21, 30, 31];
    /// order.permute_rows(&mut rows, 2);
    /// order.inverse().permute_rows(&mut rows, 2);
    /// assert_eq!(rows, [10, 11, 20, 21, 30, 31]);
    /// ```
    pub fn keyed(rows: usize, seed: &[u8; 32]) -> Self {
        Self::drawn(rows, seed, Use::Shuffle)
    }

    pub(crate) fn drawn(rows: usize, seed: &[u8; 32], purpose: Use) -> Self {
        assert!(u32::try_from(rows).is_ok(), "at most u32::MAX rows");
        let mut rng = ChaCha20Rng::from_seed(*seed);
        rng.set_stream(purpose as u64);
        let mut order: Vec<usize> = (0..rows).collect();
        for last in (1..rows).rev() {
            order.swap(last, below(&mut rng, last as u32 + 1) as usize);
        }
        Self(order)
    }

    /// For each row of the result, the row of the input.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// The order that undoes this one.
    pub fn inverse(&self) -> Permutation {
        let mut inverse = vec![0; self.0.len()];
        for (to, &from) in self.0.iter().enumerate() {
            inverse[from] = to;
        }
        Permutation(inverse)
    }

    /// Puts row-major `values`, `width` to a row, into this order: in place, along the cycles, with memory
    /// for one row and one bit per row.
    ///
    /// # Panics
    /// When `values` is not of `width` times as many entries as there are rows.
    pub fn permute_rows<T: Copy>(&self, values: &mut [T], width: usize) {
        let rows = self.0.len();
        assert_eq!(values.len(), rows * width, "{width} values for each of {rows} rows");
        let mut placed = vec![false; rows];
        let mut first = Vec::with_capacity(width);
        for start in 0..rows {
            if placed[start] {
                continue;
            }
            first.clear();
            first.extend_from_slice(&values[start * width..][..width]);
            let mut to = start;
            loop {
                placed[to] = true;
                let from = self.0[to];
                if from == start {
                    values[to * width..][..width].copy_from_slice(&first);
                    break;
                }
                values.copy_within(from * width..(from + 1) * width, to * width);
                to = from;
            }
        }
    }
}

/// Uniform in `0..bound`, by rejection (D. Lemire, Fast Random Integer Generation in an Interval, 2019).
fn below(rng: &mut ChaCha20Rng, bound: u32) -> u32 {
    let reject_below = bound.wrapping_neg() % bound;
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(bound);
        if product as u32 >= reject_below {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_four_rows_is_equally_likely() {
        let mut counts = std::collections::HashMap::new();
        let draws = 48_000_u32;
        for draw in 0..draws {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&draw.to_le_bytes());
            *counts.entry(Permutation::keyed(4, &seed).0).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = f64::from(draws) / 24.0;
        let chi: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        // 23 degrees of freedom: 64 is exceeded with a probability of about 1e-5.
        assert!(chi < 64.0, "chi squared {chi}");
    }

    #[test]
    fn bounded_draws_reject_the_biased_ones() {
        // For a bound of 3 * 2^30 plain multiplication would give a third of the values twice the weight.
        let bound = 3 << 30;
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut thirds = [0_u32; 3];
        for _ in 0..30_000 {
            let value = below(&mut rng, bound);
            assert!(value < bound);
            thirds[(value % 3) as usize] += 1;
        }
        for count in thirds {
            assert!((9_600..10_400).contains(&count), "{thirds:?}");
        }
    }

    #[test]
    fn order_is_pinned_across_machines_and_versions() {
        assert_eq!(Permutation::keyed(8, &[7; 32]).as_slice(), PINNED);
        assert_ne!(Permutation::drawn(8, &[7; 32], Use::Split).as_slice(), PINNED);
        assert_ne!(Permutation::keyed(8, &[8; 32]).as_slice(), PINNED);
    }

    /// From an independent implementation of ChaCha20 and Fisher-Yates.
    const PINNED: [usize; 8] = [5, 0, 6, 7, 2, 4, 1, 3];

    #[test]
    fn in_place_agrees_with_gathering() {
        for rows in [0, 1, 2, 3, 10, 257] {
            let order = Permutation::keyed(rows, &[3; 32]);
            let mut values: Vec<u32> = (0..rows as u32 * 3).collect();
            let gathered: Vec<u32> =
                order.as_slice().iter().flat_map(|&row| values[row * 3..][..3].to_vec()).collect();
            order.permute_rows(&mut values, 3);
            assert_eq!(values, gathered);
            order.inverse().permute_rows(&mut values, 3);
            assert_eq!(values, (0..rows as u32 * 3).collect::<Vec<_>>());
        }
    }
}
