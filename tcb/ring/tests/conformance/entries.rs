//! Vectors of elements, and entries of matrices: encoding, decoding, sums over subsets.

use std::panic::{AssertUnwindSafe, catch_unwind};

use blindsmith_ring::backend::{self, Backend, Portable};
use blindsmith_ring::modulus::{self, MAX_CHAIN};
use blindsmith_ring::{Q, Table};
use proptest::prelude::*;

use crate::oracle;

#[test]
fn vectors_of_elements_are_multiplied_root_by_root() {
    for (roots, rank, strip) in
        [(1, 1, 8), (2, 1, 16), (4, 3, 8), (4, 2, 512), (128, 2, 8), (1, 32, 64), (3, 5, 24), (0, 4, 8)]
    {
        let len = roots * rank * strip;
        let random = [oracle::residues(1, len), oracle::residues(2, len)];
        for [a, b] in [random, [vec![Q - 1; len], vec![Q - 1; len]]] {
            let mut expected = vec![0; roots * strip];
            for (j, l, t) in
                (0..roots * rank * strip).map(|i| (i / strip / rank, i / strip % rank, i % strip))
            {
                let at = (j * rank + l) * strip + t;
                let sum = &mut expected[j * strip + t];
                *sum = oracle::add(*sum, oracle::mul(a[at], b[at]));
            }
            for backend in backend::available() {
                let mut out = vec![7; roots * strip];
                backend.mul_ranks(&mut out, &a, &b, rank, strip);
                assert!(out == expected, "{roots} roots, rank {rank}, {strip} points on {}", backend.name());
            }
        }
    }
}

/// Strips that are no whole registers, and ranks as long as accumulators hold.
#[test]
fn vectors_of_any_strip_and_rank_are_multiplied() {
    for (rank, strip) in [(1, 1), (3, 5), (2, 12), (MAX_CHAIN, 8), (MAX_CHAIN, 3)] {
        let (a, b) = (oracle::residues(3, 2 * rank * strip), vec![Q - 1; 2 * rank * strip]);
        let at = |i: usize, l: usize| (i / strip * rank + l) * strip + i % strip;
        let expected: Vec<u64> = (0..2 * strip)
            .map(|i| (0..rank).fold(0, |sum, l| oracle::add(sum, oracle::mul(a[at(i, l)], b[at(i, l)]))))
            .collect();
        for backend in backend::available() {
            let mut out = vec![7; 2 * strip];
            backend.mul_ranks(&mut out, &a, &b, rank, strip);
            assert!(out == expected, "rank {rank}, {strip} points on {}", backend.name());
        }
    }
}

#[test]
fn blocks_are_added_up() {
    for (len, blocks) in [(8, 1), (8, 5), (16, 128), (64, 3), (5, 7), (1, 4), (24, 0), (8, 1 << 13), (0, 0)] {
        for x in [oracle::residues(4, len * blocks), vec![Q - 1; len * blocks]] {
            let expected: Vec<u64> =
                (0..len).map(|t| (0..blocks).fold(0, |sum, j| oracle::add(sum, x[j * len + t]))).collect();
            for backend in backend::available() {
                let mut out = vec![7; len];
                backend.fold_blocks(&mut out, &x);
                assert!(out == expected, "{blocks} blocks of {len} on {}", backend.name());
            }
        }
    }
}

/// One after the other: what each of the three methods does is tested by itself.
#[test]
fn products_are_brought_back_and_added_up_at_once() {
    for (points, strip, rank) in
        [(8, 8, 1), (16, 16, 1), (64, 16, 2), (64, 32, 3), (2048, 16, 1), (512, 64, 4), (2048, 128, 1)]
            .into_iter()
            .chain([
                (2048, 256, 1),
                (2048, 512, 1),
                (256, 256, 8),
                (2048, 2048, 1),
                (4096, 8, 1),
                (64, 2, 32),
            ])
    {
        let (table, len) = (Table::of(points), points * rank);
        let random = [oracle::residues(5, len), oracle::residues(6, len)];
        for [a, b] in [random, [vec![Q - 1; len], vec![Q - 1; len]]] {
            let (mut element, mut expected) = (vec![0; points], vec![0; strip]);
            Portable.mul_ranks(&mut element, &a, &b, rank, strip);
            Portable.eval_to_mixed(table, &mut element, points / strip);
            Portable.fold_blocks(&mut expected, &element);
            for backend in backend::available() {
                let (mut out, mut element) = (vec![7; strip], vec![7; points]);
                backend.mul_fold(table, &mut out, &a, &b, &mut element);
                assert!(
                    out == expected,
                    "{points} points, {strip} a strip, rank {rank} on {}",
                    backend.name()
                );
            }
        }
    }
}

