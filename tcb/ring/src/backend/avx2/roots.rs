//! Twiddle factors as doubles, with those of the two stages inside a pair of registers in the order of
//! their lanes.

use std::sync::OnceLock;

use crate::modulus::{self, Q};
use crate::{MAX_POINTS, Table};

/// A constant w with |w| <= q/2, and w/q.
#[derive(Clone, Copy)]
pub(super) struct Constant {
    pub(super) w: f64,
    pub(super) w_over_q: f64,
}

/// Of one pair of registers (8 points): `w` and `w_over_q` of the stages of length 2 and 1.
pub(super) type PairRoots = [[f64; 4]; 4];

/// What the transforms of one size multiply by.
pub(super) struct Roots {
    /// Of the stages between registers, as in [`Table`].
    pub(super) forward: Vec<Constant>,
    pub(super) forward_pairs: Vec<PairRoots>,
    pub(super) inverse: Vec<Constant>,
    pub(super) inverse_pairs: Vec<PairRoots>,
    /// 2^-k for k up to log2 N.
    pub(super) scales: Vec<Constant>,
    /// `inverse` of the stage from 2n blocks to n, times n/N: where an inverse ends at n blocks.
    pub(super) last_from_values: Vec<Constant>,
    /// `inverse\[1\]` times 2^-k: where an inverse from the mixed form with 2^k roots ends.
    pub(super) last_from_mixed: Vec<Constant>,
}

impl Constant {
    pub(super) fn new(w: u64) -> Self {
        let w = modulus::to_signed(w) as f64;
        Constant { w, w_over_q: w / Q as f64 }
    }
}

impl Roots {
    /// Those of a table of at least 8 points; built once a process.
    pub(super) fn of(table: &Table) -> &'static Roots {
        const SIZES: usize = MAX_POINTS.trailing_zeros() as usize + 1;
        static ROOTS: [OnceLock<Roots>; SIZES] = [const { OnceLock::new() }; SIZES];
        ROOTS[table.points().trailing_zeros() as usize].get_or_init(|| Roots::new(table))
    }

    fn new(table: &Table) -> Self {
        let constants = |w: &[u64]| w.iter().map(|&w| Constant::new(w)).collect::<Vec<_>>();
        let (mut forward, mut inverse) = (constants(&table.roots), constants(&table.inverse));
        let (forward_pairs, inverse_pairs) = (in_lanes(&forward), in_lanes(&inverse));
        forward.truncate(table.points() / 4);
        inverse.truncate(table.points() / 4);
        let bits = table.points().trailing_zeros();
        let last_from_values: Vec<u64> = (0..inverse.len())
            .map(|i| {
                let stage = i.max(1).ilog2();
                modulus::mul(table.inverse[i], table.scales[(bits - stage) as usize])
            })
            .collect();
        let last_from_mixed: Vec<u64> =
            table.scales.iter().map(|&scale| modulus::mul(table.inverse[1], scale)).collect();
        Roots {
            forward,
            forward_pairs,
            inverse,
            inverse_pairs,
            scales: constants(&table.scales),
            last_from_values: constants(&last_from_values),
            last_from_mixed: constants(&last_from_mixed),
        }
    }
}

fn in_lanes(roots: &[Constant]) -> Vec<PairRoots> {
    let pairs = roots.len() / 8;
    (0..pairs)
        .map(|pair| {
            // Which of the pair's 2 and 4 blocks a lane of the stage belongs to: see the shuffles in `ntt`.
            let length_2 = [0, 0, 1, 1].map(|block| roots[2 * (pairs + pair) + block]);
            let length_1 = [0, 1, 2, 3].map(|block| roots[4 * (pairs + pair) + block]);
            [
                length_2.map(|c| c.w),
                length_2.map(|c| c.w_over_q),
                length_1.map(|c| c.w),
                length_1.map(|c| c.w_over_q),
            ]
        })
        .collect()
}
