//! Sums and products point by point.

use std::panic::{AssertUnwindSafe, catch_unwind};

use blindsmith_ring::backend::{self, Backend, MAX_FOLD};
use blindsmith_ring::modulus::{self, MAX_CHAIN};
use blindsmith_ring::{LANES, Q};
use proptest::prelude::*;

use crate::oracle;

/// Five inputs in which every pair of edges meets, then random ones.
fn operands(len: usize) -> [Vec<u64>; 5] {
    let edges = oracle::EDGES.len();
    std::array::from_fn(|k| {
        let random = oracle::residues(k as u64, len);
        let edge = |i: usize| oracle::EDGES[i / edges.pow(k as u32 % 2) % edges];
        (0..len).map(|i| if i < 2 * edges * edges { edge(i + k / 2) } else { random[i] }).collect()
    })
}

#[test]
fn every_operation_is_that_of_integers_modulo_q() {
    for len in [8, 16, 24, 256, 2048, 0, 1, 3, 7, 13] {
        let [o, a, b, c, d] = operands(len);
        let each = |f: &dyn Fn(usize) -> u64| (0..len).map(f).collect::<Vec<_>>();
        let product = |i: usize| a[i] as u128 * b[i] as u128;
        for backend in backend::available() {
            let name = backend.name();
            let mut x = o.clone();
            backend.add_assign(&mut x, &a);
            assert_eq!(x, each(&|i| oracle::add(o[i], a[i])), "{name}");
            x.clone_from(&o);
            backend.sub_assign(&mut x, &a);
            assert_eq!(x, each(&|i| oracle::sub(o[i], a[i])), "{name}");
            backend.mul(&mut x, &a, &b);
            assert_eq!(x, each(&|i| oracle::residue(product(i))), "{name}");
            x.clone_from(&o);
            backend.mul_add(&mut x, &a, &b);
            assert_eq!(x, each(&|i| oracle::residue(product(i) + o[i] as u128)), "{name}");
            x.clone_from(&o);
            backend.mul_sub(&mut x, &a, &b);
            assert_eq!(x, each(&|i| oracle::sub(o[i], oracle::residue(product(i)))), "{name}");
            backend.dot2(&mut x, &a, &b, &c, &d);
            let second = |i: usize| c[i] as u128 * d[i] as u128;
            assert_eq!(x, each(&|i| oracle::residue(product(i) + second(i))), "{name}");
            let signed: Vec<i64> = a.iter().map(|&v| modulus::to_signed(v)).collect();
            backend.encode_signed(&mut x, &signed);
            assert_eq!(x, a, "{name}");
        }
    }
}

#[test]
fn signed_integers_of_either_sign_are_encoded_up_to_q() {
    let q = Q as i64;
    let v = [0, 1, -1, q - 1, 1 - q, q / 2, -q / 2, 21];
    for backend in backend::available() {
        let mut x = [7; 8];
        backend.encode_signed(&mut x, &v);
        assert_eq!(x.map(|x| x as i64), v.map(|v| v.rem_euclid(q)), "{}", backend.name());
    }
}

#[test]
fn the_longest_chain_of_the_largest_products_fits() {
    let largest = [Q - 1; 16];
    let product = (Q as u128 - 1).pow(2);
    for backend in backend::available() {
        let (mut lo, mut hi) = ([0; 16], [0; 16]);
        for _ in 0..MAX_CHAIN {
            backend.mul_accumulate(&mut lo, &mut hi, &largest, &largest);
        }
        let chain = MAX_CHAIN as u128;
        assert_eq!(lo, [(chain * (product & ((1 << 52) - 1))) as u64; 16], "{}", backend.name());
        assert_eq!(hi, [(chain * (product >> 52)) as u64; 16], "{}", backend.name());
        let mut x = [0; 16];
        backend.reduce_pairs(&mut x, &lo, &hi);
        assert_eq!(x, [oracle::residue(chain * product); 16], "{}", backend.name());
    }
}

