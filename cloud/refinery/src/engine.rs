//! The accelerator: keeps the operands of a session, and multiplies.

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, Instant};

use blindsmith_compute::{Operand, Orientation, Output, Product, Strip};
use blindsmith_matrix::{Form, MaskSeed, ProductKind, ProductShape, Shape, mask_strip};
use blindsmith_protocol::{
    BlockRef, GroupRef, Instruction, Left, MAX_BATCH_ROWS, MAX_BODY, MAX_OPERANDS, ProjectSpec, Projection,
    UploadHeader,
};
use blindsmith_ring::{LANES, Lanes, backend as ring, zeroed_lanes};
use blindsmith_shared::Region;
use rayon::prelude::*;
use thiserror::Error;

use cache::Cache;

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

/// Rows of one product. Batches are of about the number of rows asked for, never twice as many.
const MOST_ROWS: usize = 2 * MAX_BATCH_ROWS as usize;

/// An upload's files.
pub struct UploadFiles {
    /// Its header.
    pub header: UploadHeader,
    /// Its row blocks.
    pub rows: File,
    /// Its projections, or room for them.
    pub projections: File,
}

/// The stored rows of a command.
pub struct Blocks {
    uploads: Vec<UploadFiles>,
}

impl Blocks {
    /// The rows of these uploads.
    pub fn new(uploads: Vec<UploadFiles>) -> Self {
        Blocks { uploads }
    }

    fn upload(&self, index: u32) -> Result<&UploadFiles, EngineError> {
        self.uploads.get(index as usize).ok_or(Unfit("no such upload"))
    }

    fn find(&self, spec: &ProjectSpec, block: &BlockRef) -> Result<(&File, u64), EngineError> {
        let upload = self.upload(block.upload)?;
        if block.block >= upload.header.blocks(spec) {
            return Err(Unfit("no such row block"));
        }
        Ok((&upload.rows, block.block as u64 * spec.block_bytes() as u64))
    }

    /// Where projections of a group lie, and how long they are.
    fn kept(
        &self,
        spec: &ProjectSpec,
        group: &GroupRef,
        which: Option<Projection>,
    ) -> Result<(&File, u64, usize), EngineError> {
        let upload = self.upload(group.upload)?;
        let blocks = upload.header.group_blocks(spec, group.group);
        if blocks == 0 {
            return Err(Unfit("no such sampling group"));
        }
        let start = u64::from(group.group) * spec.kept_bytes(spec.group_blocks) as u64;
        let of_group = spec.projection_bytes(spec.input_blocks());
        let (skip, len) = match which {
            None => (0, spec.kept_bytes(blocks)),
            Some(Projection::Group) => (0, of_group),
            Some(Projection::Rows) => (of_group, spec.projection_bytes(blocks as usize)),
        };
        Ok((&upload.projections, start + skip as u64, len))
    }
}

/// Most bytes that one instruction may ask for.
const MOST_BYTES: usize = MAX_BODY;

/// Bytes of row blocks that are kept, unless it is said otherwise.
pub const ROW_BYTES: usize = 256 << 20;

struct Resident {
    shape: Shape,
    masks: Vec<Lanes>,
    strips: Strips,
}

/// Where an operand's strips are.
enum Strips {
    Here(Vec<Vec<Lanes>>),
    /// In shared memory from this group on, one after the other.
    Shared(usize),
}

