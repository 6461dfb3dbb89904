//! Two operands, and a refinery that multiplies them as the definition says.

use std::sync::Arc;

use blindsmith_keys::{
    Check, Checked, Context, Contraction, Encryption, Freshness, Key, Malformed, MaskTerms, Opener,
    OutOfRange, ProductKind, ProjectionScalars, Projections, RowStrip, Secrets, Share, Wrong, contract,
};
use blindsmith_matrix::{Encoding, Masks, OperandShape, ProductShape, Scale, Side, View};
use blindsmith_ring::modulus;

pub const CONTEXT: Context = Context {
    project: [3; 32],
    round: 1,
    attempt: 1,
    step: 1,
    layer: 0,
    part: 0,
    product: ProductKind::Forward,
};

/// Reproducible numbers in -1..1.
pub fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// An operand with everything that its holder knows.
pub struct Operand {
    pub shape: OperandShape,
    /// Contraction rows of `stride` residues.
    pub rows: Vec<u64>,
    pub masks: Masks,
    pub secrets: Arc<Secrets>,
    pub scalars: ProjectionScalars,
    pub projections: Projections,
}

pub struct Sizes {
    pub rows: usize,
    pub contraction: usize,
    pub columns: usize,
}

/// Encrypts an operand; with another part of the same contraction it has secrets and scalars in common.
pub fn encrypt(
    key: &Key,
    shape: OperandShape,
    view: View<'_>,
    contraction: Contraction,
    scale: Scale,
    common: Option<&Operand>,
) -> Operand {
    let part = u32::from(shape.side == Side::Right);
    let share = common.map_or(Share::Nothing, |other| Share::Secrets(other.secrets.clone()));
    let context = Context { part, ..CONTEXT };
    let encryption =
        Encryption::operand(key, &context, (view, contraction), (shape, scale), Freshness::Fresh, share);
    let rows = std::sync::Mutex::new(vec![0; shape.residues()]);
    let scalars = match common {
        Some(other) => other.scalars.shared(),
        None => ProjectionScalars::random(&shape),
    };
    let write = |first: usize, piece: &[u64]| -> Result<(), ()> {
        rows.lock().unwrap()[first * shape.stride()..][..piece.len()].copy_from_slice(piece);
        Ok(())
    };
    let whole = 0..shape.width;
    let projections = encryption.pieces(&scalars, std::slice::from_ref(&whole), write).unwrap();
    let masks = encryption.mask_seed().expand(shape.places(), shape.encoding.dimension());
    let (secrets, rows) = (encryption.secrets(), rows.into_inner().unwrap());
    Operand { shape, rows, masks, secrets, scalars, projections }
}

/// left x right with entries in -1..1, the left one row by row, the right one row by row.
pub struct Pair {
    pub left: Operand,
    pub right: Operand,
    pub scales: [Scale; 2],
}

impl Pair {
    pub fn new(sizes: &Sizes, left: Encoding, right: Encoding, a: &[f32], b: &[f32]) -> Self {
        let key = Key::random();
        let scales = [Scale::from_log2(18), Scale::from_log2(19)];
        let shape =
            |side, encoding, width| OperandShape { side, encoding, contraction: sizes.contraction, width };
        let of_left = shape(Side::Left, left, sizes.rows);
        let of_right = shape(Side::Right, right, sizes.columns);
        let a = View::new(a, sizes.rows, sizes.contraction);
        let b = View::new(b, sizes.contraction, sizes.columns);
        let left = encrypt(&key, of_left, a, Contraction::Columns, scales[0], None);
        let right = encrypt(&key, of_right, b, Contraction::Rows, scales[1], None);
        Pair { left, right, scales }
    }

    pub fn shape(&self) -> ProductShape {
        shape_of(&self.left, &self.right)
    }

    pub fn multiply(&self) -> Vec<u64> {
        multiply(&self.left, &self.right)
    }

    pub fn expected(&self) -> u64 {
        let (l, r) = (&self.left.projections, &self.right.projections);
        contract(&[&l.stripes[0], &l.masks], &[&r.stripes[0], &r.masks])
    }

    pub fn verify(&self, product: &[u64]) -> Result<Checked, Wrong> {
        verify(&self.left, &self.right, self.expected(), product)
    }

    pub fn receive<'p>(
        &self,
        pieces: impl IntoIterator<Item = &'p [u64]>,
    ) -> Result<Result<Checked, Wrong>, Malformed> {
        receive(&self.left, &self.right, self.expected(), pieces)
    }

    pub fn open(&self, product: &Checked) -> Result<Vec<f32>, OutOfRange> {
        open(&self.left, &self.right, self.scales, product)
    }
}

pub fn shape_of(left: &Operand, right: &Operand) -> ProductShape {
    left.as_left().product(right)
}

