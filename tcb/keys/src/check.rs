//! Products are checked before anything of them is opened (Freivalds, "Probabilistic machines can use less
//! running time", 1977; for outsourced layers Tramèr and Boneh, Slalom, ICLR 2019).
//!
//! With secret scalars l for the rows and mask residues of the left operand, and r for the columns and mask residues of
//! the right one, an honest product has l^T (A B) r = (l^T A) (B r), exactly, modulo q. The right side is made of projections
//! that the warden took while it wrote or read the operands; the left side of what came. A wrong product passes with
//! probability at most 2/q, see `docs/integrity.md`.

use std::convert::Infallible;
use std::ops::Range;

use blindsmith_matrix::ProductShape;
use blindsmith_ring::{backend, modulus};
use rayon::prelude::*;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::meter::metered;
use crate::sum::{Projection, Scalars};

/// A product of wrong size, or with a residue that is not below q.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the refinery returned a malformed product: {0}")]
pub struct Malformed(pub &'static str);

/// A product that is not the one that was asked for. Which part of it is wrong is not said.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the refinery returned a wrong product")]
pub struct Wrong;

/// A product as it arrives: of the right form, copied to where nobody else writes, and not trusted.
pub struct Received<'a> {
    shape: ProductShape,
    /// As many as the product has, or more.
    residues: Vec<u64>,
    arrived: usize,
    /// All of the product, in order.
    tiles: Vec<Tile<'a>>,
    /// What has arrived adds up to it.
    sum: u64,
    expected: u64,
}

/// A part of a product that is one matrix: its rows and its columns have a scalar each.
struct Tile<'a> {
    start: usize,
    rows: &'a [u64],
    columns: &'a [u64],
}

impl Tile<'_> {
    fn end(&self) -> usize {
        self.start + self.rows.len() * self.columns.len()
    }

    /// rows^T matrix columns, of those residues that are among `residues`, which begin at residue `at` of the product.
    fn sum(&self, at: usize, residues: &[u64]) -> u64 {
        let (from, to) = (at.max(self.start), (at + residues.len()).min(self.end()));
        let (mut sum, mut from) = (0, from);
        while from < to {
            let (row, column) =
                ((from - self.start) / self.columns.len(), (from - self.start) % self.columns.len());
            let len = (self.columns.len() - column).min(to - from);
            let dot = backend::active().dot(&residues[from - at..][..len], &self.columns[column..][..len]);
            sum = modulus::add(sum, modulus::mul(dot, self.rows[row]));
            from += len;
        }
        sum
    }
}

impl Received<'_> {
    /// Takes the residues that come next.
    ///
    /// # Errors
    /// [`Malformed`] if they are more than the product has, or one is not below q.
    pub fn take(&mut self, residues: &[u64]) -> Result<(), Malformed> {
        let copy = |at: usize, out: &mut [u64]| {
            out.copy_from_slice(&residues[at..][..out.len()]);
            Ok::<(), Infallible>(())
        };
        self.take_copied(residues.len(), copy).map(|Ok(())| ())
    }

    /// Takes so many residues that come next. `copy` copies them from an index on into a slice, on many cores at once.
    ///
    /// # Errors
    /// [`Malformed`] if they are more than the product has, or one is not below q; within, an error of `copy`.
    pub fn take_copied<E: Send>(
        &mut self,
        count: usize,
        copy: impl Fn(usize, &mut [u64]) -> Result<(), E> + Sync,
    ) -> Result<Result<(), E>, Malformed> {
        let (first, tiles) = (self.arrived, &self.tiles);
        let room = &mut self.residues[first..self.shape.residues()];
        let room = room.get_mut(..count).ok_or(Malformed("residues that do not exist"))?;
        let take = |(i, chunk): (usize, &mut [u64])| {
            if let Err(e) = copy(i * CHUNK, chunk) {
                return Ok(Err(e));
            }
            if !backend::active().is_canonical(chunk) {
                return Err(Malformed("a residue is not below the modulus"));
            }
            Ok(Ok(metered(|| sum_of(tiles, first + i * CHUNK, chunk))))
        };
        let sums: Result<Result<Vec<u64>, E>, Malformed> =
            room.par_chunks_mut(CHUNK).enumerate().map(take).collect();
        Ok(sums?.map(|sums| {
            self.sum = sums.into_iter().fold(self.sum, modulus::add);
            self.arrived += count;
        }))
    }

    /// Whether it is the product that was asked for; only the verdict shows.
    ///
    /// # Errors
    /// [`Malformed`] while residues are missing; then [`Wrong`].
    pub fn verify(self) -> Result<Result<Checked, Wrong>, Malformed> {
        let Received { shape, residues, arrived, sum, expected, .. } = self;
        if arrived != shape.residues() {
            return Err(Malformed("residues are missing"));
        }
        match bool::from(sum.ct_eq(&expected)) {
            true => Ok(Ok(Checked { shape, residues })),
            false => Ok(Err(Wrong)),
        }
    }
}

