//! Transforms against their definition and against the product that they are for.

use blindsmith_ring::backend::{self, Backend, Portable};
use blindsmith_ring::{Coeff, MAX_POINTS, Poly, Q, Table};
use proptest::prelude::*;

use crate::oracle;

fn sizes() -> impl Iterator<Item = usize> {
    (0..=MAX_POINTS.trailing_zeros()).map(|bits| 1 << bits)
}

/// Both directions of every backend against values by definition.
fn check_against_definition(coefficients: &[u64]) {
    let points = coefficients.len();
    let expected = oracle::transform(coefficients);
    for backend in backend::available() {
        let mut x = coefficients.to_vec();
        backend.forward(Table::of(points), &mut x);
        assert!(x == expected, "forward, {points} points, {}", backend.name());
        backend.inverse(Table::of(points), &mut x);
        assert!(x == coefficients, "inverse, {points} points, {}", backend.name());
    }
}

#[test]
fn small_transforms_are_evaluations_at_odd_powers_of_the_root() {
    for points in sizes().take_while(|&n| n <= 512) {
        check_against_definition(&oracle::residues(points as u64, points));
        for polynomial in oracle::edge_polynomials(points).iter().filter(|_| points <= 128) {
            check_against_definition(polynomial);
        }
    }
}

#[test]
fn transforms_of_2048_points_are_evaluations_at_odd_powers_of_the_root() {
    check_against_definition(&oracle::residues(1, 2048));
    check_against_definition(&vec![Q - 1; 2048]);
}

#[test]
fn transforms_of_4096_points_are_evaluations_at_odd_powers_of_the_root() {
    check_against_definition(&oracle::residues(2, 4096));
}

#[test]
fn all_backends_agree_with_the_reference_on_edges_of_every_size() {
    for points in sizes() {
        let table = Table::of(points);
        for (i, polynomial) in oracle::edge_polynomials(points).iter().enumerate() {
            let (mut forward, mut inverse) = (polynomial.clone(), polynomial.clone());
            Portable.forward(table, &mut forward);
            Portable.inverse(table, &mut inverse);
            for backend in backend::available() {
                let what = format!("edge {i}, {points} points, {}", backend.name());
                let mut x = polynomial.clone();
                backend.forward(table, &mut x);
                assert!(x == forward, "forward of {what}");
                x.copy_from_slice(polynomial);
                backend.inverse(table, &mut x);
                assert!(x == inverse, "inverse of {what}");
                backend.forward(table, &mut x);
                assert!(x == *polynomial, "forward of the inverse of {what}");
            }
        }
    }
}

#[test]
fn transforms_multiply_as_the_schoolbook_does() {
    for points in [1, 2, 8, 16, 32, 64, 128, 256, 512, 2048, 4096] {
        let table = Table::of(points);
        let (a, b) = (oracle::residues(3, points), oracle::residues(4, points));
        let expected = oracle::schoolbook(&a, &b);
        for backend in backend::available() {
            let (mut x, mut y) = (a.clone(), b.clone());
            backend.forward(table, &mut x);
            backend.forward(table, &mut y);
            let mut z = vec![0; points];
            backend.mul(&mut z, &x, &y);
            backend.inverse(table, &mut z);
            assert!(z == expected, "{points} points on {}", backend.name());
        }
    }
}

#[test]
fn polynomials_go_to_values_and_back() {
    let coefficients = oracle::residues(7, 2048);
    let mut poly = Poly::<Coeff>::zero(2048);
    poly.as_mut_slice().copy_from_slice(&coefficients);
    let eval = poly.into_eval();
    assert_ne!(eval.as_slice(), coefficients);
    let back = eval.into_mixed(1).into_coeff(1);
    assert_eq!(back.as_slice(), coefficients);
    assert!(back.recycle::<Coeff>().as_slice().iter().all(|&x| x == 0));
}

#[test]
#[should_panic(expected = "no transform of 16384 points")]
fn a_size_beyond_the_modulus_is_refused() {
    Table::of(2 * MAX_POINTS);
}

#[test]
#[should_panic(expected = "no transform of 48 points")]
fn a_size_that_is_no_power_of_two_is_refused() {
    Table::of(48);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn backends_agree_on_polynomials_with_many_edges(
        bits in 3u32..13,
        seed in any::<u64>(),
        edge in proptest::sample::select(&oracle::EDGES[..]),
        density in 0u64..8,
    ) {
        let points = 1 << bits;
        let choice = oracle::words(!seed, points);
        let random = oracle::residues(seed, points);
        let x: Vec<u64> =
            random.iter().zip(&choice).map(|(&r, &c)| if c % 8 < density { edge } else { r }).collect();
        let (mut forward, mut inverse) = (x.clone(), x.clone());
        Portable.forward(Table::of(points), &mut forward);
        Portable.inverse(Table::of(points), &mut inverse);
        for backend in backend::available() {
            let mut y = x.clone();
            backend.forward(Table::of(points), &mut y);
            prop_assert!(y == forward, "forward, {} points, {}", points, backend.name());
            y.copy_from_slice(&x);
            backend.inverse(Table::of(points), &mut y);
            prop_assert!(y == inverse, "inverse, {} points, {}", points, backend.name());
        }
    }
}
