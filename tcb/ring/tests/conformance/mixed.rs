//! The mixed transforms against their definition and against the whole transform.

use std::panic::{AssertUnwindSafe, catch_unwind};

use blindsmith_ring::backend::{self, Backend, Portable};
use blindsmith_ring::{Coeff, MAX_POINTS, Poly, Q, Table};
use proptest::prelude::*;

use crate::oracle;

fn powers_of_two(from: usize, to: usize) -> impl Iterator<Item = usize> {
    (from.trailing_zeros()..=to.trailing_zeros()).map(|bits| 1 << bits)
}

type Transform = fn(&dyn Backend, &Table, &mut [u64], usize);

const FORWARD_MIXED: Transform = |b, table, x, roots| b.forward_mixed(table, x, roots);
const INVERSE_MIXED: Transform = |b, table, x, roots| b.inverse_mixed(table, x, roots);
const MIXED_TO_EVAL: Transform = |b, table, x, roots| b.mixed_to_eval(table, x, roots);
const EVAL_TO_MIXED: Transform = |b, table, x, roots| b.eval_to_mixed(table, x, roots);

const ALL: [(&str, Transform); 4] = [
    ("forward_mixed", FORWARD_MIXED),
    ("inverse_mixed", INVERSE_MIXED),
    ("mixed_to_eval", MIXED_TO_EVAL),
    ("eval_to_mixed", EVAL_TO_MIXED),
];

/// The path from coefficients through the mixed form to values and back, of every backend, step by step.
fn check_path(coefficients: &[u64], roots: usize) {
    let points = coefficients.len();
    let table = Table::of(points);
    let (mixed, values) = (oracle::mixed(coefficients, roots), oracle::transform(coefficients));
    for backend in backend::available() {
        let what = format!("{points} points, {roots} roots, {}", backend.name());
        let mut x = coefficients.to_vec();
        backend.forward_mixed(table, &mut x, roots);
        assert!(x == mixed, "forward_mixed, {what}");
        backend.mixed_to_eval(table, &mut x, roots);
        assert!(x == values, "mixed_to_eval, {what}");
        backend.eval_to_mixed(table, &mut x, roots);
        assert!(x == mixed, "eval_to_mixed, {what}");
        backend.inverse_mixed(table, &mut x, roots);
        assert!(x == coefficients, "inverse_mixed, {what}");
    }
}

#[test]
fn blocks_are_remainders_modulo_t_to_the_m_minus_a_root() {
    for points in powers_of_two(1, 256) {
        for roots in powers_of_two(1, points) {
            check_path(&oracle::residues(points as u64, points), roots);
            for polynomial in oracle::edge_polynomials(points).iter().filter(|_| points <= 128) {
                check_path(polynomial, roots);
            }
        }
    }
}

#[test]
fn blocks_of_2048_points_are_remainders_modulo_t_to_the_m_minus_a_root() {
    for roots in [4, 8, 128] {
        check_path(&oracle::residues(1, 2048), roots);
    }
    check_path(&vec![Q - 1; 2048], 16);
}

#[test]
fn the_points_of_a_block_lie_over_its_root() {
    for (points, roots) in [(8usize, 1), (64, 8), (64, 2), (256, 32), (16, 16)] {
        let (m, bits) = (points / roots, points.trailing_zeros());
        let zetas = oracle::block_roots(roots);
        let taus: Vec<u64> = (0..points)
            .map(|i| oracle::pow(oracle::psi(points), 2 * oracle::bit_reversed(i, bits) as u64 + 1))
            .collect();
        let coefficients = oracle::residues(3, points);
        for backend in backend::available() {
            let mut mixed = coefficients.clone();
            backend.forward_mixed(Table::of(points), &mut mixed, roots);
            let mut values = coefficients.clone();
            backend.forward(Table::of(points), &mut values);
            for (i, &tau) in taus.iter().enumerate() {
                let (zeta, block) = (zetas[i / m], &mixed[i / m * m..][..m]);
                assert_eq!(oracle::pow(zeta, roots as u64), Q - 1);
                assert_eq!(oracle::pow(tau, m as u64), zeta);
                let value = block
                    .iter()
                    .rev()
                    .fold(0, |value, &c| oracle::residue(value as u128 * tau as u128 + c as u128));
                assert_eq!(values[i], value, "point {i} of {points}, {roots} roots, {}", backend.name());
            }
        }
    }
}

