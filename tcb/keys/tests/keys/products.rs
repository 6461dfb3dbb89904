//! Encrypt, multiply as the definition says, open: against the plain product, and against the noise
//! predicted.

use std::sync::Arc;

use blindsmith_keys::{
    Along, Check, Context, Encryption, Freshness, Key, Opener, Received, Scalars, Secret, Share, Taken,
    UploadContext, UploadKey, combine, contract,
};
use blindsmith_matrix::{
    MaskSeed, NoiseModel, ProductKind, ProductShape, Scale, Shape, Tile, View, entry_scale, largest_scale,
};
use blindsmith_ring::{Eval, LANES, Lanes, Poly, modulus};

use super::pair::{Encrypted, KINDS, Pair, context, data, encrypt, multiply, open, tile};

fn plain(
    kind: ProductKind,
    a: &[f32],
    b: &[f32],
    (rows, inputs, outputs): (usize, usize, usize),
) -> Vec<f64> {
    let at = |m: &[f32], cols: usize, r: usize, c: usize| m[r * cols + c] as f64;
    let sum = |r: usize, c: usize| -> f64 {
        match kind {
            ProductKind::Forward => (0..inputs).map(|i| at(a, inputs, r, i) * at(b, outputs, i, c)).sum(),
            ProductKind::WeightGradient => {
                (0..rows).map(|x| at(a, inputs, x, r) * at(b, outputs, x, c)).sum()
            }
            ProductKind::InputGradient => {
                (0..outputs).map(|j| at(a, outputs, r, j) * at(b, outputs, c, j)).sum()
            }
        }
    };
    let (height, width) = match kind {
        ProductKind::Forward => (rows, outputs),
        ProductKind::WeightGradient => (inputs, outputs),
        ProductKind::InputGradient => (rows, inputs),
    };
    (0..height).flat_map(|r| (0..width).map(move |c| (r, c))).map(|(r, c)| sum(r, c)).collect()
}

/// Returns (measured, predicted) standard deviations of the error in integer units, and the largest error.
fn roundtrip(kind: ProductKind, tile: Tile, size: (usize, usize, usize), magnitude: f32) -> (f64, f64) {
    let (rows, inputs, outputs) = size;
    let x = data(1, rows * inputs);
    let w: Vec<f32> = data(2, inputs * outputs).iter().map(|v| v * magnitude).collect();
    let e: Vec<f32> = data(3, rows * outputs).iter().map(|v| v * magnitude).collect();
    let shape = ProductShape { kind, tile, rows, inputs, outputs };
    let (a, b): (&[f32], &[f32]) = match kind {
        ProductKind::Forward => (&x, &w),
        ProductKind::WeightGradient => (&x, &e),
        ProductKind::InputGradient => (&e, &w),
    };
    let (ls, rs) = (shape.left(), shape.right());
    let max = |v: &[f32]| v.iter().fold(0f32, |m, x| m.max(x.abs())) as f64;
    let left_scale = entry_scale(max(a)).unwrap();
    let contraction = match kind {
        ProductKind::Forward => inputs,
        ProductKind::WeightGradient => rows,
        ProductKind::InputGradient => outputs,
    };
    let bound = max(a) * max(b) * contraction as f64;
    let right_scale = largest_scale(left_scale, bound, max(b)).unwrap();
    let scales = [left_scale, right_scale];
    let pair = Pair::new(shape, scales, a, b);
    let (extras, body) = pair.multiply();
    let opened = open(&pair.opener(pair.verify(&extras, &body).unwrap().unwrap()));
    let units = left_scale.factor() * right_scale.factor();
    let errors: Vec<f64> = opened
        .iter()
        .zip(plain(kind, a, b, size))
        // Rounding to f32 is not the encryption's doing: allow for it below.
        .map(|(o, p)| (*o as f64 - p) * units)
        .collect();
    let measured = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
    // The entries are uniform in [-max, max): root mean square max/sqrt(3), on a full tile; padding is zero.
    let rms = |v: &[f32], s: Scale, shape: &Shape| {
        let (r, c) = shape.tile_size();
        let padded = shape.blocks().0 * r * shape.blocks().1 * c;
        (v.iter().map(|x| (*x as f64 * s.factor()).powi(2)).sum::<f64>() / padded as f64).sqrt()
    };
    let model = NoiseModel::of(&ls, &rs);
    assert!(model.fits(max(a) * left_scale.factor(), max(b) * right_scale.factor()));
    let predicted = model.std(rms(a, left_scale, &ls), rms(b, right_scale, &rs));
    let worst = model.worst(max(a) * left_scale.factor(), max(b) * right_scale.factor());
    let float32 = errors.len() as f64 * 0.0 + bound * units * f64::powi(2.0, -24);
    assert!(errors.iter().all(|e| e.abs() <= worst + float32), "an error above the stated bound");
    let _ = float32;
    (measured, predicted)
}

