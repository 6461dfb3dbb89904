//! Products of row-major matrices by the `gemm` crates, of which `gemm-f32` is all that is needed: the crate
//! `gemm` itself also compiles the kernels of four other types.

use std::ops::Range;

use blindsmith_learn::Matrix;
use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

/// A row-major matrix or its transpose, over borrowed values.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `cols` values one after the other.
    pub(crate) fn rows(data: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && data.len().is_multiple_of(cols));
        View { data, rows: data.len() / cols, cols, row_stride: cols, col_stride: 1 }
    }

    pub(crate) fn of(matrix: &'a Matrix) -> Self {
        View::rows(matrix.as_slice(), matrix.cols())
    }

    /// Rows of the matrix as it is seen.
    pub(crate) fn height(self) -> usize {
        self.rows
    }

    /// Columns of the matrix as it is seen.
    pub(crate) fn cols(self) -> usize {
        self.cols
    }

    /// Some rows of a matrix that is not transposed.
    pub(crate) fn part(self, rows: Range<usize>) -> Self {
        assert!(self.col_stride == 1);
        View::rows(&self.data[rows.start * self.cols..rows.end * self.cols], self.cols)
    }

    pub(crate) fn transposed(self) -> Self {
        View {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// What becomes of the old values of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are replaced.
    Replace,
    /// The product is added; the shape must be the product's.
    Add,
}

/// `out` = left x right, row by row, or `out` += left x right, in `threads` threads. The transpose is what is
/// computed, column by column: the kernels write whole vectors only down a column.
#[expect(unsafe_code, reason = "gemm takes raw pointers")]
pub(crate) fn multiply(left: View<'_>, right: View<'_>, out: &mut [f32], into: Into, threads: usize) {
    assert_eq!(left.cols, right.rows, "inner dimensions");
    let (rows, cols) = (left.rows, right.cols);
    assert_eq!(out.len(), rows * cols, "values of the product");
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // SAFETY: a view's strides address exactly the values of its slice (`View::rows` is the only
    // constructor, `transposed` swaps both), `out` has rows x cols values, row by row, borrowed mutably,
    // hence not aliased by the operands; all counts are below isize::MAX, for they are lengths of slices.
    unsafe {
        get_gemm_fn()(
            cols,
            rows,
            left.cols,
            out.as_mut_ptr(),
            cols as isize,
            1,
            into == Into::Add,
            right.data.as_ptr(),
            right.row_stride as isize,
            right.col_stride as isize,
            left.data.as_ptr(),
            left.row_stride as isize,
            left.col_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}
