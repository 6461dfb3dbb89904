//! Derivation, encryption, admission, checks and opening under secret keys, of secret entries.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blindsmith_keys::{
    Admission, Check, Checked, Context, Contraction, Encryption, Freshness, Key, MaskTerms, Opener,
    ProductKind, Projection, ProjectionScalars, RecipientKey, RowStrip, RowTests, Scalars, Secrets, Share,
    Suite, UploadContext, UploadKey, UploadScalars, column_secrets, contract, expand,
};
use blindsmith_matrix::{Encoding, MaskSeed, Masks, OperandShape, ProductShape, Scale, Security, Side, View};
use blindsmith_ring::{PACKED_BYTES_PER_LANES, backend};

use crate::Case;
use crate::valgrind::{conceal, expect_secret, revealed};
use crate::values::{reals, residues, secret, secret_key};

pub const CASES: &[Case] = &[
    ("keys: derivation", derivation),
    ("keys: operands", operands),
    ("keys: an operand under given secrets", given_secrets),
    ("keys: an upload", upload),
    ("keys: projections", projections),
    ("keys: checks of products", check),
    ("keys: admission of blocks", admission),
    ("keys: admission of a query", query),
    ("keys: opening of products", open),
    ("keys: opening of a few rows", open_few),
    ("keys: tag of an upload", tag),
    ("keys: labels", labels),
    ("keys: sealing", sealing),
    ("keys: a release", release),
];

const ROWS: usize = 20;
const COLS: usize = 13;

fn context() -> Context {
    let (project, product) = ([1; 32], ProductKind::Forward);
    Context { project, round: 2, attempt: 0, step: 3, layer: 0, part: 0, product }
}

fn encoding(roots: usize, width: usize) -> Encoding {
    // Unwrap safety: a power of two up to 128.
    Encoding::fit(Security::Bits128, roots, width).expect("an encoding")
}

/// A matrix of ROWS x COLS entries on one side of a product.
fn shape(side: Side, contraction: Contraction, roots: usize) -> OperandShape {
    let (contraction, width) = match contraction {
        Contraction::Rows => (ROWS, COLS),
        Contraction::Columns => (COLS, ROWS),
    };
    OperandShape { side, encoding: encoding(roots, width), contraction, width }
}

fn operand<'a>(of: (&'a [f32], Contraction), shape: OperandShape, share: Share) -> Encryption<'a> {
    let (entries, contraction) = of;
    let view = (View::new(entries, ROWS, COLS), contraction);
    let scale = Scale::from_log2(20);
    Encryption::operand(&secret_key(2), &context(), view, (shape, scale), Freshness::Fresh, share)
}

/// Encrypts all places, with and without projections of two stripes.
fn encrypt(encryption: &Encryption<'_>) {
    let shape = *encryption.shape();
    let mut rows = vec![0; shape.residues()];
    encryption.places(0, &mut rows);
    rows.chunks(shape.stride()).for_each(|row| expect_secret(&row[..shape.width]));
    let (body, masks) = (scalars(5, shape.width).into(), scalars(6, shape.encoding.dimension()).into());
    let stripes: [Range<usize>; 2] = [0..8, 8..shape.width];
    let written = AtomicUsize::new(0);
    let write = |_: usize, piece: &[u64]| -> Result<(), ()> {
        written.fetch_add(piece.len(), Ordering::Relaxed);
        Ok(())
    };
    let projections =
        encryption.pieces(&ProjectionScalars { body, masks }, &stripes, write).expect("written");
    assert_eq!(written.into_inner(), shape.residues());
    projections.stripes.iter().for_each(|stripe| expect_secret(stripe.as_slice()));
    expect_secret(projections.masks.as_slice());
}

fn derivation() {
    expect_secret(secret_key(1).derive("label", &[b"context"]).expose());
}

fn operands() {
    let entries = secret(reals(1, ROWS * COLS));
    for (side, contraction) in [
        (Side::Left, Contraction::Columns),
        (Side::Left, Contraction::Rows),
        (Side::Right, Contraction::Rows),
        (Side::Right, Contraction::Columns),
    ] {
        for roots in [1, 4, 64] {
            let shape = shape(side, contraction, roots);
            encrypt(&operand((&entries, contraction), shape, Share::Nothing));
        }
    }
}

fn given_secrets() {
    let entries = secret(reals(1, ROWS * COLS));
    let shape = shape(Side::Right, Contraction::Rows, 4);
    let given = Secrets::derive(&secret_key(3), shape.encoding, 0..shape.strips());
    encrypt(&operand((&entries, Contraction::Rows), shape, Share::Secrets(given.into())));
}

