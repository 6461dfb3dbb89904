//! The modulus, its generator and scalar arithmetic.

use blindsmith_ring::{Q, modulus};
use proptest::prelude::*;

use crate::oracle;

/// Miller and Rabin's test with the first twelve primes, which decides below 3.1e23 (Sorenson and
/// Webster, 2015).
fn is_prime(n: u64) -> bool {
    let mul = |a: u64, b: u64| (a as u128 * b as u128 % n as u128) as u64;
    let twos = (n - 1).trailing_zeros();
    [2u64, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].iter().filter(|&&base| base < n).all(|&base| {
        let mut x = 1;
        for bit in (0..64 - (n - 1).leading_zeros()).rev() {
            x = mul(x, x);
            if (n - 1) >> twos >> bit & 1 == 1 {
                x = mul(x, base);
            }
        }
        let squares = std::iter::successors(Some(x), |&x| Some(mul(x, x))).take(twos as usize);
        x == 1 || squares.into_iter().any(|x| x == n - 1)
    })
}

#[test]
fn the_modulus_is_a_prime_of_50_bits_that_serves_8192_points() {
    assert_eq!(Q, 1_125_899_906_826_241);
    assert_eq!(u64::BITS - Q.leading_zeros(), modulus::Q_BITS);
    assert_eq!((Q - 1) % (2 * blindsmith_ring::MAX_POINTS as u64), 0);
    assert!(is_prime(Q));
    assert!(is_prime(1_000_003) && !is_prime(3_215_031_751) && !is_prime(Q - 2), "the test tells them apart");
}

#[test]
fn the_generator_has_full_order() {
    let factors = [(2, 14), (3, 3), (5, 1), (7, 1), (13, 1), (19, 1), (37, 1), (73, 1), (109, 1)];
    let product: u64 = factors.iter().map(|&(prime, power)| u64::pow(prime, power)).product();
    assert_eq!(product, Q - 1);
    assert_eq!(oracle::pow(modulus::GENERATOR, Q - 1), 1);
    for (prime, _) in factors {
        assert_ne!(oracle::pow(modulus::GENERATOR, (Q - 1) / prime), 1, "order divides (q - 1) / {prime}");
    }
}

#[test]
fn signed_integers_map_to_residues_and_back_around_every_edge() {
    let q = Q as i64;
    let near = |x: i64| x - 3000..x + 3000;
    for v in near(0).chain(near(q / 2)).chain(near(-q / 2)).chain(near(q)).chain(near(-q)) {
        if -q < v && v < q {
            let x = modulus::from_signed(v);
            assert_eq!(x as i64, v.rem_euclid(q), "from_signed({v})");
            let back = modulus::to_signed(x);
            assert!(-q / 2 <= back && back <= q / 2, "to_signed({x}) = {back}");
            assert_eq!((v - back) % q, 0, "to_signed({x}) = {back}");
        }
    }
    assert_eq!(modulus::to_signed(Q / 2), q / 2);
    assert_eq!(modulus::to_signed(Q / 2 + 1), -(q / 2));
}

#[test]
fn reductions_hold_at_the_ends_of_their_ranges() {
    for x in [0, 1, Q - 1, Q, Q + 1, 2 * Q - 1] {
        assert_eq!(modulus::reduce_once(x), x % Q);
    }
    let largest = (Q - 1) as u128 * (Q - 1) as u128 + (Q - 1) as u128;
    for x in [0, 1, Q as u128, largest - 1, largest, (1 << 100) - 1, (1 << 100) - (1 << 50)] {
        assert_eq!(modulus::reduce_product(x), oracle::residue(x), "{x}");
    }
    for x in [0, Q as u128, largest, 8192 * largest, (1 << 113) - 1, (1 << 114) - 1, (1 << 114) - (1 << 50)] {
        assert_eq!(modulus::reduce_wide(x), oracle::residue(x), "{x}");
    }
    for (lo, hi) in [(0, 0), (u64::MAX, 0), (0, (1 << 61) - 1), (u64::MAX, (1 << 61) - 1)] {
        let expected = oracle::residue(lo as u128 + ((hi as u128) << 52));
        assert_eq!(modulus::reduce_pair(lo, hi), expected, "({lo}, {hi})");
    }
}

fn operand() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..Q, 1 => proptest::sample::select(&oracle::EDGES[..])]
}

proptest! {
    #[test]
    fn arithmetic_is_that_of_integers_modulo_q(a in operand(), b in operand(), e in any::<u64>()) {
        prop_assert_eq!(modulus::add(a, b), oracle::add(a, b));
        prop_assert_eq!(modulus::sub(a, b), oracle::sub(a, b));
        prop_assert_eq!(modulus::sub(0, a), oracle::sub(0, a));
        prop_assert_eq!(modulus::mul(a, b), oracle::mul(a, b));
        prop_assert_eq!(modulus::pow(a, e), oracle::pow(a, e));
        if a != 0 {
            prop_assert_eq!(oracle::mul(a, modulus::inv(a)), 1);
        }
    }

    #[test]
    fn wide_reductions_are_remainders(x in 0u128..1 << 114) {
        prop_assert_eq!(modulus::reduce_wide(x), oracle::residue(x));
        prop_assert_eq!(modulus::reduce_product(x >> 14), oracle::residue(x >> 14));
    }
}
