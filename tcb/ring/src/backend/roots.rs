//! What the transforms of one size multiply by, in the form that a backend with vectors wants.

use std::sync::OnceLock;

use crate::modulus;
use crate::table::{MAX_POINTS, Table};

/// Constants `C` of the stages between registers, and `P` of those inside a pair of registers, in the order of its lanes.
pub(super) struct Roots<C, P> {
    /// Of the stages between registers, as in [`Table`].
    pub(super) forward: Vec<C>,
    pub(super) forward_pairs: Vec<P>,
    pub(super) inverse: Vec<C>,
    pub(super) inverse_pairs: Vec<P>,
    /// 2^-k for k up to log2 N.
    pub(super) scales: Vec<C>,
    /// `inverse` of the stage from 2n blocks to n, times n/N: where an inverse ends at n blocks.
    pub(super) last_from_values: Vec<C>,
    /// `inverse\[1\]` times 2^-k: where an inverse from the mixed form with 2^k roots ends.
    pub(super) last_from_mixed: Vec<C>,
}

/// Those of all sizes, each built once a process.
pub(super) type AllRoots<C, P> = [OnceLock<Roots<C, P>>; MAX_POINTS.trailing_zeros() as usize + 1];

impl<C, P> Roots<C, P> {
    /// Those of a table, for registers of so many lanes; those of
    /// all stages give the pairs.
    pub(super) fn new(
        table: &Table,
        lanes: usize,
        constant: impl Fn(u64) -> C,
        forward_in_lanes: impl Fn(&[C]) -> Vec<P>,
        inverse_in_lanes: impl Fn(&[C]) -> Vec<P>,
    ) -> Self {
        let constants = |w: &[u64]| w.iter().map(|&w| constant(w)).collect::<Vec<_>>();
        let (mut forward, mut inverse) = (constants(&table.roots), constants(&table.inverse));
        let (forward_pairs, inverse_pairs) = (forward_in_lanes(&forward), inverse_in_lanes(&inverse));
        forward.truncate(table.points() / lanes);
        inverse.truncate(table.points() / lanes);
        let bits = table.points().trailing_zeros();
        let last_from_values = (0..inverse.len()).map(|i| {
            let stage = i.max(1).ilog2();
            constant(modulus::mul(table.inverse[i], table.scales[(bits - stage) as usize]))
        });
        let last_from_mixed =
            table.scales.iter().map(|&scale| constant(modulus::mul(table.inverse[1], scale)));
        Roots {
            last_from_values: last_from_values.collect(),
            last_from_mixed: last_from_mixed.collect(),
            forward,
            forward_pairs,
            inverse,
            inverse_pairs,
            scales: constants(&table.scales),
        }
    }
}

/// Four registers at distances of `len`, `len` times.
#[inline]
pub(super) fn quarters<R>(x: &mut [R], len: usize) -> impl Iterator<Item = (&mut R, &mut R, &mut R, &mut R)> {
    let (upper, lower) = x.split_at_mut(2 * len);
    let (a, b) = upper.split_at_mut(len);
    let (c, d) = lower.split_at_mut(len);
    a.iter_mut().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| (a, b, c, d))
}
