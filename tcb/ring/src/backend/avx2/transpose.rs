//! Transposition in blocks of four by four words.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::vector::*;

/// The arguments are those of [`crate::backend::Backend::transpose`], as checked.
#[target_feature(enable = "avx2")]
pub(super) fn transpose(out: &mut [u64], out_stride: usize, x: &[u64], rows: usize, cols: usize) {
    let (whole_rows, whole_cols) = (rows / 4 * 4, cols / 4 * 4);
    for r in (0..whole_rows).step_by(4) {
        for c in (0..whole_cols).step_by(4) {
            let block = from_fn(|i| load(x[(r + i) * cols + c..].first_chunk().expect("a whole block")));
            for (i, column) in transposed(block).into_iter().enumerate() {
                let place = out[(c + i) * out_stride + r..].first_chunk_mut().expect("a whole block");
                store(place, column);
            }
        }
    }
    for r in 0..rows {
        let first = if r < whole_rows { whole_cols } else { 0 };
        for c in first..cols {
            out[c * out_stride + r] = x[r * cols + c];
        }
    }
}

/// Four columns of four rows.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    // Columns 0 and 2 of two rows, columns 1 and 3 of two rows.
    let (even, odd) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (even_below, odd_below) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
    [
        _mm256_permute2x128_si256::<0x20>(even, even_below),
        _mm256_permute2x128_si256::<0x20>(odd, odd_below),
        _mm256_permute2x128_si256::<0x31>(even, even_below),
        _mm256_permute2x128_si256::<0x31>(odd, odd_below),
    ]
}