#[test]
fn opened_products_are_the_plain_ones_up_to_the_predicted_noise() {
    for (m, n, p) in [(16, 16, 8), (8, 8, 32), (32, 32, 2), (64, 32, 1), (16, 16, 16), (64, 64, 1)] {
        let tile = Tile::new(m, n, p).unwrap();
        for kind in KINDS {
            let (measured, predicted) = roundtrip(kind, tile, (5 * m, 3 * n, 4 * p), 0.3);
            let ratio = measured / predicted;
            assert!((0.85..1.15).contains(&ratio), "{kind:?} {tile:?}: {measured:.4e} / {predicted:.4e}");
        }
    }
}

#[test]
fn ragged_edges_and_tiny_matrices_open_too() {
    for (m, n, p) in [(4, 4, 4), (2, 8, 2), (1, 8, 8), (8, 1, 8), (8, 8, 1), (16, 16, 8)] {
        let tile = Tile::new(m, n, p).unwrap();
        for size in [(1, 1, 1), (m + 1, 2 * n - 1, p), (3, n + 1, 2 * p + 1)] {
            for kind in KINDS {
                let (measured, predicted) = roundtrip(kind, tile, size, 1.0);
                assert!(measured < 4.0 * predicted + 1.0, "{kind:?} {tile:?} {size:?}");
            }
        }
    }
}

#[test]
fn zero_operands_are_handled() {
    let tile = Tile::new(4, 4, 4).unwrap();
    for kind in KINDS {
        let (measured, predicted) = roundtrip(kind, tile, (5, 5, 5), 0.0);
        assert!(measured < 4.0 * predicted + 1.0, "{kind:?}");
    }
}

fn upload_context(tile: Tile, inputs: usize) -> UploadContext {
    UploadContext { project: [3; 32], mask: MaskSeed([4; 32]), tile, inputs, scale: Scale::from_log2(20) }
}

/// The smallest distance, over all coefficients, between ciphertexts of equal place; true noise is below
/// 42, two independent ciphertexts differ everywhere in [0, q).
fn near_pairs(a: &[Lanes], b: &[Lanes], len: usize, degree: usize) -> bool {
    (0..len).any(|k| {
        let mut x = tile(a, len, k, degree);
        x.sub_assign(&tile(b, len, k, degree));
        let mut largest = 0;
        let mut small = 0;
        for &v in x.into_coeff().as_slice() {
            let v = modulus::to_signed(v).unsigned_abs();
            largest = largest.max(v);
            small += usize::from(v < 1 << 30);
        }
        small > degree / 2
    })
}

/// Two wardens from one copied state (here: equal keys and no fresh randomness at all, the worst case) get
/// different batches: no two of their ciphertexts differ by something small.
#[test]
fn a_copied_state_never_encrypts_two_messages_under_one_key() {
    let tile = Tile::new(16, 16, 8).unwrap();
    let (rows, cols) = (40, 33);
    let key = Key::random();
    let original = data(1, rows * cols);
    let strips = |values: &[f32], context: Context, scale: i8| -> Vec<Vec<Lanes>> {
        let shape = Shape::new(blindsmith_matrix::Form::Rows, tile, rows, cols);
        let view = View::new(values, rows, cols);
        let encryption = Encryption::operand(
            &key,
            &context,
            shape,
            Scale::from_log2(scale),
            view,
            Freshness::Reproducible,
            Share::Nothing,
        );
        let mut scratch = encryption.scratch();
        (0..shape.strips())
            .map(|s| {
                let mut out = encryption.strip_buffer();
                encryption.strip(s, &Taken::default(), &mut scratch, &mut out);
                out
            })
            .collect()
    };
    let base = strips(&original, context(0, 0), 20);
    assert_eq!(base, strips(&original, context(0, 0), 20), "reproducible mode repeats an equal message");
    // The smallest possible change of one entry, another place in the run, another scale.
    let mut changed = original.clone();
    changed[7] = f32::from_bits(changed[7].to_bits() ^ 1);
    let others = [
        strips(&changed, context(0, 0), 20),
        strips(&original, context(1, 0), 20),
        strips(&original, context(0, 1), 20),
        strips(&original, Context { attempt: 1, ..context(0, 0) }, 20),
        strips(&original, context(0, 0), 19),
    ];
    let degree = tile.degree();
    let len = base[0].len() / (degree / LANES);
    let all: Vec<&Vec<Lanes>> = base.iter().chain(others.iter().flatten()).collect();
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            assert!(!near_pairs(a, b, len, degree), "two ciphertexts with a small difference");
        }
    }
    // The detector itself works: one ciphertext and itself plus a small message.
    assert!(near_pairs(all[0], all[0], len, degree));
}

