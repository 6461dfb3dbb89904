//! Products of stored rows: what admission kept of them is what their checks need, and they open to the plain product.

use blindsmith_keys::{
    AdmittedBlock, Check, Checked, Contraction, Key, MaskTerms, Opener, Projection, RowStrip, Scalars,
    Secrets, UploadContext, Wrong, contract,
};
use blindsmith_matrix::{Encoding, Masks, NoiseModel, OperandShape, Scale, Security, Side, View};
use blindsmith_ring::modulus;

use super::contributor::*;
use super::pair::{Left, Operand, encrypt, multiply_left, values};

const INPUTS: usize = 17;
const OUTPUTS: usize = 11;
/// log2 of the right operands' scale.
const SCALE: i8 = 19;

/// A contributor's upload, as a warden has read it.
struct Stored {
    upload: Upload,
    data: Vec<f32>,
    own: OwnScalars,
    blocks: Vec<AdmittedBlock>,
}

/// Uploads of two contributors to one project: three blocks and two, the last ones not full.
fn stored(context: UploadContext, warden: &Warden) -> [Stored; 2] {
    [40, 27].map(|rows| {
        let data = values(rows * context.inputs, rows as u64);
        let upload = Upload::new(&Key::random(), context, &data);
        let own = OwnScalars::random(&context);
        let block = |index| warden.read(&upload, index, &own).unwrap();
        let blocks = (0..upload.blocks.len()).map(block).collect::<Vec<_>>();
        assert!(blocks.iter().all(|block| block.good));
        Stored { upload, data, own, blocks }
    })
}

fn contexts() -> [UploadContext; 5] {
    let [a, b, c, d] = [(4, 4), (1, 8), (16, 2), (8, 16)].map(|(n, l)| context(n, l, 16, INPUTS));
    // Several strips in a block; in the last one of the columns there is one feature.
    let short = |roots| Encoding::new(roots, 8, 2048 / (8 * roots)).unwrap();
    [a, b, c, d, UploadContext { row_form: short(8), column_form: short(16), ..a }]
}

/// A matrix of so many columns under an encoding with these roots.
fn right(roots: usize, data: &[f32], rows: usize) -> Operand {
    let encoding = Encoding::fit(Security::Bits128, roots, OUTPUTS).unwrap();
    let shape = OperandShape { side: Side::Right, encoding, contraction: rows, width: OUTPUTS };
    encrypt(
        &Key::random(),
        shape,
        View::new(data, rows, OUTPUTS),
        Contraction::Rows,
        Scale::from_log2(SCALE),
        None,
    )
}

/// A left operand of stored rows with everything that checks and opens its products.
struct Rows<'a> {
    shape: OperandShape,
    scale: Scale,
    rows: Vec<u64>,
    sets: Vec<Masks>,
    scalars: Scalars,
    mask_scalars: Vec<&'a Scalars>,
    projection: Projection,
    strips: Vec<RowStrip<'a>>,
}

impl Rows<'_> {
    fn left(&self) -> Left<'_> {
        Left { shape: self.shape, rows: &self.rows, sets: self.sets.iter().collect() }
    }

    fn verify(&self, right: &Operand, product: &[u64]) -> Result<Checked, Wrong> {
        let (stripe, masks) = (&right.projections.stripes[0], &right.projections.masks);
        let check = Check {
            rows: &self.scalars,
            left_masks: &self.mask_scalars,
            columns: &right.scalars.body,
            stripe: 0..OUTPUTS,
            right_masks: &right.scalars.masks,
            expected: contract(&[&self.projection], &[stripe, masks]),
        };
        let mut received = check.receive(self.left().product(right), Vec::new());
        received.take(product).unwrap();
        received.verify().unwrap()
    }

    fn open(&self, right: &Operand, product: &Checked) -> Vec<f32> {
        let terms = MaskTerms::new(product, product.shape().columns, (&right.secrets, 0));
        let opener = Opener {
            product,
            of_left_masks: product,
            terms: &terms,
            of_right_masks: product,
            strips: &self.strips,
            right: &right.secrets,
            first: 0,
            scales: [self.scale, Scale::from_log2(SCALE)],
        };
        let mut out = vec![0.0; self.shape.width * OUTPUTS];
        opener.open(&mut out, OUTPUTS, 0).unwrap();
        out
    }
}

