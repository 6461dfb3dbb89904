//! Twiddle factors as doubles, with those of the two stages inside a pair of registers in the order of
//! their lanes.

use std::sync::OnceLock;

use crate::backend::roots::AllRoots;
use crate::modulus::{self, Q};
use crate::table::{MAX_POINTS, Table};

/// A constant w with |w| <= q/2, and w/q.
#[derive(Clone, Copy)]
pub(super) struct Constant {
    pub(super) w: f64,
    pub(super) w_over_q: f64,
}

/// Of one pair of registers (8 points): `w` and `w_over_q` of the stages of length 2 and 1.
pub(super) type PairRoots = [[f64; 4]; 4];

/// What the transforms of one size multiply by.
pub(super) type Roots = super::super::roots::Roots<Constant, PairRoots>;

impl Constant {
    pub(super) fn new(w: u64) -> Self {
        let w = modulus::to_signed(w) as f64;
        Constant { w, w_over_q: w / Q as f64 }
    }
}

/// Those of a table of at least 8 points.
pub(super) fn roots_of(table: &Table) -> &'static Roots {
    static ROOTS: AllRoots<Constant, PairRoots> =
        [const { OnceLock::new() }; MAX_POINTS.trailing_zeros() as usize + 1];
    ROOTS[table.points().trailing_zeros() as usize]
        .get_or_init(|| Roots::new(table, 4, Constant::new, in_lanes, in_lanes))
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