#[test]
fn backends_agree_with_the_reference_on_edges_of_every_size_and_number_of_roots() {
    for points in powers_of_two(1, MAX_POINTS) {
        let table = Table::of(points);
        let polynomials = oracle::edge_polynomials(points);
        for roots in powers_of_two(1, points) {
            for (i, polynomial) in polynomials.iter().enumerate() {
                for (name, transform) in ALL {
                    let mut expected = polynomial.clone();
                    transform(&Portable, table, &mut expected, roots);
                    for backend in backend::available() {
                        let mut x = polynomial.clone();
                        transform(*backend, table, &mut x, roots);
                        let backend = backend.name();
                        assert!(
                            x == expected,
                            "{name} of edge {i}, {points} points, {roots} roots, {backend}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_whole_transform_is_both_parts_after_one_another() {
    for points in powers_of_two(8, MAX_POINTS) {
        let table = Table::of(points);
        let coefficients = oracle::residues(4, points);
        for backend in backend::available() {
            let mut values = coefficients.clone();
            backend.forward(table, &mut values);
            for roots in powers_of_two(1, points) {
                let what = format!("{points} points, {roots} roots, {}", backend.name());
                let mut x = coefficients.clone();
                backend.forward_mixed(table, &mut x, roots);
                backend.mixed_to_eval(table, &mut x, roots);
                assert!(x == values, "forward, {what}");
                backend.eval_to_mixed(table, &mut x, roots);
                backend.inverse_mixed(table, &mut x, roots);
                assert!(x == coefficients, "inverse, {what}");
            }
        }
    }
}

/// The product of the product: the mean over the roots of entries in mixed form is a product of matrices.
#[test]
fn a_product_of_encoded_matrices_is_the_mean_over_the_roots() {
    const M: usize = 16;
    const N: usize = 8;
    let (a, b) = (oracle::residues(5, M * N), oracle::residues(6, N * M));
    // Left: entry (b, i) at t^b z^-i. Right: entry (i, j) at u^j z^i.
    let (mut left, mut right) = (vec![0; M * N], vec![0; M * N]);
    for i in 0..N {
        for c in 0..M {
            let entry = a[c * N + i];
            left[c + M * ((N - i) % N)] = if i == 0 { entry } else { oracle::sub(0, entry) };
            right[c + M * i] = b[i * M + c];
        }
    }
    let table = Table::of(M * N);
    let mean = modulus_inverse(N as u64);
    for backend in backend::available() {
        let (mut left, mut right) = (left.clone(), right.clone());
        backend.forward_mixed(table, &mut left, N);
        backend.forward_mixed(table, &mut right, N);
        for (r, c) in (0..M).flat_map(|r| (0..M).map(move |c| (r, c))) {
            let over_roots: u128 = (0..N).map(|j| left[j * M + r] as u128 * right[j * M + c] as u128).sum();
            let plain: u128 = (0..N).map(|i| a[r * N + i] as u128 * b[i * M + c] as u128).sum();
            let opened = oracle::mul(oracle::residue(over_roots), mean);
            assert_eq!(opened, oracle::residue(plain), "({r}, {c}) on {}", backend.name());
        }
    }
}

fn modulus_inverse(x: u64) -> u64 {
    oracle::pow(x, Q - 2)
}

#[test]
fn polynomials_go_through_the_mixed_form_and_back() {
    for (points, roots) in [(64, 8), (2048, 4), (4096, 128), (8, 1)] {
        let coefficients = oracle::residues(7, points);
        let poly = || {
            let mut poly = Poly::<Coeff>::zero(points);
            poly.as_mut_slice().copy_from_slice(&coefficients);
            poly
        };
        let mut expected = coefficients.clone();
        Portable.forward_mixed(Table::of(points), &mut expected, roots);
        let mixed = poly().into_mixed(roots);
        assert_eq!(mixed.as_slice(), expected);
        let values = poly().into_eval();
        let mut evaluated = expected.clone();
        Portable.mixed_to_eval(Table::of(points), &mut evaluated, roots);
        assert_eq!(values.as_slice(), evaluated);
        let mixed = values.into_mixed(roots);
        assert_eq!(mixed.as_slice(), expected);
        assert_eq!(mixed.into_coeff(roots).as_slice(), coefficients);
    }
}

#[test]
fn numbers_of_roots_that_do_not_fit_are_refused() {
    for backend in backend::available() {
        for (name, transform) in ALL {
            for (len, roots) in [(64, 0), (64, 3), (64, 24), (64, 128), (32, 8), (128, 8)] {
                let attempt =
                    AssertUnwindSafe(|| transform(*backend, Table::of(64), &mut vec![0; len], roots));
                let what = format!("{len} residues, {roots} roots, {}", backend.name());
                assert!(catch_unwind(attempt).is_err(), "{name} took {what}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn backends_agree_on_polynomials_with_many_edges(
        bits in 3u32..14,
        choice_of_roots in any::<u32>(),
        seed in any::<u64>(),
        edge in proptest::sample::select(&oracle::EDGES[..]),
        density in 0u64..8,
    ) {
        let (points, roots) = (1 << bits, 1 << (choice_of_roots % (bits + 1)));
        let choice = oracle::words(!seed, points);
        let random = oracle::residues(seed, points);
        let x: Vec<u64> =
            random.iter().zip(&choice).map(|(&r, &c)| if c % 8 < density { edge } else { r }).collect();
        for (name, transform) in ALL {
            let mut expected = x.clone();
            transform(&Portable, Table::of(points), &mut expected, roots);
            for backend in backend::available() {
                let mut y = x.clone();
                transform(*backend, Table::of(points), &mut y, roots);
                prop_assert!(y == expected, "{}, {} points, {} roots, {}", name, points, roots, backend.name());
            }
        }
    }
}