/// The nearest integer, ties to even, modulo q: by comparison of distances, which doubles hold exactly.
fn nearest(x: f32, factor: f64) -> u64 {
    let value = f64::from(x) * factor;
    let below = value.floor();
    let up = match (value - below).partial_cmp(&0.5).unwrap() {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => below.rem_euclid(2.0) == 1.0,
    };
    (below as i64 + i64::from(up)).rem_euclid(Q as i64) as u64
}

/// Finite reals with special ones among them.
fn reals(len: usize) -> Vec<f32> {
    let special =
        [0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 1e-40, -1e-45, f32::MIN_POSITIVE, 1.0, -1.0, 0.25];
    let random = oracle::words(5, len).into_iter().map(|w| (w >> 40) as f32 / (1 << 23) as f32 - 1.0);
    special.into_iter().chain(random).take(len).collect()
}

#[test]
fn entries_are_encoded_as_the_nearest_integers() {
    let largest = f64::powi(2.0, 49);
    for len in [0, 1, 7, 8, 9, 16, 23, 300] {
        let x = reals(len);
        for factor in [1.0, -1.0, 0.375, f64::powi(2.0, -8), -f64::powi(2.0, 20), f64::powi(2.0, 40) / 3.0] {
            let expected: Vec<u64> = x.iter().map(|x| nearest(*x, factor)).collect();
            for backend in backend::available() {
                let mut out = vec![7; len];
                backend.encode(&mut out, &x, factor);
                assert_eq!(out, expected, "{len} by {factor} on {}", backend.name());
            }
        }
        // The largest magnitudes.
        for (x, factor) in [(1.0, largest), (-1.0, largest), (f32::powi(2.0, 40), -512.0)] {
            for backend in backend::available() {
                let mut out = vec![7; len];
                backend.encode(&mut out, &vec![x; len], factor);
                assert_eq!(out, vec![nearest(x, factor); len], "{}", backend.name());
            }
        }
    }
}

#[test]
fn residues_are_decoded_as_their_centred_multiples() {
    let fourth = modulus::inv(4);
    for len in [0, 1, 7, 8, 9, 16, 23, 300] {
        let mut x = oracle::EDGES.to_vec();
        x.extend(oracle::residues(6, len));
        x.truncate(len);
        for (multiplier, factor) in
            [(1, 1.0), (fourth, f64::powi(2.0, -37)), (Q - 1, 1e-40), (123_456_789, -1e9)]
        {
            let centred = |x: &u64| match oracle::mul(*x, multiplier) {
                above if above > Q / 2 => above as i64 - Q as i64,
                v => v as i64,
            };
            let values: Vec<i64> = x.iter().map(centred).collect();
            let largest = values.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
            let expected: Vec<u32> = values.iter().map(|v| ((*v as f64 * factor) as f32).to_bits()).collect();
            for backend in backend::available() {
                let mut out = vec![f32::NAN; len];
                assert_eq!(backend.decode(&mut out, &x, multiplier, factor), largest, "{}", backend.name());
                let out: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                assert_eq!(out, expected, "{len} by {multiplier} and {factor} on {}", backend.name());
            }
        }
    }
}

/// Wherever the largest magnitude stands, it is found.
#[test]
fn the_largest_magnitude_is_that_of_all_entries() {
    for place in 0..21 {
        for value in [Q / 2, Q / 2 + 1, 1 << 48] {
            let mut x = vec![1; 21];
            x[place] = value;
            let expected = value.min(Q - value);
            for backend in backend::available() {
                let largest = backend.decode(&mut [0.0; 21], &x, 1, 1.0);
                assert_eq!(largest, expected, "{value} at {place} on {}", backend.name());
            }
        }
    }
}

