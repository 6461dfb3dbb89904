//! Ternary secrets, one for each strip of an operand.

use std::ops::Range;

use blindsmith_matrix::Encoding;
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, Poly};
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::Key;

/// The secrets of consecutive strips under one key: for each strip N residues, the values of its r ternary elements
/// in full evaluation, laid out as masks are (`blindsmith_matrix::MaskSeed`).
#[derive(Zeroize, ZeroizeOnDrop, Default)]
pub struct Secrets {
    #[zeroize(skip)]
    dimension: usize,
    values: Vec<u64>,
}

impl Secrets {
    /// The secrets of these strips, under a key that serves nothing else.
    pub fn derive(key: &Key, encoding: Encoding, strips: Range<usize>) -> Self {
        let (dimension, rank) = (encoding.dimension(), encoding.rank());
        let mut values = vec![0; strips.len() * dimension];
        let draw = |stream: &mut Stream, (i, out): (usize, &mut [u64])| {
            let first = (strips.start + i) * rank;
            for l in 0..rank {
                let element = stream.ternary((first + l) as u64, encoding.degree());
                let points = element.as_slice().chunks_exact(encoding.strip());
                for (of_root, points) in out.chunks_exact_mut(encoding.per_root()).zip(points) {
                    of_root[l * encoding.strip()..][..encoding.strip()].copy_from_slice(points);
                }
            }
        };
        let each = values.par_chunks_exact_mut(dimension).enumerate();
        each.for_each_init(|| Stream::new(*key.expose()), draw);
        Secrets { dimension, values }
    }

    /// Strips.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dimension).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The secret of a strip.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn strip(&self, index: usize) -> &[u64] {
        &self.values[index * self.dimension..][..self.dimension]
    }
}

/// The weights with which coefficient `b` of t is read off values in full evaluation: t^-b at each point, laid out as
/// masks are. Public.
pub(crate) fn reading_weights(encoding: Encoding, b: usize) -> Vec<u64> {
    let (degree, strip) = (encoding.degree(), encoding.strip());
    let mut monomial = Poly::<Coeff>::zero(degree);
    // t^-b is -t^(D - b).
    let (at, value) = if b == 0 { (0, 1) } else { (degree - b, blindsmith_ring::Q - 1) };
    monomial.as_mut_slice()[at] = value;
    let points = monomial.into_eval();
    let per_root = points.as_slice().chunks_exact(strip);
    per_root.flat_map(|points| points.repeat(encoding.rank())).collect()
}