/// Row forms of all blocks under one another: rows private, under the project's masks.
fn all_rows<'a>(stored: &'a [Stored], secrets: &'a [Secrets], mask_scalars: &'a Scalars) -> Rows<'a> {
    let context = *stored[0].upload.key.context();
    let masks = row_masks(&context);
    let count: usize = stored.iter().map(|s| s.data.len() / INPUTS).sum();
    let shape = context.row_shape(count);
    let mut rows = vec![0; shape.residues()];
    let mut projection = Projection::of_masks(&masks, context.row_form, mask_scalars);
    let (mut first, mut strips, mut scalars) = (0, Vec::new(), Vec::new());
    let blocks =
        stored.iter().flat_map(|s| s.upload.blocks.iter().zip(&s.blocks).enumerate().map(move |b| (s, b)));
    for ((s, (index, (block, admitted))), secrets) in blocks.zip(secrets) {
        let form = &block.row_form;
        for k in 0..shape.padded() {
            let from = &form.residues[k * form.shape.stride()..][..block.rows];
            rows[k * shape.stride() + first..][..block.rows].copy_from_slice(from);
        }
        first += block.rows;
        projection.add(&admitted.rows);
        let numbers = index * context.block_rows..index * context.block_rows + block.rows;
        scalars.push(Scalars::derive(&s.own.rows, numbers));
        strips.extend(strips_of(form.shape, &[(0, secrets)]));
    }
    Rows {
        shape,
        scale: context.scale,
        rows,
        sets: vec![Masks::clone(&masks)],
        scalars: Scalars::join(&scalars),
        mask_scalars: vec![mask_scalars],
        projection,
        strips,
    }
}

/// The strips of a left operand, each under the secrets of its mask sets.
fn strips_of<'a>(shape: OperandShape, secrets: &[(usize, &'a Secrets)]) -> Vec<RowStrip<'a>> {
    let size = shape.encoding.strip();
    let strip = |s: usize| RowStrip {
        rows: size.min(shape.width - s * size),
        secrets: secrets.iter().map(|(set, secrets)| (*set, secrets.reference(s))).collect(),
    };
    (0..shape.strips()).map(strip).collect()
}

/// Column forms of all blocks one after the other: features private, each contributor's under masks of its own.
fn all_columns<'a>(stored: &'a [Stored], warden: &Warden) -> Rows<'a> {
    let context = *stored[0].upload.key.context();
    let blocks = |s: &'a Stored| s.upload.blocks.iter().map(|block| &block.column_form);
    let places = |s| blocks(s).map(|form| form.shape.places()).sum::<usize>();
    let all: usize = stored.iter().map(places).sum();
    let (encoding, roots) = (context.column_form, context.column_form.roots());
    let shape = OperandShape { side: Side::Left, encoding, contraction: all * roots, width: INPUTS };
    let (mut rows, mut sets, mut projection) = (Vec::new(), Vec::new(), Projection::default());
    for s in stored {
        let mut masks = Masks::zero(all, encoding.dimension());
        let mut place = rows.len() / (roots * shape.stride());
        for (index, (block, admitted)) in s.upload.blocks.iter().zip(&s.blocks).enumerate() {
            let of_block = s.upload.masks_of(index, block.rows);
            masks.as_mut_slice()[place * encoding.dimension()..][..of_block.as_slice().len()]
                .copy_from_slice(of_block.as_slice());
            place += of_block.count();
            rows.extend_from_slice(&block.column_form.residues);
            projection.append(admitted.columns.as_ref().unwrap());
        }
        sets.push(masks);
    }
    let secrets: Vec<_> = stored.iter().enumerate().map(|(set, s)| (set, &*s.upload.columns)).collect();
    Rows {
        shape,
        scale: context.scale,
        rows,
        sets,
        scalars: Scalars::join([&*warden.inputs]),
        mask_scalars: stored.iter().map(|s| &*s.own.masks).collect(),
        projection,
        strips: strips_of(shape, &secrets),
    }
}

/// Errors of all rows, zero where the column forms have padding, and the plain product of rows^T and errors.
fn errors(stored: &[Stored], context: &UploadContext) -> (Vec<f32>, Vec<f64>) {
    let (mut errors, mut plain) = (Vec::new(), vec![0.0; INPUTS * OUTPUTS]);
    for s in stored {
        for rows in s.data.chunks(context.block_rows * INPUTS) {
            let of_block = values(rows.len() / INPUTS * OUTPUTS, errors.len() as u64);
            for (row, error) in rows.chunks(INPUTS).zip(of_block.chunks(OUTPUTS)) {
                for (i, j) in (0..INPUTS).flat_map(|i| (0..OUTPUTS).map(move |j| (i, j))) {
                    plain[i * OUTPUTS + j] += f64::from(row[i]) * f64::from(error[j]);
                }
            }
            errors.extend(of_block);
            errors.resize(errors.len().next_multiple_of(context.column_form.roots() * OUTPUTS), 0.0);
        }
    }
    (errors, plain)
}