#[test]
fn subsets_are_summed_up_whatever_the_length() {
    for (len, count) in
        [(0, 3), (1, 1), (5, 7), (7, 2), (8, 5), (9, 4), (16, 1), (20, 33), (64, 0), (2048, 3)]
    {
        let elements = [oracle::words(7, len * count), vec![u64::MAX; len * count], vec![Q - 1; len * count]];
        let words = [oracle::words(8, count), vec![u64::MAX; count], vec![0; count], vec![1 << 63; count]];
        for (elements, words) in elements.iter().flat_map(|e| words.iter().map(move |w| (e, w))) {
            // They are added to what is there.
            let before = oracle::words(9, 64 * len);
            let mut expected = before.clone();
            for (k, i, j) in (0..count * len * 64).map(|at| (at / 64 / len, at / 64 % len, at % 64)) {
                if words[k] >> j & 1 == 1 {
                    let sum = &mut expected[64 * i + j];
                    *sum = sum.wrapping_add(elements[k * len + i]);
                }
            }
            for backend in backend::available() {
                let mut sums = before.clone();
                backend.subset_sums(&mut sums, elements, words);
                assert!(sums == expected, "{count} elements of {len} on {}", backend.name());
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for backend in backend::available() {
        let refused = |call: &dyn Fn()| catch_unwind(AssertUnwindSafe(call)).is_err();
        let ranks = |out: usize, a: usize, b: usize, rank: usize, strip: usize| {
            refused(&|| backend.mul_ranks(&mut vec![0; out], &vec![0; a], &vec![0; b], rank, strip))
        };
        assert!(!ranks(16, 32, 32, 2, 8));
        for (out, a, b, rank, strip) in [
            (16, 32, 24, 2, 8),
            (16, 24, 24, 2, 8),
            (12, 24, 24, 2, 8),
            (16, 0, 0, 0, 8),
            (16, 32, 32, 2, 0),
            (8, 8 * MAX_CHAIN + 8, 8 * MAX_CHAIN + 8, MAX_CHAIN + 1, 8),
        ] {
            assert!(ranks(out, a, b, rank, strip), "{out} {a} {b} {rank} {strip} on {}", backend.name());
        }
        let fold = |out: usize, x: usize| refused(&|| backend.fold_blocks(&mut vec![0; out], &vec![0; x]));
        assert!(!fold(8, 24) && fold(8, 20) && fold(0, 8) && fold(8, 7) && fold(8, (8 << 13) + 8));
        let name = backend.name();
        let mul_fold = |out: usize, a: usize, b: usize, element: usize| {
            let call = |out: &mut [u64], element: &mut [u64]| {
                backend.mul_fold(Table::of(64), out, &vec![0; a], &vec![0; b], element);
            };
            refused(&|| call(&mut vec![0; out], &mut vec![0; element]))
        };
        assert!(!mul_fold(16, 128, 128, 64), "{name}");
        for (out, a, b, element) in
            [(0, 128, 128, 64), (24, 128, 128, 64), (16, 128, 64, 64), (16, 100, 100, 64), (16, 64, 64, 32)]
        {
            assert!(mul_fold(out, a, b, element), "{out} {a} {b} {element} on {name}");
        }
        assert!(refused(&|| backend.encode(&mut [0; 9], &[0.0; 8], 1.0)), "{name}");
        assert!(refused(&|| assert_eq!(backend.decode(&mut [0.0; 8], &[0; 9], 1, 1.0), 0)), "{name}");
        let sums = |sums: usize, elements: usize, words: usize| {
            refused(&|| backend.subset_sums(&mut vec![0; sums], &vec![0; elements], &vec![0; words]))
        };
        assert!(!sums(128, 6, 3) && sums(128, 7, 3) && sums(120, 6, 3) && sums(64, 6, 3), "{name}");
    }
}

proptest! {
    #[test]
    fn reals_of_any_size_are_encoded_alike(
        x in proptest::collection::vec(-1.0f32..1.0, 0..40),
        log2 in -8i32..49,
    ) {
        let factor = f64::powi(2.0, log2);
        let expected: Vec<u64> = x.iter().map(|x| nearest(*x, factor)).collect();
        for backend in backend::available() {
            let mut out = vec![7; x.len()];
            backend.encode(&mut out, &x, factor);
            prop_assert_eq!(&out, &expected, "{}", backend.name());
            // Back again: at most half a unit off, and rounded to single precision.
            let mut back = vec![0.0; x.len()];
            let largest = backend.decode(&mut back, &out, 1, 1.0 / factor);
            for (x, y) in x.iter().zip(&back) {
                prop_assert!((f64::from(*x) - f64::from(*y)).abs() <= 0.5 / factor + 1e-7, "{x} {y}");
            }
            prop_assert!(largest as f64 <= factor + 0.5);
        }
    }
}
