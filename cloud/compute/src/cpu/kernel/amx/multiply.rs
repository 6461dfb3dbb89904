//! Panels of bytes to results modulo q.

use std::arch::asm;
use std::arch::x86_64::*;

use blindsmith_ring::{Lanes, Q, modulus};
use bytemuck::cast;

use super::residues::{BACK, Back, DIGITS, K_BITS, MINUS_M};
use super::{Amx, Configuration, MAX_DEPTH, PANEL, PLANES, STEP, STEP_LINES, Tiles};
use crate::cpu::kernel::{MASK50, prefetch};
use crate::row::at_least;

/// Chunks of panels of both operands for one root, 32 rows or columns each and all of one length:
/// `[plane][step][half][16 lines of 64 bytes]`, at most [`MAX_DEPTH`] depth indices.
pub(crate) struct Operands<'a> {
    pub left: Vec<&'a [Lanes]>,
    pub right: Vec<&'a [Lanes]>,
}

/// Tiles for products of panels: four of sums, four of bytes.
static PRODUCTS: Configuration = Configuration::new([[16, 64]; 8]);
/// Tiles for the way back: four of digits, three of sums with a row for each plane, one of constants.
static WAY_BACK: Configuration = {
    let (digits, sums) = ([DIGITS as u8, 64], [PLANES as u8, 64]);
    let constants = [DIGITS as u8, 4 * PLANES as u8];
    Configuration::new([digits, digits, digits, digits, sums, sums, sums, constants])
};

/// Rows of results that are asked for with each plane, until all have been.
const AHEAD: usize = PANEL.div_ceil(PLANES);

/// A tile of 32-bit sums: 16 rows of 16 columns.
const TILE_LINES: usize = 16;
/// Planes whose sums are kept side by side; the last ones are not there.
const SUM_PLANES: usize = 16;
const BLOCK_TILES: usize = 4;
const BLOCK_LINES: usize = BLOCK_TILES * SUM_PLANES * TILE_LINES;
/// Rows of results that are brought back at once.
const ROWS: usize = 2;

/// Sums of blocks of 32 x 32 results, `[block][tile][plane][row]`, and digits of results on their way back.
#[derive(Default)]
pub(crate) struct Sums {
    lines: Vec<Lanes>,
    digits: [Digits; 2],
}

/// Digits of two rows of a block, `[row][tile][digit]`.
type Digits = [[[Lanes; TILE_LINES]; 2]; ROWS];

impl Amx {
    /// Row i of the results, one slice of `out`, (+)= the sums of products; canonical. The panels cover the
    /// rows and columns of `out`, and hold zeros beyond.
    pub fn multiply(self, operands: &Operands<'_>, add: bool, out: &mut [&mut [u64]], sums: &mut Sums) {
        let plane_len = operands.left[0].len() / PLANES;
        let alike = |panel: &&[Lanes]| panel.len() == PLANES * plane_len;
        assert!(operands.left.iter().chain(&operands.right).all(alike));
        assert!(plane_len.is_multiple_of(STEP_LINES));
        assert!((1..=MAX_DEPTH / STEP).contains(&(plane_len / STEP_LINES)));
        let Sums { lines, digits } = sums;
        let lines = at_least(lines, operands.right.len() * BLOCK_LINES);
        let tiles = Tiles::new(self, &PRODUCTS);
        for (row, (left, out)) in operands.left.iter().zip(out.chunks_mut(PANEL)).enumerate() {
            let next = operands.left.get(row + 1).unwrap_or(left);
            tiles.configure(&PRODUCTS);
            // A plane of the left stays in the nearest cache for all panels of the right.
            for plane in 0..PLANES {
                let part = plane * plane_len..(plane + 1) * plane_len;
                for (index, right) in operands.right.iter().enumerate() {
                    for row in out.iter().skip(plane * AHEAD).take(AHEAD) {
                        prefetch::later(&row[index * PANEL..row.len().min((index + 1) * PANEL)]);
                    }
                    let sums = &mut lines[index * BLOCK_LINES + plane * TILE_LINES..];
                    assert!(sums.len() >= (3 * SUM_PLANES + 1) * TILE_LINES);
                    let ahead = &next[part.start + index * STEP_LINES / operands.right.len()..];
                    // SAFETY: `tiles` has configured them; the lengths have been asserted.
                    unsafe { multiply_plane(&tiles, &left[part.clone()], &right[part.clone()], ahead, sums) };
                }
            }
            tiles.configure(&WAY_BACK);
            for (half, rows) in out.chunks_mut(TILE_LINES).enumerate() {
                for (index, sums) in lines.chunks_exact(BLOCK_LINES).enumerate() {
                    let sums = &sums[half * BLOCK_LINES / 2..];
                    // SAFETY: `self` is proof of the features; `tiles` has configured them.
                    unsafe { bring_back(&tiles, sums, digits, rows, [index * PANEL, usize::from(add)]) };
                }
            }
        }
    }
}