/// Whether values are a product up to the noise of a contraction of so many entries in -1..1.
fn assert_opened(opened: &[f32], plain: &[f64], padded: usize) {
    let rms = 1.0 / 3f64.sqrt();
    let [d, e] = [BOUND as f64, Scale::from_log2(SCALE).factor()];
    let std = NoiseModel { padded }.std(d * rms, e * rms) / (d * e);
    assert_eq!(opened.len(), plain.len());
    for (x, y) in opened.iter().zip(plain) {
        // Values of single precision are rounded, too.
        let error = (f64::from(*x) - y).abs();
        assert!(error < 7.0 * std + 1e-6, "{x} {y}: {} standard deviations", error / std);
    }
}

#[test]
fn rows_of_several_contributors_times_weights() {
    for context in contexts() {
        let warden = Warden::new(&context);
        let stored = stored(context, &warden);
        let of_block = |s: &Stored| -> Vec<Secrets> {
            let blocks = s.upload.blocks.iter().enumerate();
            blocks.map(|(index, block)| s.upload.key.block_secrets(index, block.rows)).collect()
        };
        let secrets: Vec<Secrets> = stored.iter().flat_map(of_block).collect();
        let mask_scalars = Scalars::random(context.row_form.dimension());
        let rows = all_rows(&stored, &secrets, &mask_scalars);
        let weights = values(INPUTS * OUTPUTS, 5);
        let right = right(context.row_form.roots(), &weights, INPUTS);
        let product = rows.verify(&right, &multiply_left(&rows.left(), &right)).unwrap();
        let opened = rows.open(&right, &product);
        let mut plain = vec![];
        for row in stored.iter().flat_map(|s| s.data.chunks(INPUTS)) {
            plain.extend((0..OUTPUTS).map(|j| {
                (0..INPUTS).map(|k| f64::from(row[k]) * f64::from(weights[k * OUTPUTS + j])).sum::<f64>()
            }));
        }
        assert_opened(&opened, &plain, rows.shape.padded());
    }
}

#[test]
fn columns_of_several_contributors_times_errors() {
    for context in contexts() {
        let warden = Warden::new(&context);
        let stored = stored(context, &warden);
        let rows = all_columns(&stored, &warden);
        let (errors, plain) = errors(&stored, &context);
        let right = right(context.column_form.roots(), &errors, rows.shape.contraction);
        let product = rows.verify(&right, &multiply_left(&rows.left(), &right)).unwrap();
        assert_opened(&rows.open(&right, &product), &plain, rows.shape.padded());
    }
}

#[test]
fn attack_errors_moved_between_contributors_masks() {
    let context = contexts()[0];
    let warden = Warden::new(&context);
    let mut stored = stored(context, &warden);
    let moved = |stored: &[Stored]| {
        let rows = all_columns(stored, &warden);
        let (errors, _) = errors(stored, &context);
        let right = right(context.column_form.roots(), &errors, rows.shape.contraction);
        let product = multiply_left(&rows.left(), &right);
        assert!(rows.verify(&right, &product).is_ok());
        let [_, p, _, r] = rows.left().product(&right).ranges();
        [p, r].map(|part| {
            let (mut wrong, half) = (product.clone(), part.len() / 2);
            let one = part.start + 17;
            wrong[one] = modulus::add(wrong[one], 12345);
            wrong[one + half] = modulus::sub(wrong[one + half], 12345);
            rows.verify(&right, &wrong).is_ok()
        })
    };
    assert_eq!(moved(&stored), [false, false]);
    // Were the scalars of masks common to both, it would pass.
    let [one, other] = &mut stored;
    other.own.masks = one.own.masks.clone();
    for (index, block) in other.blocks.iter_mut().enumerate() {
        *block = warden.read(&other.upload, index, &other.own).unwrap();
    }
    assert_eq!(moved(&stored), [true, true]);
}

#[test]
fn attack_a_block_exchanged_for_another() {
    let context = contexts()[0];
    let warden = Warden::new(&context);
    let stored = stored(context, &warden);
    let rows = all_columns(&stored, &warden);
    let (errors, _) = errors(&stored, &context);
    let right = right(context.column_form.roots(), &errors, rows.shape.contraction);
    let mut other = all_columns(&stored, &warden);
    let block = context.block_rows * rows.shape.stride();
    let (low, high) = other.rows.split_at_mut(block);
    low.swap_with_slice(&mut high[..block]);
    assert!(rows.verify(&right, &multiply_left(&other.left(), &right)).is_err());
    // Padding that travels with a block is no part of it.
    let mut other = all_columns(&stored, &warden);
    let (stride, width) = (rows.shape.stride(), rows.shape.width);
    assert!(width < stride);
    other.rows.chunks_mut(stride).for_each(|row| row[width..].fill(1));
    assert!(rows.verify(&right, &multiply_left(&other.left(), &right)).is_ok());
}
