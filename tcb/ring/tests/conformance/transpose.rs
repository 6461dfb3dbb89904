//! Transposition, element by element.

use std::panic::{AssertUnwindSafe, catch_unwind};

use blindsmith_ring::backend;

use crate::oracle;

fn check(rows: usize, cols: usize, out_stride: usize) {
    let x = oracle::words(1, rows * cols);
    let before = oracle::words(2, cols * out_stride);
    let mut expected = before.clone();
    for r in 0..rows {
        for c in 0..cols {
            expected[c * out_stride + r] = x[r * cols + c];
        }
    }
    for backend in backend::available() {
        let mut out = before.clone();
        backend.transpose(&mut out, out_stride, &x, rows, cols);
        assert!(out == expected, "{rows} by {cols} in strides of {out_stride} on {}", backend.name());
        // The last column may end where the matrix does.
        let end = (cols.max(1) - 1) * out_stride + rows;
        if cols > 0 {
            let mut out = before[..end].to_vec();
            backend.transpose(&mut out, out_stride, &x, rows, cols);
            assert!(out == expected[..end], "tight: {rows} by {cols} on {}", backend.name());
        }
    }
}

#[test]
fn every_word_goes_to_its_place_and_no_other_changes() {
    for rows in 0..=18 {
        for cols in 0..=18 {
            for gap in [0, 1, 13] {
                check(rows, cols, rows + gap);
            }
        }
    }
    for (rows, cols) in [(1, 2048), (2, 1024), (4, 512), (8, 256), (128, 16), (37, 101), (256, 8)] {
        check(rows, cols, rows);
        check(rows, cols, rows + 56);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for backend in backend::available() {
        let attempt = |out_len: usize, out_stride: usize, x_len: usize, rows: usize, cols: usize| {
            let (mut out, x) = (vec![0; out_len], vec![0; x_len]);
            let call = AssertUnwindSafe(|| backend.transpose(&mut out, out_stride, &x, rows, cols));
            catch_unwind(call).is_ok()
        };
        assert!(attempt(64, 8, 64, 8, 8));
        assert!(!attempt(64, 8, 63, 8, 8), "too few words on {}", backend.name());
        assert!(!attempt(64, 8, 65, 8, 8), "too many words on {}", backend.name());
        assert!(!attempt(63, 8, 64, 8, 8), "too small an output on {}", backend.name());
        assert!(!attempt(64, 7, 64, 8, 8), "columns that overlap on {}", backend.name());
        assert!(!attempt(64, usize::MAX, 64, 8, 8), "strides that overflow on {}", backend.name());
        assert!(!attempt(64, 8, 0, usize::MAX / 2 + 1, 2), "shapes that overflow on {}", backend.name());
    }
}