/// Two parts of a batch: left operands under the same masks, errors under the same secrets. Their products are
/// added up in the cloud and opened once.
#[test]
fn weight_gradients_of_parts_add_up_in_the_cloud() {
    let tile = Tile::new(8, 16, 16).unwrap();
    let (inputs, outputs) = (40, 20);
    let key = Key::random();
    let scales = [Scale::from_log2(20), Scale::from_log2(16)];
    let mut total = vec![0.0f64; inputs * outputs];
    let (rows_scalars, cols_scalars) = (Scalars::random(3), Scalars::random(2));
    let mut expected = (Poly::zero(tile.degree()), Poly::zero(tile.degree()));
    let mut shared: Option<(Encrypted, MaskSeed, Vec<u64>, Vec<u64>)> = None;
    for (part, rows) in [24, 13].into_iter().enumerate() {
        let (x, e) = (data(7 + part as u64, rows * inputs), data(9 + part as u64, rows * outputs));
        let shape = ProductShape { kind: ProductKind::WeightGradient, tile, rows, inputs, outputs };
        let encryption = |form: Shape, scale, values, index, share| {
            let view = View::new(values, form.rows, form.cols);
            let context = context(0, 2 * part as u32 + index);
            Encryption::operand(&key, &context, form, scale, view, Freshness::Fresh, share)
        };
        let (masks, secrets) = match &shared {
            None => (Share::Nothing, Share::Nothing),
            Some((first, seed, ..)) => {
                (Share::Masks(*seed, first.masks.clone()), Share::Secrets(&first.secrets))
            }
        };
        let left = encryption(shape.left(), scales[0], &x, 0, masks);
        let seed = left.mask_seed();
        let left = encrypt(left, &Taken { along: Along::Scaled(&rows_scalars), ..Taken::default() });
        let (cross, along) = (Some(&left.secrets[..]), Along::Times(&left.along));
        let right = encryption(shape.right(), scales[1], &e, 1, secrets);
        let right = encrypt(right, &Taken { cross, along, across: None });
        expected.0.add_assign(&combine(&right.along, &cols_scalars));
        expected.1.add_assign(&contract(&left.along, &right.masks));
        let (extras, body) = multiply(&shape, &left, &right);
        let plain = plain(ProductKind::WeightGradient, &x, &e, (rows, inputs, outputs));
        total.iter_mut().zip(plain).for_each(|(sum, g)| *sum += g);
        shared = Some(match shared.take() {
            None => {
                let Encrypted { secrets, cross, .. } = right;
                let first = Encrypted { masks: left.masks, secrets, cross, ..left };
                (first, seed, extras, body)
            }
            Some((mut first, seed, mut all_extras, mut all_body)) => {
                assert!(right.secrets.is_empty() && Arc::ptr_eq(&left.masks, &first.masks));
                first.cross.iter_mut().zip(&right.cross).for_each(|(sum, y)| sum.add_assign(y));
                all_extras.iter_mut().zip(extras).for_each(|(sum, r)| *sum = modulus::add(*sum, r));
                all_body.iter_mut().zip(body).for_each(|(sum, c)| *sum = modulus::add(*sum, c));
                (first, seed, all_extras, all_body)
            }
        });
    }
    let (first, _, extras, body) = shared.unwrap();
    let shape = ProductShape { kind: ProductKind::WeightGradient, tile, rows: 37, inputs, outputs };
    let mut received = Received::new(shape);
    received.extras(&extras).unwrap();
    received.rows(0, &body).unwrap();
    let (rows, cols, (body, extras)) = (&rows_scalars, &cols_scalars, expected);
    let product = Check { rows, cols, body, extras }.verify(received).unwrap().unwrap();
    let opener = Opener::weight_gradient(product, &first.masks, &first.secrets, &first.cross, scales);
    for (opened, exact) in open(&opener).into_iter().zip(total) {
        assert!((f64::from(opened) - exact).abs() < 0.05, "{opened} instead of {exact}");
    }
}

