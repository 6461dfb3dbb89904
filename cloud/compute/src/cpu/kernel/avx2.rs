//! AVX2 with FMA. A panel holds residues as doubles, which are exact below 2^53, and a multiply-add gives
//! both halves of a product (Emmart, Zheng and Weems, "Faster modular exponentiation using double
//! precision floating point arithmetic on the GPU", ARITH 2018): adding 2^103 rounds x y to a multiple
//! r 2^51, whose r can be read off the bits; the rest x y - r 2^51 is exact and lies within 2^50 of zero.
//! A sum holds the r and the rests of its lanes as 64-bit integers.

use std::arch::x86_64::*;

use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES, Q};
use bytemuck::cast;

use super::super::ahead::Ahead;
use super::{Kernel, PACE, Pair, Place, Start, Sum, spread};

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// None where an instruction is missing.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

impl Kernel for Avx2 {
    const NAME: &'static str = "avx2";
    // 8 accumulators, 2 columns, 2 constants, 3 temporaries of 16 registers.
    const ROWS: usize = 4;
    const COLS: usize = 1;

    fn load(self, dst: &mut [Lanes], width: usize, stride: usize, src: &[Lanes]) {
        // SAFETY: `self` is proof of the features.
        unsafe { load(dst, width, stride, src) }
    }

    fn unpack(self, dst: &mut [Lanes], width: usize, stride: usize, src: &[u8]) {
        // SAFETY: `self` is proof of the features.
        unsafe { unpack(dst, width, stride, src) }
    }

    fn tile<const M: usize, const N: usize>(
        self,
        a: &[Pair<M>],
        b: &[Pair<N>],
        start: Start<'_, M, N>,
        sum: &mut [[Sum; N]; M],
        ahead: &mut Ahead<'_>,
    ) {
        if start.fresh {
            *sum = [[Sum::ZERO; N]; M];
        }
        for j in 0..N {
            // SAFETY: `self` is proof of the features.
            unsafe {
                tile::<M, N, 0>(a, b, &start, j, sum, ahead);
                tile::<M, N, 1>(a, b, &start, j, sum, ahead);
            }
        }
    }

    fn norms<const M: usize>(self, a: &[Pair<M>], sum: &mut [Sum; M], fresh: bool) {
        if fresh {
            *sum = [Sum::ZERO; M];
        }
        // SAFETY: `self` is proof of the features.
        unsafe {
            norms::<M, 0>(a, sum);
            norms::<M, 1>(a, sum);
        }
    }

    fn dot<const M: usize>(self, a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]) {
        // SAFETY: `self` is proof of the features.
        unsafe {
            dot::<M, 0>(a, b, sum);
            dot::<M, 1>(a, b, sum);
        }
    }

    fn finish<const M: usize, const N: usize>(self, sum: &[[Sum; N]; M], place: Place<'_>) {
        // SAFETY: `self` is proof of the features.
        unsafe { finish(sum, place) }
    }

    fn fold(self, sum: &[Sum], out: &mut [u64]) {
        // SAFETY: `self` is proof of the features.
        unsafe { fold(sum, out) }
    }
}

/// Rounds to multiples of 2^51: a double in [2^103, 2^104) has that last place.
const ROUND: f64 = (1u128 << 103) as f64;
/// Keeps the rest positive and its last place at 1, a multiple of 2^51 so that sums stay exact.
const BIAS: f64 = 3.0 * (1u64 << 51) as f64;

#[inline]
#[target_feature(enable = "avx2")]
fn half<const H: usize>(x: &Lanes) -> __m256d {
    cast::<[u64; 8], [__m256d; 2]>(x.0)[H]
}

#[inline]
#[target_feature(enable = "avx2")]
fn ints<const H: usize>(x: &Lanes) -> __m256i {
    cast::<[u64; 8], [__m256i; 2]>(x.0)[H]
}

