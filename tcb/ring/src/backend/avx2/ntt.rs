//! Negacyclic transforms in doubles: the stages between registers two at a time, the last two inside
//! pairs of registers. The mixed transforms take the stages from some number of blocks to another. Their
//! blocks have at least two registers, so all stages up to the mixed form, and the next one, lie between
//! registers.
//!
//! Bounds are in multiples of q: values stay between -2 and 2 forward and -3/4 and 3/4 inverse from pass to
//! pass; the first pass takes residues and the last one gives residues.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::roots::{Constant, PairRoots, Roots, roots_of};
use super::vector::*;
use crate::backend::roots::quarters;
use crate::table::Table;

/// The fewest points that these transforms serve.
const MIN_POINTS: usize = 8;

type Register = [u64; 4];

/// True if these transforms serve a mixed form of so many points in blocks of `block_len`.
pub(super) fn serves(points: usize, block_len: usize) -> bool {
    points >= MIN_POINTS && block_len >= 8
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn forward_mixed(table: &Table, x: &mut [u64], roots: usize) {
    forward_stages::<true>(roots_of(table), x.as_chunks_mut::<4>().0, 1, roots);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mixed_to_eval(table: &Table, x: &mut [u64], roots: usize) {
    let constants = roots_of(table);
    let x = x.as_chunks_mut::<4>().0;
    let registers = x.len();
    forward_stages::<false>(constants, x, roots, registers);
    for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&constants.forward_pairs) {
        forward_in_pair(x, w);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse_mixed(table: &Table, x: &mut [u64], roots: usize) {
    let constants = roots_of(table);
    let k = roots.trailing_zeros() as usize;
    let last = Last { scale: constants.scales[k], roots: &constants.last_from_mixed[k..=k] };
    if roots > 1 {
        inverse_stages::<true>(constants, x.as_chunks_mut::<4>().0, roots, last);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn eval_to_mixed(table: &Table, x: &mut [u64], roots: usize) {
    let constants = roots_of(table);
    let scale = constants.scales[(x.len() / roots).trailing_zeros() as usize];
    let last = Last { scale, roots: &constants.last_from_values[roots..2 * roots] };
    let x = x.as_chunks_mut::<4>().0;
    let registers = x.len();
    for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&constants.inverse_pairs) {
        inverse_in_pair(x, w);
    }
    inverse_stages::<false>(constants, x, registers, last);
}

#[inline]
#[target_feature(enable = "avx2")]
fn factor(constant: Constant) -> Factor {
    (_mm256_set1_pd(constant.w), _mm256_set1_pd(constant.w_over_q))
}

/// (u + v w, u - v w), K times: grows by 1/2 + |v|/16; |v| < 4.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn butterflies<const K: usize>(
    u: [__m256d; K],
    v: [__m256d; K],
    w: [Factor; K],
) -> ([__m256d; K], [__m256d; K]) {
    let t: [_; K] = from_fn(|i| mul_by(v[i], w[i]));
    (from_fn(|i| _mm256_add_pd(u[i], t[i])), from_fn(|i| _mm256_sub_pd(u[i], t[i])))
}

/// (u + v, (u - v) w), K times; |u - v| < 4.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_butterflies<const K: usize>(
    u: [__m256d; K],
    v: [__m256d; K],
    w: [Factor; K],
) -> ([__m256d; K], [__m256d; K]) {
    (from_fn(|i| _mm256_add_pd(u[i], v[i])), from_fn(|i| mul_by(_mm256_sub_pd(u[i], v[i]), w[i])))
}

/// Doubles from the place of residues if RESIDUES, else of doubles.
#[inline]
#[target_feature(enable = "avx2")]
fn start<const RESIDUES: bool>(x: &Register) -> __m256d {
    if RESIDUES { to_doubles(load(x)) } else { load_doubles(x) }
}

/// Stores residues if RESIDUES, else doubles; for values between -8 and 8.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn finish<const RESIDUES: bool>(x: &mut Register, value: __m256d) {
    if RESIDUES { store(x, to_residues(value)) } else { store_doubles(x, value) }
}

/// The stages between registers from `blocks` blocks to `end` blocks, of residues; the result is residues or
/// doubles between -2 and 2. With `RESIDUES` there may be no stage.
#[target_feature(enable = "avx2,fma")]
fn forward_stages<const RESIDUES: bool>(roots: &Roots, x: &mut [Register], blocks: usize, end: usize) {
    let stages = (end / blocks).trailing_zeros();
    let mut blocks = match (stages, stages % 2) {
        (0, _) => return,
        (1, _) => return forward_stage::<RESIDUES>(roots, x, blocks),
        (2, _) => return forward_two_stages::<true, RESIDUES>(roots, x, blocks),
        (_, 1) => {
            forward_stage::<false>(roots, x, blocks);
            2 * blocks
        }
        _ => {
            forward_two_stages::<true, false>(roots, x, blocks);
            4 * blocks
        }
    };
    while 4 * blocks < end {
        forward_two_stages::<false, false>(roots, x, blocks);
        blocks *= 4;
    }
    forward_two_stages::<false, RESIDUES>(roots, x, blocks);
}

/// The stage that halves each of `blocks` blocks of residues, to residues or doubles.
#[target_feature(enable = "avx2,fma")]
fn forward_stage<const TO_RESIDUES: bool>(roots: &Roots, x: &mut [Register], blocks: usize) {
    let len = x.len() / blocks / 2;
    for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
        let w = factor(roots.forward[blocks + block]);
        let (upper, lower) = chunk.split_at_mut(len);
        for (u, v) in upper.iter_mut().zip(lower) {
            // From 0 to 1, so to 1.57.
            let ([a], [b]) = butterflies([start::<true>(u)], [start::<true>(v)], [w]);
            finish::<TO_RESIDUES>(u, a);
            finish::<TO_RESIDUES>(v, b);
        }
    }
}