/// The attack of [`a_copied_state_never_encrypts_two_messages_under_one_key`] at the second part of a batch,
/// whose masks or secrets are those of the first part.
#[test]
fn a_copied_state_never_encrypts_two_second_parts_under_one_key() {
    use blindsmith_matrix::Form;
    type Made = (Vec<Vec<Lanes>>, Vec<Secret>, MaskSeed, Arc<[Poly<Eval>]>);
    fn strips(key: &Key, form: Form, values: &[f32], share: Share<'_>, part: u32) -> Made {
        let tile = Tile::new(16, 16, 8).unwrap();
        let (rows, cols) = (40, 33);
        let shape = Shape::new(form, tile, rows, cols);
        let (view, scale) = (View::new(values, rows, cols), Scale::from_log2(20));
        let fresh = Freshness::Reproducible;
        let encryption = Encryption::operand(key, &context(0, part), shape, scale, view, fresh, share);
        let mut scratch = encryption.scratch();
        let (mut all, mut secrets) = (vec![], vec![]);
        for s in 0..shape.strips() {
            let mut out = encryption.strip_buffer();
            secrets.extend(encryption.strip(s, &Taken::default(), &mut scratch, &mut out).secret);
            all.push(out);
        }
        (all, secrets, encryption.mask_seed(), encryption.into_masks())
    }
    let degree = 2048;
    let key = Key::random();
    let first = data(1, 40 * 33);
    let mut changed = first.clone();
    changed[7] = f32::from_bits(changed[7].to_bits() ^ 1);
    for form in [Form::Rows, Form::ErrorRight] {
        let (base, secrets, seed, masks) = strips(&key, form, &first, Share::Nothing, 0);
        let share = || match form {
            Form::Rows => Share::Masks(seed, masks.clone()),
            _ => Share::Secrets(&secrets),
        };
        let copies = [strips(&key, form, &first, share(), 1).0, strips(&key, form, &changed, share(), 1).0];
        let all: Vec<&Vec<Lanes>> = base.iter().chain(copies.iter().flatten()).collect();
        let len = base[0].len() / (degree / LANES);
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert!(!near_pairs(a, b, len, degree), "two ciphertexts with a small difference");
            }
        }
    }
}

#[test]
fn an_edited_upload_gets_other_keys_and_the_warden_finds_them_by_the_nonce() {
    let tile = Tile::new(4, 4, 4).unwrap();
    let (seed, rows) = (Key::random(), data(5, 20));
    let context = upload_context(tile, 4);
    let masks = || context.mask.expand(1, tile.degree());
    let make = |rows: &[f32], fresh| {
        UploadKey::encrypt(&seed, context, View::new(rows, 5, 4), b"labels", masks(), fresh).0
    };
    let key = make(&rows, Freshness::Reproducible);
    assert_eq!(key.nonce(), make(&rows, Freshness::Reproducible).nonce());
    assert_ne!(key.nonce(), make(&rows, Freshness::Fresh).nonce());
    let mut edited = rows.clone();
    edited[0] = f32::from_bits(edited[0].to_bits() ^ 1);
    assert_ne!(key.nonce(), make(&edited, Freshness::Reproducible).nonce());

    let again = UploadKey::from_nonce(&seed, context, *key.nonce());
    assert!(again.verify(b"header", &key.tag(b"header")));
    assert!(!again.verify(b"headex", &key.tag(b"header")));
    assert_eq!(again.open_labels(2, &key.seal_labels(2, b"7")).unwrap(), b"7");
    assert!(again.open_labels(3, &key.seal_labels(2, b"7")).is_err());
    let stranger = UploadKey::from_nonce(&Key::random(), context, *key.nonce());
    assert!(!stranger.verify(b"header", &key.tag(b"header")));
}
