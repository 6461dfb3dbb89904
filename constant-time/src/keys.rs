//! Derivation, encryption and opening under secret keys, of secret entries.

use std::sync::Arc;

use blindsmith_keys::{
    Admission, Along, Check, Checked, Context, Encryption, Freshness, Key, Opener, Received, RecipientKey,
    Scalars, Share, Suite, Taken, UploadContext, UploadKey, combine, contract,
};
use blindsmith_matrix::{Form, MaskSeed, ProductKind, ProductShape, Scale, Shape, Tile, View};
use blindsmith_ring::{Coeff, Eval, PACKED_BYTES_PER_LANES, Poly};

use crate::Case;
use crate::valgrind::{conceal, expect_secret, revealed};
use crate::values::{reals, residues, secret, secret_key, secret_poly, secrets};

pub const CASES: &[Case] = &[
    ("keys: derivation", derivation),
    ("keys: operands under given masks", operands),
    ("keys: an operand under masks of its own", own_masks),
    ("keys: an operand under given secrets", given_secrets),
    ("keys: an upload", upload),
    ("keys: projections", projections),
    ("keys: checks of products", check),
    ("keys: admission of row blocks", admission),
    ("keys: opening of forward products", open_forward),
    ("keys: opening of weight gradients", open_weight_gradient),
    ("keys: opening of input gradients", open_input_gradient),
    ("keys: tag of an upload", tag),
    ("keys: labels", labels),
    ("keys: sealing", sealing),
    ("keys: a release", release),
];

const DEGREE: usize = 2048;
const ROWS: usize = 40;
const COLS: usize = 24;

fn tile() -> Tile {
    // Unwrap safety: powers of two.
    Tile::new(16, 16, 8).expect("a tile")
}

fn context() -> Context {
    Context { project: [1; 32], round: 2, attempt: 0, step: 3, layer: 0, part: 0 }
}

fn masks(shape: &Shape) -> (MaskSeed, Arc<[Poly<Eval>]>) {
    let seed = MaskSeed([5; 32]);
    (seed, seed.expand(shape.strip_len(), DEGREE).into())
}

fn operand<'a>(shape: Shape, key: &Key, entries: &'a [f32], share: Share<'a>) -> Encryption<'a> {
    let view = View::new(entries, shape.rows, shape.cols);
    Encryption::operand(key, &context(), shape, Scale::from_log2(20), view, Freshness::Fresh, share)
}

/// Encrypts all strips, whole and packed.
fn encrypt(encryption: &Encryption<'_>, cross: bool) {
    let shape = encryption.shape();
    let cross = cross.then(|| secrets(4, shape.strip_len(), DEGREE));
    let (across, along) = (scalars(5, shape.strips()), scalars(6, shape.strip_len()));
    let factors = polys(9, shape.strip_len());
    let mut scratch = encryption.scratch();
    let mut out = encryption.strip_buffer();
    let mut packed = vec![0; encryption.strip_lanes() * PACKED_BYTES_PER_LANES];
    for s in 0..shape.strips() {
        for along in [Along::Scaled(&along), Along::Times(&factors), Along::Nothing] {
            let taken = Taken { cross: cross.as_deref(), across: Some(&across), along };
            let left = encryption.strip(s, &taken, &mut scratch, &mut out);
            expect_secret(&out[..]);
            let all = left.secret.iter().chain(&left.cross).chain(&left.along);
            all.for_each(|p| expect_secret(p.as_slice()));
        }
        encryption.packed_strip(s, &mut scratch, &mut packed);
        expect_secret(&packed[..]);
    }
    let mut sums: Vec<_> = encryption.piece_places(0).map(|_| Poly::zero(DEGREE)).collect();
    scratch.add_across(&mut sums);
    sums.iter().for_each(|sum| expect_secret(sum.as_slice()));
}

fn derivation() {
    expect_secret(secret_key(1).derive("label", &[b"context"]).expose());
}

