//! Encryption of matrices, strip by strip, under shared masks.
//!
//! A tile of strip s at place k becomes encode(tile) + noise - mask\[k\] secret\[s\], in the evaluation
//! domain: one polynomial a tile, one public mask for each place, one secret for each strip. (RLWE with
//! several secrets under a shared mask: Peikert, Vaikuntanathan and Waters, CRYPTO 2008, by a hybrid over
//! the secrets.)

use std::ops::Range;
use std::sync::Arc;

use blindsmith_matrix::{MaskSeed, Position, Scale, Shape, View};
use blindsmith_ring::modulus::MAX_CHAIN;
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{
    Coeff, Eval, LANES, Lanes, PACKED_BYTES_PER_LANES, PIECE, Poly, backend, modulus, zeroed_lanes,
};

use crate::hedge::Context;
use crate::meter::metered;
use crate::sum::{Scalars, Sum};
use crate::{Freshness, Key};

/// A ternary secret, as the values of its transform.
pub type Secret = Poly<Eval>;

/// What an operand has in common with another part of the same matrix. Masks or secrets, never both: a mask
/// and a secret meet in one message only.
pub enum Share<'a> {
    /// Nothing.
    Nothing,
    /// The masks: further rows of a left operand, under secrets of their own.
    Masks(MaskSeed, Arc<[Poly<Eval>]>),
    /// The secrets, one for each strip: further rows of a right operand, under masks of their own.
    Secrets(&'a [Secret]),
}

/// One matrix being encrypted: it holds the only message that its masks meet its secrets in.
pub struct Encryption<'a> {
    view: View<'a>,
    shape: Shape,
    factor: f64,
    positions: Vec<Position>,
    masks: Arc<[Poly<Eval>]>,
    seed: MaskSeed,
    secrets: Key,
    noise: Key,
    given: Option<&'a [Secret]>,
}

/// What is added up while an operand is encrypted, for the key holder alone.
#[derive(Default)]
pub struct Taken<'a> {
    /// The warden's own term of a gradient (y or y'): tiles before they are masked, times these, one for each place
    /// of a strip.
    pub cross: Option<&'a [Secret]>,
    /// A projection across strips, place by place: ciphertexts times these, one for each strip.
    pub across: Option<&'a Scalars>,
    /// A projection along each strip: ciphertexts times these, one for each place.
    pub along: Along<'a>,
}

