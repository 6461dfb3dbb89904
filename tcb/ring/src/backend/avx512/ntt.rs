//! Negacyclic transforms with lazy reduction (Harvey, JSC 2014): the stages between registers two at a
//! time, the last three inside pairs of registers.
//!
//! Values stay below 4q < 2^52 forward and below 2q inverse; the last pass makes them canonical. The mixed
//! transforms take the stages from some number of blocks to another. Their blocks have at least one register,
//! so all stages up to the mixed form lie between registers.

use std::arch::x86_64::*;
use std::array::{from_fn, from_mut, from_ref};

use super::entries::mul_ranks;
use super::roots::{Constant, PairRoots, Roots, roots_of};
use super::vector::*;
use crate::backend::roots::quarters;
use crate::modulus::Q;
use crate::table::Table;

/// The fewest points that these transforms serve.
const MIN_POINTS: usize = 16;

/// Pairs of registers in flight at a time: enough to hide the latency of a butterfly.
const PAIRS: usize = 4;

type Register = [u64; 8];

/// True if these transforms serve a mixed form of so many points in blocks of `block_len`.
pub(super) fn serves(points: usize, block_len: usize) -> bool {
    points >= MIN_POINTS && block_len >= 8
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn forward_mixed(table: &Table, x: &mut [u64], roots: usize) {
    forward_stages::<true>(roots_of(table), x.as_chunks_mut::<8>().0, 1, roots);
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn mixed_to_eval(table: &Table, x: &mut [u64], roots: usize) {
    let constants = roots_of(table);
    let x = x.as_chunks_mut::<8>().0;
    let registers = x.len();
    forward_stages::<false>(constants, x, roots, registers);
    forward_all_pairs(constants, x);
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn inverse_mixed(table: &Table, x: &mut [u64], roots: usize) {
    let constants = roots_of(table);
    let k = roots.trailing_zeros() as usize;
    let last = Last { scale: constants.scales[k], first: 1, roots: &constants.last_from_mixed[k..=k] };
    if roots > 1 {
        inverse_stages(constants, x.as_chunks_mut::<8>().0, roots, last);
    }
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn eval_to_mixed(table: &Table, x: &mut [u64], roots: usize) {
    let constants = roots_of(table);
    let scale = constants.scales[(x.len() / roots).trailing_zeros() as usize];
    let x = x.as_chunks_mut::<8>().0;
    let registers = x.len();
    inverse_all_pairs(&constants.inverse_pairs, x);
    if roots == registers {
        let scale = factor(scale);
        x.iter_mut().for_each(|x| store(x, mul_by_canonical(load(x), scale)));
    } else {
        let last = Last { scale, first: roots, roots: &constants.last_from_values[roots..2 * roots] };
        inverse_stages(constants, x, registers, last);
    }
}

/// True if [`mul_fold`] serves sums of so many residues: pairs of registers.
pub(super) fn folds(strip: usize) -> bool {
    strip >= 16
}

/// Points that are brought back together: they stay in the nearest cache, with what they are made of.
const TOGETHER: usize = 512;

/// A few roots at a time.
#[target_feature(enable = "avx512ifma")]
pub(super) fn mul_fold(table: &Table, out: &mut [u64], (a, b): (&[u64], &[u64]), rank: usize, x: &mut [u64]) {
    let constants = roots_of(table);
    let (strip, roots) = (out.len(), table.points() / out.len());
    let scale = constants.scales[strip.trailing_zeros() as usize];
    let count = (TOGETHER / strip).clamp(1, roots);
    let x = &mut x[..count * strip];
    let out = out.as_chunks_mut::<8>().0;
    out.fill([0; 8]);
    for j in (0..roots).step_by(count) {
        let of = j * rank * strip..(j + count) * rank * strip;
        mul_ranks(x, &a[of.clone()], &b[of], rank, strip);
        let x = x.as_chunks_mut::<8>().0;
        inverse_all_pairs(&constants.inverse_pairs[j * strip / 16..][..x.len() / 2], x);
        let first = roots + j;
        let last = Last { scale, first, roots: &constants.last_from_values[first..][..count] };
        let registers = x.len();
        inverse_stages(constants, x, registers, last);
        for x in x.chunks_exact(out.len()) {
            for (out, x) in out.iter_mut().zip(x) {
                let sum = _mm512_add_epi64(load(out), load(x));
                store(out, sum);
            }
        }
    }
    for out in out {
        let sum = reduce_once(fold(load(out)), Q);
        store(out, sum);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn factor(constant: Constant) -> Factor {
    (splat(constant.w), splat(constant.w_over_q))
}

/// (u + v w, u - v w), K times: values below 4q in and out.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn butterflies<const K: usize>(
    u: [__m512i; K],
    v: [__m512i; K],
    w: [Factor; K],
) -> ([__m512i; K], [__m512i; K]) {
    // From q to 3q, and the product from -q to q.
    let u = u.map(|u| _mm512_add_epi64(reduce_once(u, 2 * Q), splat(Q)));
    let t: [_; K] = from_fn(|i| mul_by(_mm512_setzero_si512(), v[i], w[i]));
    (from_fn(|i| _mm512_add_epi64(u[i], t[i])), from_fn(|i| _mm512_sub_epi64(u[i], t[i])))
}

/// (u + v, (u - v) w), K times: values below 2q in and out.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn inverse_butterflies<const K: usize>(
    u: [__m512i; K],
    v: [__m512i; K],
    w: [Factor; K],
) -> ([__m512i; K], [__m512i; K]) {
    let (sum, difference) = sums_and_differences(u, v);
    (sum.map(|s| reduce_once(s, 2 * Q)), from_fn(|i| mul_by(splat(Q), difference[i], w[i])))
}

/// (u + v, u - v) below 4q, of values below 2q.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_and_differences<const K: usize>(u: [__m512i; K], v: [__m512i; K]) -> ([__m512i; K], [__m512i; K]) {
    let lifted = u.map(|u| _mm512_add_epi64(u, splat(2 * Q)));
    (from_fn(|i| _mm512_add_epi64(u[i], v[i])), from_fn(|i| _mm512_sub_epi64(lifted[i], v[i])))
}

/// The stages between registers from `blocks` blocks to `end` blocks, at most one for each register; the
/// last one makes the values canonical if that is wanted.
#[target_feature(enable = "avx512ifma")]
fn forward_stages<const CANONICAL: bool>(roots: &Roots, x: &mut [Register], mut blocks: usize, end: usize) {
    if !(end / blocks).trailing_zeros().is_multiple_of(2) {
        if CANONICAL && 2 * blocks == end {
            return forward_stage::<true>(roots, x, blocks);
        }
        forward_stage::<false>(roots, x, blocks);
        blocks *= 2;
    }
    while 4 * blocks < end {
        forward_two_stages::<false>(roots, x, blocks);
        blocks *= 4;
    }
    if blocks < end {
        forward_two_stages::<CANONICAL>(roots, x, blocks);
    }
}

/// Values below 4q, or below q if CANONICAL, of values below 4q.
#[inline]
#[target_feature(enable = "avx512f")]
fn finish<const CANONICAL: bool>(x: __m512i) -> __m512i {
    if CANONICAL { reduce_once(reduce_once(x, 2 * Q), Q) } else { x }
}

/// The stage that halves each of `blocks` blocks.
#[target_feature(enable = "avx512ifma")]
fn forward_stage<const CANONICAL: bool>(roots: &Roots, x: &mut [Register], blocks: usize) {
    let len = x.len() / blocks / 2;
    for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
        let w = factor(roots.forward[blocks + block]);
        let (upper, lower) = chunk.split_at_mut(len);
        for (u, v) in upper.iter_mut().zip(lower) {
            let ([a], [b]) = butterflies([load(u)], [load(v)], [w]);
            store(u, finish::<CANONICAL>(a));
            store(v, finish::<CANONICAL>(b));
        }
    }
}

/// The stages that quarter each of `blocks` blocks.
#[target_feature(enable = "avx512ifma")]
fn forward_two_stages<const CANONICAL: bool>(roots: &Roots, x: &mut [Register], blocks: usize) {
    let len = x.len() / blocks / 4;
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = blocks + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.forward[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let ([x0, x1], [x2, x3]) = butterflies([load(a), load(b)], [load(c), load(d)], [w; 2]);
            let ([x0, x2], [x1, x3]) = butterflies([x0, x2], [x1, x3], [w_upper, w_lower]);
            store(a, finish::<CANONICAL>(x0));
            store(b, finish::<CANONICAL>(x1));
            store(c, finish::<CANONICAL>(x2));
            store(d, finish::<CANONICAL>(x3));
        }
    }
}

/// What the last stage of an inverse multiplies by: a factor for sums, and for each block its root times
/// that factor. `first` is the number of blocks that it leaves of all points, and of those at hand the first one's index.
struct Last<'a> {
    scale: Constant,
    first: usize,
    roots: &'a [Constant],
}