/// What residues from index `at` of the product on add up to.
fn sum_of(tiles: &[Tile<'_>], at: usize, residues: &[u64]) -> u64 {
    let first = tiles.partition_point(|tile| tile.end() <= at);
    let within = tiles[first..].iter().take_while(|tile| tile.start < at + residues.len());
    within.fold(0, |sum, tile| modulus::add(sum, tile.sum(at, residues)))
}

/// Residues that one core treats at a time.
const CHUNK: usize = 1 << 15;

/// A product that passed its [`Check`]: there is no other way to one, and what opens products takes nothing else.
pub struct Checked {
    shape: ProductShape,
    residues: Vec<u64>,
}

impl Checked {
    /// Its shape.
    pub fn shape(&self) -> &ProductShape {
        &self.shape
    }

    /// The memory that it was in, for another one.
    pub fn into_memory(self) -> Vec<u64> {
        self.residues
    }

    fn part(&self, index: usize) -> &[u64] {
        &self.residues[self.shape.ranges()[index].clone()]
    }

    /// C: rows x columns.
    pub(crate) fn body(&self) -> &[u64] {
        self.part(0)
    }

    /// P: mask sets x columns x N of the left operand.
    pub(crate) fn left_masks(&self) -> &[u64] {
        self.part(1)
    }

    /// Q: rows x N of the right operand.
    pub(crate) fn right_masks(&self) -> &[u64] {
        self.part(2)
    }

    /// R: mask sets x n x N/n of the left x N/n of the right operand.
    pub(crate) fn both_masks(&self) -> &[u64] {
        self.part(3)
    }
}

/// The scalars of a product's two sides, for the rows, columns and masks that it has.
pub struct Check<'a> {
    /// One for each row.
    pub rows: &'a Scalars,
    /// For each mask set of the left operand, one for each residue of a mask.
    pub left_masks: &'a [&'a Scalars],
    /// One for each column of the right operand.
    pub columns: &'a Scalars,
    /// The columns that the product has.
    pub stripe: Range<usize>,
    /// One for each residue of a mask of the right operand.
    pub right_masks: &'a Scalars,
    /// What the product must add up to, see [`contract`].
    pub expected: u64,
}

/// What a product of two operands must add up to: the sum over the contraction of their projections, each the sum of
/// those of its parts.
///
/// # Panics
/// If the projections differ in length.
pub fn contract(left: &[&Projection], right: &[&Projection]) -> u64 {
    metered(|| {
        let sum = |parts: &[&Projection]| {
            let mut all = Projection::zero(parts.first().map_or(0, |p| p.as_slice().len()));
            parts.iter().for_each(|part| all.add(part));
            all
        };
        backend::active().dot(sum(left).as_slice(), sum(right).as_slice())
    })
}

impl<'a> Check<'a> {
    /// Nothing yet of a product of this shape. `memory` is used again ([`Checked::into_memory`]): a large product would
    /// spend more on fresh pages than on its check.
    ///
    /// # Panics
    /// If the scalars are not as many as rows, columns and masks.
    pub fn receive(&self, shape: ProductShape, mut memory: Vec<u64>) -> Received<'a> {
        let columns = &self.columns.as_slice()[self.stripe.clone()];
        let (rows, right) = (self.rows.as_slice(), self.right_masks.as_slice());
        assert_eq!((rows.len(), columns.len()), (shape.rows, shape.columns));
        let left: Vec<&[u64]> = self.left_masks.iter().map(|scalars| scalars.as_slice()).collect();
        assert!(left.len() == shape.mask_sets && left.iter().all(|l| l.len() == shape.left.dimension()));
        let (mut tiles, mut start) = (Vec::new(), 0);
        let mut tile = |rows: &'a [u64], columns: &'a [u64]| {
            tiles.push(Tile { start, rows, columns });
            start += rows.len() * columns.len();
        };
        tile(rows, columns);
        left.iter().for_each(|left| tile(columns, left));
        if shape.right_masks {
            assert_eq!(right.len(), shape.right.dimension());
            tile(rows, right);
            for left in left {
                // Root by root, each with scalars of its own.
                let roots =
                    left.chunks_exact(shape.left.per_root()).zip(right.chunks_exact(shape.right.per_root()));
                roots.for_each(|(left, right)| tile(left, right));
            }
        }
        assert_eq!(start, shape.residues());
        if memory.len() < shape.residues() {
            memory = vec![0; shape.residues()];
        }
        Received { shape, residues: memory, arrived: 0, tiles, sum: 0, expected: self.expected }
    }
}