/// What the ciphertexts of a strip are multiplied with, place by place, and added up.
#[derive(Default)]
pub enum Along<'a> {
    /// They are not.
    #[default]
    Nothing,
    /// Scalars.
    Scaled(&'a Scalars),
    /// Projections of the other operand of a product.
    Times(&'a [Poly<Eval>]),
}

/// What encrypting a strip leaves with the key holder.
#[derive(Default)]
pub struct EncryptedStrip {
    /// The strip's secret, unless it was given.
    pub secret: Option<Secret>,
    /// sum over k of cross\[k\] (encoded tile k + noise), if cross factors were given: the warden's own term
    /// of a gradient (y or y').
    pub cross: Option<Poly<Eval>>,
    /// The projection along the strip, if one was asked for.
    pub along: Option<Poly<Eval>>,
}

impl EncryptedStrip {
    /// Adds what another piece of the strip left.
    pub fn add(&mut self, piece: EncryptedStrip) {
        self.secret = self.secret.take().or(piece.secret);
        for (sum, part) in [(&mut self.cross, piece.cross), (&mut self.along, piece.along)] {
            match (sum, part) {
                (Some(sum), Some(part)) => sum.add_assign(&part),
                (sum, part) => *sum = sum.take().or(part),
            }
        }
    }
}

/// Tiles that are written out together: eight residues of each, one after the other, so that memory is
/// visited in pieces of several cache lines.
const TOGETHER: usize = 4;

/// The buffers of one worker: loops over strips allocate only their secrets.
pub struct Scratch {
    buffers: Vec<Poly<Coeff>>,
    tiles: Vec<Poly<Eval>>,
    noise: Stream,
    secrets: Stream,
    cross: Sum,
    along: Sum,
    /// One for each place of the piece that is being encrypted.
    across: Vec<Sum>,
    packed: Vec<u8>,
}

impl Scratch {
    /// Adds the tiles at hand, of which the first is at place `first`, to the projections.
    fn project(&mut self, taken: &Taken<'_>, strip: usize, first: usize, piece: usize) {
        if taken.across.is_none() && matches!(taken.along, Along::Nothing) {
            return;
        }
        metered(|| {
            for (k, tile) in (first..).zip(&self.tiles) {
                match taken.along {
                    Along::Nothing => {}
                    Along::Scaled(scalars) => self.along.scale(tile.as_slice(), &scalars.as_slice()[k..=k]),
                    Along::Times(polys) => self.along.product(tile.as_slice(), polys[k].as_slice()),
                }
                if let Some(scalars) = taken.across {
                    let scalar = &scalars.as_slice()[strip..=strip];
                    self.across[k - piece].scale(tile.as_slice(), scalar);
                }
            }
        });
    }

    /// Adds what was projected across the strips of a piece to `to`, one for each of its places, and begins the
    /// next.
    pub fn add_across(&mut self, to: &mut [Poly<Eval>]) {
        metered(|| {
            for (sum, to) in self.across.iter_mut().zip(to) {
                let mut part = Poly::zero(to.points());
                sum.take(part.as_mut_slice());
                to.add_assign(&part);
            }
        });
    }
}

impl<'a> Encryption<'a> {
    /// An operand that the warden encrypts: keys hedged from `context`, the message and fresh randomness; masks
    /// and secrets fresh with them, but for what is shared.
    ///
    /// # Panics
    /// If there are fewer masks than places or fewer secrets than strips.
    pub fn operand(
        key: &Key,
        context: &Context,
        shape: Shape,
        scale: Scale,
        view: View<'a>,
        fresh: Freshness,
        share: Share<'a>,
    ) -> Self {
        let operand = key.operand(context, &shape, scale, &view, fresh);
        let own = || {
            let seed = MaskSeed(*operand.derive("mask", &[]).expose());
            (seed, seed.expand(shape.strip_len(), shape.tile.degree()).into())
        };
        let with = |(seed, masks), secrets| (seed, masks, secrets);
        let (seed, masks, given) = match share {
            Share::Masks(seed, masks) => (seed, masks, None),
            Share::Nothing => with(own(), None),
            Share::Secrets(secrets) => with(own(), Some(secrets)),
        };
        assert!(given.is_none_or(|secrets| secrets.len() == shape.strips()));
        Encryption { given, ..Self::new(view, shape, scale, masks, seed, &operand) }
    }

    /// A matrix under masks that are given.
    ///
    /// # Panics
    /// If the shape is not the view's, or a strip has more than [`MAX_CHAIN`] tiles.
    pub(crate) fn new(
        view: View<'a>,
        shape: Shape,
        scale: Scale,
        masks: Arc<[Poly<Eval>]>,
        seed: MaskSeed,
        key: &Key,
    ) -> Self {
        assert_eq!((view.rows, view.cols), (shape.rows, shape.cols));
        assert!(shape.strip_len() <= MAX_CHAIN && masks.len() == shape.strip_len());
        Encryption {
            view,
            shape,
            factor: scale.factor(),
            positions: shape.positions(),
            masks,
            seed,
            secrets: key.derive("secrets", &[]),
            noise: key.derive("noise", &[]),
            given: None,
        }
    }

    /// The shape in tiles.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The public seed of the masks.
    pub fn mask_seed(&self) -> MaskSeed {
        self.seed
    }

    /// The public masks, one for each place of a strip.
    pub fn masks(&self) -> &[Poly<Eval>] {
        &self.masks
    }

    /// The public masks, handed on.
    pub fn into_masks(self) -> Arc<[Poly<Eval>]> {
        self.masks
    }

    /// Entries of a strip: groups of eight points times places.
    pub fn strip_lanes(&self) -> usize {
        self.shape.tile.degree() / LANES * self.shape.strip_len()
    }

    /// Buffers for one worker.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            buffers: (0..TOGETHER).map(|_| Poly::zero(self.shape.tile.degree())).collect(),
            tiles: Vec::with_capacity(TOGETHER),
            noise: Stream::new(*self.noise.expose()),
            secrets: Stream::new(*self.secrets.expose()),
            cross: Sum::new(self.shape.tile.degree()),
            along: Sum::new(self.shape.tile.degree()),
            across: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Encrypts strip `strip` into `out`, piece after piece as [`Encryption::piece`] lays them out.
    ///
    /// # Panics
    /// If `out` has another length than the strip, or what is taken other counts than its shape.
    pub fn strip(
        &self,
        strip: usize,
        taken: &Taken<'_>,
        scratch: &mut Scratch,
        out: &mut [Lanes],
    ) -> EncryptedStrip {
        assert_eq!(out.len(), self.strip_lanes());
        let groups = self.shape.tile.degree() / LANES;
        let mut whole = EncryptedStrip::default();
        for (piece, out) in out.chunks_mut(PIECE * groups).enumerate() {
            whole.add(self.piece((strip, piece), taken, scratch, out));
        }
        whole
    }

    /// Places of piece `piece` of a strip: [`PIECE`], or as many as are left.
    pub fn piece_places(&self, piece: usize) -> Range<usize> {
        let len = self.shape.strip_len();
        len.min(piece * PIECE)..len.min((piece + 1) * PIECE)
    }

    /// Encrypts a piece of a strip into `out`, laid out as groups of eight points, in each the tiles in order.
    /// What it leaves is the strip's secret, and of the cross term this piece's part.
    ///
    /// # Panics
    /// If `out` has another length than the piece, or what is taken other counts than the operand.
    pub fn piece(
        &self,
        (strip, piece): (usize, usize),
        taken: &Taken<'_>,
        scratch: &mut Scratch,
        out: &mut [Lanes],
    ) -> EncryptedStrip {
        let places = self.piece_places(piece);
        let width = places.len();
        assert!(width > 0 && out.len() == self.shape.tile.degree() / LANES * width);
        self.tiles(strip, places.clone(), taken, scratch, |_, first, tiles| {
            for (g, group) in out.chunks_exact_mut(width).enumerate() {
                for (out, tile) in group[first - places.start..].iter_mut().zip(tiles) {
                    *out = tile.lanes()[g];
                }
            }
        })
    }

    /// Encrypts a strip with residues packed to 50 bits, as uploads are stored: groups of eight points, in each all
    /// tiles in order.
    ///
    /// # Panics
    /// If `out` has another length than the packed strip.
    pub fn packed_strip(&self, strip: usize, scratch: &mut Scratch, out: &mut [u8]) -> EncryptedStrip {
        const PACKED: usize = PACKED_BYTES_PER_LANES;
        assert_eq!(out.len(), self.strip_lanes() * PACKED);
        let len = self.shape.strip_len();
        let tile_bytes = self.shape.tile.degree() / LANES * PACKED;
        self.tiles(strip, 0..len, &Taken::default(), scratch, |packed, first, tiles| {
            packed.resize(TOGETHER * tile_bytes, 0);
            for (packed, tile) in packed.chunks_exact_mut(tile_bytes).zip(tiles) {
                backend::active().pack(packed, tile.as_slice());
            }
            for (g, group) in out.chunks_exact_mut(len * PACKED).enumerate() {
                let pieces = group[first * PACKED..].as_chunks_mut::<PACKED>().0.iter_mut();
                for (out, packed) in pieces.zip(packed.chunks_exact(tile_bytes)).take(tiles.len()) {
                    *out = packed.as_chunks::<PACKED>().0[g];
                }
            }
        })
    }

    /// Encrypts tiles of a strip, a few at a time, and hands them over with the place of the first.
    fn tiles(
        &self,
        strip: usize,
        places: Range<usize>,
        taken: &Taken<'_>,
        scratch: &mut Scratch,
        mut write: impl FnMut(&mut Vec<u8>, usize, &[Poly<Eval>]),
    ) -> EncryptedStrip {
        let (degree, len) = (self.shape.tile.degree(), self.shape.strip_len());
        assert!(taken.cross.is_none_or(|c| c.len() == len));
        assert!(taken.across.is_none_or(|s| s.len() == self.shape.strips()));
        assert!(match taken.along {
            Along::Nothing => true,
            Along::Scaled(scalars) => scalars.len() == len,
            Along::Times(polys) => polys.len() == len,
        });
        if taken.across.is_some() && scratch.across.len() < places.len() {
            scratch.across.resize_with(places.len(), || Sum::new(degree));
        }
        let own = self.given.is_none().then(|| scratch.secrets.ternary(strip as u64, degree));
        let given = self.given.map(|secrets| &secrets[strip]);
        // Unwrap safety: one of the two is there.
        let secret = given.or(own.as_ref()).expect("a secret");
        for first in places.clone().step_by(TOGETHER) {
            let last = places.end.min(first + TOGETHER);
            for k in first..last {
                // Unwrap safety: at most as many tiles are in use as there are buffers.
                let mut buffer = scratch.buffers.pop().expect("a buffer");
                self.encode(strip, k, &mut buffer);
                scratch.noise.add_noise((strip as u64) << 32 | k as u64, &mut buffer);
                let mut tile = buffer.into_eval();
                if let Some(cross) = taken.cross {
                    scratch.cross.product(tile.as_slice(), cross[k].as_slice());
                }
                tile.mul_sub(&self.masks[k], secret);
                scratch.tiles.push(tile);
            }
            scratch.project(taken, strip, first, places.start);
            write(&mut scratch.packed, first, &scratch.tiles);
            scratch.buffers.extend(scratch.tiles.drain(..).map(Poly::recycle));
        }
        let taken_sum = |is: bool, sum: &mut Sum| {
            is.then(|| {
                let mut out = Poly::zero(degree);
                sum.take(out.as_mut_slice());
                out
            })
        };
        let cross = taken_sum(taken.cross.is_some(), &mut scratch.cross);
        let along = taken_sum(!matches!(taken.along, Along::Nothing), &mut scratch.along);
        EncryptedStrip { secret: own, cross, along }
    }

    /// A new buffer of the right length for [`Encryption::strip`].
    pub fn strip_buffer(&self) -> Vec<Lanes> {
        zeroed_lanes(self.strip_lanes())
    }

    /// Writes the rounded entries of a tile into a zeroed polynomial; what lies outside the matrix is zero.
    fn encode(&self, strip: usize, k: usize, out: &mut Poly<Coeff>) {
        let (rows, cols) = self.shape.tile_size();
        let (row0, col0) = self.shape.origin(strip, k);
        let (last_row, last_col) = (self.view.rows.min(row0 + rows), self.view.cols.min(col0 + cols));
        let out = out.as_mut_slice();
        for row in row0..last_row {
            let entries = &self.view.data[row * self.view.cols..][col0..last_col];
            let positions = &self.positions[(row - row0) * cols..];
            for (&x, at) in entries.iter().zip(positions) {
                // The sign is a matter of position, which is public.
                let factor = if at.negative { -self.factor } else { self.factor };
                out[at.index] = modulus::from_signed(Scale::encode(factor, x));
            }
        }
    }
}