/// The stages between registers from `blocks` blocks to those of `last`, at least one stage.
#[target_feature(enable = "avx512ifma")]
fn inverse_stages(roots: &Roots, x: &mut [Register], blocks: usize, last: Last) {
    let (mut len, end) = (x.len() / blocks, x.len() / last.roots.len());
    while 8 * len <= end {
        inverse_two_stages(roots, x, len, last.first * (end / (4 * len)));
        len *= 4;
    }
    if 2 * len == end {
        inverse_last_stage(x, last);
    } else {
        inverse_last_two_stages(roots, x, last);
    }
}

/// The stages of distance `len` and 2 `len` registers; `first` is the index of the first block that they leave.
#[target_feature(enable = "avx512ifma")]
fn inverse_two_stages(roots: &Roots, x: &mut [Register], len: usize, first: usize) {
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = first + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.inverse[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let ([x0, x2], [x1, x3]) =
                inverse_butterflies([load(a), load(c)], [load(b), load(d)], [w_upper, w_lower]);
            let ([x0, x1], [x2, x3]) = inverse_butterflies([x0, x1], [x2, x3], [w; 2]);
            store(a, x0);
            store(b, x1);
            store(c, x2);
            store(d, x3);
        }
    }
}

#[target_feature(enable = "avx512ifma")]
fn inverse_last_stage(x: &mut [Register], last: Last) {
    let scale = factor(last.scale);
    let len = x.len() / last.roots.len() / 2;
    for (chunk, w) in x.chunks_exact_mut(2 * len).zip(last.roots) {
        let w = factor(*w);
        let (upper, lower) = chunk.split_at_mut(len);
        for (u, v) in upper.iter_mut().zip(lower) {
            let ([a], [b]) = sums_and_differences([load(u)], [load(v)]);
            store(u, mul_by_canonical(a, scale));
            store(v, mul_by_canonical(b, w));
        }
    }
}

