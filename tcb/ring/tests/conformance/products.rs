//! Sums and products point by point.

use std::panic::{AssertUnwindSafe, catch_unwind};

use blindsmith_ring::backend::{self, Backend};
use blindsmith_ring::modulus::MAX_CHAIN;
use blindsmith_ring::{LANES, Q};
use proptest::prelude::*;

use crate::oracle;

/// Inputs in which every pair of edges meets, then random ones.
fn operands<const K: usize>(len: usize) -> [Vec<u64>; K] {
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
        let [o, a, b] = operands(len);
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
        }
    }
}

/// What one product after the other adds to `lo` and `hi`, split at bit 52.
fn accumulated((lo, hi): (&mut [u64], &mut [u64]), a: &[u64], scalars: &[u64]) {
    for (a, scalar) in a.chunks(lo.len()).zip(scalars) {
        for ((lo, hi), a) in lo.iter_mut().zip(&mut *hi).zip(a) {
            let product = *a as u128 * *scalar as u128;
            *lo += (product & ((1 << 52) - 1)) as u64;
            *hi += (product >> 52) as u64;
        }
    }
}

#[test]
fn scaled_sums_are_those_of_one_product_after_the_other() {
    for (len, count) in [(8, 1), (64, 5), (2048, 4), (16, 0), (5, 3), (8, 100), (1, 1), (72, 10)] {
        let [a] = operands(len * count);
        let [scalars] = operands(count);
        let [lo, hi] = operands(len);
        let (mut expected_lo, mut expected_hi) = (lo.clone(), hi.clone());
        accumulated((&mut expected_lo, &mut expected_hi), &a, &scalars);
        for backend in backend::available() {
            let (mut x, mut y) = (lo.clone(), hi.clone());
            backend.scale_accumulate(&mut x, &mut y, &a, &scalars);
            assert!((&x, &y) == (&expected_lo, &expected_hi), "{count} of {len} on {}", backend.name());
        }
    }
}

/// The longest chain of the largest products, and of the largest low parts: (2^26 - 1)(2^26 + 1) = 2^52 - 1, of which
/// a chain fills 64 bits to 2^12.
#[test]
fn the_longest_chain_fits() {
    for (a, scalar) in [(Q - 1, Q - 1), ((1 << 26) - 1, (1 << 26) + 1)] {
        let (product, chain) = (a as u128 * scalar as u128, MAX_CHAIN as u128);
        for backend in backend::available() {
            let (mut lo, mut hi, mut x) = ([0; 16], [0; 16], [0; 16]);
            backend.scale_accumulate(&mut lo, &mut hi, &[a; 16 * MAX_CHAIN], &[scalar; MAX_CHAIN]);
            assert_eq!(lo, [(chain * (product & ((1 << 52) - 1))) as u64; 16], "{}", backend.name());
            assert_eq!(hi, [(chain * (product >> 52)) as u64; 16], "{}", backend.name());
            backend.reduce_pairs(&mut x, &lo, &hi);
            assert_eq!(x, [oracle::residue(chain * product); 16], "{}", backend.name());
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
fn a_dot_product_is_that_of_integers_modulo_q() {
    let whole_chain = 32 * MAX_CHAIN;
    let lengths = (0..=70).chain([127, 128, 129, 2048, MAX_CHAIN, MAX_CHAIN + 1, whole_chain + 45]);
    for len in lengths {
        let [_, a, b] = operands(len);
        // Largest products, and the largest low parts: (2^26 - 1)(2^26 + 1) = 2^52 - 1.
        let largest = [vec![Q - 1; len], vec![Q - 1; len]];
        let low = [vec![(1 << 26) - 1; len], vec![(1 << 26) + 1; len]];
        for [a, b] in [[a, b], largest, low] {
            let expected = a.iter().zip(&b).fold(0, |sum, (&a, &b)| oracle::add(sum, oracle::mul(a, b)));
            for backend in backend::available() {
                assert_eq!(backend.dot(&a, &b), expected, "{len} on {}", backend.name());
            }
        }
    }
}

/// One operation on buffers of which one has a length of its own.
type Misuse = fn(&dyn Backend, long: &mut [u64], short: &[u64]);

#[test]
fn unequal_lengths_are_refused() {
    let misuses: [(&str, Misuse); 11] = [
        ("add_assign", |b, x, y| b.add_assign(x, y)),
        ("sub_assign", |b, x, y| b.sub_assign(x, y)),
        ("mul", |b, x, y| b.mul(x, y, y)),
        ("mul_add", |b, x, y| b.mul_add(x, y, y)),
        ("scale_accumulate", |b, x, y| b.scale_accumulate(x, &mut [0; 16], y, &[1; 2])),
        ("reduce_pairs", |b, x, y| b.reduce_pairs(x, y, y)),
        ("dot", |b, x, y| assert_ne!(b.dot(x, y), 1)),
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
            let mut product = c.clone();
            backend.mul(&mut product, &c, &d);
            backend.sub_assign(&mut sum, &product);
            backend.add_assign(&mut sum, &a);
            for i in 0..8 {
                let [o, a, b, c, d] = [o[i], a[i], b[i], c[i], d[i]];
                let expected = oracle::add(oracle::sub(oracle::mul(a, b), oracle::mul(c, d)), oracle::add(o, a));
                prop_assert_eq!(sum[i], expected, "{}", backend.name());
            }
        }
    }
}
