//! Products in the clear, bit by bit those of their definition.

use std::ops::Range;

use blindsmith_learn::{Matrix, product};

use crate::gradients::numbers;
use crate::naive::transpose;

fn matrix(rows: usize, cols: usize, seed: u32) -> Matrix {
    Matrix::from_rows(rows, cols, numbers(rows * cols, seed)).expect("shape")
}

/// The sum of each entry in order, each term rounded before it is added.
fn naive(left: &Matrix, right: &Matrix) -> Matrix {
    let mut out = Matrix::zeros(left.rows(), right.cols());
    for i in 0..left.rows() {
        for j in 0..right.cols() {
            out.row_mut(i)[j] = (0..left.cols()).fold(0.0, |sum, k| sum + left.row(i)[k] * right.row(k)[j]);
        }
    }
    out
}

fn bits(matrix: &Matrix, rows: Range<usize>) -> Vec<u32> {
    matrix.values_of(rows).iter().map(|v| v.to_bits()).collect()
}

/// Rows, inner dimension, columns: one of each, fewer and more than a tile, a panel, a block or a stretch has.
const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (3, 1, 20),
    (8, 64, 16),
    (7, 65, 15),
    (9, 3, 17),
    (130, 129, 33),
    (1100, 20, 1),
    (5, 4200, 10),
    (33, 10, 700),
    (64, 0, 2),
];

#[test]
fn products_have_the_bits_of_their_definition() {
    for (rows, inner, cols) in SHAPES {
        let (left, right) = (matrix(rows, inner, 1), matrix(inner, cols, 2));
        let expected = bits(&naive(&left, &right), 0..rows);
        let mut out = matrix(rows, cols, 3);
        product::multiply(&left, &right, 0..rows, &mut out);
        assert_eq!(bits(&out, 0..rows), expected, "{rows} x {inner} x {cols}");
        let mut out = matrix(rows, cols, 4);
        product::transposed_right(&left, &transpose(&right), 0..rows, &mut out);
        assert_eq!(bits(&out, 0..rows), expected, "{rows} x {inner} x {cols}");
        let mut out = Matrix::zeros(rows, cols);
        product::add_transposed_left(&transpose(&left), &right, &mut out);
        assert_eq!(bits(&out, 0..rows), expected, "{rows} x {inner} x {cols}");
    }
}

#[test]
fn only_the_rows_asked_for_are_written() {
    let (left, right) = (matrix(40, 30, 1), matrix(30, 11, 2));
    let (expected, before) = (naive(&left, &right), matrix(40, 11, 3));
    for rows in [0..40, 0..13, 13..40, 39..40, 20..20] {
        let (mut plain, mut transposed) = (before.clone(), before.clone());
        product::multiply(&left, &right, rows.clone(), &mut plain);
        product::transposed_right(&left, &transpose(&right), rows.clone(), &mut transposed);
        for out in [plain, transposed] {
            assert_eq!(bits(&out, rows.clone()), bits(&expected, rows.clone()));
            assert_eq!(bits(&out, 0..rows.start), bits(&before, 0..rows.start));
            assert_eq!(bits(&out, rows.end..40), bits(&before, rows.end..40));
        }
    }
}

#[test]
fn gradients_add_up() {
    let (left, right, before) = (matrix(70, 19, 1), matrix(70, 6, 2), matrix(19, 6, 3));
    let product = naive(&transpose(&left), &right);
    let mut out = before.clone();
    for _ in 0..2 {
        product::add_transposed_left(&left, &right, &mut out);
    }
    let twice = before.as_slice().iter().zip(product.as_slice()).map(|(b, p)| (b + p + p).to_bits());
    assert_eq!(bits(&out, 0..19), twice.collect::<Vec<_>>());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (left, right) = (matrix(700, 300, 1), matrix(300, 40, 2));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let mut out = Matrix::zeros(700, 40);
            product::multiply(&left, &right, 0..700, &mut out);
            let mut gradient = Matrix::zeros(300, 40);
            product::add_transposed_left(&left, &out, &mut gradient);
            (bits(&out, 0..700), bits(&gradient, 0..300))
        })
    };
    let one = with(1);
    assert_eq!(with(2), one);
    assert_eq!(with(7), one);
}
