//! Encryption of matrices, place by place, under shared masks.
//!
//! The element of strip s at place k becomes encode + noise - sum over the rank of mask\[k\] secret\[s\]: one residue for
//! each entry, one public mask for each place, one secret for each strip. (Module-LWE with several secrets under a shared mask:
//! Peikert, Vaikuntanathan and Waters, CRYPTO 2008, by a hybrid over the secrets.) Ciphertexts are in mixed form, so
//! that a product is a plain product of matrices: `docs/arithmetic.md`.

use std::ops::Range;
use std::sync::Arc;

use blindsmith_matrix::{MaskSeed, Masks, OperandShape, Scale, Side, View};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, Poly, Table, backend, modulus};
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::hedge::{Context, Freshness};
use crate::key::Key;
use crate::meter::metered;
use crate::secret::Secrets;
use crate::sum::{Projection, Scalars};

/// Along which side of a plain matrix a product sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Contraction {
    /// Its rows: a column is private.
    Rows = 0,
    /// Its columns: a row is private.
    Columns = 1,
}

impl Contraction {
    /// Entries along the contraction, and private ones.
    fn sizes(self, view: &View<'_>) -> (usize, usize) {
        match self {
            Contraction::Rows => (view.rows, view.cols),
            Contraction::Columns => (view.cols, view.rows),
        }
    }
}

/// What an operand has in common with another part of the same matrix. Masks or secrets, never both: a mask
/// and a secret meet in one message only.
pub enum Share {
    /// Nothing.
    Nothing,
    /// The secrets, one for each strip: a further part of the contraction, under masks of its own.
    Secrets(Arc<Secrets>),
}

/// One matrix being encrypted: it holds the only message that its masks meet its secrets in.
pub struct Encryption<'a> {
    view: View<'a>,
    contraction: Contraction,
    shape: OperandShape,
    factor: f64,
    masks: Arc<Masks>,
    seed: MaskSeed,
    secrets: Arc<Secrets>,
    noise: Key,
    /// What the numbers of strips and places are counted from, for noise.
    first: (usize, usize),
}

/// The scalars by which an operand is projected while it is encrypted.
pub struct ProjectionScalars {
    /// One for each private entry.
    pub body: Arc<Scalars>,
    /// One for each residue of a mask.
    pub masks: Arc<Scalars>,
}

/// What is added up of an operand's ciphertext for the checks of its products.
pub struct Projections {
    /// Of the private entries of each stripe, one after the other.
    pub stripes: Vec<Projection>,
    /// Of the masks.
    pub masks: Projection,
}

/// Private entries that a product may be asked for apart, in whole strips.
pub type Stripe = Range<usize>;

/// The buffers of one worker.
struct Scratch {
    element: Option<Poly<Coeff>>,
    masked: Zeroizing<Vec<u64>>,
    noise: Stream,
}

impl ProjectionScalars {
    /// Fresh ones for an operand of this shape.
    pub fn random(shape: &OperandShape) -> Self {
        ProjectionScalars {
            body: Scalars::random(shape.width).into(),
            masks: Scalars::random(shape.encoding.dimension()).into(),
        }
    }

    /// The same for another part of the contraction: projections of both add up.
    pub fn shared(&self) -> Self {
        ProjectionScalars { body: self.body.clone(), masks: self.masks.clone() }
    }
}

