//! Twiddle factors in Montgomery form, with those of the three stages inside a pair of registers in the
//! order of their lanes.

use std::sync::OnceLock;

use crate::backend::roots::AllRoots;
use crate::lanes::Lanes;
use crate::modulus::{self, Q};
use crate::table::{MAX_POINTS, Table};

/// A constant w: 2^52 w mod q, and that over q mod 2^52 (see `vector::mul_by`).
#[derive(Clone, Copy)]
pub(super) struct Constant {
    pub(super) w: u64,
    pub(super) w_over_q: u64,
}

/// Of one pair of registers (16 points): `w` and `w_over_q` of the stages of length 4, 2 and 1.
pub(super) type PairRoots = [Lanes; 6];

/// What the transforms of one size multiply by.
pub(super) type Roots = super::super::roots::Roots<Constant, PairRoots>;

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

/// Those of a table of at least 16 points.
pub(super) fn roots_of(table: &Table) -> &'static Roots {
    static ROOTS: AllRoots<Constant, PairRoots> =
        [const { OnceLock::new() }; MAX_POINTS.trailing_zeros() as usize + 1];
    let [forward, inverse] = [FORWARD_LENGTH_4, INVERSE_LENGTH_4];
    let forward = |w: &[Constant]| in_lanes(w, &forward);
    let inverse = |w: &[Constant]| in_lanes(w, &inverse);
    ROOTS[table.points().trailing_zeros() as usize]
        .get_or_init(|| Roots::new(table, 8, Constant::new, forward, inverse))
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