#[target_feature(enable = "avx512ifma")]
fn inverse_last_two_stages(roots: &Roots, x: &mut [Register], last: Last) {
    let scale = factor(last.scale);
    let blocks = last.roots.len();
    let len = x.len() / blocks / 4;
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = 2 * (last.first + block);
        let inner = [factor(roots.inverse[i]), factor(roots.inverse[i + 1])];
        let w = factor(last.roots[block]);
        for (a, b, c, d) in quarters(chunk, len) {
            let ([x0, x2], [x1, x3]) = inverse_butterflies([load(a), load(c)], [load(b), load(d)], inner);
            let ([x0, x1], [x2, x3]) = sums_and_differences([x0, x1], [x2, x3]);
            store(a, mul_by_canonical(x0, scale));
            store(b, mul_by_canonical(x1, scale));
            store(c, mul_by_canonical(x2, w));
            store(d, mul_by_canonical(x3, w));
        }
    }
}

#[target_feature(enable = "avx512ifma")]
fn forward_all_pairs(roots: &Roots, x: &mut [Register]) {
    let (groups, rest) = x.as_chunks_mut::<2>().0.as_chunks_mut::<PAIRS>();
    let (group_roots, rest_roots) = roots.forward_pairs.as_chunks::<PAIRS>();
    for (x, w) in groups.iter_mut().zip(group_roots) {
        forward_in_pairs(x, w);
    }
    for (x, w) in rest.iter_mut().zip(rest_roots) {
        forward_in_pairs(from_mut(x), from_ref(w));
    }
}