fn upload_context() -> UploadContext {
    UploadContext {
        project: [1; 32],
        mask: MaskSeed([5; 32]),
        era: 3,
        row_form: encoding(4, 16),
        column_form: encoding(8, COLS),
        block_rows: 16,
        inputs: COLS,
        scale: Scale::from_log2(20),
    }
}

/// The masks of a form from this place on.
fn masks(seed: MaskSeed, first: usize, shape: &OperandShape) -> Arc<Masks> {
    let mut masks = Masks::zero(shape.places(), shape.encoding.dimension());
    expand(seed, first, &mut masks);
    masks.into()
}

/// Both forms of block 1 of an upload: contraction rows.
fn forms(seed: &Key, key: &UploadKey, entries: &[f32]) -> [Vec<u64>; 2] {
    let (context, view) = (upload_context(), View::new(entries, entries.len() / COLS, COLS));
    let row_masks = masks(context.mask, 0, &context.row_shape(view.rows));
    let column_mask = MaskSeed([6; 32]);
    let column_masks = masks(column_mask, context.first_place(1), &context.column_shape(view.rows));
    let secrets = column_secrets(seed, &context).into();
    [key.encrypt_rows(1, view, row_masks), key.encrypt_columns(1, view, (column_mask, column_masks), secrets)]
        .map(|encryption| {
            let mut rows = vec![0; encryption.shape().residues()];
            encryption.places(0, &mut rows);
            rows
        })
}

fn upload() {
    let (entries, labels) = (secret(reals(1, 16 * COLS)), secret(vec![3; 99]));
    let view = View::new(&entries, 16, COLS);
    let seed = secret_key(6);
    let key = UploadKey::of_rows(&seed, upload_context(), &view, &labels, Freshness::Fresh);
    expect_secret(key.nonce());
    for rows in forms(&seed, &key, &entries) {
        expect_secret(&rows[..]);
    }
}

/// The key as the warden has it: seed secret, nonce public.
fn upload_key() -> UploadKey {
    UploadKey::from_nonce(&secret_key(6), upload_context(), [9; 32])
}

fn scalars(seed: u8, count: usize) -> Scalars {
    Scalars::derive(&secret_key(seed), 0..count)
}

fn projections() {
    let encoding = encoding(4, COLS);
    let masks = MaskSeed([5; 32]).expand(3, encoding.dimension());
    let mut of_masks = Projection::of_masks(&masks, encoding, &scalars(14, encoding.dimension()));
    expect_secret(of_masks.as_slice());
    let other = Projection::from_residues(secret(residues(13, 12)));
    expect_secret(&contract(&[&of_masks, &other], &[&other]));
    of_masks.add(&other);
    expect_secret(of_masks.as_slice());
    // In another order than they were drawn in.
    let scalars = Scalars::derive(&secret_key(15), [9, 1, 30]);
    let both = Scalars::join([&scalars, &scalars]);
    assert_eq!((both.len(), both.is_empty()), (6, false));
}

/// Two mask sets, several strips on both sides.
fn product_shape() -> ProductShape {
    let short = |strip: usize| Encoding::new(16, strip, 128 / strip).expect("powers of two");
    ProductShape {
        left: short(8),
        right: short(16),
        rows: ROWS,
        columns: COLS,
        mask_sets: 2,
        right_masks: true,
    }
}

/// A product of zeros, but for one residue of a part, under secret scalars, checked.
fn verified(shape: ProductShape, wrong: Option<usize>) -> Option<Checked> {
    let mut residues = vec![0; shape.residues()];
    if let Some(part) = wrong {
        residues[shape.ranges()[part].end - 1] = 1;
    }
    let (rows, columns) = (scalars(11, shape.rows), scalars(12, shape.columns + 3));
    let left: Vec<Scalars> =
        (0..shape.mask_sets).map(|s| scalars(13 + s as u8, shape.left.dimension())).collect();
    let right = scalars(20, shape.right.dimension());
    let mut expected = 0;
    conceal(&mut expected);
    let left: Vec<&Scalars> = left.iter().collect();
    let check = Check {
        rows: &rows,
        left_masks: &left,
        columns: &columns,
        stripe: 3..shape.columns + 3,
        right_masks: &right,
        expected,
    };
    let mut product = check.receive(shape, Vec::new());
    // Unwrap safety: residues of the right number, and below q.
    product.take(&residues).expect("residues");
    product.verify().expect("whole").ok()
}

/// The verdict is public, and nothing else.
fn check() {
    assert!(verified(product_shape(), None).is_some());
    for part in 0..4 {
        assert!(verified(product_shape(), Some(part)).is_none());
    }
}

/// Packed rows of `stride` residues from contraction rows, or the rows as they lie.
fn pack(residues: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; residues.len() / 8 * PACKED_BYTES_PER_LANES];
    backend::active().pack(&mut bytes, residues);
    bytes
}