/// The sums of one plane for a block of two by two tiles.
///
/// # Safety
/// Both panels have the same number of whole steps, not zero; `sums` has the tiles of all four.
#[inline]
unsafe fn multiply_plane(_: &Tiles, left: &[Lanes], right: &[Lanes], ahead: &[Lanes], sums: &mut [Lanes]) {
    // SAFETY: the caller's promise; each step reads two tiles of each panel.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{left} + {line}*1]",
            "tileloadd tmm6, [{right} + {line}*1]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {line}*1 + 1024]",
            "tdpbssd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left} + {line}*1 + 1024]",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "add {ahead}, 2048",
            "add {left}, 2048",
            "add {right}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 16384], tmm1",
            "tilestored [{sums} + {line}*1 + 32768], tmm2",
            "tilestored [{sums} + {line}*1 + 49152], tmm3",
            line = in(reg) 64usize,
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            ahead = inout(reg) ahead.as_ptr() => _,
            steps = inout(reg) left.len() / STEP_LINES => _,
            sums = in(reg) sums.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
    const { assert!(size_of::<Lanes>() == 64 && SUM_PLANES * TILE_LINES * 64 == 16384) };
}

/// 16 rows of the results of a block from their sums by all moduli, from column `at` on. The digits of the
/// next rows are made while those before are put together.
#[target_feature(enable = "avx512f,avx512ifma")]
fn bring_back(
    tiles: &Tiles,
    sums: &[Lanes],
    digits: &mut [Digits; 2],
    rows: &mut [&mut [u64]],
    [at, add]: [usize; 2],
) {
    let sums = &sums[..2 * SUM_PLANES * TILE_LINES];
    // SAFETY: these are the sums of two tiles.
    unsafe { make_digits(tiles, sums, &mut digits[0]) };
    for (group, rows) in rows.chunks_mut(ROWS).enumerate() {
        let next = (group + 1) * ROWS;
        if next < TILE_LINES {
            // SAFETY: as before, from a row on after which there are more.
            unsafe { make_digits(tiles, &sums[next..], &mut digits[(group + 1) % 2]) };
        }
        for (row, digits) in rows.iter_mut().zip(&digits[group % 2]) {
            let end = row.len().min(at + PANEL);
            for (out, digits) in row[at..end].chunks_mut(TILE_LINES).zip(digits) {
                put_together(digits, add != 0, out);
            }
        }
    }
}

