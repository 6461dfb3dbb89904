//! The accelerator: keeps the operands of a session, and multiplies.

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, Instant};

use blindsmith_compute::{Operand, Orientation, Output, Product, Strip};
use blindsmith_matrix::{MaskSeed, ProductKind, ProductShape, Shape, mask_strip};
use blindsmith_protocol::{BlockRef, Instruction, Left, MAX_OPERANDS, ProjectSpec, UploadHeader};
use blindsmith_ring::{LANES, Lanes, zeroed_lanes};
use rayon::prelude::*;
use thiserror::Error;

use crate::store::read_at;

/// An instruction that cannot be carried out.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It names something that is not there, or of another shape.
    #[error("the instruction does not fit: {0}")]
    Unfit(&'static str),
    /// The stored rows cannot be read.
    #[error("stored rows cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The product was refused.
    #[error(transparent)]
    Compute(#[from] blindsmith_compute::Error),
}

use EngineError::Unfit;

/// The stored rows of a round or query: for each upload its header and its file.
pub struct Blocks {
    uploads: Vec<(UploadHeader, File)>,
}

impl Blocks {
    /// The rows of these uploads.
    pub fn new(uploads: Vec<(UploadHeader, File)>) -> Self {
        Blocks { uploads }
    }

    fn find(&self, spec: &ProjectSpec, block: &BlockRef) -> Result<(&File, u64), EngineError> {
        let (header, file) = self.uploads.get(block.upload as usize).ok_or(Unfit("no such upload"))?;
        if block.block >= header.blocks(spec) {
            return Err(Unfit("no such row block"));
        }
        Ok((file, block.block as u64 * spec.block_bytes() as u64))
    }
}

struct Resident {
    shape: Shape,
    masks: Vec<Lanes>,
    strips: Vec<Vec<Lanes>>,
}

/// The state of one session: operands by the warden's names, buffers to reuse, rows read last.
pub struct Engine<'a> {
    spec: &'a ProjectSpec,
    blocks: &'a Blocks,
    masks: Vec<Lanes>,
    operands: HashMap<u32, Resident>,
    spare: Vec<Vec<Lanes>>,
    cached: Vec<BlockRef>,
    rows: Vec<u8>,
    /// Wall-clock time spent multiplying.
    pub busy: Duration,
}

/// A product, ready to be sent.
pub struct Multiplied {
    /// Its shape.
    pub shape: ProductShape,
    /// The wanted residues of every tile, row by row of the grid; then the extra polynomials.
    residues: Vec<u64>,
}

impl Multiplied {
    /// The wanted residues of every tile, row by row of the grid.
    pub fn body(&self) -> &[u64] {
        &self.residues[..self.shape.residues()]
    }

    /// The extra polynomials.
    pub fn extras(&self) -> &[u64] {
        &self.residues[self.shape.residues()..]
    }
}

impl<'a> Engine<'a> {
    /// A session over the given rows.
    pub fn new(spec: &'a ProjectSpec, blocks: &'a Blocks) -> Self {
        let masks = mask_strip(&spec.mask.expand(spec.input_blocks(), spec.security.degree()));
        Engine {
            spec,
            blocks,
            masks,
            operands: HashMap::new(),
            spare: Vec::new(),
            cached: Vec::new(),
            rows: Vec::new(),
            busy: Duration::ZERO,
        }
    }

    /// Makes room for an operand, replacing one of the same name.
    pub fn begin(&mut self, instruction: &Instruction) -> Result<(), EngineError> {
        let Instruction::Begin { operand, layer, form, rows, cols, masks } = instruction else {
            return Err(Unfit("not the begin of an operand"));
        };
        let layer = self.spec.layers.get(*layer as usize).ok_or(Unfit("no such layer"))?;
        let shape = Shape::new(*form, layer.tile, *rows as usize, *cols as usize);
        let limit = blindsmith_protocol::MAX_BATCH_ROWS as usize;
        if *cols == 0 || *rows == 0 || shape.rows > limit || shape.cols > limit {
            return Err(Unfit("an operand of impossible size"));
        }
        self.free(&[*operand]);
        if self.operands.len() >= MAX_OPERANDS {
            return Err(Unfit("too many operands"));
        }
        let masks = self.mask_strip(masks, &shape);
        let strips = (0..shape.strips()).map(|_| self.spare(self.strip_lanes(&shape))).collect();
        self.operands.insert(*operand, Resident { shape, masks, strips });
        Ok(())
    }

    fn mask_strip(&self, seed: &MaskSeed, shape: &Shape) -> Vec<Lanes> {
        mask_strip(&seed.expand(shape.strip_len(), shape.tile.degree()))
    }

    fn strip_lanes(&self, shape: &Shape) -> usize {
        shape.tile.degree() / LANES * shape.strip_len()
    }

    /// A buffer of this length: one of another operand's, or a new one.
    fn spare(&mut self, len: usize) -> Vec<Lanes> {
        match self.spare.iter().position(|s| s.len() == len) {
            Some(at) => self.spare.swap_remove(at),
            None => zeroed_lanes(len),
        }
    }