/// (2^26 - 1)(2^26 + 1) = 2^52 - 1 has the largest low part: a chain of it fills 64 bits to 2^12.
#[test]
fn the_longest_chain_of_the_largest_low_parts_fits() {
    let (a, b) = ([(1 << 26) - 1; 8], [(1 << 26) + 1; 8]);
    for backend in backend::available() {
        let (mut lo, mut hi) = ([0; 8], [0; 8]);
        for _ in 0..MAX_CHAIN {
            backend.mul_accumulate(&mut lo, &mut hi, &a, &b);
        }
        assert_eq!((lo, hi), ([u64::MAX - 4095; 8], [0; 8]), "{}", backend.name());
        let mut x = [0; 8];
        backend.reduce_pairs(&mut x, &lo, &hi);
        assert_eq!(x, [oracle::residue(lo[0] as u128); 8], "{}", backend.name());
    }
}

#[test]
fn accumulators_split_products_at_bit_52() {
    for len in [8, 2048, 5] {
        let [lo, hi, a, b, _] = operands(len);
        for backend in backend::available() {
            let (mut x, mut y) = (lo.clone(), hi.clone());
            backend.mul_accumulate(&mut x, &mut y, &a, &b);
            for i in 0..len {
                let product = a[i] as u128 * b[i] as u128;
                let expected = (lo[i] + (product & ((1 << 52) - 1)) as u64, hi[i] + (product >> 52) as u64);
                assert_eq!((x[i], y[i]), expected, "{} {} on {}", a[i], b[i], backend.name());
            }
        }
    }
}

#[test]
fn scaled_sums_are_those_of_one_product_after_the_other() {
    for (len, count) in [(8, 1), (64, 5), (2048, 4), (16, 0), (5, 3)] {
        let (a, scalars) = (oracle::residues(7, len * count), oracle::residues(8, count));
        let [lo, hi, ..] = operands(len);
        let (mut expected_lo, mut expected_hi) = (lo.clone(), hi.clone());
        for (a, scalar) in a.chunks(len).zip(&scalars) {
            for i in 0..len {
                let product = a[i] as u128 * *scalar as u128;
                expected_lo[i] += (product & ((1 << 52) - 1)) as u64;
                expected_hi[i] += (product >> 52) as u64;
            }
        }
        for backend in backend::available() {
            let (mut x, mut y) = (lo.clone(), hi.clone());
            backend.scale_accumulate(&mut x, &mut y, &a, &scalars);
            assert!((&x, &y) == (&expected_lo, &expected_hi), "{count} of {len} on {}", backend.name());
        }
    }
}

#[test]
fn pairs_reduce_over_their_whole_range() {
    let ends = |end: u64| [0, 1, Q - 1, Q, 1 << 50, (1 << 52) - 1, 1 << 52, end - Q, end - 1, end];
    for backend in backend::available() {
        for hi in ends((1 << 61) - 1) {
            let mut lo = ends(u64::MAX).to_vec();
            lo.extend(oracle::words(hi, 6));
            let mut x = vec![0; lo.len()];
            backend.reduce_pairs(&mut x, &lo, &vec![hi; lo.len()]);
            for (x, lo) in x.iter().zip(lo) {
                let expected = oracle::residue(lo as u128 + ((hi as u128) << 52));
                assert_eq!(*x, expected, "({lo}, {hi}) on {}", backend.name());
            }
        }
    }
}

#[test]
fn folds_sum_the_products_of_each_group() {
    for bits in 0..=MAX_FOLD.trailing_zeros() {
        let fold = 1 << bits;
        for outputs in [8, 16, 1, 2, 4] {
            let len = outputs * fold;
            let random: [Vec<u64>; 4] = std::array::from_fn(|k| oracle::residues(k as u64 + 1, len));
            let largest = [const { Q - 1 }; 4].map(|v| vec![v; len]);
            for [a, b, c, d] in [random, largest] {
                let expected: Vec<u64> = (0..outputs)
                    .map(|i| {
                        let group = i * fold..(i + 1) * fold;
                        let sum = group.map(|k| a[k] as u128 * b[k] as u128 + c[k] as u128 * d[k] as u128);
                        oracle::residue(sum.sum())
                    })
                    .collect();
                for backend in backend::available() {
                    let mut x = vec![0; outputs];
                    backend.dot2_fold(&mut x, &a, &b, &c, &d, fold);
                    assert!(x == expected, "{outputs} outputs of {fold} on {}", backend.name());
                }
            }
        }
    }
}

