//! What the warden does with a contributor's ciphertexts when it first reads them: it makes sure that they are
//! well formed, and takes the projections by which products with them are checked ever after.
//!
//! A contributor's tag proves who, not what. A tile that encrypts something large, in coefficients that rows
//! use or in others, would spoil products that rows of others stand in, so every row block is tested: sums of
//! its tiles over secret subsets of its places are opened, compared with a bound and forgotten. Of two subsets
//! that differ in one place, at most one keeps a tile there hidden that is beyond twice the bound: a bad tile
//! passes a test with probability at most 1/2, all of them with 2^-24. Nothing else that is made of operands
//! alone is ever opened.

use blindsmith_matrix::{Form, Shape};
use blindsmith_ring::{Eval, LANES, Poly, backend, modulus};

use crate::sum::{Scalars, Sum};
use crate::{Key, Malformed, Secret, UploadKey};

/// Sums of secret subsets that are tested for each row block.
const TESTS: usize = 24;
/// The largest magnitude of the noise.
const NOISE: u64 = 21;

/// The reading of one upload.
pub struct Admission<'a> {
    upload: &'a UploadKey,
    shape: Shape,
    /// One scalar for each place: the same for all uploads of a project, whose rows stand in one product.
    inputs: &'a Scalars,
    /// Of the scalars of the row blocks.
    rows: Key,
    /// Subsets of the places: scalars 0 and 1.
    subsets: Vec<Scalars>,
    /// Their sums of masks.
    masks: Vec<Poly<Eval>>,
}

/// What one row block leaves.
pub struct Block {
    /// v: the sum over its places of scalar times tile.
    pub along: Poly<Eval>,
    /// Whether it is well formed.
    pub good: bool,
}

/// The buffers of one worker, and the projection of the sampling group that it reads.
pub struct Reading {
    lanes: Vec<u64>,
    group: Sum,
    each: Sum,
}

impl<'a> Admission<'a> {
    /// Of an upload of `rows` rows, padding excluded, under the masks of its project, with the keys of the row
    /// blocks' scalars and of the subsets. The latter is the same for every reading of an upload, so that reading it
    /// again is no other try; its contributor must not know it.
    pub fn new(
        upload: &'a UploadKey,
        rows: usize,
        masks: &[Poly<Eval>],
        inputs: &'a Scalars,
        (rows_key, subsets): (Key, Key),
    ) -> Self {
        let context = upload.context();
        let shape = Shape::new(Form::Rows, context.tile, rows, context.inputs);
        assert_eq!((masks.len(), inputs.len()), (shape.strip_len(), shape.strip_len()));
        let subset = |t: usize| {
            let bits = Scalars::derive(&subsets.derive("subset", &[&t.to_be_bytes()]), 0..shape.strip_len());
            // The parity of a uniform residue: biased by 2^-50.
            Scalars::from_bits(bits.as_slice().iter().map(|s| s & 1).collect())
        };
        let subsets: Vec<Scalars> = (0..TESTS).map(subset).collect();
        let masks = subsets.iter().map(|subset| crate::sum::combine(masks, subset)).collect();
        Admission { upload, shape, inputs, rows: rows_key, subsets, masks }
    }

    /// Buffers for one worker.
    pub fn reading(&self) -> Reading {
        let len = self.shape.tile.degree() * self.shape.strip_len();
        Reading { lanes: vec![0; len], group: Sum::new(len), each: Sum::new(LANES) }
    }

    /// Reads the ciphertext of row block `index`, as uploads are stored, and adds it to the group's projection.
    ///
    /// # Errors
    /// [`Malformed`] for another length, or a residue that is not below q.
    pub fn block(&self, index: usize, packed: &[u8], reading: &mut Reading) -> Result<Block, Malformed> {
        let Reading { lanes, group, each } = reading;
        let (degree, len) = (self.shape.tile.degree(), self.shape.strip_len());
        if packed.len() != lanes.len() / LANES * blindsmith_ring::PACKED_BYTES_PER_LANES {
            return Err(Malformed("a row block of another size"));
        }
        if !backend::active().unpack(lanes, packed) {
            return Err(Malformed("a residue is not below the modulus"));
        }
        group.scale(lanes, Scalars::derive(&self.rows, [index]).as_slice());
        let mut along = Poly::zero(degree);
        let mut tests: Vec<Poly<Eval>> = self.subsets.iter().map(|_| Poly::zero(degree)).collect();
        for (g, tiles) in lanes.chunks_exact(len * LANES).enumerate() {
            let at = g * LANES..(g + 1) * LANES;
            each.scale(tiles, self.inputs.as_slice());
            each.take(&mut along.as_mut_slice()[at.clone()]);
            for (test, subset) in tests.iter_mut().zip(&self.subsets) {
                each.scale(tiles, subset.as_slice());
                each.take(&mut test.as_mut_slice()[at.clone()]);
            }
        }
        let secret: Secret = self.upload.secrets(std::iter::once(index)).remove(0);
        let limits = self.limits(index);
        let mut beyond = 0;
        for (mut test, masks) in tests.into_iter().zip(&self.masks) {
            test.mul_add(masks, &secret);
            for (v, limit) in test.into_coeff().as_slice().iter().zip(&limits) {
                // Negative, hence with the top bit, if it is beyond.
                beyond |= limit.wrapping_sub(modulus::to_signed(*v).unsigned_abs());
            }
        }
        Ok(Block { along, good: beyond >> 63 == 0 })
    }

    /// What no coefficient of a sum of tiles exceeds: noise where no row has an entry, one more entry for each
    /// place where one has.
    fn limits(&self, index: usize) -> Vec<u64> {
        let (rows, cols) = self.shape.tile_size();
        let len = self.shape.strip_len() as u64;
        let entry = self.upload.context().scale.factor() as u64;
        let valid = self.shape.rows.saturating_sub(index * rows).min(rows);
        let mut limits = vec![len * NOISE; self.shape.tile.degree()];
        let positions = self.shape.positions();
        positions[..valid * cols].iter().for_each(|at| limits[at.index] += len * entry);
        limits
    }

    /// u: the sum over the row blocks read since the last call of scalar times tile, one for each place.
    pub fn group(&self, reading: &mut Reading) -> Vec<Poly<Eval>> {
        let (degree, len) = (self.shape.tile.degree(), self.shape.strip_len());
        reading.group.take(&mut reading.lanes);
        let mut group: Vec<Poly<Eval>> = (0..len).map(|_| Poly::zero(degree)).collect();
        for (g, tiles) in reading.lanes.chunks_exact(len * LANES).enumerate() {
            for (poly, tile) in group.iter_mut().zip(tiles.chunks_exact(LANES)) {
                poly.as_mut_slice()[g * LANES..(g + 1) * LANES].copy_from_slice(tile);
            }
        }
        group
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.lanes.zeroize();
    }
}