    /// The buffer of a strip, to be filled.
    pub fn strip(&mut self, operand: u32, strip: u32) -> Result<&mut [Lanes], EngineError> {
        let operand = self.operands.get_mut(&operand).ok_or(Unfit("no such operand"))?;
        operand.strips.get_mut(strip as usize).map(Vec::as_mut_slice).ok_or(Unfit("no such strip"))
    }

    /// Forgets operands; their buffers serve others.
    pub fn free(&mut self, operands: &[u32]) {
        for operand in operands {
            if let Some(resident) = self.operands.remove(operand) {
                self.spare.extend(resident.strips);
            }
        }
        // Buffers of shapes that are no longer used must not pile up.
        let held: usize = self.operands.values().map(|o| o.strips.len()).sum();
        self.spare.truncate(4 * held + 1024);
    }

    /// The sealed labels of row blocks, one after the other.
    pub fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, EngineError> {
        let size = self.spec.sealed_label_bytes();
        let mut out = vec![0; blocks.len() * size];
        for (block, out) in blocks.iter().zip(out.chunks_exact_mut(size)) {
            let (file, offset) = self.blocks.find(self.spec, block)?;
            read_at(file, out, offset)?;
        }
        Ok(out)
    }

    /// Reads the packed ciphertext of row blocks, unless they were read last.
    fn read_rows(&mut self, blocks: &[BlockRef]) -> Result<(), EngineError> {
        if self.cached == blocks {
            return Ok(());
        }
        self.cached.clear();
        let size = self.spec.packed_block_bytes();
        self.rows.resize(blocks.len() * size, 0);
        let (spec, stored) = (self.spec, self.blocks);
        let skip = spec.sealed_label_bytes() as u64;
        blocks.par_iter().zip(self.rows.par_chunks_exact_mut(size)).try_for_each(|(block, out)| {
            let (file, offset) = stored.find(spec, block)?;
            read_at(file, out, offset + skip).map_err(EngineError::from)
        })?;
        self.cached.extend_from_slice(blocks);
        Ok(())
    }

    /// Multiplies.
    pub fn multiply(
        &mut self,
        kind: ProductKind,
        layer: u32,
        left: &Left,
        right: u32,
    ) -> Result<Multiplied, EngineError> {
        let start = Instant::now();
        let sizes = *self.spec.layers.get(layer as usize).ok_or(Unfit("no such layer"))?;
        let rows = match left {
            Left::Blocks(blocks) => {
                if layer != 0 || blocks.is_empty() {
                    return Err(Unfit("stored rows are the input of layer 0 alone"));
                }
                self.read_rows(blocks)?;
                blocks.len() * self.spec.block_rows()
            }
            Left::Operand(name) => self.operands.get(name).ok_or(Unfit("no such operand"))?.shape.rows,
        };
        let shape = ProductShape {
            kind,
            tile: sizes.tile,
            rows,
            inputs: sizes.inputs as usize,
            outputs: sizes.outputs as usize,
        };
        let right = self.operands.get(&right).ok_or(Unfit("no such operand"))?;
        if right.shape != shape.right() {
            return Err(Unfit("the right operand has another shape"));
        }
        let (left_strips, left_masks): (Vec<Strip<'_>>, &[Lanes]) = match left {
            Left::Blocks(_) => {
                let size = self.spec.packed_block_bytes();
                (self.rows.chunks_exact(size).map(Strip::Packed).collect(), &self.masks)
            }
            Left::Operand(name) => {
                let operand = &self.operands[name];
                if operand.shape != shape.left() {
                    return Err(Unfit("the left operand has another shape"));
                }
                (operand.strips.iter().map(|s| Strip::Lanes(s)).collect(), &operand.masks)
            }
        };
        let multiplied = products(shape, &left_strips, left_masks, right)?;
        self.busy += start.elapsed();
        Ok(multiplied)
    }
}

fn products(
    shape: ProductShape,
    left_strips: &[Strip<'_>],
    left_masks: &[Lanes],
    right: &Resident,
) -> Result<Multiplied, EngineError> {
    let degree = shape.tile.degree();
    let right_strips: Vec<Strip<'_>> = right.strips.iter().map(|s| Strip::Lanes(s)).collect();
    let a = Operand::new(degree, left_strips, shape.left().strip_len())?;
    let b = Operand::new(degree, &right_strips, shape.right().strip_len())?;
    let (a_mask, b_mask) = (Strip::Lanes(left_masks), Strip::Lanes(&right.masks));
    let tile = &shape.tile;
    // The masks that are not contracted bring the extra row and column.
    let product = match shape.kind {
        ProductKind::Forward => Product::new(
            Orientation::Forward,
            a.with_mask(a_mask)?,
            b.with_mask(b_mask)?,
            Output::FoldEval(tile.n()),
        ),
        ProductKind::WeightGradient => {
            Product::new(Orientation::WeightGradient, a, b.with_mask(b_mask)?, Output::Window(tile.window()))
        }
        ProductKind::InputGradient => Product::new(
            Orientation::InputGradient,
            a.with_mask(a_mask)?,
            b,
            Output::Comb { stride: tile.window(), width: tile.n() },
        ),
    }?;
    let layout = product.layout();
    let body = layout.body.end;
    assert_eq!((body, layout.len() - body), (shape.residues(), shape.extras() * degree));
    let mut residues = vec![0; layout.len()];
    product.compute(false, &mut residues)?;
    Ok(Multiplied { shape, residues })
}