/// The state of one session: operands by the warden's names, buffers to reuse, rows read last.
pub struct Engine<'a> {
    spec: &'a ProjectSpec,
    blocks: &'a Blocks,
    shared: Option<&'a Region>,
    masks: Vec<Lanes>,
    operands: HashMap<u32, Resident>,
    spare: Vec<Vec<Lanes>>,
    rows: Cache,
    row_bytes: usize,
    sums: HashMap<u32, Sum>,
    spare_sum: Vec<u64>,
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
            shared: None,
            masks,
            operands: HashMap::new(),
            spare: Vec::new(),
            rows: Cache::default(),
            row_bytes: ROW_BYTES,
            sums: HashMap::new(),
            spare_sum: Vec::new(),
            busy: Duration::ZERO,
        }
    }

    /// The same with as many bytes of row blocks kept, if one product has not more of them.
    pub fn with_row_bytes(self, row_bytes: usize) -> Self {
        Engine { row_bytes, ..self }
    }

    /// The same with operands in shared memory.
    pub fn with_shared(self, shared: Option<&'a Region>) -> Self {
        Engine { shared, ..self }
    }

    /// Makes room for an operand, replacing one of the same name.
    pub fn begin(&mut self, instruction: &Instruction) -> Result<(), EngineError> {
        let Instruction::Begin { operand, layer, form, rows, cols, masks, at } = instruction else {
            return Err(Unfit("not the begin of an operand"));
        };
        let layer = self.spec.layers.get(*layer as usize).ok_or(Unfit("no such layer"))?;
        let shape = Shape::new(*form, layer.tile, *rows as usize, *cols as usize);
        // A matrix of this layer, or it is none of the three products' operands.
        let sizes = match form {
            Form::Rows => (*rows, layer.inputs),
            Form::Weights => (layer.inputs, layer.outputs),
            Form::ErrorLeft | Form::ErrorRight => (*rows, layer.outputs),
        };
        if (*rows, *cols) != sizes || *rows == 0 || shape.rows > MOST_ROWS {
            return Err(Unfit("an operand of impossible size"));
        }
        self.free(&[*operand]);
        if self.operands.len() >= MAX_OPERANDS {
            return Err(Unfit("too many operands"));
        }
        let masks = self.mask_strip(masks, &shape);
        let len = self.strip_lanes(&shape);
        let strips = match (at, self.shared) {
            (Some(at), Some(shared)) => {
                let start = usize::try_from(*at).map_err(|_| Unfit("no such place"))?;
                shared.slice(start, shape.strips() * len).map_err(|_| Unfit("no such place"))?;
                Strips::Shared(start)
            }
            (None, _) => Strips::Here((0..shape.strips()).map(|_| self.spare(len)).collect()),
            _ => return Err(Unfit("there is no shared memory")),
        };
        self.operands.insert(*operand, Resident { shape, masks, strips });
        Ok(())
    }

    /// Bytes that an operand to be begun will bring.
    pub fn operand_bytes(&self, instruction: &Instruction) -> u64 {
        let Instruction::Begin { layer, form, rows, cols, .. } = instruction else { return 0 };
        self.spec.layers.get(*layer as usize).map_or(0, |layer| {
            let shape = Shape::new(*form, layer.tile, *rows as usize, *cols as usize);
            8 * (shape.strips() * shape.strip_len() * shape.tile.degree()) as u64
        })
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
        match &mut operand.strips {
            Strips::Here(strips) => strips.get_mut(strip as usize).map(Vec::as_mut_slice),
            Strips::Shared(_) => None,
        }
        .ok_or(Unfit("no such strip"))
    }

    /// Forgets operands; their buffers serve others.
    pub fn free(&mut self, operands: &[u32]) {
        for operand in operands {
            if let Some(Resident { strips: Strips::Here(strips), .. }) = self.operands.remove(operand) {
                self.spare.extend(strips);
            }
        }
        // Buffers of shapes that are no longer used must not pile up.
        let held: usize = self.operands.values().map(|o| o.shape.strips()).sum();
        self.spare.truncate(4 * held + 1024);
    }

    /// The sealed labels of row blocks, one after the other.
    pub fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, EngineError> {
        let size = self.spec.sealed_label_bytes();
        self.count_rows(blocks)?;
        let mut out = vec![0; blocks.len() * size];
        for (block, out) in blocks.iter().zip(out.chunks_exact_mut(size)) {
            let (file, offset) = self.blocks.find(self.spec, block)?;
            read_at(file, out, offset)?;
        }
        Ok(out)
    }

    /// Bytes of an answer to [`Instruction::Read`] or [`Instruction::Projections`].
    pub fn bytes_len(&self, instruction: &Instruction) -> Result<usize, EngineError> {
        let spec = self.spec;
        let len = match instruction {
            Instruction::Read { upload, first, count, .. } => {
                let blocks = self.blocks.upload(*upload)?.header.blocks(spec);
                if *count == 0 || first.checked_add(*count).is_none_or(|end| end > blocks) {
                    return Err(Unfit("no such row blocks"));
                }
                *count as usize * spec.block_bytes()
            }
            Instruction::Projections { groups, which, .. } => {
                let len = |group| Ok(self.blocks.kept(spec, group, Some(*which))?.2);
                groups.iter().map(len).sum::<Result<usize, EngineError>>()?
            }
            _ => return Err(Unfit("not an instruction for bytes")),
        };
        if (1..=MOST_BYTES).contains(&len) { Ok(len) } else { Err(Unfit("too many bytes at a time")) }
    }

    /// Reads them into `out`, which has their length.
    pub fn bytes_into(&self, instruction: &Instruction, out: &mut [u8]) -> Result<(), EngineError> {
        let spec = self.spec;
        match instruction {
            Instruction::Read { upload, first, .. } => {
                let at = u64::from(*first) * spec.block_bytes() as u64;
                Ok(read_at(&self.blocks.upload(*upload)?.rows, out, at)?)
            }
            Instruction::Projections { groups, which, .. } => {
                let mut rest = out;
                for group in groups {
                    let (file, at, len) = self.blocks.kept(spec, group, Some(*which))?;
                    let part = rest.split_off_mut(..len).ok_or(Unfit("not an instruction for bytes"))?;
                    read_at(file, part, at)?;
                }
                Ok(())
            }
            _ => Err(Unfit("not an instruction for bytes")),
        }
    }

    /// Keeps the sealed projections of a group.
    pub fn keep(&self, group: &GroupRef, sealed: &[u8]) -> Result<(), EngineError> {
        let (file, at, len) = self.blocks.kept(self.spec, group, None)?;
        if sealed.len() != len {
            return Err(Unfit("projections of another length"));
        }
        Ok(std::os::unix::fs::FileExt::write_all_at(file, sealed, at)?)
    }

    /// Reads the packed ciphertext of row blocks, unless it is there.
    fn read_rows(&mut self, blocks: &[BlockRef]) -> Result<(), EngineError> {
        let (spec, stored) = (self.spec, self.blocks);
        let skip = spec.sealed_label_bytes() as u64;
        self.rows.hold(self.row_bytes, blocks, spec.packed_block_bytes(), |block, out| {
            let (file, offset) = stored.find(spec, block)?;
            read_at(file, out, offset + skip).map_err(EngineError::from)
        })
    }

    /// The shape of a product of this layer, whose left operand must be there.
    pub fn product_shape(
        &self,
        kind: ProductKind,
        layer: u32,
        left: &Left,
    ) -> Result<ProductShape, EngineError> {
        let sizes = self.spec.layers.get(layer as usize).ok_or(Unfit("no such layer"))?;
        let rows = match left {
            Left::Blocks(blocks) if layer == 0 && !blocks.is_empty() => self.count_rows(blocks)?,
            Left::Blocks(_) => return Err(Unfit("stored rows are the input of layer 0 alone")),
            Left::Operand(name) => self.operand(*name)?.shape.rows,
            Left::Operands(names) => {
                if kind != ProductKind::WeightGradient || names.is_empty() || names.len() > MAX_OPERANDS {
                    return Err(Unfit("several left operands are for a weight gradient"));
                }
                names
                    .iter()
                    .map(|name| Ok(self.operand(*name)?.shape.rows))
                    .sum::<Result<_, EngineError>>()?
            }
        };
        let (inputs, outputs) = (sizes.inputs as usize, sizes.outputs as usize);
        Ok(ProductShape { kind, tile: sizes.tile, rows, inputs, outputs })
    }

    fn count_rows(&self, blocks: &[BlockRef]) -> Result<usize, EngineError> {
        let rows = blocks.len() * self.spec.block_rows();
        if rows <= MOST_ROWS { Ok(rows) } else { Err(Unfit("too many rows")) }
    }

    fn operand(&self, name: u32) -> Result<&Resident, EngineError> {
        self.operands.get(&name).ok_or(Unfit("no such operand"))
    }

    fn strips_of<'b>(&'b self, operand: &'b Resident) -> Result<Vec<Strip<'b>>, EngineError> {
        let len = self.strip_lanes(&operand.shape);
        match &operand.strips {
            Strips::Here(strips) => Ok(strips.iter().map(|s| Strip::Pieces(s)).collect()),
            Strips::Shared(start) => {
                let shared = self.shared.ok_or(Unfit("there is no shared memory"))?;
                let all = shared.slice(*start, len * operand.shape.strips());
                let all = all.map_err(|_| Unfit("no such place"))?;
                Ok(all.chunks_exact(len).map(Strip::Pieces).collect())
            }
        }
    }

    /// Multiplies into `out`: the wanted residues of every tile, row by row of the grid, then the extra
    /// polynomials. With `sum`, what was accumulated for the layer is added.
    pub fn multiply_into(
        &mut self,
        shape: ProductShape,
        layer: u32,
        (left, right): (&Left, u32),
        sum: bool,
        out: &mut [u64],
    ) -> Result<(), EngineError> {
        let sum = match (sum, shape.kind) {
            (false, _) => None,
            (true, ProductKind::WeightGradient) => {
                Some(self.sums.remove(&layer).ok_or(Unfit("nothing was accumulated"))??)
            }
            _ => return Err(Unfit("weight gradients alone are accumulated")),
        };
        self.product(shape, left, right, out)?;
        if let Some(sum) = sum {
            add(out, &sum)?;
            self.spare_sum = sum;
        }
        Ok(())
    }

    /// Adds a weight gradient to what is accumulated for a layer. What goes wrong is told with the sum.
    pub fn accumulate(&mut self, layer: u32, left: &Left, right: u32) {
        let added = self.added(layer, left, right);
        if self.spec.layers.len() > layer as usize {
            self.sums.insert(layer, added);
        }
    }

    fn added(&mut self, layer: u32, left: &Left, right: u32) -> Sum {
        let shape = self.product_shape(ProductKind::WeightGradient, layer, left)?;
        let sum = self.sums.remove(&layer).transpose()?;
        // Memory of these sizes is not asked for anew each time.
        let mut out = std::mem::take(&mut self.spare_sum);
        out.resize(residues(&shape), 0);
        self.product(shape, left, right, &mut out)?;
        let Some(mut sum) = sum else { return Ok(out) };
        add(&mut sum, &out)?;
        self.spare_sum = out;
        Ok(sum)
    }

    fn product(
        &mut self,
        shape: ProductShape,
        left: &Left,
        right: u32,
        out: &mut [u64],
    ) -> Result<(), EngineError> {
        let start = Instant::now();
        if let Left::Blocks(blocks) = left {
            self.read_rows(blocks)?;
        }
        let right = self.operand(right)?;
        if right.shape != shape.right() {
            return Err(Unfit("the right operand has another shape"));
        }
        let right_strips = self.strips_of(right)?;
        let (left_strips, left_masks): (Vec<Strip<'_>>, &[Lanes]) = match left {
            Left::Blocks(blocks) => (self.rows.strips(blocks, self.spec.packed_block_bytes())?, &self.masks),
            Left::Operands(names) => {
                let mut strips = Vec::new();
                for (i, name) in names.iter().enumerate() {
                    let operand = self.operand(*name)?;
                    let Shape { form, tile, cols, rows } = operand.shape;
                    let whole = i + 1 == names.len() || rows.is_multiple_of(tile.m());
                    if Shape::new(form, tile, shape.rows, cols) != shape.left() || !whole {
                        return Err(Unfit("left operands that do not stand below each other"));
                    }
                    strips.extend(self.strips_of(operand)?);
                }
                // A weight gradient contracts the rows: the masks stay outside.
                (strips, &[])
            }
            Left::Operand(name) => {
                let operand = self.operand(*name)?;
                if operand.shape != shape.left() {
                    return Err(Unfit("the left operand has another shape"));
                }
                (self.strips_of(operand)?, &operand.masks)
            }
        };
        products(shape, (&left_strips, left_masks), (&right_strips, &right.masks), out)?;
        self.busy += start.elapsed();
        Ok(())
    }

    /// Multiplies.
    pub fn multiply(
        &mut self,
        kind: ProductKind,
        layer: u32,
        left: &Left,
        right: u32,
        sum: bool,
    ) -> Result<Multiplied, EngineError> {
        let shape = self.product_shape(kind, layer, left)?;
        let mut out = vec![0; residues(&shape)];
        self.multiply_into(shape, layer, (left, right), sum, &mut out)?;
        Ok(Multiplied { shape, residues: out })
    }
}