impl<'a> Encryption<'a> {
    /// An operand that the warden encrypts: keys hedged from `context`, the message and fresh randomness; masks
    /// and secrets fresh with them, but for what is shared.
    ///
    /// # Panics
    /// If there are fewer secrets than strips.
    pub fn operand(
        key: &Key,
        context: &Context,
        (view, contraction): (View<'a>, Contraction),
        (shape, scale): (OperandShape, Scale),
        fresh: Freshness,
        share: Share,
    ) -> Self {
        let operand = key.operand(context, &shape, scale, (&view, contraction), fresh);
        let seed = MaskSeed(*operand.derive("mask", &[]).expose());
        let mut masks = Masks::zero(shape.places(), shape.encoding.dimension());
        expand(seed, 0, &mut masks);
        let secrets = match share {
            Share::Secrets(secrets) => secrets,
            Share::Nothing => {
                let key = operand.derive("secrets", &[]);
                Arc::new(Secrets::derive(&key, shape.encoding, 0..shape.strips()))
            }
        };
        let noise = operand.derive("noise", &[]);
        let (masks, secrets) = ((seed, masks.into()), secrets);
        Self::new((view, contraction), (shape, scale), masks, secrets, noise)
    }

    /// A matrix under masks and secrets that are given.
    ///
    /// # Panics
    /// If the shape is not the view's, or masks or secrets are too few.
    pub(crate) fn new(
        (view, contraction): (View<'a>, Contraction),
        (shape, scale): (OperandShape, Scale),
        (seed, masks): (MaskSeed, Arc<Masks>),
        secrets: Arc<Secrets>,
        noise: Key,
    ) -> Self {
        assert_eq!(contraction.sizes(&view), (shape.contraction, shape.width));
        assert!(secrets.len() >= shape.strips() && masks.count() >= shape.places());
        let factor = scale.factor();
        Encryption { view, contraction, shape, factor, masks, seed, secrets, noise, first: (0, 0) }
    }

    /// The same as a part of a larger matrix, of which it begins at this strip and place: noise is numbered there.
    pub(crate) fn part_of_larger(self, first: (usize, usize)) -> Self {
        Encryption { first, ..self }
    }

    /// The shape.
    pub fn shape(&self) -> &OperandShape {
        &self.shape
    }

    /// The public seed of the masks.
    pub fn mask_seed(&self) -> MaskSeed {
        self.seed
    }

    /// The public masks, one for each place.
    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    /// The secrets, one for each strip, for whoever opens products.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets.clone()
    }

    /// Encrypts the contraction rows of place `first` and those that follow it, as many places as `out` holds, each row of
    /// [`OperandShape::stride`] residues.
    ///
    /// # Panics
    /// If `out` is not a whole number of places, or reaches beyond the last.
    pub fn places(&self, first: usize, out: &mut [u64]) {
        let mut scratch = self.scratch();
        let place = self.shape.encoding.roots() * self.shape.stride();
        assert!(out.len().is_multiple_of(place) && first + out.len() / place <= self.shape.places());
        for (i, rows) in out.chunks_exact_mut(place).enumerate() {
            for strip in 0..self.shape.strips() {
                self.element((strip, first + i), &mut scratch, rows);
            }
        }
    }

    /// All contraction rows, on all cores, in pieces of whole places that are handed over as they are ready, and the
    /// projections for the checks of their products. `write` is given the number of a piece's first contraction row.
    ///
    /// # Errors
    /// The first error of `write`.
    pub fn pieces<E: Send>(
        &self,
        scalars: &ProjectionScalars,
        stripes: &[Stripe],
        write: impl Fn(usize, &[u64]) -> Result<(), E> + Sync,
    ) -> Result<Projections, E> {
        let (roots, stride) = (self.shape.encoding.roots(), self.shape.stride());
        let count = self.piece_places();
        let pieces = self.shape.places().div_ceil(count);
        let done = (0..pieces).into_par_iter().map_init(Vec::new, |buffer: &mut Vec<u64>, piece| {
            let first = piece * count;
            let rows = count.min(self.shape.places() - first) * roots;
            buffer.resize(rows * stride, 0);
            self.places(first, buffer);
            write(first * roots, buffer)?;
            Ok(metered(|| self.project(first, buffer, scalars, stripes)))
        });
        let done = done.collect::<Result<Vec<Projections>, E>>()?;
        let mut all = Projections { stripes: Vec::new(), masks: Projection::default() };
        all.stripes.resize_with(stripes.len(), Projection::default);
        for piece in &done {
            all.masks.append(&piece.masks);
            all.stripes.iter_mut().zip(&piece.stripes).for_each(|(all, part)| all.append(part));
        }
        Ok(all)
    }

    /// Places of a piece: a few hundred kilobytes, and work for every core.
    fn piece_places(&self) -> usize {
        const PIECE: usize = 1 << 15;
        let place = self.shape.encoding.roots() * self.shape.stride();
        let each = self.shape.places().div_ceil(4 * rayon::current_num_threads());
        (PIECE / place).clamp(1, each.max(1))
    }

    fn project(
        &self,
        first: usize,
        rows: &[u64],
        scalars: &ProjectionScalars,
        stripes: &[Stripe],
    ) -> Projections {
        let backend = backend::active();
        let (roots, stride) = (self.shape.encoding.roots(), self.shape.stride());
        let of_stripe = |stripe: &Stripe| {
            let weights = &scalars.body.as_slice()[stripe.clone()];
            let dot = |row: &[u64]| backend.dot(&row[stripe.clone()], weights);
            Projection::from_residues(rows.chunks_exact(stride).map(dot).collect())
        };
        let of_masks = |row: usize| {
            let (place, per_root) = (first + row / roots, self.shape.encoding.per_root());
            let at = row % roots * per_root..(row % roots + 1) * per_root;
            backend.dot(&self.masks.place(place)[at.clone()], &scalars.masks.as_slice()[at])
        };
        let masks = (0..rows.len() / stride).map(of_masks).collect();
        Projections {
            stripes: stripes.iter().map(of_stripe).collect(),
            masks: Projection::from_residues(masks),
        }
    }

    fn scratch(&self) -> Scratch {
        let degree = self.shape.encoding.degree();
        Scratch {
            element: Some(Poly::zero(degree)),
            masked: Zeroizing::new(vec![0; degree]),
            noise: Stream::new(*self.noise.expose()),
        }
    }

    /// Encrypts one element into its columns of a place's contraction rows.
    fn element(&self, (strip, place): (usize, usize), scratch: &mut Scratch, rows: &mut [u64]) {
        let encoding = self.shape.encoding;
        let (roots, size) = (encoding.roots(), encoding.strip());
        // Unwrap safety: it is put back below.
        let mut element = scratch.element.take().expect("a buffer");
        self.encode(strip, place, &mut element);
        let number = ((self.first.0 + strip) as u64) << 32 | (self.first.1 + place) as u64;
        scratch.noise.add_noise(number, &mut element);
        let mut element = element.into_mixed(roots);
        let (mask, secret, masked) =
            (self.masks.place(place), self.secrets.strip(strip), &mut scratch.masked);
        let backend = backend::active();
        backend.mul_ranks(masked, mask, secret, encoding.rank(), size);
        backend.eval_to_mixed(Table::of(encoding.degree()), masked, roots);
        backend.sub_assign(element.as_mut_slice(), masked);
        let columns = strip * size..self.shape.width.min((strip + 1) * size);
        for (row, block) in
            rows.chunks_exact_mut(self.shape.stride()).zip(element.as_slice().chunks_exact(size))
        {
            row[columns.clone()].copy_from_slice(&block[..columns.len()]);
        }
        scratch.element = Some(element.recycle());
    }

    /// Writes the rounded entries of an element into a zeroed polynomial; what lies outside the matrix is zero.
    fn encode(&self, strip: usize, place: usize, out: &mut Poly<Coeff>) {
        let encoding = self.shape.encoding;
        let (roots, size) = (encoding.roots(), encoding.strip());
        let (first, start) = (place * roots, strip * size);
        let entries = roots.min(self.shape.contraction - first);
        let width = size.min(self.shape.width - start);
        let out = out.as_mut_slice();
        // Sign and place of contraction entry i: a matter of position, which is public.
        let row_of = |i: usize| match self.shape.side {
            Side::Left if i > 0 => (roots - i, -self.factor),
            _ => (i, self.factor),
        };
        match self.contraction {
            Contraction::Rows => {
                for i in 0..entries {
                    let (block, factor) = row_of(i);
                    let entries = &self.view.data[(first + i) * self.view.cols + start..][..width];
                    backend::active().encode(&mut out[block * size..][..width], entries, factor);
                }
            }
            Contraction::Columns => {
                for b in 0..width {
                    let row = &self.view.data[(start + b) * self.view.cols + first..][..entries];
                    for (i, &x) in row.iter().enumerate() {
                        let (block, factor) = row_of(i);
                        out[block * size + b] = modulus::from_signed(Scale::encode(factor, x));
                    }
                }
            }
        }
    }
}

/// Expands masks on all cores: those of place `first` and of the places that follow it.
pub fn expand(seed: MaskSeed, first: usize, masks: &mut Masks) {
    const TOGETHER: usize = 16;
    let dimension = masks.dimension();
    let pieces = masks.as_mut_slice().par_chunks_mut(TOGETHER * dimension.max(1)).enumerate();
    pieces.for_each(|(i, piece)| seed.expand_into(first + i * TOGETHER, dimension, piece));
}
