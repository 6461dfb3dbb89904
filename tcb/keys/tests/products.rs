//! Encrypt, multiply as the definition says, open: against the plain product, and against the noise
//! predicted.

use std::sync::Arc;

use blindsmith_keys::{
    Checked, Context, Encryption, Freshness, Key, Opener, Secret, Share, UploadContext, UploadKey,
};
use blindsmith_matrix::{
    MaskSeed, NoiseModel, ProductKind, ProductShape, Scale, Shape, Tile, View, entry_scale, largest_scale,
};
use blindsmith_ring::{Eval, LANES, Lanes, Poly, Table, backend, modulus};

type Polys = Vec<Poly<Eval>>;

struct Encrypted {
    /// `tiles[strip][k]`.
    tiles: Vec<Polys>,
    masks: Arc<[Poly<Eval>]>,
    secrets: Vec<Secret>,
    cross: Polys,
}

fn encrypt(encryption: Encryption<'_>, cross: Option<&[Secret]>) -> Encrypted {
    let (len, strips) = (encryption.shape().strip_len(), encryption.shape().strips());
    let degree = encryption.shape().tile.degree();
    let mut scratch = encryption.scratch();
    let mut out = encryption.strip_buffer();
    let mut made = Encrypted { tiles: vec![], masks: Arc::new([]), secrets: vec![], cross: vec![] };
    for s in 0..strips {
        let strip = encryption.strip(s, cross, &mut scratch, &mut out);
        made.secrets.extend(strip.secret);
        made.cross.extend(strip.cross);
        made.tiles.push((0..len).map(|k| tile(&out, len, k, degree)).collect());
    }
    made.masks = encryption.into_masks();
    made
}

fn tile(strip: &[Lanes], len: usize, k: usize, degree: usize) -> Poly<Eval> {
    let mut poly = Poly::zero(degree);
    for (g, chunk) in poly.as_mut_slice().chunks_exact_mut(LANES).enumerate() {
        chunk.copy_from_slice(&strip[g * len + k].0);
    }
    poly
}

fn dot<'a>(degree: usize, pairs: impl Iterator<Item = (&'a Poly<Eval>, &'a Poly<Eval>)>) -> Poly<Eval> {
    let mut sum = Poly::zero(degree);
    pairs.for_each(|(a, b)| sum.mul_add(a, b));
    sum
}

/// What the cloud does, by the definition: extras and body.
fn multiply(shape: &ProductShape, left: &Encrypted, right: &Encrypted) -> (Vec<u64>, Vec<u64>) {
    let degree = shape.tile.degree();
    let (rows, cols) = shape.grid();
    let row = |m: &'_ Encrypted, s: usize| -> Vec<usize> { (0..m.tiles[s].len()).collect() };
    let mut extras: Polys = vec![];
    let mut body = vec![];
    let cell = |r: usize, c: usize| match shape.kind {
        ProductKind::Forward => dot(degree, left.tiles[r].iter().zip(&right.tiles[c])),
        ProductKind::WeightGradient => {
            dot(degree, left.tiles.iter().map(|strip| &strip[r]).zip(&right.tiles[c]))
        }
        ProductKind::InputGradient => {
            dot(degree, left.tiles[r].iter().zip(right.tiles.iter().map(|strip| &strip[c])))
        }
    };
    match shape.kind {
        ProductKind::Forward => {
            extras.extend((0..rows).map(|r| dot(degree, left.tiles[r].iter().zip(&right.masks[..]))));
            extras.extend((0..cols).map(|c| dot(degree, left.masks.iter().zip(&right.tiles[c]))));
            extras.push(dot(degree, left.masks.iter().zip(&right.masks[..])));
        }
        ProductKind::WeightGradient => extras.extend(
            (0..rows).map(|i| dot(degree, left.tiles.iter().map(|strip| &strip[i]).zip(&right.masks[..]))),
        ),
        ProductKind::InputGradient => extras.extend(
            (0..cols).map(|k| dot(degree, left.masks.iter().zip(right.tiles.iter().map(|strip| &strip[k])))),
        ),
    }
    let _ = row;
    for r in 0..rows {
        for c in 0..cols {
            let product = cell(r, c);
            let tile = &shape.tile;
            match shape.kind {
                ProductKind::Forward => body.extend(
                    product.as_slice().chunks(tile.n()).map(|n| n.iter().fold(0, |a, &b| modulus::add(a, b))),
                ),
                ProductKind::WeightGradient => {
                    body.extend(&product.into_coeff().as_slice()[..tile.window()]);
                }
                ProductKind::InputGradient => {
                    let product = product.into_coeff();
                    for b in 0..tile.m() {
                        body.extend(&product.as_slice()[b * tile.window()..][..tile.n()]);
                    }
                }
            }
        }
    }
    (extras.iter().flat_map(|p| p.as_slice().to_vec()).collect(), body)
}

fn open(shape: &ProductShape, opener: &Opener<'_>, body: &[u64]) -> Vec<f32> {
    let (rows, cols) = shape.size();
    let mut out = vec![0.0; rows * cols];
    let checked = Checked::rows(shape, body).unwrap();
    let mut scratch = Poly::zero(shape.tile.degree());
    for (r, out) in out.chunks_mut(opener.rows_per_grid_row() * cols).enumerate() {
        opener.open_row(r, &checked.row(shape, r), &mut scratch, out).unwrap();
    }
    out
}