/// sum += residues, modulo q.
fn add(sum: &mut [u64], residues: &[u64]) -> Result<(), EngineError> {
    const AT_ONCE: usize = 1 << 14;
    if sum.len() != residues.len() {
        return Err(Unfit("a sum of another shape"));
    }
    let parts = sum.par_chunks_mut(AT_ONCE).zip(residues.par_chunks(AT_ONCE));
    parts.for_each(|(sum, residues)| ring::active().add_assign(sum, residues));
    Ok(())
}

/// A sum of weight gradients, or why there is none.
type Sum = Result<Vec<u64>, EngineError>;

/// Residues of a product, extra polynomials included.
pub fn residues(shape: &ProductShape) -> usize {
    shape.residues() + shape.extras() * shape.tile.degree()
}

fn products(
    shape: ProductShape,
    (left_strips, left_masks): (&[Strip<'_>], &[Lanes]),
    (right_strips, right_masks): (&[Strip<'_>], &[Lanes]),
    out: &mut [u64],
) -> Result<(), EngineError> {
    let degree = shape.tile.degree();
    let a = Operand::new(degree, left_strips, shape.left().strip_len())?;
    let b = Operand::new(degree, right_strips, shape.right().strip_len())?;
    let (a_mask, b_mask) = (Strip::Lanes(left_masks), Strip::Lanes(right_masks));
    let tile = &shape.tile;
    // The masks that are not contracted bring the extra row and column, which follow the body.
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
    Ok(product.compute(false, out)?)
}

mod cache;