fn operands() {
    let entries = secret(reals(1, ROWS * COLS));
    for form in [Form::Rows, Form::Weights, Form::ErrorRight, Form::ErrorLeft] {
        let shape = Shape::new(form, tile(), ROWS, COLS);
        let (seed, masks) = masks(&shape);
        let encryption = operand(shape, &secret_key(2), &entries, Share::Masks(seed, masks));
        encrypt(&encryption, form != Form::Weights);
    }
}

fn own_masks() {
    let entries = secret(reals(1, ROWS * COLS));
    let shape = Shape::new(Form::Weights, tile(), ROWS, COLS);
    encrypt(&operand(shape, &secret_key(2), &entries, Share::Nothing), false);
}

fn given_secrets() {
    let entries = secret(reals(1, ROWS * COLS));
    let shape = Shape::new(Form::ErrorRight, tile(), ROWS, COLS);
    let given = secrets(3, shape.strips(), DEGREE);
    encrypt(&operand(shape, &secret_key(2), &entries, Share::Secrets(&given)), true);
}

fn upload_context() -> UploadContext {
    UploadContext {
        project: [1; 32],
        mask: MaskSeed([5; 32]),
        tile: tile(),
        inputs: COLS,
        scale: Scale::from_log2(20),
    }
}

fn upload() {
    let (entries, labels) = (secret(reals(1, ROWS * COLS)), secret(vec![3; 99]));
    let view = View::new(&entries, ROWS, COLS);
    let masks = MaskSeed([5; 32]).expand(COLS.div_ceil(tile().n()), DEGREE);
    let (seed, context) = (secret_key(6), upload_context());
    let (key, encryption) = UploadKey::encrypt(&seed, context, view, &labels, masks, Freshness::Fresh);
    encrypt(&encryption, false);
    key.secrets(0..2).iter().for_each(|s| expect_secret(s.as_slice()));
}

/// The key as the warden has it: seed secret, nonce public.
fn upload_key() -> UploadKey {
    UploadKey::from_nonce(&secret_key(6), upload_context(), [9; 32])
}

fn shape(kind: ProductKind) -> ProductShape {
    ProductShape { kind, tile: tile(), rows: ROWS, inputs: COLS, outputs: 20 }
}

fn polys(seed: u64, count: usize) -> Vec<Poly<Eval>> {
    (0..count as u64).map(|i| secret_poly(seed << 8 | i, DEGREE)).collect()
}

fn scalars(seed: u64, count: usize) -> Scalars {
    Scalars::derive(&secret_key(seed as u8), 0..count)
}

/// The places of a product's residues in a polynomial at full length, whose other places do not travel.
fn embedded(shape: &ProductShape, residues: &[u64]) -> Poly<Eval> {
    let tile = &shape.tile;
    let mut coeff = Poly::<Coeff>::zero(DEGREE);
    match shape.kind {
        ProductKind::Forward => {
            let mut eval = Poly::zero(DEGREE);
            let folded = eval.as_mut_slice().chunks_exact_mut(tile.n());
            folded.zip(residues).for_each(|(points, x)| points[0] = *x);
            return eval;
        }
        ProductKind::WeightGradient => coeff.as_mut_slice()[..tile.window()].copy_from_slice(residues),
        ProductKind::InputGradient => {
            let windows = coeff.as_mut_slice().chunks_exact_mut(tile.window());
            windows.zip(residues.chunks_exact(tile.n())).for_each(|(w, x)| w[..tile.n()].copy_from_slice(x));
        }
    }
    coeff.into_eval()
}

