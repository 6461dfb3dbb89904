//! AVX-512 with IFMA. A panel holds residues as they are; a sum is a pair of low and high 52-bit parts,
//! worth `lo + 2^52 hi` in each lane, with lo < 2^61 and hi < 2^59 after [`super::MAX_PAIRS`] products.

use std::arch::x86_64::*;

use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES, Q, modulus};
use bytemuck::cast;

use super::super::ahead::Ahead;
use super::{Kernel, PACE, Pair, Place, Start, Sum, spread};

/// Proof that the processor has AVX-512 F, BW and IFMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// None where an instruction is missing.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512ifma");
        found.then_some(Avx512(()))
    }
}

impl Kernel for Avx512 {
    const NAME: &'static str = "avx512";
    // 24 accumulators, 4 columns, 2 rows, 2 sums: all 32 registers.
    const ROWS: usize = 6;
    const COLS: usize = 2;

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
        // SAFETY: `self` is proof of the features.
        unsafe { tile(a, b, start, sum, ahead) }
    }

    fn norms<const M: usize>(self, a: &[Pair<M>], sum: &mut [Sum; M], fresh: bool) {
        // SAFETY: `self` is proof of the features.
        unsafe { norms(a, sum, fresh) }
    }

    fn dot<const M: usize>(self, a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]) {
        // SAFETY: `self` is proof of the features.
        unsafe { dot(a, b, sum) }
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

#[inline]
#[target_feature(enable = "avx512f")]
fn get(x: &Lanes) -> __m512i {
    cast(x.0)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn put(x: __m512i) -> Lanes {
    Lanes(cast(x))
}

/// (lo, hi) + x y.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn mul_add(lo: &mut __m512i, hi: &mut __m512i, x: __m512i, y: __m512i) {
    *lo = _mm512_madd52lo_epu64(*lo, x, y);
    *hi = _mm512_madd52hi_epu64(*hi, x, y);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn load(dst: &mut [Lanes], width: usize, stride: usize, src: &[Lanes]) {
    let mask = _mm512_set1_epi64((1 << 50) - 1);
    spread(dst, width, stride, src, |dst, src| *dst = put(_mm512_and_si512(get(src), mask)));
}

#[target_feature(enable = "avx512f,avx512bw")]
fn unpack(dst: &mut [Lanes], width: usize, stride: usize, src: &[u8]) {
    // Residue l begins at bit 50 l: in the 16-bit word 50 l / 16, at bit 50 l % 16 of it.
    const WORDS: [u16; 32] = {
        let mut words = [0; 32];
        let mut i = 0;
        while i < 32 {
            words[i] = (50 * (i / 4) / 16 + i % 4) as u16;
            i += 1;
        }
        words
    };
    let words = cast(WORDS);
    let shifts = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let mask = _mm512_set1_epi64((1 << 50) - 1);
    let (units, _) = src.as_chunks::<PACKED_BYTES_PER_LANES>();
    spread(dst, width, stride, units, |dst, unit| {
        // SAFETY: the mask selects 25 words, the 50 bytes of the unit.
        let packed = unsafe { _mm512_maskz_loadu_epi16((1 << 25) - 1, unit.as_ptr().cast()) };
        let windows = _mm512_permutexvar_epi16(words, packed);
        *dst = put(_mm512_and_si512(_mm512_srlv_epi64(windows, shifts), mask));
    });
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn tile<const M: usize, const N: usize>(
    a: &[Pair<M>],
    b: &[Pair<N>],
    start: Start<'_, M, N>,
    sum: &mut [[Sum; N]; M],
    ahead: &mut Ahead<'_>,
) {
    let mut lo = [[_mm512_setzero_si512(); N]; M];
    let mut hi = lo;
    for i in 0..M {
        for j in 0..N {
            lo[i][j] = _mm512_add_epi64(get(&start.rows[i]), get(&start.cols[j]));
            if !start.fresh {
                lo[i][j] = _mm512_add_epi64(lo[i][j], get(&sum[i][j].0[0]));
                hi[i][j] = get(&sum[i][j].0[1]);
            }
        }
    }
    for (a, b) in a.chunks(PACE).zip(b.chunks(PACE)) {
        ahead.advance(a.len());
        for (a, b) in a.iter().zip(b) {
            for i in 0..M {
                let (x1, x2) = (get(&a[0][i]), get(&a[1][i]));
                for j in 0..N {
                    let left = _mm512_add_epi64(x1, get(&b[1][j]));
                    let right = _mm512_add_epi64(x2, get(&b[0][j]));
                    mul_add(&mut lo[i][j], &mut hi[i][j], left, right);
                }
            }
        }
    }
    for i in 0..M {
        for j in 0..N {
            sum[i][j] = Sum([put(lo[i][j]), put(hi[i][j])]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn norms<const M: usize>(a: &[Pair<M>], sum: &mut [Sum; M], fresh: bool) {
    let mut lo = [_mm512_setzero_si512(); M];
    let mut hi = lo;
    if !fresh {
        for i in 0..M {
            (lo[i], hi[i]) = (get(&sum[i].0[0]), get(&sum[i].0[1]));
        }
    }
    for a in a {
        for i in 0..M {
            mul_add(&mut lo[i], &mut hi[i], get(&a[0][i]), get(&a[1][i]));
        }
    }
    for i in 0..M {
        sum[i] = Sum([put(lo[i]), put(hi[i])]);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn dot<const M: usize>(a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]) {
    // Two sets of accumulators hide the latency where there are few rows.
    let mut lo = [[_mm512_setzero_si512(); M]; 2];
    let mut hi = lo;
    let (a, a_last) = a.as_chunks::<2>();
    let (b, b_last) = b.as_chunks::<2>();
    for (a, b) in a.iter().zip(b) {
        for k in 0..2 {
            for i in 0..M {
                mul_add(&mut lo[k][i], &mut hi[k][i], get(&a[k][i]), get(&b[k]));
            }
        }
    }
    for (a, b) in a_last.iter().zip(b_last) {
        for i in 0..M {
            mul_add(&mut lo[0][i], &mut hi[0][i], get(&a[i]), get(b));
        }
    }
    for i in 0..M {
        let (lo, hi) = (_mm512_add_epi64(lo[0][i], lo[1][i]), _mm512_add_epi64(hi[0][i], hi[1][i]));
        sum[i] = Sum([put(lo), put(hi)]);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn finish<const M: usize, const N: usize>(sum: &[[Sum; N]; M], place: Place<'_>) {
    for (i, sum) in sum.iter().enumerate() {
        for (j, sum) in sum.iter().enumerate() {
            let out = &mut place.out[i * place.row_stride + j];
            let mut lo = get(&sum.0[0]);
            if place.add {
                lo = _mm512_add_epi64(lo, get(out));
            }
            *out = put(reduce(lo, get(&sum.0[1])));
        }
    }
}

/// lo + 2^52 hi modulo q, for lo < 2^62, hi < 2^63.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce(lo: __m512i, hi: __m512i) -> __m512i {
    const R52: i64 = modulus::pow(2, 52) as i64; // 2^16 - 4
    const R88: i64 = modulus::pow(2, 88) as i64;
    const R50: i64 = modulus::pow(2, 50) as i64; // 2^14 - 1
    let (r52, r88) = (_mm512_set1_epi64(R52), _mm512_set1_epi64(R88));
    // 2^52 hi = 2^52 (hi mod 2^36) + 2^88 (hi / 2^36); the first product stays below 2^52, of the second the
    // part above 2^52 is below 2^25.
    let (low, high) = (_mm512_and_si512(hi, _mm512_set1_epi64((1 << 36) - 1)), _mm512_srli_epi64::<36>(hi));
    let top = _mm512_madd52hi_epu64(_mm512_setzero_si512(), high, r88);
    let mut x = _mm512_madd52lo_epu64(lo, low, r52);
    x = _mm512_madd52lo_epu64(x, high, r88);
    x = _mm512_madd52lo_epu64(x, top, r52);
    // x < 2^63; after one more fold below 2^50 + 2^27.
    let rest = _mm512_and_si512(x, _mm512_set1_epi64((1 << 50) - 1));
    x = _mm512_madd52lo_epu64(rest, _mm512_srli_epi64::<50>(x), _mm512_set1_epi64(R50));
    _mm512_min_epu64(x, _mm512_sub_epi64(x, _mm512_set1_epi64(Q as i64)))
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn fold(sum: &[Sum], out: &mut [u64]) {
    let part = |sums: &[Sum], index: usize| -> __m512i {
        add_lanes(std::array::from_fn(|i| {
            sums.get(i).map_or(_mm512_setzero_si512(), |sum| get(&sum.0[index]))
        }))
    };
    for (out, sums) in out.chunks_mut(8).zip(sum.chunks(8)) {
        let (lo, hi) = (part(sums, 0), part(sums, 1));
        // lo < 2^64 and hi < 2^62: the carry first.
        let carried = _mm512_add_epi64(hi, _mm512_srli_epi64::<52>(lo));
        let rest = _mm512_and_si512(lo, _mm512_set1_epi64((1 << 52) - 1));
        let values: [u64; 8] = cast(reduce(rest, carried));
        out.copy_from_slice(&values[..out.len()]);
    }
}

/// In lane i the sum over the lanes of `x[i]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_lanes(x: [__m512i; 8]) -> __m512i {
    let pairs = |a, b| _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let quarters = |a, b| {
        let even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        let odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        _mm512_add_epi64(even, odd)
    };
    let low = quarters(pairs(x[0], x[1]), pairs(x[2], x[3]));
    let high = quarters(pairs(x[4], x[5]), pairs(x[6], x[7]));
    quarters(low, high)
}