/// One operation on buffers of which one has a length of its own.
type Misuse = fn(&dyn Backend, long: &mut [u64], short: &[u64]);

#[test]
fn unequal_lengths_are_refused() {
    let misuses: [(&str, Misuse); 15] = [
        ("add_assign", |b, x, y| b.add_assign(x, y)),
        ("sub_assign", |b, x, y| b.sub_assign(x, y)),
        ("mul", |b, x, y| b.mul(x, y, y)),
        ("mul_add", |b, x, y| b.mul_add(x, y, y)),
        ("mul_sub", |b, x, y| b.mul_sub(x, y, y)),
        ("dot2", |b, x, y| b.dot2(x, y, y, y, y)),
        ("dot2_fold", |b, x, y| b.dot2_fold(x, y, y, y, y, 2)),
        ("fold no power of two", |b, x, _| b.dot2_fold(x, &[0; 48], &[0; 48], &[0; 48], &[0; 48], 3)),
        ("mul_accumulate", |b, x, y| b.mul_accumulate(x, &mut [0; 16], y, y)),
        ("scale_accumulate", |b, x, y| b.scale_accumulate(x, &mut [0; 16], y, &[1; 2])),
        ("reduce_pairs", |b, x, y| b.reduce_pairs(x, y, y)),
        ("add_noise", |b, x, _| b.add_noise(x, &[0; 88])),
        ("ternary", |b, x, _| b.ternary(x, &[0; 120])),
        ("pack", |b, x, _| b.pack(&mut [0; 50], x)),
        ("unpack", |b, x, _| assert!(b.unpack(x, &[0; 50]))),
    ];
    for backend in backend::available() {
        for (name, misuse) in misuses {
            let attempt = AssertUnwindSafe(|| misuse(*backend, &mut [0; 2 * LANES], &[0; LANES]));
            assert!(catch_unwind(attempt).is_err(), "{name} on {} took it", backend.name());
        }
    }
}

fn operand() -> impl Strategy<Value = u64> {
    prop_oneof![1 => 0..Q, 1 => proptest::sample::select(&oracle::EDGES[..])]
}

proptest! {
    #[test]
    fn backends_agree_on_any_residues(
        x in proptest::collection::vec((operand(), operand(), operand(), operand(), operand()), 8)
    ) {
        let column = |f: fn(&(u64, u64, u64, u64, u64)) -> u64| x.iter().map(f).collect::<Vec<_>>();
        let (o, a, b) = (column(|r| r.0), column(|r| r.1), column(|r| r.2));
        let (c, d) = (column(|r| r.3), column(|r| r.4));
        for backend in backend::available() {
            let mut sum = o.clone();
            backend.mul_add(&mut sum, &a, &b);
            backend.mul_sub(&mut sum, &c, &d);
            backend.add_assign(&mut sum, &a);
            let mut other = vec![0; 8];
            backend.dot2(&mut other, &a, &b, &o, &d);
            for i in 0..8 {
                let [o, a, b, c, d] = [o[i], a[i], b[i], c[i], d[i]];
                let expected = oracle::add(oracle::sub(oracle::mul(a, b), oracle::mul(c, d)), oracle::add(o, a));
                prop_assert_eq!(sum[i], expected, "{}", backend.name());
                let expected = oracle::add(oracle::mul(a, b), oracle::mul(o, d));
                prop_assert_eq!(other[i], expected, "{}", backend.name());
            }
        }
    }
}