/// What a product adds up to under scalars, by the definition.
fn projected(
    shape: &ProductShape,
    (extras, body): (&[u64], &[u64]),
    (rows, cols): (&Scalars, &Scalars),
) -> [Poly<Eval>; 2] {
    let row = |row: &[u64]| {
        let tiles = row.chunks_exact(shape.tile_residues()).map(|tile| embedded(shape, tile));
        combine(&tiles.collect::<Vec<_>>(), cols)
    };
    let grid: Vec<_> = body.chunks_exact(shape.grid().1 * shape.tile_residues()).map(row).collect();
    let poly = |values: &[u64]| {
        let mut poly = Poly::zero(DEGREE);
        poly.as_mut_slice().copy_from_slice(values);
        poly
    };
    let mut extras: Vec<_> = extras.chunks_exact(DEGREE).map(poly).collect();
    let extras = match shape.kind {
        ProductKind::Forward => {
            let corner = extras.pop().expect("a corner");
            let mut sum = combine(&extras, &Scalars::join([rows, cols]));
            sum.add_assign(&corner);
            sum
        }
        ProductKind::WeightGradient => combine(&extras, rows),
        ProductKind::InputGradient => combine(&extras, cols),
    };
    [combine(&grid, rows), extras]
}

/// What is wrong about a product.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    Body,
    Extras,
}

/// A product of public residues under secret scalars and projections, checked.
fn verified(shape: ProductShape, fault: Fault) -> Option<Checked> {
    let (mut extras, mut body) = (residues(7, shape.extras() * DEGREE), residues(8, shape.residues()));
    let public = |seed: u8, count| Scalars::derive(&Key::from_bytes([seed; 32]), 0..count);
    let scalars_of = |of: &dyn Fn(u8, usize) -> Scalars| (of(11, shape.grid().0), of(12, shape.grid().1));
    let (rows, cols) = scalars_of(&public);
    let mut sums = projected(&shape, (&extras, &body), (&rows, &cols));
    sums.iter_mut().for_each(|sum| conceal(sum.as_mut_slice()));
    let [body_sum, extras_sum] = sums;
    match fault {
        Fault::Nothing => {}
        Fault::Body => body[3] ^= 1,
        Fault::Extras => extras[3] ^= 1,
    }
    let mut product = Received::new(shape);
    // Unwrap safety: residues of the right number, and below q but for one bit.
    product.extras(&extras).expect("extras");
    product.rows(0, &body).expect("rows");
    // The same scalars, secret.
    let (rows, cols) = scalars_of(&|seed, count| scalars(u64::from(seed), count));
    let check = Check { rows: &rows, cols: &cols, body: body_sum, extras: extras_sum };
    check.verify(product).expect("whole").ok()
}

/// The verdict is public, and nothing else.
fn check() {
    for kind in [ProductKind::Forward, ProductKind::WeightGradient, ProductKind::InputGradient] {
        for fault in [Fault::Nothing, Fault::Body, Fault::Extras] {
            assert_eq!(verified(shape(kind), fault).is_some(), fault == Fault::Nothing);
        }
    }
}

fn projections() {
    let (polys, scalars) = (polys(13, 5), scalars(14, 5));
    expect_secret(combine(&polys, &scalars).as_slice());
    expect_secret(contract(&polys, &polys).as_slice());
    let masks = MaskSeed([5; 32]).expand(5, DEGREE);
    let side = || (&scalars, &polys[..], &masks[..]);
    let check = Check::forward(side(), side());
    expect_secret(check.body.as_slice());
    expect_secret(check.extras.as_slice());
}

/// A row block as a contributor makes it, and the same in another's place, where it is none: the verdict is public.
/// The subsets are drawn inside and cannot be concealed from here; sums under secret scalars are in `projections`.
fn admission() {
    let entries: Vec<f32> = reals(1, ROWS * COLS).iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let key = Key::from_bytes([6; 32]);
    let masks = || MaskSeed([5; 32]).expand(COLS.div_ceil(tile().n()), DEGREE);
    let view = View::new(&entries, ROWS, COLS);
    let (made, encryption) =
        UploadKey::encrypt(&key, upload_context(), view, b"", masks(), Freshness::Reproducible);
    let mut packed = vec![0; encryption.strip_lanes() * PACKED_BYTES_PER_LANES];
    encryption.packed_strip(1, &mut encryption.scratch(), &mut packed);
    let mut seed = Key::from_bytes([6; 32]);
    conceal(&mut seed);
    let upload = UploadKey::from_nonce(&seed, upload_context(), *made.nonce());
    let inputs = scalars(15, masks().len());
    let admission = Admission::new(&upload, ROWS, &masks(), &inputs, (secret_key(16), secret_key(17)));
    let mut reading = admission.reading();
    for (at, good) in [(1, true), (0, false)] {
        let block = admission.block(at, &packed, &mut reading).expect("residues");
        expect_secret(block.along.as_slice());
        expect_secret(&block.good);
        assert_eq!(revealed(block.good), good);
    }
    admission.group(&mut reading).iter().for_each(|p| expect_secret(p.as_slice()));
}