/// Uniform in [-1, 1) from a splitmix generator: data for tests, never for keys.
fn data(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            let mut x =
                (seed << 32 | i).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((x >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect()
}

fn context(layer: u32, part: u32) -> Context {
    Context { project: [1; 32], round: 2, attempt: 0, step: 3, layer, part }
}

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
    let key = Key::random();
    let x = data(1, rows * inputs);
    let w: Vec<f32> = data(2, inputs * outputs).iter().map(|v| v * magnitude).collect();
    let e: Vec<f32> = data(3, rows * outputs).iter().map(|v| v * magnitude).collect();
    let shape = ProductShape { kind, tile, rows, inputs, outputs };
    let operand = |shape: Shape, scale, view, part| {
        Encryption::operand(&key, &context(0, part), shape, scale, view, Freshness::Fresh, Share::Nothing)
    };
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
    let (a_view, b_view) = (View::new(a, ls.rows, ls.cols), View::new(b, rs.rows, rs.cols));

    let opened = match kind {
        ProductKind::Forward => {
            let left = encrypt(operand(ls, left_scale, a_view, 0), None);
            let right = encrypt(operand(rs, right_scale, b_view, 1), None);
            let (extras, body) = multiply(&shape, &left, &right);
            let extras = Checked::extras(&shape, &extras).unwrap();
            let opener = Opener::forward(shape, extras, &left.secrets, &right.secrets, scales);
            open(&shape, &opener, &body)
        }
        ProductKind::WeightGradient => {
            let left = encrypt(operand(ls, left_scale, a_view, 0), None);
            let right = encrypt(operand(rs, right_scale, b_view, 1), Some(&left.secrets));
            let (extras, body) = multiply(&shape, &left, &right);
            let extras = Checked::extras(&shape, &extras).unwrap();
            let opener =
                Opener::weight_gradient(shape, extras, &left.masks, &right.secrets, &right.cross, scales);
            open(&shape, &opener, &body)
        }
        ProductKind::InputGradient => {
            let right = encrypt(operand(rs, right_scale, b_view, 1), None);
            let left = encrypt(operand(ls, left_scale, a_view, 0), Some(&right.secrets));
            let (extras, body) = multiply(&shape, &left, &right);
            let extras = Checked::extras(&shape, &extras).unwrap();
            let opener =
                Opener::input_gradient(shape, extras, &right.masks, &left.secrets, &left.cross, scales);
            open(&shape, &opener, &body)
        }
    };
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

const KINDS: [ProductKind; 3] =
    [ProductKind::Forward, ProductKind::WeightGradient, ProductKind::InputGradient];

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
                encryption.strip(s, None, &mut scratch, &mut out);
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
        let left = encrypt(left, None);
        let right = encrypt(encryption(shape.right(), scales[1], &e, 1, secrets), Some(&left.secrets));
        let (extras, body) = multiply(&shape, &left, &right);
        let plain = plain(ProductKind::WeightGradient, &x, &e, (rows, inputs, outputs));
        total.iter_mut().zip(plain).for_each(|(sum, g)| *sum += g);
        shared = Some(match shared.take() {
            None => {
                let first = Encrypted {
                    tiles: vec![],
                    masks: left.masks,
                    secrets: right.secrets,
                    cross: right.cross,
                };
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
    let extras = Checked::extras(&shape, &extras).unwrap();
    let opener = Opener::weight_gradient(shape, extras, &first.masks, &first.secrets, &first.cross, scales);
    for (opened, exact) in open(&shape, &opener, &body).into_iter().zip(total) {
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
            secrets.extend(encryption.strip(s, None, &mut scratch, &mut out).secret);
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

#[test]
fn malformed_products_are_refused() {
    let tile = Tile::new(4, 4, 4).unwrap();
    let shape = ProductShape { kind: ProductKind::Forward, tile, rows: 5, inputs: 5, outputs: 5 };
    let extras = vec![0; shape.extras() * tile.degree()];
    assert!(Checked::extras(&shape, &extras).is_ok());
    assert!(Checked::extras(&shape, &extras[1..]).is_err());
    let row = shape.grid().1 * shape.tile_residues();
    assert!(Checked::rows(&shape, &vec![0; row]).is_ok());
    assert!(Checked::rows(&shape, &vec![0; row - 1]).is_err());
    assert!(Checked::rows(&shape, &[]).is_err());
    for bad in [modulus::Q, u64::MAX] {
        let mut extras = extras.clone();
        extras[9] = bad;
        assert!(Checked::extras(&shape, &extras).is_err());
        let mut body = vec![0; row];
        body[row - 1] = bad;
        assert!(Checked::rows(&shape, &body).is_err());
    }
}

#[test]
fn garbage_opens_to_out_of_range() {
    let tile = Tile::new(4, 4, 4).unwrap();
    let shape = ProductShape { kind: ProductKind::WeightGradient, tile, rows: 4, inputs: 4, outputs: 4 };
    let zero = || vec![Poly::<Eval>::zero(64)];
    let extras = Checked::extras(&shape, &[0; 64]).unwrap();
    let (masks, right, cross) = (zero(), zero(), zero());
    let scales = [Scale::from_log2(20); 2];
    let opener = Opener::weight_gradient(shape, extras, &masks, &right, &cross, scales);
    let mut scratch = Poly::zero(64);
    let mut out = [0.0; 16];
    let mut body = [0; 16];
    body[3] = modulus::Q / 4;
    let checked = Checked::rows(&shape, &body).unwrap();
    assert!(opener.open_row(0, &checked, &mut scratch, &mut out).is_err());
    body[3] = modulus::Q / 4 - 1;
    let checked = Checked::rows(&shape, &body).unwrap();
    assert!(opener.open_row(0, &checked, &mut scratch, &mut out).is_ok());
    let _ = (backend::active(), Table::of(64));
}
