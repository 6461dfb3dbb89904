//! Products open to what the plain matrices give.

use std::sync::Arc;

use blindsmith_keys::{
    Contraction, Encryption, Freshness, Key, MaskTerms, Opener, RowStrip, Share, contract,
};
use blindsmith_matrix::{Encoding, NoiseModel, OperandShape, Scale, Security, Side, View};
use blindsmith_ring::modulus;

use super::pair::*;

fn encoding(n: usize, m: usize) -> Encoding {
    Encoding::new(n, m, 2048 / (n * m)).unwrap()
}

/// Largest error over the noise's predicted standard deviation, and the measured one.
fn errors(pair: &Pair, sizes: &Sizes, a: &[f32], b: &[f32]) -> (f64, f64) {
    let product = pair.verify(&pair.multiply()).unwrap();
    let opened = pair.open(&product).unwrap();
    let rms = |v: &[f32]| (v.iter().map(|x| f64::from(x * x)).sum::<f64>() / v.len() as f64).sqrt();
    let padded = pair.left.shape.padded();
    let share = (sizes.contraction as f64 / padded as f64).sqrt();
    let [d, e] = pair.scales.map(Scale::factor);
    let noise = NoiseModel { padded };
    let std = noise.std(share * d * rms(a), share * e * rms(b)) / (d * e);
    let (mut largest, mut squares) = (0f64, 0.0);
    for (x, y) in opened.iter().zip(exact(sizes, a, b)) {
        let error = (f64::from(*x) - y).abs();
        largest = largest.max(error);
        squares += error * error;
    }
    (largest / std, (squares / opened.len() as f64).sqrt() / std)
}

#[test]
fn products_of_all_shapes_open_to_the_plain_product() {
    for (n, m_left, m_right, rows, contraction, columns) in [
        (1, 64, 512, 5, 9, 7),
        (1, 2048, 64, 3, 4, 65),
        (2, 32, 32, 40, 7, 33),
        (4, 512, 128, 20, 30, 10),
        (4, 16, 512, 17, 8, 3),
        (8, 8, 16, 9, 16, 20),
        (16, 128, 8, 130, 33, 1),
        (64, 16, 32, 1, 70, 40),
        (128, 8, 16, 2, 128, 10),
        (128, 16, 8, 3, 1, 1),
    ] {
        let sizes = Sizes { rows, contraction, columns };
        let (a, b) = (values(rows * contraction, 1), values(contraction * columns, 2));
        let pair = Pair::new(&sizes, encoding(n, m_left), encoding(n, m_right), &a, &b);
        let (largest, _) = errors(&pair, &sizes, &a, &b);
        assert!(largest < 6.5, "n {n}, m {m_left} and {m_right}: {largest} standard deviations");
    }
}

#[test]
fn the_higher_level_opens_as_well() {
    let sizes = Sizes { rows: 10, contraction: 12, columns: 9 };
    let (a, b) = (values(120, 1), values(108, 2));
    for n in [1, 4, 32] {
        let fit = |width| Encoding::fit(Security::Bits256, n, width).unwrap();
        let pair = Pair::new(&sizes, fit(10), fit(9), &a, &b);
        assert!(errors(&pair, &sizes, &a, &b).0 < 6.5);
    }
}

#[test]
fn noise_is_as_predicted() {
    let sizes = Sizes { rows: 48, contraction: 200, columns: 40 };
    let (a, b) = (values(48 * 200, 5), values(200 * 40, 6));
    for n in [1, 4, 16] {
        let pair = Pair::new(&sizes, encoding(n, 64), encoding(n, 64), &a, &b);
        let (_, measured) = errors(&pair, &sizes, &a, &b);
        assert!((measured - 1.0).abs() < 0.1, "n {n}: {measured} times the prediction");
    }
}