/// Opens every row of the grid of a product that passed its check.
fn open<'a>(kind: ProductKind, opener: impl FnOnce(Checked, [Scale; 2]) -> Opener<'a>) {
    let shape = shape(kind);
    let product = verified(shape, Fault::Nothing).expect("a right product");
    let opener = opener(product, [Scale::from_log2(20); 2]);
    let mut scratch = Poly::zero(DEGREE);
    let (rows, cols) = shape.size();
    let mut out = vec![0.0; rows * cols];
    for (r, out) in out.chunks_mut(opener.rows_per_grid_row() * cols).enumerate() {
        let _ = opener.open_row(r, &mut scratch, out);
        expect_secret(out);
    }
}

fn open_forward() {
    let (rows, cols) = shape(ProductKind::Forward).grid();
    let (left, right) = (secrets(1, rows, DEGREE), secrets(2, cols, DEGREE));
    open(ProductKind::Forward, |product, scales| Opener::forward(product, &left, &right, scales));
}

fn open_weight_gradient() {
    let (rows, cols) = shape(ProductKind::WeightGradient).grid();
    let masks = MaskSeed([5; 32]).expand(rows, DEGREE);
    let (right, cross) = (secrets(2, cols, DEGREE), polys(3, cols));
    open(ProductKind::WeightGradient, |product, scales| {
        Opener::weight_gradient(product, &masks, &right, &cross, scales)
    });
}

fn open_input_gradient() {
    let (rows, cols) = shape(ProductKind::InputGradient).grid();
    let masks = MaskSeed([5; 32]).expand(cols, DEGREE);
    let (left, cross) = (secrets(1, rows, DEGREE), polys(3, rows));
    open(ProductKind::InputGradient, |product, scales| {
        Opener::input_gradient(product, &masks, &left, &cross, scales)
    });
}

fn tag() {
    let key = upload_key();
    let mut tag = key.tag(b"header");
    expect_secret(&tag);
    // What came with the upload is public.
    crate::valgrind::reveal(&mut tag);
    assert!(revealed(key.verify(b"header", &tag)));
    tag[31] ^= 1;
    assert!(!revealed(key.verify(b"header", &tag)));
}

fn labels() {
    let key = upload_key();
    let mut sealed = key.seal_labels(3, &secret(vec![7; 100]));
    expect_secret(&sealed[..]);
    crate::valgrind::reveal(&mut sealed[..]);
    let opened = key.open_labels(3, &sealed).expect("labels that open");
    expect_secret(&opened[..]);
    sealed[50] ^= 1;
    assert!(key.open_labels(3, &sealed).is_err());
}

fn sealing() {
    let key = secret_key(1);
    let mut sealed = key.seal("state", &secret(vec![7; 100]));
    crate::valgrind::reveal(&mut sealed.0[..]);
    let opened = key.unseal("state", &sealed.0).expect("a state that opens");
    expect_secret(&opened[..]);
}

fn release() {
    let mut private = RecipientKey::generate();
    // X-Wing expands its seed anew for each message, a public matrix among what comes out: the tool would see the
    // sampling of that as a branch on a secret.
    let public = private.recipient(Suite::X25519);
    let (sealed, _) = public.seal(b"info", &[7; 100]).expect("sealed");
    conceal(&mut private);
    let (opened, _) = private.open(Suite::X25519, b"info", &sealed).expect("a release that opens");
    expect_secret(&opened[..]);
}
