//! A product is the one that was asked for, or it is refused before anything of it is opened.

use blindsmith_keys::{Malformed, Received, Wrong};
use blindsmith_matrix::{ProductKind, ProductShape, Tile};
use blindsmith_ring::{Q, modulus};

use super::pair::{KINDS, Pair, data};

/// A small pair of each kind, ragged at every edge.
fn pairs() -> Vec<Pair> {
    let tile = Tile::new(4, 8, 4).unwrap();
    KINDS.iter().map(|kind| Pair::random(*kind, tile, (10, 20, 9))).collect()
}

fn is_wrong(pair: &Pair, extras: &[u64], body: &[u64]) -> bool {
    matches!(pair.verify(extras, body).unwrap(), Err(Wrong))
}

/// Numbers for places and changes: what is random in a check is drawn by the check itself.
fn numbers(seed: u64) -> impl Iterator<Item = usize> {
    (0..).flat_map(move |i| data(seed + i, 1)).map(|v| ((v + 1.0) * (1 << 22) as f32) as usize)
}

/// One residue of one coefficient of one product changed by one, at random places, a thousand times: caught a
/// thousand times.
#[test]
fn attack_one_residue_changed_by_one_is_caught_at_every_place() {
    let mut numbers = numbers(100);
    let mut next = |below: usize| numbers.next().unwrap() % below;
    let mut caught = 0;
    for _ in 0..42 {
        for pair in pairs() {
            let (extras, body) = pair.multiply();
            for _ in 0..8 {
                let (mut extras, mut body) = (extras.clone(), body.clone());
                let at = next(extras.len() + body.len());
                let change = if next(2) == 0 { 1 } else { Q - 1 };
                let residue = match at.checked_sub(extras.len()) {
                    None => &mut extras[at],
                    Some(at) => &mut body[at],
                };
                *residue = modulus::add(*residue, change);
                assert!(is_wrong(&pair, &extras, &body), "{:?} at {at}", pair.shape.kind);
                caught += 1;
            }
        }
    }
    assert!(caught >= 1000);
}

/// 100,000 honest products, each of other operands under other scalars: none is refused.
#[test]
fn honest_products_are_never_refused() {
    use rayon::prelude::*;
    let tile = Tile::new(2, 2, 2).unwrap();
    (0..100_000usize).into_par_iter().for_each(|i| {
        let pair = Pair::random(KINDS[i % 3], tile, (3, 3, 3));
        let (extras, body) = pair.multiply();
        assert!(!is_wrong(&pair, &extras, &body), "{:?}", pair.shape.kind);
    });
}

#[test]
fn errors_that_cancel_without_weights_are_caught() {
    for pair in pairs() {
        let (extras, body) = pair.multiply();
        let tile = pair.shape.tile_residues();
        // Added here and taken away there: in a row, in a column, within a tile.
        for other in [tile, pair.shape.grid().1 * tile, 1] {
            let mut body = body.clone();
            body[0] = modulus::add(body[0], 5);
            body[other] = modulus::sub(body[other], 5);
            assert!(is_wrong(&pair, &extras, &body), "{:?} and {other}", pair.shape.kind);
        }
        // Neighbouring points of an extra polynomial, which a fold would add up.
        let mut extras = extras.clone();
        extras[0] = modulus::add(extras[0], 5);
        extras[1] = modulus::sub(extras[1], 5);
        assert!(is_wrong(&pair, &extras, &body), "{:?}", pair.shape.kind);
    }
}

#[test]
fn tiles_that_changed_places_are_caught() {
    for pair in pairs() {
        let (extras, body) = pair.multiply();
        let (tile, row) = (pair.shape.tile_residues(), pair.shape.grid().1 * pair.shape.tile_residues());
        for (a, b) in [(0, tile), (0, row), (tile, row)] {
            let mut body = body.clone();
            (0..tile).for_each(|i| body.swap(a + i, b + i));
            assert!(is_wrong(&pair, &extras, &body), "{:?}: {a} and {b}", pair.shape.kind);
        }
        let degree = pair.shape.tile.degree();
        let mut extras = extras;
        (0..degree).for_each(|i| extras.swap(i, degree + i));
        assert!(is_wrong(&pair, &extras, &body), "{:?}: extras", pair.shape.kind);
    }
}

#[test]
fn products_of_other_operands_are_caught() {
    for (pair, other) in pairs().iter().zip(pairs()) {
        let (extras, body) = other.multiply();
        assert!(is_wrong(pair, &extras, &body), "{:?}", pair.shape.kind);
        let (own_extras, own_body) = pair.multiply();
        assert!(is_wrong(pair, &extras, &own_body) && is_wrong(pair, &own_extras, &body));
        assert!(is_wrong(pair, &vec![0; extras.len()], &vec![0; body.len()]));
        assert!(!is_wrong(pair, &own_extras, &own_body));
    }
}

#[test]
fn malformed_products_are_refused() {
    let tile = Tile::new(4, 4, 4).unwrap();
    let shape = ProductShape { kind: ProductKind::Forward, tile, rows: 5, inputs: 5, outputs: 5 };
    let extras = vec![0; shape.extras() * tile.degree()];
    let row = shape.grid().1 * shape.tile_residues();
    let filled = || {
        let mut received = Received::new(shape);
        received.extras(&extras).unwrap();
        received
    };
    assert!(Received::new(shape).extras(&extras[1..]).is_err());
    assert!(Received::new(shape).rows(0, &vec![0; row]).is_err(), "rows before extra polynomials");
    assert!(filled().extras(&extras).is_err(), "extra polynomials twice");
    assert!(filled().rows(0, &vec![0; row]).is_ok());
    assert!(filled().rows(0, &vec![0; row - 1]).is_err());
    assert!(filled().rows(0, &[]).is_err());
    assert!(filled().rows(1, &vec![0; row]).is_err(), "out of order");
    assert!(filled().rows(usize::MAX, &vec![0; row]).is_err(), "out of order");
    assert!(filled().rows(0, &vec![0; 3 * row]).is_err(), "more rows than there are");
    for bad in [Q, u64::MAX] {
        let mut extras = extras.clone();
        extras[9] = bad;
        assert!(Received::new(shape).extras(&extras).is_err());
        let mut body = vec![0; row];
        body[row - 1] = bad;
        assert!(filled().rows(0, &body).is_err());
    }
    let pair = &pairs()[0];
    let (extras, body) = pair.multiply();
    let half = &body[..body.len() / pair.shape.grid().0];
    assert_eq!(pair.verify(&extras, half).err(), Some(Malformed("rows are missing")));
}

/// What a warden's own mistake in a scale would look like: the right product of values that are too large.
#[test]
fn right_products_out_of_range_are_refused_when_opened() {
    use blindsmith_matrix::Scale;
    use blindsmith_ring::Poly;
    let tile = Tile::new(4, 4, 4).unwrap();
    for kind in KINDS {
        let shape = ProductShape { kind, tile, rows: 4, inputs: 4, outputs: 4 };
        for (log2, fits) in [(22, true), (25, false)] {
            // Four products of ones: 2^46 fits, 2^49 does not.
            let scales = [Scale::from_log2(22), Scale::from_log2(log2)];
            let pair = Pair::new(shape, scales, &[1.0; 16], &[1.0; 16]);
            let (extras, body) = pair.multiply();
            let opener = pair.opener(pair.verify(&extras, &body).unwrap().unwrap());
            let mut scratch = Poly::zero(tile.degree());
            let opened = opener.open_row(0, &mut scratch, &mut [0.0; 16]);
            assert_eq!(opened.is_ok(), fits, "{kind:?} at 2^{log2}");
        }
    }
}
