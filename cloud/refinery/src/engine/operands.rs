//! Operands that the warden sends, by its names for them, and their masks.

use std::collections::HashMap;

use blindsmith_compute::Row;
use blindsmith_matrix::{MaskSeed, Masks, OperandShape, Side};
use blindsmith_protocol::{Instruction, Layer, MAX_OPERANDS, Offload, ProjectSpec, operand_residues};
use blindsmith_ring::LANES;
use blindsmith_shared::Region;
use rayon::prelude::*;

use super::buffer::{MOST_RESIDUES, resized};
use super::error::EngineError::{self, Unfit};

/// Buffers, and masks, of operands that were freed, which serve others: as many of each are kept.
const SPARE: usize = 8;

/// The operands of a session.
pub struct Operands<'a> {
    spec: &'a ProjectSpec,
    shared: Option<&'a Region>,
    held: HashMap<u32, Operand>,
    /// Newest last.
    spare: Vec<Vec<u64>>,
    spare_masks: Vec<(MaskSeed, Masks)>,
}

/// One of them.
pub(super) struct Operand {
    pub(super) shape: OperandShape,
    pub(super) masks: Masks,
    seed: MaskSeed,
    residues: Residues,
}

/// Where an operand's contraction rows are, one after the other.
enum Residues {
    Here(Vec<u64>),
    /// In shared memory from this group of eight on.
    Shared(usize),
}

impl Operand {
    /// Residues that it takes of this process's memory.
    fn weight(&self) -> usize {
        let here = match &self.residues {
            Residues::Here(residues) => residues.len(),
            Residues::Shared(_) => 0,
        };
        here + self.masks.as_slice().len()
    }
}

impl<'a> Operands<'a> {
    pub(super) fn new(spec: &'a ProjectSpec, shared: Option<&'a Region>) -> Self {
        Operands { spec, shared, held: HashMap::new(), spare: Vec::new(), spare_masks: Vec::new() }
    }

    /// Makes room for the operand of an [`Instruction::Begin`], replacing one of the same name.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] if it is no operand of the project, too large, or not in shared memory.
    pub fn begin(&mut self, instruction: &Instruction) -> Result<(), EngineError> {
        let Instruction::Begin { operand, shape, masks: seed, at } = instruction else {
            return Err(Unfit("not the begin of an operand"));
        };
        let len = operand_residues(shape).filter(|_| self.is_of_a_layer(shape));
        let len = len.ok_or(Unfit("an operand of impossible size"))?;
        self.free(&[*operand]);
        if self.held.len() >= MAX_OPERANDS {
            return Err(Unfit("too many operands"));
        }
        let here = if at.is_none() { len } else { 0 };
        let more = here + shape.places() * shape.encoding.dimension();
        if self.held.values().map(Operand::weight).sum::<usize>() + more > MOST_RESIDUES {
            return Err(Unfit("operands of too many residues"));
        }
        let residues = match at {
            Some(at) => Residues::Shared(self.group(*at, len)?),
            None => Residues::Here(self.buffer(len)?),
        };
        let masks = self.masks(seed, shape);
        self.held.insert(*operand, Operand { shape: *shape, masks, seed: *seed, residues });
        Ok(())
    }

    /// Whether it is an operand of one of the products that the refinery has to multiply.
    fn is_of_a_layer(&self, shape: &OperandShape) -> bool {
        let fits = |layer: &Layer| {
            let Some(Offload { forward, gradient, input }) = layer.offload else { return false };
            let (inputs, outputs) = (Some(layer.inputs as usize), Some(layer.outputs as usize));
            // For each product: n, the contraction and the width; rows may be any number.
            let operands = match shape.side {
                Side::Left => [(forward, inputs, None), (gradient, None, inputs), (input, outputs, None)],
                Side::Right => {
                    [(forward, inputs, outputs), (gradient, None, outputs), (input, outputs, inputs)]
                }
            };
            operands.iter().any(|(roots, contraction, width)| {
                usize::from(*roots) == shape.encoding.roots()
                    && contraction.is_none_or(|size| size == shape.contraction)
                    && width.is_none_or(|size| size == shape.width)
            })
        };
        shape.encoding.dimension() == self.spec.security.degree() && self.spec.layers.iter().any(fits)
    }

