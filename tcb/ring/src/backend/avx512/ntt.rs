//! Negacyclic transforms with lazy reduction (Harvey, JSC 2014): the stages between registers two at a
//! time, the last three inside pairs of registers.
//!
//! Values stay below 4q < 2^52 forward and below 2q inverse; the last pass makes them canonical.

use std::arch::x86_64::*;
use std::array::{from_fn, from_mut, from_ref};

use super::roots::{Constant, PairRoots, Roots};
use super::vector::*;
use crate::Table;
use crate::modulus::Q;

/// The fewest points that these transforms serve.
pub(super) const MIN_POINTS: usize = 16;

/// Pairs of registers in flight at a time: enough to hide the latency of a butterfly.
const PAIRS: usize = 4;

type Register = [u64; 8];

#[target_feature(enable = "avx512ifma")]
pub(super) fn forward(table: &Table, x: &mut [u64]) {
    let roots = Roots::of(table);
    let x = x.as_chunks_mut::<8>().0;
    // Distance between the points of a butterfly, in registers.
    let mut len = x.len() / 2;
    if len.trailing_zeros().is_multiple_of(2) {
        forward_first_stage(roots, x);
        len /= 2;
    }
    while len >= 2 {
        forward_two_stages(roots, x, len / 2);
        len /= 4;
    }
    let (groups, rest) = x.as_chunks_mut::<2>().0.as_chunks_mut::<PAIRS>();
    let (group_roots, rest_roots) = roots.forward_pairs.as_chunks::<PAIRS>();
    for (x, w) in groups.iter_mut().zip(group_roots) {
        forward_in_pairs(x, w);
    }
    for (x, w) in rest.iter_mut().zip(rest_roots) {
        forward_in_pairs(from_mut(x), from_ref(w));
    }
}

#[target_feature(enable = "avx512ifma")]
pub(super) fn inverse(table: &Table, x: &mut [u64]) {
    let roots = Roots::of(table);
    let x = x.as_chunks_mut::<8>().0;
    inverse_all_pairs(roots, x);
    let mut len = 1;
    while 8 * len <= x.len() {
        inverse_two_stages(roots, x, len);
        len *= 4;
    }
    if x.len() == 2 * len {
        inverse_last_stage(roots, x);
    } else {
        inverse_last_two_stages(roots, x);
    }
}