/// The digits of two rows of a block.
///
/// # Safety
/// `sums` has two tiles, 16 lines of each of 16 planes, less at most 14 lines.
#[inline]
unsafe fn make_digits(_: &Tiles, sums: &[Lanes], digits: &mut Digits) {
    const { assert!(size_of::<Back>() == 2048 && size_of::<Digits>() == 4096) };
    // SAFETY: the caller's promise. A tile of sums has line i of each plane, 1024 bytes apart.
    unsafe {
        asm!(
            "tileloadd tmm7, [{back} + {line}*1]",
            "tileloadd tmm0, [{back} + {line}*1 + 1024]",
            "tileloadd tmm4, [{sums} + {plane}*1]",
            "tdpbsud tmm0, tmm7, tmm4",
            "tileloadd tmm1, [{back} + {line}*1 + 1024]",
            "tileloadd tmm5, [{sums} + {plane}*1 + 16384]",
            "tdpbsud tmm1, tmm7, tmm5",
            "tileloadd tmm2, [{back} + {line}*1 + 1024]",
            "tileloadd tmm6, [{sums} + {plane}*1 + 64]",
            "tdpbsud tmm2, tmm7, tmm6",
            "tileloadd tmm3, [{back} + {line}*1 + 1024]",
            "tileloadd tmm4, [{sums} + {plane}*1 + 16448]",
            "tdpbsud tmm3, tmm7, tmm4",
            "tilestored [{digits} + {line}*1], tmm0",
            "tilestored [{digits} + {line}*1 + 1024], tmm1",
            "tilestored [{digits} + {line}*1 + 2048], tmm2",
            "tilestored [{digits} + {line}*1 + 3072], tmm3",
            back = in(reg) &BACK,
            line = in(reg) 64usize,
            plane = in(reg) 1024usize,
            sums = in(reg) sums.as_ptr(),
            digits = in(reg) digits.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// 16 results from their digits; of these the first ones are written that `out` has.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn put_together(digits: &[Lanes; TILE_LINES], add: bool, out: &mut [u64]) {
    const { assert!(DIGITS == 9 && K_BITS == 16) };
    let d = |i: usize| -> __m512i { cast(digits[i].0) };
    let pair = |i: usize| _mm512_add_epi32(d(i), _mm512_slli_epi32::<8>(d(i + 1)));
    let set1 = |x: u64| _mm512_set1_epi64(x as i64);
    // X = low + 2^16 middle + 2^32 high modulo 2^64, and 2^16 k; columns 0 to 7 have the even places.
    let (low, middle, k) = (pair(0), pair(2), pair(7));
    let high = _mm512_add_epi32(pair(4), _mm512_slli_epi32::<16>(d(6)));

    let mut x = _mm512_and_si512(low, set1(0xffff_ffff));
    x = _mm512_add_epi64(x, _mm512_mul_epu32(middle, set1(1 << 16)));
    x = _mm512_add_epi64(x, _mm512_slli_epi64::<32>(high));
    let even = _mm512_and_si512(_mm512_srli_epi64::<16>(k), set1(0xffff));
    finish(x, even, add, &mut out[..]);

    if out.len() > 8 {
        let mut x = _mm512_srli_epi64::<32>(low);
        x = _mm512_add_epi64(x, _mm512_andnot_si512(set1(0xffff), _mm512_srli_epi64::<16>(middle)));
        x = _mm512_add_epi64(x, _mm512_andnot_si512(set1(0xffff_ffff), high));
        finish(x, _mm512_srli_epi64::<48>(k), add, &mut out[8..]);
    }
}

/// x - k M modulo q to the first eight of `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(x: __m512i, k: __m512i, add: bool, out: &mut [u64]) {
    const R50: i64 = modulus::pow(2, 50) as i64; // 2^14 - 1
    let present = ((1u16 << out.len().min(8)) - 1) as u8;
    let mut x = _mm512_madd52lo_epu64(x, k, _mm512_set1_epi64(MINUS_M as i64));
    if add {
        // SAFETY: the mask selects residues of `out` only.
        x = _mm512_add_epi64(x, unsafe { _mm512_maskz_loadu_epi64(present, out.as_ptr().cast()) });
    }
    let rest = _mm512_and_si512(x, _mm512_set1_epi64(MASK50 as i64));
    x = _mm512_madd52lo_epu64(rest, _mm512_srli_epi64::<50>(x), _mm512_set1_epi64(R50));
    x = _mm512_min_epu64(x, _mm512_sub_epi64(x, _mm512_set1_epi64(Q as i64)));
    // SAFETY: as before.
    unsafe { _mm512_mask_storeu_epi64(out.as_mut_ptr().cast(), present, x) }
}
