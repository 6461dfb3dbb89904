//! Secret random subsets of places, and sums over them.

use blindsmith_ring::sample::Stream;
use blindsmith_ring::{backend, modulus};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::Key;

/// J: subsets that each form of a block is tested with, one for each bit of a word.
pub(super) const TESTS: usize = 64;
/// Sums that are taken: over each subset, and over all places.
pub(super) const SUMS: usize = TESTS + 1;

/// For each place, which of the subsets it is in: bit j for subset j.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Subsets(Vec<u64>);

/// Residues below 2^50 whose sum fits 64 bits.
const UNREDUCED: usize = 1 << 13;

impl Subsets {
    /// Independent fair subsets of so many places.
    pub(super) fn derive(key: &Key, places: usize) -> Self {
        let mut stream = Stream::new(*key.expose());
        let mut residues = vec![0; 2 * places];
        // The low 32 bits of a uniform residue, biased by less than 2^-17.
        stream.uniform_into(0, &mut residues);
        let word = |pair: &[u64]| (pair[0] & 0xffff_ffff) | pair[1] << 32;
        let subsets = Subsets(residues.chunks_exact(2).map(word).collect());
        residues.zeroize();
        subsets
    }

    pub(super) fn places(&self) -> usize {
        self.0.len()
    }

    /// How many places each subset has.
    pub(super) fn sizes(&self) -> [f64; TESTS] {
        std::array::from_fn(|j| self.0.iter().map(|word| word >> j & 1).sum::<u64>() as f64)
    }

    /// The sums over each subset, and over all, of elements of `len` residues that stand at the places one after the
    /// other: [`SUMS`] times `len` residues below q.
    pub(super) fn sums(&self, elements: &[u64], len: usize) -> Vec<u64> {
        assert_eq!(elements.len(), self.places() * len);
        let mut out = vec![0; SUMS * len];
        for (elements, words) in elements.chunks(UNREDUCED * len.max(1)).zip(self.0.chunks(UNREDUCED)) {
            let mut part = vec![0; TESTS * len];
            backend::active().subset_sums(&mut part, elements, words);
            for (x, sums) in part.chunks_exact(TESTS).enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    let out = &mut out[j * len + x];
                    *out = modulus::add(*out, modulus::reduce_product(u128::from(*sum)));
                }
            }
            let all = &mut out[TESTS * len..];
            elements.chunks_exact(len).for_each(|element| backend::active().add_assign(all, element));
        }
        out
    }

    /// The sums over each subset of signed numbers, whose sums fit 63 bits: for each number of an element one for each
    /// subset.
    pub(super) fn signed_sums(&self, elements: &[i64], len: usize) -> Vec<i64> {
        assert_eq!(elements.len(), self.places() * len);
        let mut out = vec![0; TESTS * len];
        backend::active().subset_sums(&mut out, bytemuck::cast_slice(elements), &self.0);
        bytemuck::cast_vec(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blindsmith_ring::Q;

    #[test]
    fn sums_are_those_of_the_places_in_each_subset() {
        for (places, len) in [(1, 8), (5, 16), (200, 3), (9000, 2)] {
            let subsets = Subsets::derive(&Key::random(), places);
            let elements: Vec<u64> = (0..places * len).map(|i| Q - 1 - i as u64 * 977).collect();
            let sums = subsets.sums(&elements, len);
            for j in [0, 1, 31, 32, 63, TESTS] {
                for x in 0..len {
                    let within = (0..places).filter(|k| j == TESTS || subsets.0[*k] >> j & 1 == 1);
                    let expected = within.fold(0, |sum, k| modulus::add(sum, elements[k * len + x]));
                    assert_eq!(sums[j * len + x], expected, "{places} {len} {j} {x}");
                }
            }
        }
    }

    #[test]
    fn every_place_is_in_about_half_of_the_subsets() {
        let subsets = Subsets::derive(&Key::random(), 1000);
        let ones: u32 = subsets.0.iter().map(|w| w.count_ones()).sum();
        // 64,000 fair coins: beyond ten standard deviations.
        assert!((ones as i64 - 32_000).abs() < 1300, "{ones}");
        for j in 0..64 {
            let ones = subsets.0.iter().filter(|w| *w >> j & 1 == 1).count() as i64;
            assert!((ones - 500).abs() < 160, "subset {j}: {ones}");
        }
    }
}
