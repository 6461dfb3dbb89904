//! Negacyclic transforms in doubles: the stages between registers two at a time, the last two inside
//! pairs of registers.
//!
//! Bounds are in multiples of q: values stay between -2 and 2 forward and -3/4 and 3/4 inverse from pass to
//! pass; the last pass makes them residues.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::roots::{Constant, PairRoots, Roots};
use super::vector::*;
use crate::Table;

/// The fewest points that these transforms serve.
pub(super) const MIN_POINTS: usize = 8;

type Register = [u64; 4];

#[target_feature(enable = "avx2,fma")]
pub(super) fn forward(table: &Table, x: &mut [u64]) {
    let roots = Roots::of(table);
    let x = x.as_chunks_mut::<4>().0;
    for x in x.iter_mut() {
        let value = to_doubles(load(x));
        store_doubles(x, value);
    }
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
    for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&roots.forward_pairs) {
        forward_in_pair(x, w);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse(table: &Table, x: &mut [u64]) {
    let roots = Roots::of(table);
    let x = x.as_chunks_mut::<4>().0;
    for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&roots.inverse_pairs) {
        inverse_in_pair(x, w);
    }
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
#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse_window(table: &Table, x: &mut [u64], window: usize) {
    let roots = Roots::of(table);
    let x = x.as_chunks_mut::<4>().0;
    // A larger window contains the wanted one.
    let window = window.max(4) / 4;
    for (x, w) in x.as_chunks_mut::<2>().0.iter_mut().zip(&roots.inverse_pairs) {
        inverse_in_pair(x, w);
    }
    let mut len = 1;
    while 4 * len <= window {
        inverse_two_stages(roots, x, len);
        len *= 4;
    }
    if 2 * len <= window {
        inverse_stage(roots, x, len);
    }
    for i in 0..window {
        let mut sum = load_doubles(&x[i]);
        for block in (window..x.len()).step_by(window) {
            sum = reduce(_mm256_add_pd(sum, load_doubles(&x[block + i])));
        }
        store(&mut x[i], lift(mul_by(sum, factor(roots.scale))));
    }
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

#[target_feature(enable = "avx2,fma")]
fn forward_first_stage(roots: &Roots, x: &mut [Register]) {
    let w = factor(roots.forward[1]);
    let (upper, lower) = x.split_at_mut(x.len() / 2);
    for (u, v) in upper.iter_mut().zip(lower) {
        // From 0 to 1, so to 1.57.
        let ([a], [b]) = butterflies([load_doubles(u)], [load_doubles(v)], [w]);
        store_doubles(u, a);
        store_doubles(v, b);
    }
}

/// The stages of distance 2 `len` and `len` registers.
#[target_feature(enable = "avx2,fma")]
fn forward_two_stages(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (4 * len);
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = first + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.forward[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let [x0, x1, x2, x3] = [&*a, &*b, &*c, &*d].map(|x| load_doubles(x));
            // 0.51 and 2 to 1.14 and 2.63, then to 1.81.
            let ([x0, x1], [x2, x3]) = butterflies([reduce(x0), x1], [x2, x3], [w; 2]);
            let ([x0, x2], [x1, x3]) = butterflies([x0, x2], [x1, x3], [w_upper, w_lower]);
            store_doubles(a, x0);
            store_doubles(b, x1);
            store_doubles(c, x2);
            store_doubles(d, x3);
        }
    }
}

/// The stages of distance `len` and 2 `len` registers.
#[target_feature(enable = "avx2,fma")]
fn inverse_two_stages(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (4 * len);
    for (block, chunk) in x.chunks_exact_mut(4 * len).enumerate() {
        let i = first + block;
        let [w, w_upper, w_lower] = [i, 2 * i, 2 * i + 1].map(|i| factor(roots.inverse[i]));
        for (a, b, c, d) in quarters(chunk, len) {
            let [x0, x1, x2, x3] = [&*a, &*b, &*c, &*d].map(|x| load_doubles(x));
            // Sums to 1.5, then 3: differences times a root to 0.6, then 0.69.
            let ([x0, x2], [x1, x3]) = inverse_butterflies([x0, x2], [x1, x3], [w_upper, w_lower]);
            let ([x0, x1], [x2, x3]) = inverse_butterflies([x0, x1], [x2, x3], [w; 2]);
            store_doubles(a, reduce(x0));
            store_doubles(b, reduce(x1));
            store_doubles(c, x2);
            store_doubles(d, x3);
        }
    }
}

/// The stage of distance `len` registers.
#[target_feature(enable = "avx2,fma")]
fn inverse_stage(roots: &Roots, x: &mut [Register], len: usize) {
    let first = x.len() / (2 * len);
    for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
        let w = factor(roots.inverse[first + block]);
        let (upper, lower) = chunk.split_at_mut(len);
        for (u, v) in upper.iter_mut().zip(lower) {
            let ([a], [b]) = inverse_butterflies([load_doubles(u)], [load_doubles(v)], [w]);
            store_doubles(u, reduce(a));
            store_doubles(v, b);
        }
    }
}

/// The last stage and the factor 1/N.
#[target_feature(enable = "avx2,fma")]
fn inverse_last_stage(roots: &Roots, x: &mut [Register]) {
    let (scale, last) = (factor(roots.scale), factor(roots.last));
    let (upper, lower) = x.split_at_mut(x.len() / 2);
    for (u, v) in upper.iter_mut().zip(lower) {
        let ([a], [b]) = inverse_butterflies([load_doubles(u)], [load_doubles(v)], [last]);
        store(u, lift(mul_by(a, scale)));
        store(v, lift(b));
    }
}

/// The last two stages and the factor 1/N.
#[target_feature(enable = "avx2,fma")]
fn inverse_last_two_stages(roots: &Roots, x: &mut [Register]) {
    let (scale, last) = (factor(roots.scale), factor(roots.last));
    let w = [factor(roots.inverse[2]), factor(roots.inverse[3])];
    let len = x.len() / 4;
    for (a, b, c, d) in quarters(x, len) {
        let [x0, x1, x2, x3] = [&*a, &*b, &*c, &*d].map(|x| load_doubles(x));
        let ([x0, x2], [x1, x3]) = inverse_butterflies([x0, x2], [x1, x3], w);
        let ([x0, x1], [x2, x3]) = inverse_butterflies([x0, x1], [x2, x3], [last; 2]);
        store(a, lift(mul_by(x0, scale)));
        store(b, lift(mul_by(x1, scale)));
        store(c, lift(x2));
        store(d, lift(x3));
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