/// A contraction in two parts, as micro-batches are: secrets in common, masks of their own, residues added up.
#[test]
fn sums_over_parts_open_at_once() {
    let (rows, columns) = (20, 12);
    let (first, second) = (Sizes { rows, contraction: 8, columns }, Sizes { rows, contraction: 13, columns });
    let key = Key::random();
    let scales = [Scale::from_log2(18), Scale::from_log2(19)];
    let shape =
        |side, contraction, width| OperandShape { side, encoding: encoding(4, 64), contraction, width };
    let (mut sum, mut expected, mut plain) = (vec![], 0, vec![0.0; rows * columns]);
    let mut kept: Option<(Operand, Operand)> = None;
    for (i, sizes) in [first, second].iter().enumerate() {
        let a = values(rows * sizes.contraction, 10 + i as u64);
        let b = values(sizes.contraction * columns, 20 + i as u64);
        let (of_left, of_right) = match &kept {
            Some((left, right)) => (Some(left), Some(right)),
            None => (None, None),
        };
        let view = View::new(&a, rows, sizes.contraction);
        let left_shape = shape(Side::Left, sizes.contraction, rows);
        let left = encrypt(&key, left_shape, view, Contraction::Columns, scales[0], of_left);
        let view = View::new(&b, sizes.contraction, columns);
        let right_shape = shape(Side::Right, sizes.contraction, columns);
        let right = encrypt(&key, right_shape, view, Contraction::Rows, scales[1], of_right);
        let product = multiply(&left, &right);
        sum.resize(product.len(), 0);
        sum.iter_mut().zip(&product).for_each(|(s, p)| *s = modulus::add(*s, *p));
        let (l, r) = (&left.projections, &right.projections);
        let part = contract(&[&l.stripes[0], &l.masks], &[&r.stripes[0], &r.masks]);
        expected = modulus::add(expected, part);
        plain.iter_mut().zip(exact(sizes, &a, &b)).for_each(|(s, p)| *s += p);
        kept = Some((left, right));
    }
    let (left, right) = kept.unwrap();
    let product = verify(&left, &right, expected, &sum).unwrap();
    let opened = open(&left, &right, scales, &product).unwrap();
    for (x, y) in opened.iter().zip(plain) {
        assert!((f64::from(*x) - y).abs() < 1e-3, "{x} {y}");
    }
}

#[test]
fn few_rows_are_read_off_as_transforms_read_them() {
    let sizes = Sizes { rows: 2, contraction: 10, columns: 6 };
    let (a, b) = (values(20, 3), values(60, 4));
    let pair = Pair::new(&sizes, encoding(4, 64), encoding(4, 16), &a, &b);
    let product = pair.verify(&pair.multiply()).unwrap();
    let few = pair.open(&product).unwrap();
    // One row in three strips' worth of rows: transforms.
    let sizes = Sizes { rows: 3, ..sizes };
    let a = values(30, 3);
    let pair = Pair::new(&sizes, encoding(4, 64), encoding(4, 16), &a, &b);
    let product = pair.verify(&pair.multiply()).unwrap();
    let more = pair.open(&product).unwrap();
    for (x, y) in few.iter().zip(&more) {
        assert!((x - y).abs() < 1e-3, "{x} {y}");
    }
}

#[test]
fn opening_with_another_secret_is_out_of_range() {
    let sizes = Sizes { rows: 9, contraction: 8, columns: 6 };
    let (a, b) = (values(72, 3), values(48, 4));
    let pair = Pair::new(&sizes, encoding(2, 64), encoding(2, 32), &a, &b);
    let other = Pair::new(&sizes, encoding(2, 64), encoding(2, 32), &a, &b);
    let product = pair.verify(&pair.multiply()).unwrap();
    let terms = MaskTerms::new(&product, product.shape().columns, (&pair.right.secrets, 0));
    let strips = [RowStrip { rows: 9, secrets: vec![(0, other.left.secrets.reference(0))] }];
    let opener = Opener {
        product: &product,
        of_left_masks: &product,
        terms: &terms,
        of_right_masks: &product,
        strips: &strips,
        right: &pair.right.secrets,
        first: 0,
        scales: pair.scales,
    };
    assert!(opener.open(&mut vec![0.0; 54], 6, 0).is_err());
    assert!(Arc::strong_count(&pair.left.secrets) == 1);
}

/// Without fresh randomness, a changed message changes masks and secrets; an equal one repeats the ciphertext.
#[test]
fn a_copied_state_never_encrypts_two_messages_under_one_key() {
    let key = Key::from_bytes([7; 32]);
    let shape = OperandShape { side: Side::Right, encoding: encoding(4, 64), contraction: 8, width: 16 };
    let encrypted = |entries: &[f32]| {
        let view = (View::new(entries, 8, 16), Contraction::Rows);
        let of = (shape, Scale::from_log2(18));
        let encryption =
            Encryption::operand(&key, &CONTEXT, view, of, Freshness::Reproducible, Share::Nothing);
        let mut rows = vec![0; shape.residues()];
        encryption.places(0, &mut rows);
        (encryption.mask_seed(), rows)
    };
    let a = values(128, 1);
    let mut b = a.clone();
    b[77] += 1e-3;
    let (one, other) = (encrypted(&a), encrypted(&b));
    assert!(one == encrypted(&a));
    assert_ne!(one.0, other.0);
    // Of two ciphertexts under one mask and secret the difference would be small nearly everywhere.
    let small = one
        .1
        .iter()
        .zip(&other.1)
        .filter(|(x, y)| modulus::to_signed(modulus::sub(**x, **y)).unsigned_abs() < 1 << 30);
    assert!(small.count() < 3);
}
