//! Transposition in blocks of eight by eight words; smaller blocks at the edges take masked loads and stores.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::vector::*;

/// The arguments are those of [`crate::backend::Backend::transpose`], as checked.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(out: &mut [u64], out_stride: usize, x: &[u64], rows: usize, cols: usize) {
    for r in (0..rows).step_by(8) {
        let height = (rows - r).min(8);
        for c in (0..cols).step_by(8) {
            let width = (cols - c).min(8);
            if (height, width) == (8, 8) {
                let block = from_fn(|i| load(eight(&x[(r + i) * cols + c..])));
                for (i, column) in transposed(block).into_iter().enumerate() {
                    store(eight_mut(&mut out[(c + i) * out_stride + r..]), column);
                }
            } else {
                let row = |i: usize| &x[(r + i) * cols + c..][..width];
                let block = from_fn(|i| if i < height { load_some(row(i)) } else { _mm512_setzero_si512() });
                for (i, column) in transposed(block).into_iter().take(width).enumerate() {
                    store_some(&mut out[(c + i) * out_stride + r..][..height], column);
                }
            }
        }
    }
}

/// Eight columns of eight rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(x: [__m512i; 8]) -> [__m512i; 8] {
    // Row pairs 2i, 2i + 1: columns 0 2 4 6 of both at 2i, columns 1 3 5 7 at 2i + 1.
    let x: [_; 8] = from_fn(|i| {
        let (a, b) = (x[i & !1], x[i | 1]);
        if i % 2 == 0 { _mm512_unpacklo_epi64(a, b) } else { _mm512_unpackhi_epi64(a, b) }
    });
    // Four rows: of rows 0 1 and then of rows 2 3, columns 0 4 at 4i, 1 5 at 4i + 1, 2 6 at 4i + 2, 3 7 at
    // 4i + 3.
    let x: [_; 8] = from_fn(|i| {
        let (a, b) = (x[i & !2], x[i | 2]);
        if i & 2 == 0 { _mm512_shuffle_i64x2::<0x88>(a, b) } else { _mm512_shuffle_i64x2::<0xdd>(a, b) }
    });
    // Eight rows: columns 0 to 3 from the even quarters, columns 4 to 7 from the odd ones.
    from_fn(|i| {
        let (a, b) = (x[i & !4], x[i | 4]);
        if i & 4 == 0 { _mm512_shuffle_i64x2::<0x88>(a, b) } else { _mm512_shuffle_i64x2::<0xdd>(a, b) }
    })
}

#[inline]
fn eight(x: &[u64]) -> &[u64; 8] {
    x.first_chunk().expect("a whole block")
}

#[inline]
fn eight_mut(x: &mut [u64]) -> &mut [u64; 8] {
    x.first_chunk_mut().expect("a whole block")
}

/// Up to eight words, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_some(x: &[u64]) -> __m512i {
    // SAFETY: the mask selects words that the slice covers; the others are not accessed.
    unsafe { _mm512_maskz_loadu_epi64(first_words(x.len()), x.as_ptr().cast()) }
}

/// The first words of a register, up to eight.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_some(x: &mut [u64], v: __m512i) {
    // SAFETY: the mask selects words that the slice covers; the others are not accessed.
    unsafe { _mm512_mask_storeu_epi64(x.as_mut_ptr().cast(), first_words(x.len()), v) }
}

#[inline]
fn first_words(count: usize) -> u8 {
    assert!(count <= 8);
    ((1u16 << count) - 1) as u8
}
