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
pub struct Received {
    shape: ProductShape,
    /// As many as the product has, or more.
    residues: Vec<u64>,
    arrived: usize,
}

impl Received {
    /// Nothing yet of a product of this shape.
    pub fn new(shape: ProductShape) -> Self {
        Received::into(shape, Vec::new())
    }

    /// The same in memory that is used again ([`Checked::into_memory`]): a large product would spend more on
    /// fresh pages than on its check.
    pub fn into(shape: ProductShape, mut memory: Vec<u64>) -> Self {
        if memory.len() < shape.residues() {
            memory = vec![0; shape.residues()];
        }
        Received { shape, residues: memory, arrived: 0 }
    }

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
        let room = &mut self.residues[self.arrived..self.shape.residues()];
        let room = room.get_mut(..count).ok_or(Malformed("residues that do not exist"))?;
        let take = |(i, chunk): (usize, &mut [u64])| match copy(i * CHUNK, chunk) {
            Ok(()) if backend::active().is_canonical(chunk) => Ok(Ok(())),
            Ok(()) => Err(Malformed("a residue is not below the modulus")),
            Err(e) => Ok(Err(e)),
        };
        let done: Result<Result<(), E>, Malformed> =
            room.par_chunks_mut(CHUNK).enumerate().map(take).collect();
        if let Ok(Ok(())) = done {
            self.arrived += count;
        }
        done
    }
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

impl Check<'_> {
    /// Checks all of a product; only the verdict shows.
    ///
    /// # Errors
    /// [`Malformed`] while residues are missing; then [`Wrong`].
    ///
    /// # Panics
    /// If the scalars are not as many as rows, columns and masks.
    pub fn verify(self, product: Received) -> Result<Result<Checked, Wrong>, Malformed> {
        let Received { shape, residues, arrived } = product;
        let columns = &self.columns.as_slice()[self.stripe.clone()];
        assert_eq!((self.rows.len(), columns.len()), (shape.rows, shape.columns));
        assert_eq!(self.left_masks.len(), shape.mask_sets);
        if arrived != shape.residues() {
            return Err(Malformed("residues are missing"));
        }
        let [c, p, q, r] = shape.ranges().map(|range| &residues[range]);
        let rows = self.rows.as_slice();
        let (left, right) = (shape.left.dimension(), shape.right.dimension());
        let mut sum = bilinear(rows, c, columns);
        if shape.right_masks {
            sum = modulus::add(sum, bilinear(rows, q, self.right_masks.as_slice()));
        }
        for (set, scalars) in self.left_masks.iter().enumerate() {
            let p = &p[set * shape.columns * left..][..shape.columns * left];
            sum = modulus::add(sum, bilinear(columns, p, scalars.as_slice()));
            if shape.right_masks {
                let len = shape.left.per_root() * right;
                sum = modulus::add(sum, self.both(&shape, scalars, &r[set * len..][..len]));
            }
        }
        match bool::from(sum.ct_eq(&self.expected)) {
            true => Ok(Ok(Checked { shape, residues })),
            false => Ok(Err(Wrong)),
        }
    }

    /// The part R of one mask set: root by root, each with scalars of its own.
    fn both(&self, shape: &ProductShape, scalars: &Scalars, r: &[u64]) -> u64 {
        let (of_left, of_right) = (shape.left.per_root(), shape.right.per_root());
        let left = scalars.as_slice().chunks_exact(of_left);
        let right = self.right_masks.as_slice().chunks_exact(of_right);
        let roots = r.chunks_exact(of_left * of_right).zip(left).zip(right);
        roots.fold(0, |sum, ((r, left), right)| modulus::add(sum, bilinear(left, r, right)))
    }
}

/// left^T matrix right, the matrix row by row.
fn bilinear(left: &[u64], matrix: &[u64], right: &[u64]) -> u64 {
    assert_eq!(matrix.len(), left.len() * right.len());
    if matrix.is_empty() {
        return 0;
    }
    let rows = (CHUNK / right.len()).max(1);
    let chunk = |(left, matrix): (&[u64], &[u64])| {
        metered(|| {
            let dots = matrix.chunks_exact(right.len()).map(|row| backend::active().dot(row, right));
            let terms = dots.zip(left).map(|(dot, scalar)| modulus::mul(dot, *scalar));
            terms.fold(0, modulus::add)
        })
    };
    let chunks = left.par_chunks(rows).zip(matrix.par_chunks(rows * right.len()));
    chunks.map(chunk).reduce(|| 0, modulus::add)
}