/// The stages that quarter each of `blocks` blocks, from residues or doubles to residues or doubles.
#[target_feature(enable = "avx2,fma")]
fn forward_two_stages<const FROM_RESIDUES: bool, const TO_RESIDUES: bool>(
    roots: &Roots,
    x: &mut [Register],
    blocks: usize,
) {
    let len = x.len() / blocks / 4;
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = blocks + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.forward[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let [x0, x1, x2, x3] = [&*a, &*b, &*c, &*d].map(|x| start::<FROM_RESIDUES>(x));
            // 0.51 and 2 to 1.14 and 2.63, then to 1.81.
            let ([x0, x1], [x2, x3]) = butterflies([reduce(x0), x1], [x2, x3], [w; 2]);
            let ([x0, x2], [x1, x3]) = butterflies([x0, x2], [x1, x3], [w_upper, w_lower]);
            finish::<TO_RESIDUES>(a, x0);
            finish::<TO_RESIDUES>(b, x1);
            finish::<TO_RESIDUES>(c, x2);
            finish::<TO_RESIDUES>(d, x3);
        }
    }
}

/// What the last stage of an inverse multiplies by: a factor for sums, and for each block its root times
/// that factor.
struct Last<'a> {
    scale: Constant,
    roots: &'a [Constant],
}

/// The stages between registers from `blocks` blocks to those of `last`, at least one stage: from residues
/// or from doubles between -3/4 and 3/4, to residues.
#[target_feature(enable = "avx2,fma")]
fn inverse_stages<const FROM_RESIDUES: bool>(roots: &Roots, x: &mut [Register], blocks: usize, last: Last) {
    let (mut len, end) = (x.len() / blocks, x.len() / last.roots.len());
    match end / len {
        2 => return inverse_last_stage::<FROM_RESIDUES>(x, last),
        4 => return inverse_last_two_stages::<FROM_RESIDUES>(roots, x, last),
        _ => inverse_two_stages::<FROM_RESIDUES>(roots, x, len),
    }
    len *= 4;
    while 8 * len <= end {
        inverse_two_stages::<false>(roots, x, len);
        len *= 4;
    }
    if 2 * len == end {
        inverse_last_stage::<false>(x, last);
    } else {
        inverse_last_two_stages::<false>(roots, x, last);
    }
}