/// The lowest block of `window` points, from a sum over all blocks of that size.
#[target_feature(enable = "avx512ifma")]
pub(super) fn inverse_window(table: &Table, x: &mut [u64], window: usize) {
    let roots = Roots::of(table);
    let x = x.as_chunks_mut::<8>().0;
    // A larger window contains the wanted one.
    let window = window.max(8) / 8;
    inverse_all_pairs(roots, x);
    let mut len = 1;
    while 4 * len <= window {
        inverse_two_stages(roots, x, len);
        len *= 4;
    }
    if 2 * len <= window {
        inverse_stage(roots, x, len);
    }
    let scale = factor(roots.scale);
    for i in 0..window {
        // At most 2^13 values below 2q: no overflow.
        let mut sum = load(&x[i]);
        for block in (window..x.len()).step_by(window) {
            sum = _mm512_add_epi64(sum, load(&x[block + i]));
        }
        store(&mut x[i], mul_by_canonical(fold(sum), scale));
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

#[target_feature(enable = "avx512ifma")]
fn forward_first_stage(roots: &Roots, x: &mut [Register]) {
    let w = factor(roots.forward[1]);
    let (upper, lower) = x.split_at_mut(x.len() / 2);
    for (u, v) in upper.iter_mut().zip(lower) {
        let ([a], [b]) = butterflies([load(u)], [load(v)], [w]);
        store(u, a);
        store(v, b);
    }
}

/// The stages of distance 2 `len` and `len` registers.
#[target_feature(enable = "avx512ifma")]
fn forward_two_stages(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (4 * len);
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = first + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.forward[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let ([x0, x1], [x2, x3]) = butterflies([load(a), load(b)], [load(c), load(d)], [w; 2]);
            let ([x0, x2], [x1, x3]) = butterflies([x0, x2], [x1, x3], [w_upper, w_lower]);
            store(a, x0);
            store(b, x1);
            store(c, x2);
            store(d, x3);
        }
    }
}

/// The stages of distance `len` and 2 `len` registers.
#[target_feature(enable = "avx512ifma")]
fn inverse_two_stages(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (4 * len);
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

/// The stage of distance `len` registers.
#[target_feature(enable = "avx512ifma")]
fn inverse_stage(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (2 * len);
    for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
        let w = factor(roots.inverse[first + block]);
        let (upper, lower) = chunk.split_at_mut(len);
        for (u, v) in upper.iter_mut().zip(lower) {
            let ([a], [b]) = inverse_butterflies([load(u)], [load(v)], [w]);
            store(u, a);
            store(v, b);
        }
    }
}

/// The last stage and the factor 1/N.
#[target_feature(enable = "avx512ifma")]
fn inverse_last_stage(roots: &Roots, x: &mut [Register]) {
    let (scale, last) = (factor(roots.scale), factor(roots.last));
    let (upper, lower) = x.split_at_mut(x.len() / 2);
    for (u, v) in upper.iter_mut().zip(lower) {
        let ([a], [b]) = sums_and_differences([load(u)], [load(v)]);
        store(u, mul_by_canonical(a, scale));
        store(v, mul_by_canonical(b, last));
    }
}

/// The last two stages and the factor 1/N.
#[target_feature(enable = "avx512ifma")]
fn inverse_last_two_stages(roots: &Roots, x: &mut [Register]) {
    let (scale, last) = (factor(roots.scale), factor(roots.last));
    let w = [factor(roots.inverse[2]), factor(roots.inverse[3])];
    let len = x.len() / 4;
    for (a, b, c, d) in quarters(x, len) {
        let ([x0, x2], [x1, x3]) = inverse_butterflies([load(a), load(c)], [load(b), load(d)], w);
        let ([x0, x1], [x2, x3]) = sums_and_differences([x0, x1], [x2, x3]);
        store(a, mul_by_canonical(x0, scale));
        store(b, mul_by_canonical(x1, scale));
        store(c, mul_by_canonical(x2, last));
        store(d, mul_by_canonical(x3, last));
    }
}

/// Four registers at distances of `len`, `len` times.
#[inline]
fn quarters(
    x: &mut [Register],
    len: usize,
) -> impl Iterator<Item = (&mut Register, &mut Register, &mut Register, &mut Register)> {
    let (upper, lower) = x.split_at_mut(2 * len);
    let (a, b) = upper.split_at_mut(len);
    let (c, d) = lower.split_at_mut(len);
    a.iter_mut().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| (a, b, c, d))
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
    let a = a.map(|a| reduce_once(reduce_once(a, 2 * Q), Q));
    let b = b.map(|b| reduce_once(reduce_once(b, 2 * Q), Q));
    let to_first = _mm512_setr_epi64(0, 8, 1, 9, 4, 12, 5, 13);
    let to_second = _mm512_setr_epi64(2, 10, 3, 11, 6, 14, 7, 15);
    for (i, [first, second]) in x.iter_mut().enumerate() {
        store(first, _mm512_permutex2var_epi64(a[i], to_first, b[i]));
        store(second, _mm512_permutex2var_epi64(a[i], to_second, b[i]));
    }
}

#[target_feature(enable = "avx512ifma")]
fn inverse_all_pairs(roots: &Roots, x: &mut [Register]) {
    let (groups, rest) = x.as_chunks_mut::<2>().0.as_chunks_mut::<PAIRS>();
    let (group_roots, rest_roots) = roots.inverse_pairs.as_chunks::<PAIRS>();
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