/// The left side of a product as a refinery holds it.
pub struct Left<'a> {
    pub shape: OperandShape,
    /// Contraction rows of `stride` residues.
    pub rows: &'a [u64],
    /// For each mask set the masks of all places, zero where the set has none.
    pub sets: Vec<&'a Masks>,
}

impl Operand {
    pub fn as_left(&self) -> Left<'_> {
        Left { shape: self.shape, rows: &self.rows, sets: vec![&self.masks] }
    }
}

impl Left<'_> {
    pub fn product(&self, right: &Operand) -> ProductShape {
        ProductShape {
            left: self.shape.encoding,
            right: right.shape.encoding,
            rows: self.shape.width,
            columns: right.shape.width,
            mask_sets: self.sets.len(),
            right_masks: true,
        }
    }
}

pub fn verify(left: &Operand, right: &Operand, expected: u64, product: &[u64]) -> Result<Checked, Wrong> {
    receive(left, right, expected, [product]).unwrap()
}

/// Checks a product that comes in pieces.
pub fn receive<'p>(
    left: &Operand,
    right: &Operand,
    expected: u64,
    pieces: impl IntoIterator<Item = &'p [u64]>,
) -> Result<Result<Checked, Wrong>, Malformed> {
    let check = Check {
        rows: &left.scalars.body,
        left_masks: &[&left.scalars.masks],
        columns: &right.scalars.body,
        stripe: 0..right.shape.width,
        right_masks: &right.scalars.masks,
        expected,
    };
    let mut received = check.receive(shape_of(left, right), Vec::new());
    pieces.into_iter().try_for_each(|piece| received.take(piece))?;
    received.verify()
}

pub fn open(
    left: &Operand,
    right: &Operand,
    scales: [Scale; 2],
    product: &Checked,
) -> Result<Vec<f32>, OutOfRange> {
    let terms = MaskTerms::new(product, product.shape().columns, (&right.secrets, 0));
    let size = left.shape.encoding.strip();
    let strip = |s: usize| RowStrip {
        rows: size.min(left.shape.width - s * size),
        secrets: vec![(0, left.secrets.reference(s))],
    };
    let strips: Vec<RowStrip<'_>> = (0..left.shape.strips()).map(strip).collect();
    let columns = right.shape.width;
    let mut out = vec![0.0; left.shape.width * columns];
    let opener = Opener {
        product,
        of_left_masks: product,
        terms: &terms,
        of_right_masks: product,
        strips: &strips,
        right: &right.secrets,
        first: 0,
        scales,
    };
    opener.open(&mut out, columns, 0).map(|()| out)
}

pub fn multiply(left: &Operand, right: &Operand) -> Vec<u64> {
    multiply_left(&left.as_left(), right)
}

/// The augmented product, by its definition.
pub fn multiply_left(left: &Left<'_>, right: &Operand) -> Vec<u64> {
    let shape = left.product(right);
    let (n, padded) = (left.shape.encoding.roots(), left.shape.padded());
    assert_eq!(padded, right.shape.padded());
    let (l, r) = (shape.left.per_root(), shape.right.per_root());
    let mut out = vec![0; shape.residues()];
    let [c, p, q, both] = shape.ranges();
    let add = |out: &mut u64, a: u64, b: u64| *out = modulus::add(*out, modulus::mul(a, b));
    for k in 0..padded {
        let (place, j) = (k / n, k % n);
        let a = &left.rows[k * left.shape.stride()..][..left.shape.width];
        let b = &right.rows[k * right.shape.stride()..][..right.shape.width];
        let bm = &right.masks.place(place)[j * r..][..r];
        for (i, a) in a.iter().enumerate() {
            let (c, q) = (c.start + i * b.len(), q.start + i * n * r + j * r);
            b.iter().enumerate().for_each(|(x, b)| add(&mut out[c + x], *a, *b));
            bm.iter().enumerate().for_each(|(y, b)| add(&mut out[q + y], *a, *b));
        }
        for (set, masks) in left.sets.iter().enumerate() {
            let am = &masks.place(place)[j * l..][..l];
            for (x, a) in am.iter().enumerate() {
                for (i, y) in b.iter().enumerate() {
                    add(&mut out[p.start + (set * b.len() + i) * n * l + j * l + x], *a, *y);
                }
                let at = both.start + ((set * n + j) * l + x) * r;
                bm.iter().enumerate().for_each(|(y, b)| add(&mut out[at + y], *a, *b));
            }
        }
    }
    out
}

/// The product in double precision.
pub fn exact(sizes: &Sizes, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; sizes.rows * sizes.columns];
    for i in 0..sizes.rows {
        for k in 0..sizes.contraction {
            for j in 0..sizes.columns {
                out[i * sizes.columns + j] +=
                    f64::from(a[i * sizes.contraction + k]) * f64::from(b[k * sizes.columns + j]);
            }
        }
    }
    out
}
