//! Two encrypted operands, their product as the definition says, and what checks and opens it.

use std::sync::Arc;

use blindsmith_keys::{
    Along, Check, Checked, Context, EncryptedStrip, Encryption, Freshness, Key, Malformed, Opener, Received,
    Scalars, Secret, Share, Taken, Wrong, combine, contract,
};
use blindsmith_matrix::{ProductKind, ProductShape, Scale, Shape, Tile, View};
use blindsmith_ring::{Eval, LANES, Lanes, PIECE, Poly, modulus};

pub const KINDS: [ProductKind; 3] =
    [ProductKind::Forward, ProductKind::WeightGradient, ProductKind::InputGradient];

pub type Polys = Vec<Poly<Eval>>;

pub struct Encrypted {
    /// `tiles[strip][k]`.
    pub tiles: Vec<Polys>,
    pub masks: Arc<[Poly<Eval>]>,
    pub secrets: Vec<Secret>,
    pub cross: Polys,
    pub along: Polys,
    pub across: Polys,
}

pub fn encrypt(encryption: Encryption<'_>, taken: &Taken<'_>) -> Encrypted {
    let (len, strips) = (encryption.shape().strip_len(), encryption.shape().strips());
    let degree = encryption.shape().tile.degree();
    let mut scratch = encryption.scratch();
    let mut out = encryption.strip_buffer();
    let across = (0..len).map(|_| Poly::zero(degree)).collect();
    let mut made = Encrypted {
        tiles: (0..strips).map(|_| vec![]).collect(),
        masks: Arc::new([]),
        secrets: vec![],
        cross: vec![],
        along: vec![],
        across,
    };
    let mut sums: Vec<EncryptedStrip> = (0..strips).map(|_| EncryptedStrip::default()).collect();
    for piece in 0..len.div_ceil(PIECE) {
        let places = encryption.piece_places(piece);
        let out = &mut out[..degree / LANES * places.len()];
        for (s, sum) in sums.iter_mut().enumerate() {
            sum.add(encryption.piece((s, piece), taken, &mut scratch, out));
            made.tiles[s].extend((0..places.len()).map(|k| tile(out, places.len(), k, degree)));
        }
        if taken.across.is_some() {
            scratch.add_across(&mut made.across[places]);
        }
    }
    for strip in sums {
        made.secrets.extend(strip.secret);
        made.cross.extend(strip.cross);
        made.along.extend(strip.along);
    }
    made.masks = encryption.into_masks();
    made
}

pub fn tile(strip: &[Lanes], len: usize, k: usize, degree: usize) -> Poly<Eval> {
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
pub fn multiply(shape: &ProductShape, left: &Encrypted, right: &Encrypted) -> (Vec<u64>, Vec<u64>) {
    let degree = shape.tile.degree();
    let (rows, cols) = shape.grid();
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

/// Uniform in [-1, 1) from a splitmix generator: data for tests, never for keys.
pub fn data(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            let mut x =
                (seed << 32 | i).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((x >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect()
}

pub fn context(layer: u32, part: u32) -> Context {
    Context { project: [1; 32], round: 2, attempt: 0, step: 3, layer, part }
}

/// Operands of one product, projected while they were encrypted.
pub struct Pair {
    pub shape: ProductShape,
    pub scales: [Scale; 2],
    pub left: Encrypted,
    pub right: Encrypted,
    rows: Scalars,
    cols: Scalars,
}

impl Pair {
    pub fn new(shape: ProductShape, scales: [Scale; 2], a: &[f32], b: &[f32]) -> Self {
        let key = Key::random();
        let encryption = |shape: Shape, scale, values, part| {
            let view = View::new(values, shape.rows, shape.cols);
            Encryption::operand(&key, &context(0, part), shape, scale, view, Freshness::Fresh, Share::Nothing)
        };
        let left = || encryption(shape.left(), scales[0], a, 0);
        let right = || encryption(shape.right(), scales[1], b, 1);
        let (rows, cols) = (Scalars::random(shape.grid().0), Scalars::random(shape.grid().1));
        let scaled = |along| Taken { along: Along::Scaled(along), ..Taken::default() };
        let across = |across| Taken { across: Some(across), ..Taken::default() };
        let (left, right) = match shape.kind {
            ProductKind::Forward => (encrypt(left(), &across(&rows)), encrypt(right(), &across(&cols))),
            ProductKind::WeightGradient => {
                let left = encrypt(left(), &scaled(&rows));
                let (cross, along) = (Some(&left.secrets[..]), Along::Times(&left.along));
                let right = encrypt(right(), &Taken { cross, along, across: None });
                (left, right)
            }
            ProductKind::InputGradient => {
                let right = encrypt(right(), &scaled(&cols));
                let (cross, along) = (Some(&right.secrets[..]), Along::Times(&right.along));
                (encrypt(left(), &Taken { cross, along, across: None }), right)
            }
        };
        Pair { shape, scales, left, right, rows, cols }
    }

    /// Of random matrices of this many rows, inputs and outputs.
    pub fn random(kind: ProductKind, tile: Tile, (rows, inputs, outputs): (usize, usize, usize)) -> Self {
        let shape = ProductShape { kind, tile, rows, inputs, outputs };
        let entries = |shape: Shape, seed| data(seed, shape.rows * shape.cols);
        let scales = [Scale::from_log2(16); 2];
        Pair::new(shape, scales, &entries(shape.left(), 1), &entries(shape.right(), 2))
    }

    pub fn check(&self) -> Check<'_> {
        let Pair { left, right, rows, cols, .. } = self;
        match self.shape.kind {
            ProductKind::Forward => {
                Check::forward((rows, &left.across, &left.masks), (cols, &right.across, &right.masks))
            }
            ProductKind::WeightGradient => {
                let body = combine(&right.along, cols);
                Check { rows, cols, body, extras: contract(&left.along, &right.masks) }
            }
            ProductKind::InputGradient => {
                let body = combine(&left.along, rows);
                Check { rows, cols, body, extras: contract(&left.masks, &right.along) }
            }
        }
    }

    /// The product as the cloud returns it.
    pub fn multiply(&self) -> (Vec<u64>, Vec<u64>) {
        multiply(&self.shape, &self.left, &self.right)
    }

    pub fn verify(&self, extras: &[u64], body: &[u64]) -> Result<Result<Checked, Wrong>, Malformed> {
        let mut received = Received::new(self.shape);
        received.extras(extras)?;
        received.rows(0, body)?;
        self.check().verify(received)
    }

    pub fn opener(&self, product: Checked) -> Opener<'_> {
        let Pair { left, right, scales, .. } = self;
        match self.shape.kind {
            ProductKind::Forward => Opener::forward(product, &left.secrets, &right.secrets, *scales),
            ProductKind::WeightGradient => {
                Opener::weight_gradient(product, &left.masks, &right.secrets, &right.cross, *scales)
            }
            ProductKind::InputGradient => {
                Opener::input_gradient(product, &right.masks, &left.secrets, &left.cross, *scales)
            }
        }
    }
}

/// Opens all of a product.
pub fn open(opener: &Opener<'_>) -> Vec<f32> {
    let (rows, cols) = opener.shape().size();
    let mut out = vec![0.0; rows * cols];
    let mut scratch = Poly::zero(opener.shape().tile.degree());
    for (r, out) in out.chunks_mut(opener.rows_per_grid_row() * cols).enumerate() {
        opener.open_row(r, &mut scratch, out).unwrap();
    }
    out
}