    /// The group of eight residues in shared memory from which `len` residues lie.
    fn group(&self, at: u64, len: usize) -> Result<usize, EngineError> {
        let shared = self.shared.ok_or(Unfit("there is no shared memory"))?;
        let at = usize::try_from(at).ok().filter(|at| at.is_multiple_of(LANES));
        let group = at.ok_or(Unfit("no such place"))? / LANES;
        shared.slice(group, len / LANES).map_err(|_| Unfit("no such place"))?;
        Ok(group)
    }

    /// A buffer of this length: that of another operand, or a new one.
    fn buffer(&mut self, len: usize) -> Result<Vec<u64>, EngineError> {
        let fitting = self.spare.iter().position(|buffer| (len..=2 * len).contains(&buffer.capacity()));
        resized(fitting.map(|at| self.spare.swap_remove(at)).unwrap_or_default(), len)
    }

    /// The masks of an operand: those of another one with the same seed, or expanded.
    fn masks(&mut self, seed: &MaskSeed, shape: &OperandShape) -> Masks {
        let size = (shape.places(), shape.encoding.dimension());
        let fits = |masks: &Masks| (masks.count(), masks.dimension()) == size;
        if let Some(at) = self.spare_masks.iter().position(|(of, masks)| of == seed && fits(masks)) {
            return self.spare_masks.swap_remove(at).1;
        }
        let buffer = self.spare_masks.iter().position(|(_, masks)| fits(masks));
        let buffer = buffer.map(|at| self.spare_masks.swap_remove(at).1);
        let mut masks = buffer.unwrap_or_else(|| Masks::zero(size.0, size.1));
        expand(seed, 0, size.1, masks.as_mut_slice());
        masks
    }

    /// Bytes of contraction rows from `first` on, to be filled: as many as come.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] if there are no such rows, or they are not whole.
    pub fn rows(&mut self, operand: u32, first: u32, bytes: usize) -> Result<&mut [u8], EngineError> {
        let operand = self.held.get_mut(&operand).ok_or(Unfit("no such operand"))?;
        let Residues::Here(residues) = &mut operand.residues else {
            return Err(Unfit("an operand in shared memory"));
        };
        let row = 8 * operand.shape.stride();
        let all: &mut [u8] = bytemuck::cast_slice_mut(residues);
        let start = (first as usize).checked_mul(row);
        let range = start.and_then(|start| Some(start..start.checked_add(bytes)?));
        let range = range.filter(|_| bytes > 0 && bytes.is_multiple_of(row));
        range.and_then(|range| all.get_mut(range)).ok_or(Unfit("no such rows of an operand"))
    }

    /// Forgets operands; their buffers and masks serve others.
    pub fn free(&mut self, operands: &[u32]) {
        for operand in operands {
            let Some(Operand { masks, seed, residues, .. }) = self.held.remove(operand) else { continue };
            self.spare_masks.push((seed, masks));
            if let Residues::Here(residues) = residues {
                self.spare.push(residues);
            }
        }
        self.spare.drain(..self.spare.len().saturating_sub(SPARE));
        self.spare_masks.drain(..self.spare_masks.len().saturating_sub(SPARE));
    }

    pub(super) fn find(&self, name: u32) -> Result<&Operand, EngineError> {
        self.held.get(&name).ok_or(Unfit("no such operand"))
    }

    /// The contraction rows of an operand.
    pub(super) fn rows_of<'o>(&'o self, operand: &'o Operand) -> Result<Vec<Row<'o>>, EngineError> {
        let residues = match &operand.residues {
            Residues::Here(residues) => residues,
            Residues::Shared(group) => {
                let shared = self.shared.ok_or(Unfit("there is no shared memory"))?;
                let groups = shared.slice(*group, operand.shape.residues() / LANES);
                bytemuck::cast_slice(groups.map_err(|_| Unfit("no such place"))?)
            }
        };
        Ok(residues.chunks_exact(operand.shape.stride()).map(Row::Plain).collect())
    }
}

/// The masks of places from `first` on, in parallel.
pub(super) fn expand(seed: &MaskSeed, first: usize, dimension: usize, out: &mut [u64]) {
    const AT_ONCE: usize = 8;
    let parts = out.par_chunks_mut(AT_ONCE * dimension).enumerate();
    parts.for_each(|(i, part)| seed.expand_into(first + i * AT_ONCE, dimension, part));
}
