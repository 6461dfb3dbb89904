//! Twiddle factors in Montgomery form, with those of the three stages inside a pair of registers in the
//! order of their lanes.

use std::sync::OnceLock;

use crate::modulus::{self, Q};
use crate::{Lanes, MAX_POINTS, Table};

/// A constant w: 2^52 w mod q, and that over q mod 2^52 (see `vector::mul_by`).
#[derive(Clone, Copy)]
pub(super) struct Constant {
    pub(super) w: u64,
    pub(super) w_over_q: u64,
}

/// Of one pair of registers (16 points): `w` and `w_over_q` of the stages of length 4, 2 and 1.
pub(super) type PairRoots = [Lanes; 6];

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

// Which of the pair's 2, 4 and 8 blocks a lane of the stage belongs to: see the shuffles in `ntt`.
const FORWARD_LENGTH_4: [usize; 8] = [0, 0, 0, 0, 1, 1, 1, 1];
const INVERSE_LENGTH_4: [usize; 8] = [0, 0, 1, 1, 0, 0, 1, 1];
const LENGTH_2: [usize; 8] = [0, 0, 2, 2, 1, 1, 3, 3];
const LENGTH_1: [usize; 8] = [0, 1, 4, 5, 2, 3, 6, 7];

impl Constant {
    fn new(w: u64) -> Self {
        const MASK52: u64 = (1 << 52) - 1;
        let w = modulus::mul(w, (1 << 52) % Q);
        Constant { w, w_over_q: w.wrapping_mul(q_inverse()) & MASK52 }
    }
}

/// 1/q mod 2^64, by Newton's iteration: each step doubles the correct bits, of which q = 1 mod 2^14 has 14.
const fn q_inverse() -> u64 {
    let mut x = 1u64;
    let mut correct_bits = 14;
    while correct_bits < 64 {
        x = x.wrapping_mul(2u64.wrapping_sub(Q.wrapping_mul(x)));
        correct_bits *= 2;
    }
    x
}

impl Roots {
    /// Those of a table of at least 16 points; built once a process.
    pub(super) fn of(table: &Table) -> &'static Roots {
        const SIZES: usize = MAX_POINTS.trailing_zeros() as usize + 1;
        static ROOTS: [OnceLock<Roots>; SIZES] = [const { OnceLock::new() }; SIZES];
        ROOTS[table.points().trailing_zeros() as usize].get_or_init(|| Roots::new(table))
    }

    fn new(table: &Table) -> Self {
        let constants = |w: &[u64]| w.iter().map(|&w| Constant::new(w)).collect::<Vec<_>>();
        let (mut forward, mut inverse) = (constants(&table.roots), constants(&table.inverse));
        let forward_pairs = in_lanes(&forward, &FORWARD_LENGTH_4);
        let inverse_pairs = in_lanes(&inverse, &INVERSE_LENGTH_4);
        forward.truncate(table.points() / 8);
        inverse.truncate(table.points() / 8);
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

fn in_lanes(roots: &[Constant], length_4: &[usize; 8]) -> Vec<PairRoots> {
    let pairs = roots.len() / 16;
    (0..pairs)
        .map(|pair| {
            let pick = |blocks: usize, order: &[usize; 8]| {
                let of = |block: usize| roots[blocks * (pairs + pair) + block];
                (Lanes(order.map(|block| of(block).w)), Lanes(order.map(|block| of(block).w_over_q)))
            };
            let (w4, over4) = pick(2, length_4);
            let (w2, over2) = pick(4, &LENGTH_2);
            let (w1, over1) = pick(8, &LENGTH_1);
            [w4, over4, w2, over2, w1, over1]
        })
        .collect()
}