/// A block as a contributor makes it, public as it is sent: packed row form and column form, and the nonce.
fn sent(rows: usize) -> ([Vec<u8>; 2], [u8; 32]) {
    let entries: Vec<f32> = reals(1, rows * COLS).iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let seed = Key::from_bytes([6; 32]);
    let view = View::new(&entries, rows, COLS);
    let key = UploadKey::of_rows(&seed, upload_context(), &view, b"", Freshness::Reproducible);
    let [row_form, column_form] = forms(&seed, &key, &entries);
    let shape = upload_context().row_shape(rows);
    let (padded, stride) = (shape.padded(), shape.padded().next_multiple_of(8));
    let mut turned = vec![0; rows * stride];
    for (b, k) in (0..rows).flat_map(|b| (0..padded).map(move |k| (b, k))) {
        turned[b * stride + k] = row_form[k * shape.stride() + b];
    }
    ([pack(&turned), pack(&column_form)], *key.nonce())
}

/// A block where its contributor put it, and the same in another place, where it is none: the verdict is public.
/// Keys of secrets, scalars and subsets are secret.
fn admission() {
    let rows = 11;
    let ([row_form, column_form], nonce) = sent(rows);
    let (seed, context) = (secret_key(6), upload_context());
    let upload = UploadKey::from_nonce(&seed, context, nonce);
    let tests = RowTests::new(&secret_key(15), &masks(context.mask, 0, &context.row_shape(1)));
    let scalars = UploadScalars {
        rows: secret_key(16),
        inputs: scalars(17, COLS).into(),
        masks: scalars(18, context.column_form.dimension()).into(),
    };
    let columns = Some(column_secrets(&seed, &context).into());
    let admission = Admission::new(&upload, &tests, scalars, secret_key(19), columns);
    for (index, good) in [(1, true), (0, false)] {
        let of_block = masks(MaskSeed([6; 32]), context.first_place(index), &context.column_shape(rows));
        let block =
            admission.block(index, rows, &row_form, Some((&column_form, &of_block))).expect("residues");
        expect_secret(block.rows.as_slice());
        expect_secret(block.columns.expect("a column form").as_slice());
        expect_secret(&block.good);
        assert_eq!(revealed(block.good), good);
    }
}

fn query() {
    let rows = 1;
    let ([row_form, _], nonce) = sent(rows);
    let upload = UploadKey::from_nonce(&secret_key(6), upload_context(), nonce);
    let context = upload_context();
    let tests = RowTests::new(&secret_key(15), &masks(context.mask, 0, &context.row_shape(1)));
    let none = || Scalars::random(0).into();
    let scalars = UploadScalars { rows: secret_key(16), inputs: none(), masks: none() };
    let admission = Admission::new(&upload, &tests, scalars, secret_key(19), None);
    for (index, good) in [(1, true), (0, false)] {
        let block = admission.block(index, rows, &row_form, None).expect("residues");
        expect_secret(block.rows.as_slice());
        assert_eq!(revealed(block.good), good);
    }
}

/// Opens a product that passed its check, whose columns begin in the second strip of the right operand.
fn opened(shape: ProductShape) {
    let product = verified(shape, None).expect("a right product");
    let secrets = |seed: u8, encoding: Encoding, width: usize| {
        Secrets::derive(&secret_key(seed), encoding, 0..width.div_ceil(encoding.strip()) + 1)
    };
    let left = [1, 2].map(|seed| secrets(seed, shape.left, shape.rows));
    let right = secrets(3, shape.right, shape.columns);
    let terms = MaskTerms::new(&product, product.shape().columns, (&right, 1));
    let size = shape.left.strip();
    let strip = |s: usize| RowStrip {
        rows: size.min(shape.rows - s * size),
        // Rows of one contributor stand under one mask set, sums of several under all of theirs.
        secrets: (0..1 + s % 2).map(|set| (set, left[set].reference(s))).collect(),
    };
    let strips: Vec<RowStrip<'_>> = (0..shape.rows.div_ceil(size)).map(strip).collect();
    let opener = Opener {
        product: &product,
        of_left_masks: &product,
        terms: &terms,
        of_right_masks: &product,
        strips: &strips,
        right: &right,
        first: 1,
        scales: [Scale::from_log2(20); 2],
    };
    let mut out = vec![0.0; shape.rows * shape.columns];
    let in_range = opener.open(&mut out, shape.columns, 0);
    expect_secret(&out[..]);
    assert!(revealed(in_range.is_ok()));
}

fn open() {
    opened(product_shape());
}

fn open_few() {
    // The last strips have two rows and one.
    for rows in [10, 1] {
        opened(ProductShape { rows, ..product_shape() });
    }
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
