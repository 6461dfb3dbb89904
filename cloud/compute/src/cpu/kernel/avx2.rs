//! AVX2 with FMA. Residues are packed as doubles, which are exact below 2^53, and a multiply-add gives
//! both halves of a product (Emmart, Zheng and Weems, "Faster modular exponentiation using double
//! precision floating point arithmetic on the GPU", ARITH 2018): adding 2^103 rounds x y to a multiple
//! r 2^51, whose r can be read off the bits; the rest x y - r 2^51 is exact and lies within 2^50 of zero.
//! A sum holds the r and the rests of its lanes as 64-bit integers.

use std::arch::x86_64::*;

use blindsmith_ring::{Lanes, Q};
use bytemuck::cast;

use super::{Kernel, MASK50, MAX_DEPTH, Tile, by_size, spread};

// For `reduce`: sums of r stay below 2^60, of rests within 2^60.
const _: () = assert!(MAX_DEPTH <= 1 << 10);

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// None where an instruction is missing.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

const ROWS: usize = 4;

impl Kernel for Avx2 {
    const NAME: &'static str = "avx2";
    // One half of the columns at a time: 8 accumulators, a column, an entry, 2 constants, 3 temporaries of 16
    // registers.
    const ROWS: usize = ROWS;
    const COLUMNS: usize = 8;

    fn entry(self, x: u64) -> u64 {
        // Exact below 2^50.
        (x as f64).to_bits()
    }

    fn load(self, places: &mut [Lanes], stride: usize, residues: &[u64]) {
        // SAFETY: `self` is proof of the features.
        unsafe { load(places, stride, residues) }
    }

    fn tile(self, a: &[u64], b: &[Lanes], tile: Tile<'_, '_>) {
        let a = a.as_chunks::<ROWS>().0;
        let Tile { rows, at, width, add } = tile;
        // SAFETY: `self` is proof of the features.
        unsafe {
            let low = Tile { rows: &mut *rows, at, width: width.min(4), add };
            by_size!(low, sums(a, b, low), 0, 1 2 3 4);
            if width > 4 {
                let high = Tile { rows, at: at + 4, width: width - 4, add };
                by_size!(high, sums(a, b, high), 1, 1 2 3 4);
            }
        }
    }
}

/// Rounds to multiples of 2^51: a double in [2^103, 2^104) has that last place.
const ROUND: f64 = (1u128 << 103) as f64;
/// Keeps the rest positive and its last place at 1, a multiple of 2^51 so that sums stay exact.
const BIAS: f64 = 3.0 * (1u64 << 51) as f64;

#[inline]
#[target_feature(enable = "avx2")]
fn set1(x: u64) -> __m256i {
    _mm256_set1_epi64x(x as i64)
}

/// The doubles of four integers, taken modulo 2^50.
#[inline]
#[target_feature(enable = "avx2")]
fn to_double(x: __m256i) -> __m256d {
    const TWO52: f64 = (1u64 << 52) as f64;
    let with_exponent = _mm256_or_si256(_mm256_and_si256(x, set1(MASK50)), set1(TWO52.to_bits()));
    _mm256_sub_pd(cast(with_exponent), _mm256_set1_pd(TWO52))
}

#[target_feature(enable = "avx2")]
fn load(places: &mut [Lanes], stride: usize, residues: &[u64]) {
    spread::<1>(places, stride, residues, |x| {
        let [low, high]: [__m256i; 2] = cast(*x);
        Lanes(cast([to_double(low), to_double(high)]))
    });
}

/// Half `H` of the columns of a tile.
#[target_feature(enable = "avx2,fma")]
fn sums<const M: usize, const H: usize>(a: &[[u64; ROWS]], b: &[Lanes], tile: Tile<'_, '_>) {
    let mut r = [_mm256_setzero_si256(); M];
    let mut rest = r;
    for (a, b) in a.iter().zip(b) {
        let y = cast::<[u64; 8], [__m256d; 2]>(b.0)[H];
        for i in 0..M {
            mul_add(&mut r[i], &mut rest[i], _mm256_set1_pd(f64::from_bits(a[i])), y);
        }
    }
    for i in 0..M {
        // The bits that the constants added, modulo 2^64.
        let bias = |x: f64| set1(x.to_bits().wrapping_mul(a.len() as u64));
        let out = &mut tile.rows[i][tile.at..][..tile.width];
        let mut four = [0; 4];
        if tile.add {
            four[..out.len()].copy_from_slice(out);
        }
        let rest = _mm256_add_epi64(_mm256_sub_epi64(rest[i], bias(BIAS)), cast(four));
        four = cast(reduce(_mm256_sub_epi64(r[i], bias(ROUND)), rest));
        out.copy_from_slice(&four[..out.len()]);
    }
}

/// (r, rest) + x y, each with the bits of a constant that has to be taken away.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul_add(r: &mut __m256i, rest: &mut __m256i, x: __m256d, y: __m256d) {
    let round = _mm256_fmadd_pd(x, y, _mm256_set1_pd(ROUND));
    let minus = _mm256_sub_pd(_mm256_set1_pd(ROUND + BIAS), round);
    let low = _mm256_fmadd_pd(x, y, minus);
    *r = _mm256_add_epi64(*r, cast(round));
    *rest = _mm256_add_epi64(*rest, cast(low));
}

/// 2^51 r + rest modulo q, for r < 2^60, |rest| <= 2^60 + 2^50.
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
    // |x| < 2^61 + 2^60 + 2^51: a multiple of q makes it positive, a fold brings it below 2q.
    x = fold_top(_mm256_add_epi64(x, set1(Q << 12)));
    let less = _mm256_sub_epi64(x, set1(Q));
    // The sign of the difference selects.
    cast(_mm256_blendv_pd(cast(less), cast(x), cast(less)))
}

/// x below 2^64 to less than 2^50 + 2^28, the same modulo q: 2^50 = 2^14 - 1.
#[inline]
#[target_feature(enable = "avx2")]
fn fold_top(x: __m256i) -> __m256i {
    let (low, high) = (_mm256_and_si256(x, set1(MASK50)), _mm256_srli_epi64::<50>(x));
    _mm256_add_epi64(low, _mm256_sub_epi64(_mm256_slli_epi64::<14>(high), high))
}