#[inline]
#[target_feature(enable = "avx2")]
fn put(low: __m256i, high: __m256i) -> Lanes {
    Lanes(cast([low, high]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn set1(x: u64) -> __m256i {
    _mm256_set1_epi64x(x as i64)
}

/// (r, rest) + x y, each with the bits of a constant that [`unbias`] takes away.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul_add(r: &mut __m256i, rest: &mut __m256i, x: __m256d, y: __m256d) {
    let round = _mm256_fmadd_pd(x, y, _mm256_set1_pd(ROUND));
    let minus = _mm256_sub_pd(_mm256_set1_pd(ROUND + BIAS), round);
    let low = _mm256_fmadd_pd(x, y, minus);
    *r = _mm256_add_epi64(*r, cast(round));
    *rest = _mm256_add_epi64(*rest, cast(low));
}

/// Takes away the bits that `count` calls of [`mul_add`] added to zero, modulo 2^64.
#[inline]
#[target_feature(enable = "avx2")]
fn unbias(r: __m256i, rest: __m256i, count: usize) -> [__m256i; 2] {
    let all = |x: f64| set1(x.to_bits().wrapping_mul(count as u64));
    [_mm256_sub_epi64(r, all(ROUND)), _mm256_sub_epi64(rest, all(BIAS))]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_to<const H: usize>(sum: &mut Sum, [r, rest]: [__m256i; 2]) {
    for (part, x) in sum.0.iter_mut().zip([r, rest]) {
        let mut halves: [__m256i; 2] = cast(part.0);
        halves[H] = _mm256_add_epi64(halves[H], x);
        *part = Lanes(cast(halves));
    }
}

/// The doubles of four integers below 2^50.
#[inline]
#[target_feature(enable = "avx2")]
fn to_double(x: __m256i) -> __m256i {
    const TWO52: f64 = (1u64 << 52) as f64;
    let with_exponent = _mm256_or_si256(x, set1(TWO52.to_bits()));
    cast(_mm256_sub_pd(cast(with_exponent), _mm256_set1_pd(TWO52)))
}

#[target_feature(enable = "avx2")]
fn load(dst: &mut [Lanes], width: usize, stride: usize, src: &[Lanes]) {
    let mask = set1((1 << 50) - 1);
    spread(dst, width, stride, src, |dst, src| {
        let (low, high) = (_mm256_and_si256(ints::<0>(src), mask), _mm256_and_si256(ints::<1>(src), mask));
        *dst = put(to_double(low), to_double(high));
    });
}

#[target_feature(enable = "avx2")]
fn unpack(dst: &mut [Lanes], width: usize, stride: usize, src: &[u8]) {
    let (units, _) = src.as_chunks::<PACKED_BYTES_PER_LANES>();
    spread(dst, width, stride, units, |dst, unit| {
        let (low, high) = unit.split_at(25);
        *dst = put(to_double(unpack_half(low)), to_double(unpack_half(high)));
    });
}

/// Four residues from 25 bytes: residue l begins in byte 25 l / 4.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack_half(bytes: &[u8]) -> __m256i {
    let mut parts = [[0; 16]; 2];
    parts[0].copy_from_slice(&bytes[..16]);
    parts[1].copy_from_slice(&bytes[9..25]);
    // Bytes 0 and 6 of the first part; bytes 12 and 18, which are 3 and 9 of the second.
    let order = _mm256_setr_epi8(
        0, 1, 2, 3, 4, 5, 6, -1, 6, 7, 8, 9, 10, 11, 12, -1, //
        3, 4, 5, 6, 7, 8, 9, -1, 9, 10, 11, 12, 13, 14, 15, -1,
    );
    let windows = _mm256_shuffle_epi8(cast(parts), order);
    let shifted = _mm256_srlv_epi64(windows, _mm256_setr_epi64x(0, 2, 4, 6));
    _mm256_and_si256(shifted, set1((1 << 50) - 1))
}

#[target_feature(enable = "avx2,fma")]
fn tile<const M: usize, const N: usize, const H: usize>(
    a: &[Pair<M>],
    b: &[Pair<N>],
    start: &Start<'_, M, N>,
    j: usize,
    sum: &mut [[Sum; N]; M],
    ahead: &mut Ahead<'_>,
) {
    let mut r = [_mm256_setzero_si256(); M];
    let mut rest = r;
    for (a, b) in a.chunks(PACE).zip(b.chunks(PACE)) {
        if H == 0 {
            ahead.advance(a.len());
        }
        for (a, b) in a.iter().zip(b) {
            let (y1, y2) = (half::<H>(&b[0][j]), half::<H>(&b[1][j]));
            for i in 0..M {
                let left = _mm256_add_pd(y2, half::<H>(&a[0][i]));
                let right = _mm256_add_pd(y1, half::<H>(&a[1][i]));
                mul_add(&mut r[i], &mut rest[i], left, right);
            }
        }
    }
    for i in 0..M {
        let [r, rest] = unbias(r[i], rest[i], a.len().min(b.len()));
        let terms = _mm256_add_epi64(ints::<H>(&start.rows[i]), ints::<H>(&start.cols[j]));
        add_to::<H>(&mut sum[i][j], [r, _mm256_add_epi64(rest, terms)]);
    }
}

#[target_feature(enable = "avx2,fma")]
fn norms<const M: usize, const H: usize>(a: &[Pair<M>], sum: &mut [Sum; M]) {
    let mut r = [_mm256_setzero_si256(); M];
    let mut rest = r;
    for a in a {
        for i in 0..M {
            mul_add(&mut r[i], &mut rest[i], half::<H>(&a[0][i]), half::<H>(&a[1][i]));
        }
    }
    for i in 0..M {
        add_to::<H>(&mut sum[i], unbias(r[i], rest[i], a.len()));
    }
}

#[target_feature(enable = "avx2,fma")]
fn dot<const M: usize, const H: usize>(a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]) {
    let mut r = [_mm256_setzero_si256(); M];
    let mut rest = r;
    for (a, b) in a.iter().zip(b) {
        let y = half::<H>(b);
        for i in 0..M {
            mul_add(&mut r[i], &mut rest[i], half::<H>(&a[i]), y);
        }
    }
    for i in 0..M {
        if H == 0 {
            sum[i] = Sum::ZERO;
        }
        add_to::<H>(&mut sum[i], unbias(r[i], rest[i], a.len().min(b.len())));
    }
}

#[target_feature(enable = "avx2")]
fn finish<const M: usize, const N: usize>(sum: &[[Sum; N]; M], place: Place<'_>) {
    for (i, sum) in sum.iter().enumerate() {
        for (j, sum) in sum.iter().enumerate() {
            let out = &mut place.out[i * place.row_stride + j];
            let zero = Lanes([0; 8]);
            let start = if place.add { &*out } else { &zero };
            let [r, rest] = &sum.0;
            let low = reduce(ints::<0>(r), _mm256_add_epi64(ints::<0>(rest), ints::<0>(start)));
            let high = reduce(ints::<1>(r), _mm256_add_epi64(ints::<1>(rest), ints::<1>(start)));
            *out = put(low, high);
        }
    }
}

/// 2^51 r + rest modulo q, for r < 2^60, |rest| < 2^60.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce(r: __m256i, rest: __m256i) -> __m256i {
    let mut x = rest;
    // r = high 2^35 + low; 2^51 low = 2 (2^14 - 1) low and 2^86 high = (2^14 - 1 - 2^36) high modulo q.
    let (low, high) = (_mm256_and_si256(r, set1((1 << 35) - 1)), _mm256_srli_epi64::<35>(r));
    x = _mm256_add_epi64(x, _mm256_slli_epi64::<15>(low));
    x = _mm256_sub_epi64(x, _mm256_slli_epi64::<1>(low));
    x = _mm256_add_epi64(x, _mm256_slli_epi64::<14>(high));
    x = _mm256_sub_epi64(x, high);
    x = _mm256_sub_epi64(x, _mm256_slli_epi64::<36>(high));
    // |x| < 2^61 + 2^60 + 2^50: a multiple of q makes it positive, a fold brings it below 2q.
    x = fold_top(_mm256_add_epi64(x, set1(Q << 12)));
    let less = _mm256_sub_epi64(x, set1(Q));
    // The sign of the difference selects.
    cast(_mm256_blendv_pd(cast(less), cast(x), cast(less)))
}