/// The stages of length 4, 2 and 1 in K pairs of registers (a, b): each shuffle brings the first points
/// of all butterflies into one register and the second ones into the other.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn forward_in_pairs<const K: usize>(x: &mut [[Register; 2]; K], roots: &[PairRoots; K]) {
    let factors = |stage: usize| -> [Factor; K] {
        from_fn(|i| (load(&roots[i][2 * stage].0), load(&roots[i][2 * stage + 1].0)))
    };
    let a: [_; K] = from_fn(|i| load(&x[i][0]));
    let b: [_; K] = from_fn(|i| load(&x[i][1]));
    // a0-a3 b0-b3, a4-a7 b4-b7.
    let u = from_fn(|i| _mm512_shuffle_i64x2::<0x44>(a[i], b[i]));
    let v = from_fn(|i| _mm512_shuffle_i64x2::<0xee>(a[i], b[i]));
    let (a, b) = butterflies(u, v, factors(0));
    // a0 a1 b0 b1 a4 a5 b4 b5, a2 a3 b2 b3 a6 a7 b6 b7.
    let u = from_fn(|i| _mm512_shuffle_i64x2::<0x88>(a[i], b[i]));
    let v = from_fn(|i| _mm512_shuffle_i64x2::<0xdd>(a[i], b[i]));
    let (a, b) = butterflies(u, v, factors(1));
    // a0 a2 b0 b2 a4 a6 b4 b6, a1 a3 b1 b3 a5 a7 b5 b7.
    let u = from_fn(|i| _mm512_unpacklo_epi64(a[i], b[i]));
    let v = from_fn(|i| _mm512_unpackhi_epi64(a[i], b[i]));
    let (a, b) = butterflies(u, v, factors(2));
    let (a, b) = (a.map(|a| finish::<true>(a)), b.map(|b| finish::<true>(b)));
    let to_first = _mm512_setr_epi64(0, 8, 1, 9, 4, 12, 5, 13);
    let to_second = _mm512_setr_epi64(2, 10, 3, 11, 6, 14, 7, 15);
    for (i, [first, second]) in x.iter_mut().enumerate() {
        store(first, _mm512_permutex2var_epi64(a[i], to_first, b[i]));
        store(second, _mm512_permutex2var_epi64(a[i], to_second, b[i]));
    }
}

#[target_feature(enable = "avx512ifma")]
fn inverse_all_pairs(roots: &[PairRoots], x: &mut [Register]) {
    let (groups, rest) = x.as_chunks_mut::<2>().0.as_chunks_mut::<PAIRS>();
    let (group_roots, rest_roots) = roots.as_chunks::<PAIRS>();
    for (x, w) in groups.iter_mut().zip(group_roots) {
        inverse_in_pairs(x, w);
    }
    for (x, w) in rest.iter_mut().zip(rest_roots) {
        inverse_in_pairs(from_mut(x), from_ref(w));
    }
}

/// The stages of length 1, 2 and 4 in K pairs of registers: [`forward_in_pairs`] backwards.
#[inline]
#[target_feature(enable = "avx512ifma")]
fn inverse_in_pairs<const K: usize>(x: &mut [[Register; 2]; K], roots: &[PairRoots; K]) {
    let factors = |stage: usize| -> [Factor; K] {
        from_fn(|i| (load(&roots[i][2 * stage].0), load(&roots[i][2 * stage + 1].0)))
    };
    let even = _mm512_setr_epi64(0, 2, 8, 10, 4, 6, 12, 14);
    let odd = _mm512_setr_epi64(1, 3, 9, 11, 5, 7, 13, 15);
    let a: [_; K] = from_fn(|i| load(&x[i][0]));
    let b: [_; K] = from_fn(|i| load(&x[i][1]));
    // a0 a2 b0 b2 a4 a6 b4 b6, a1 a3 b1 b3 a5 a7 b5 b7.
    let u = from_fn(|i| _mm512_permutex2var_epi64(a[i], even, b[i]));
    let v = from_fn(|i| _mm512_permutex2var_epi64(a[i], odd, b[i]));
    let (a, b) = inverse_butterflies(u, v, factors(2));
    // a0 a1 b0 b1 a4 a5 b4 b5, a2 a3 b2 b3 a6 a7 b6 b7.
    let u = from_fn(|i| _mm512_unpacklo_epi64(a[i], b[i]));
    let v = from_fn(|i| _mm512_unpackhi_epi64(a[i], b[i]));
    let (a, b) = inverse_butterflies(u, v, factors(1));
    // a0 a1 b0 b1 a2 a3 b2 b3, a4 a5 b4 b5 a6 a7 b6 b7.
    let u = from_fn(|i| _mm512_shuffle_i64x2::<0x44>(a[i], b[i]));
    let v = from_fn(|i| _mm512_shuffle_i64x2::<0xee>(a[i], b[i]));
    let (a, b) = inverse_butterflies(u, v, factors(0));
    for (i, [first, second]) in x.iter_mut().enumerate() {
        store(first, _mm512_shuffle_i64x2::<0x88>(a[i], b[i]));
        store(second, _mm512_shuffle_i64x2::<0xdd>(a[i], b[i]));
    }
}
