//! Secret scalars, which products are projected with.

use blindsmith_matrix::{Encoding, Masks};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{backend, modulus};
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::Key;

/// Secret scalars, uniform in Z_q.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Scalars(Vec<u64>);

/// Scalars drawn together: one stream of a key's counter mode.
const STREAM: usize = 8;

impl Scalars {
    /// Fresh ones.
    pub fn random(count: usize) -> Self {
        Scalars::derive(&Key::random(), 0..count)
    }

    /// The scalars of these numbers under a key that serves nothing else.
    pub fn derive(key: &Key, numbers: impl IntoIterator<Item = usize>) -> Self {
        // Rejection shows how many candidates were refused, which says nothing of those that were not.
        let mut stream = Stream::new(*key.expose());
        let (mut drawn, mut held) = (usize::MAX, [0; STREAM]);
        let scalar = |number: usize| {
            if drawn != number / STREAM {
                drawn = number / STREAM;
                stream.uniform_into(drawn as u64, &mut held);
            }
            held[number % STREAM]
        };
        let scalars = Scalars(numbers.into_iter().map(scalar).collect());
        held.zeroize();
        scalars
    }

    /// Those of several operands, one after the other.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Scalars>) -> Self {
        Scalars(parts.into_iter().flat_map(|part| part.0.iter().copied()).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

/// A projection of an operand onto its contraction: one residue for each contraction row. It may be of a part of the
/// operand; projections of parts add up.
#[derive(Zeroize, ZeroizeOnDrop, Default)]
pub struct Projection(Vec<u64>);

impl Projection {
    /// Of nothing: zero for each of so many contraction rows.
    pub fn zero(len: usize) -> Self {
        Projection(vec![0; len])
    }

    /// Residues that were kept.
    pub fn from_residues(residues: Vec<u64>) -> Self {
        Projection(residues)
    }

    /// Of public masks, each residue with a scalar of its own.
    ///
    /// # Panics
    /// If there are not N scalars.
    pub fn of_masks(masks: &Masks, encoding: Encoding, scalars: &Scalars) -> Self {
        assert_eq!((scalars.len(), masks.dimension()), (encoding.dimension(), encoding.dimension()));
        let rows = masks.as_slice().par_chunks_exact(encoding.per_root()).enumerate();
        let row = |(row, residues): (usize, &[u64])| {
            let root = row % encoding.roots();
            let weights = &scalars.as_slice()[root * encoding.per_root()..][..encoding.per_root()];
            backend::active().dot(residues, weights)
        };
        Projection(rows.with_min_len(256).map(row).collect())
    }

    /// The residues, to be kept where only this process reads them, or sealed.
    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }

    /// self + other.
    ///
    /// # Panics
    /// If they differ in length.
    pub fn add(&mut self, other: &Projection) {
        assert_eq!(self.0.len(), other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = modulus::add(*a, *b));
    }

    /// The first so many contraction rows; the others stay.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, len: usize) -> Self {
        let rest = self.0.split_off(len);
        Projection(std::mem::replace(&mut self.0, rest))
    }

    /// Contraction rows of further places, behind those that are there.
    pub fn append(&mut self, other: &Projection) {
        self.0.extend_from_slice(&other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blindsmith_ring::Q;

    #[test]
    fn scalars_of_a_number_do_not_depend_on_the_others() {
        let key = Key::random();
        let all = Scalars::derive(&key, 0..40);
        assert!(all.0.iter().all(|s| *s < Q));
        assert_eq!(Scalars::derive(&key, [39, 3, 17, 3]).0, [all.0[39], all.0[3], all.0[17], all.0[3]]);
        assert_ne!(all.0, Scalars::random(40).0);
        let (a, b) = (Scalars::derive(&key, 0..5), Scalars::derive(&key, 5..40));
        assert_eq!(Scalars::join([&a, &b]).0, all.0);
    }
}
