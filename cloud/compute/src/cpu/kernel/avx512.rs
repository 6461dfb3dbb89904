//! AVX-512 with IFMA. Residues are packed as they are; a sum is a pair of low and high 52-bit parts, worth
//! lo + 2^52 hi in each lane.

use std::arch::x86_64::*;

use blindsmith_ring::{Lanes, Q, modulus};
use bytemuck::cast;

use super::{Kernel, MASK50, MAX_DEPTH, Tile, by_size, spread};

// For `reduce`: low parts stay below 2^62, high parts below 2^58.
const _: () = assert!(MAX_DEPTH <= 1 << 10);

/// Proof that the processor has AVX-512 F and IFMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// None where an instruction is missing.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
        found.then_some(Avx512(()))
    }
}

const ROWS: usize = 6;
const VECTORS: usize = 2;

impl Kernel for Avx512 {
    const NAME: &'static str = "avx512";
    // 24 accumulators, 2 columns, an entry: 27 registers of 32.
    const ROWS: usize = ROWS;
    const COLUMNS: usize = 8 * VECTORS;

    fn entry(self, x: u64) -> u64 {
        x
    }

    fn load(self, places: &mut [Lanes], stride: usize, residues: &[u64]) {
        // SAFETY: `self` is proof of the features.
        unsafe { load(places, stride, residues) }
    }

    fn tile(self, a: &[u64], b: &[Lanes], tile: Tile<'_, '_>) {
        let (a, b) = (a.as_chunks::<ROWS>().0, b.as_chunks::<VECTORS>().0);
        // SAFETY: `self` is proof of the features.
        unsafe {
            if tile.width > 8 {
                by_size!(tile, sums(a, b, tile), 2, 1 2 3 4 5 6)
            } else {
                by_size!(tile, sums(a, b, tile), 1, 1 2 3 4 5 6)
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn get(x: &Lanes) -> __m512i {
    cast(x.0)
}

#[target_feature(enable = "avx512f")]
fn load(places: &mut [Lanes], stride: usize, residues: &[u64]) {
    let mask = _mm512_set1_epi64(MASK50 as i64);
    spread::<VECTORS>(places, stride, residues, |x| Lanes(cast(_mm512_and_si512(cast(*x), mask))));
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn sums<const M: usize, const N: usize>(a: &[[u64; ROWS]], b: &[[Lanes; VECTORS]], tile: Tile<'_, '_>) {
    let mut lo = [[_mm512_setzero_si512(); N]; M];
    let mut hi = lo;
    for (a, b) in a.iter().zip(b) {
        for i in 0..M {
            let x = _mm512_set1_epi64(a[i] as i64);
            for j in 0..N {
                let y = get(&b[j]);
                lo[i][j] = _mm512_madd52lo_epu64(lo[i][j], x, y);
                hi[i][j] = _mm512_madd52hi_epu64(hi[i][j], x, y);
            }
        }
    }
    for i in 0..M {
        let mut out = &mut tile.rows[i][tile.at..][..tile.width];
        for j in 0..N {
            let eight = out.split_off_mut(..out.len().min(8)).unwrap_or_default();
            finish(lo[i][j], hi[i][j], tile.add, eight);
        }
    }
}

/// Writes the first residues of a sum, up to eight, or adds them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(lo: __m512i, hi: __m512i, add: bool, out: &mut [u64]) {
    let present = ((1u16 << out.len().min(8)) - 1) as u8;
    // SAFETY: the mask selects residues of `out` only.
    let before = unsafe { _mm512_maskz_loadu_epi64(if add { present } else { 0 }, out.as_ptr().cast()) };
    let sum = reduce(_mm512_add_epi64(lo, before), hi);
    // SAFETY: as before.
    unsafe { _mm512_mask_storeu_epi64(out.as_mut_ptr().cast(), present, sum) }
}

/// lo + 2^52 hi modulo q, for lo < 2^62 + 2^50, hi < 2^63.
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
    let rest = _mm512_and_si512(x, _mm512_set1_epi64(MASK50 as i64));
    x = _mm512_madd52lo_epu64(rest, _mm512_srli_epi64::<50>(x), _mm512_set1_epi64(R50));
    _mm512_min_epu64(x, _mm512_sub_epi64(x, _mm512_set1_epi64(Q as i64)))
}