/// x below 2^64 to less than 2^50 + 2^28, the same modulo q: 2^50 = 2^14 - 1.
#[inline]
#[target_feature(enable = "avx2")]
fn fold_top(x: __m256i) -> __m256i {
    let (low, high) = (_mm256_and_si256(x, set1((1 << 50) - 1)), _mm256_srli_epi64::<50>(x));
    _mm256_add_epi64(low, _mm256_sub_epi64(_mm256_slli_epi64::<14>(high), high))
}

#[target_feature(enable = "avx2")]
fn fold(sum: &[Sum], out: &mut [u64]) {
    let zero = _mm256_setzero_si256();
    let part = |sums: &[Sum], index: usize| {
        let x = std::array::from_fn(|i| sums.get(i).map_or(zero, |sum| add_halves(&sum.0[index])));
        add_lanes(x)
    };
    for (out, sums) in out.chunks_mut(4).zip(sum.chunks(4)) {
        // r < 2^63, |rest| < 2^62.
        let r = fold_top(part(sums, 0));
        let rest = fold_top(_mm256_add_epi64(part(sums, 1), set1(Q << 12)));
        let values: [u64; 4] = cast(reduce(r, rest));
        out.copy_from_slice(&values[..out.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_halves(x: &Lanes) -> __m256i {
    _mm256_add_epi64(ints::<0>(x), ints::<1>(x))
}

/// In lane i the sum over the lanes of `x[i]`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(x: [__m256i; 4]) -> __m256i {
    let pairs = |a, b| _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (low, high) = (pairs(x[0], x[1]), pairs(x[2], x[3]));
    let even = _mm256_permute2x128_si256::<0x20>(low, high);
    let odd = _mm256_permute2x128_si256::<0x31>(low, high);
    _mm256_add_epi64(even, odd)
}
