//! What a refinery may try with a product.

use blindsmith_keys::{Malformed, Wrong};
use blindsmith_matrix::Encoding;
use blindsmith_ring::{Q, modulus};

use super::pair::*;

fn pair() -> Pair {
    let sizes = Sizes { rows: 5, contraction: 9, columns: 7 };
    let (a, b) = (values(45, 1), values(63, 2));
    let encoding = |m: usize| Encoding::new(4, m, 512 / m).unwrap();
    Pair::new(&sizes, encoding(64), encoding(16), &a, &b)
}

#[test]
fn attack_one_residue_changed_by_one_is_caught_at_every_place() {
    let pair = pair();
    let product = pair.multiply();
    assert!(pair.verify(&product).is_ok());
    let mut state = 12345u64;
    for i in 0..1000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // All parts in turn: C and the ends of the others are small.
        let range = pair.shape().ranges()[i % 4].clone();
        let at = range.start + (state >> 33) as usize % range.len();
        let mut wrong = product.clone();
        wrong[at] = modulus::add(wrong[at], 1);
        assert!(pair.verify(&wrong).is_err(), "residue {at}");
    }
}

#[test]
fn attack_halves_of_the_modulus() {
    // An error of (q + 1) / 2 in two places cancels wherever signs alone decide.
    let pair = pair();
    let product = pair.multiply();
    let half = Q.div_ceil(2);
    for part in pair.shape().ranges() {
        let mut wrong = product.clone();
        for at in [part.start, part.end - 1] {
            wrong[at] = modulus::add(wrong[at], half);
        }
        assert_eq!(pair.verify(&wrong).err(), Some(Wrong));
    }
}

#[test]
fn attack_rows_and_columns_change_places() {
    let pair = pair();
    let product = pair.multiply();
    let columns = pair.shape().columns;
    let mut rows = product.clone();
    (0..columns).for_each(|j| rows.swap(j, columns + j));
    assert!(pair.verify(&rows).is_err());
    let mut roots = product.clone();
    // Two roots of one residue of a mask.
    let [_, p, ..] = pair.shape().ranges();
    roots.swap(p.start, p.start + pair.shape().left.per_root());
    assert!(pair.verify(&roots).is_err());
}

#[test]
fn attack_a_product_of_other_operands() {
    let (one, other) = (pair(), pair());
    assert!(one.verify(&other.multiply()).is_err());
    assert!(one.verify(&multiply(&one.left, &other.right)).is_err());
    assert!(one.verify(&multiply(&other.left, &one.right)).is_err());
}

#[test]
fn malformed_products_are_refused() {
    let pair = pair();
    let product = pair.multiply();
    let refused = |pieces: &[&[u64]]| pair.receive(pieces.iter().copied()).err();
    assert_eq!(refused(&[&product, &[0]]), Some(Malformed("residues that do not exist")));
    assert_eq!(refused(&[&product[1..]]), Some(Malformed("residues are missing")));
    assert_eq!(refused(&[]), Some(Malformed("residues are missing")));
    let mut wrong = product.clone();
    wrong[17] = Q;
    assert_eq!(refused(&[&wrong]), Some(Malformed("a residue is not below the modulus")));
}

/// A sum is taken over what arrives, wherever it is cut.
#[test]
fn products_in_pieces_are_checked_alike() {
    let pair = pair();
    let product = pair.multiply();
    for size in [1, 7, 1000, 40_961] {
        assert!(pair.receive(product.chunks(size)).unwrap().is_ok(), "pieces of {size}");
    }
    for range in pair.shape().ranges() {
        for at in [range.start, range.end - 1] {
            let mut wrong = product.clone();
            wrong[at] = (wrong[at] + 1) % Q;
            assert!(pair.receive(wrong.chunks(1000)).unwrap().is_err(), "residue {at}");
        }
    }
}