/// The stages of distance `len` and 2 `len` registers, from residues or doubles.
#[target_feature(enable = "avx2,fma")]
fn inverse_two_stages<const FROM_RESIDUES: bool>(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (4 * len);
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = first + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.inverse[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let [x0, x1, x2, x3] = [&*a, &*b, &*c, &*d].map(|x| start::<FROM_RESIDUES>(x));
            // Sums to 1.5, then 3: differences times a root to 0.6, then 0.69. Of residues: sums to 2, then
            // 4, differences times a root to 0.57, then 0.63.
            let ([x0, x2], [x1, x3]) = inverse_butterflies([x0, x2], [x1, x3], [w_upper, w_lower]);
            let ([x0, x1], [x2, x3]) = inverse_butterflies([x0, x1], [x2, x3], [w; 2]);
            store_doubles(a, reduce(x0));
            store_doubles(b, reduce(x1));
            store_doubles(c, x2);
            store_doubles(d, x3);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_last_stage<const FROM_RESIDUES: bool>(x: &mut [Register], last: Last) {
    let scale = factor(last.scale);
    let len = x.len() / last.roots.len() / 2;
    for (chunk, w) in x.chunks_exact_mut(2 * len).zip(last.roots) {
        let w = factor(*w);
        let (upper, lower) = chunk.split_at_mut(len);
        for (u, v) in upper.iter_mut().zip(lower) {
            let ([a], [b]) =
                inverse_butterflies([start::<FROM_RESIDUES>(u)], [start::<FROM_RESIDUES>(v)], [w]);
            store(u, lift(mul_by(a, scale)));
            store(v, lift(b));
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_last_two_stages<const FROM_RESIDUES: bool>(roots: &Roots, x: &mut [Register], last: Last) {
    let scale = factor(last.scale);
    let blocks = last.roots.len();
    let len = x.len() / blocks / 4;
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = 2 * (blocks + block);
        let inner = [factor(roots.inverse[i]), factor(roots.inverse[i + 1])];
        let w = factor(last.roots[block]);
        for (a, b, c, d) in quarters(chunk, len) {
            let [x0, x1, x2, x3] = [&*a, &*b, &*c, &*d].map(|x| start::<FROM_RESIDUES>(x));
            // Sums stay below 4, also of residues.
            let ([x0, x2], [x1, x3]) = inverse_butterflies([x0, x2], [x1, x3], inner);
            let ([x0, x1], [x2, x3]) = inverse_butterflies([x0, x1], [x2, x3], [w; 2]);
            store(a, lift(mul_by(x0, scale)));
            store(b, lift(mul_by(x1, scale)));
            store(c, lift(x2));
            store(d, lift(x3));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn pair_factors(roots: &PairRoots) -> [Factor; 2] {
    let [w2, over2, w1, over1] = roots.map(|[a, b, c, d]| _mm256_setr_pd(a, b, c, d));
    [(w2, over2), (w1, over1)]
}

/// The stages of length 2 and 1 in a pair of registers (a, b): each shuffle brings the first points of
/// all butterflies into one register and the second ones into the other.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_in_pair([first, second]: &mut [Register; 2], roots: &PairRoots) {
    let [w2, w1] = pair_factors(roots);
    let (a, b) = (load_doubles(first), load_doubles(second));
    // a0 a1 b0 b1, a2 a3 b2 b3.
    let (u, v) = (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b));
    let ([u], [v]) = butterflies([u], [v], [w2]);
    // a0 a2 b0 b2, a1 a3 b1 b3.
    let (u, v) = (_mm256_unpacklo_pd(u, v), _mm256_unpackhi_pd(u, v));
    // 2 to 2.63, then to 3.3.
    let ([u], [v]) = butterflies([u], [v], [w1]);
    let (u, v) = (to_residues(u), to_residues(v));
    let (u, v) = (_mm256_unpacklo_epi64(u, v), _mm256_unpackhi_epi64(u, v));
    store(first, _mm256_permute2x128_si256::<0x20>(u, v));
    store(second, _mm256_permute2x128_si256::<0x31>(u, v));
}

/// The stages of length 1 and 2 in a pair of registers: [`forward_in_pair`] backwards.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_in_pair([first, second]: &mut [Register; 2], roots: &PairRoots) {
    let [w2, w1] = pair_factors(roots);
    let (a, b) = (to_doubles(load(first)), to_doubles(load(second)));
    let (u, v) = (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b));
    let (u, v) = (_mm256_unpacklo_pd(u, v), _mm256_unpackhi_pd(u, v));
    let ([u], [v]) = inverse_butterflies([u], [v], [w1]);
    let (u, v) = (_mm256_unpacklo_pd(u, v), _mm256_unpackhi_pd(u, v));
    // Sums of residues to 2, then 4: differences times a root to 0.57, then 0.63.
    let ([u], [v]) = inverse_butterflies([u], [v], [w2]);
    let u = reduce(u);
    store_doubles(first, _mm256_permute2f128_pd::<0x20>(u, v));
    store_doubles(second, _mm256_permute2f128_pd::<0x31>(u, v));
}
