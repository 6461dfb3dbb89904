//! The stored rows of a command: what is read of them and kept with them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use blindsmith_protocol::{
    BlockRef, Instruction, MAX_BATCH_ROWS, MAX_BODY, ProjectSpec, Projection, Role, UploadHeader,
};

use super::cache::Form;
use super::error::EngineError::{self, Unfit};

/// Rows of one instruction. Batches are of about the number of rows asked for, never twice as many.
pub(super) const MOST_ROWS: usize = 2 * MAX_BATCH_ROWS as usize;

/// Most bytes that one instruction may ask for.
const MOST_BYTES: usize = MAX_BODY;

/// An upload's files.
pub struct UploadFiles {
    /// Its header.
    pub header: UploadHeader,
    /// Its blocks.
    pub rows: File,
    /// Its projections, or room for them.
    pub projections: File,
}

/// The uploads of a command.
pub struct Blocks {
    uploads: Vec<UploadFiles>,
}

impl Blocks {
    /// The rows of these uploads.
    pub fn new(uploads: Vec<UploadFiles>) -> Self {
        Blocks { uploads }
    }
}

/// The stored rows of a command, cut as their project says.
#[derive(Clone, Copy)]
pub struct StoredRows<'a> {
    spec: &'a ProjectSpec,
    blocks: &'a Blocks,
}

/// A part of a file.
pub(super) struct Part<'a> {
    file: &'a File,
    offset: u64,
    pub(super) len: usize,
}

impl Part<'_> {
    pub(super) fn read(&self, out: &mut [u8]) -> Result<(), EngineError> {
        Ok(self.file.read_exact_at(out, self.offset)?)
    }
}

impl<'a> StoredRows<'a> {
    pub(super) fn new(spec: &'a ProjectSpec, blocks: &'a Blocks) -> Self {
        StoredRows { spec, blocks }
    }

    pub(super) fn spec(&self) -> &'a ProjectSpec {
        self.spec
    }

    fn upload(&self, index: u32) -> Result<&'a UploadFiles, EngineError> {
        self.blocks.uploads.get(index as usize).ok_or(Unfit("no such upload"))
    }

    /// The header of a block's upload, and the rows of the block.
    pub(super) fn find(&self, block: &BlockRef) -> Result<(&'a UploadHeader, u32), EngineError> {
        let header = &self.upload(block.upload)?.header;
        match header.rows_of_block(self.spec, block.block) {
            0 => Err(Unfit("no such block")),
            rows => Ok((header, rows)),
        }
    }

    /// Rows of these blocks, of which there is at least one.
    pub(super) fn count_rows(&self, blocks: &[BlockRef]) -> Result<usize, EngineError> {
        let rows = |sum: usize, block| match sum + self.find(block)?.1 as usize {
            sum if sum <= MOST_ROWS => Ok(sum),
            _ => Err(Unfit("too many rows")),
        };
        match blocks.iter().try_fold(0, rows)? {
            0 => Err(Unfit("no rows")),
            rows => Ok(rows),
        }
    }

    /// Where a form of a block lies.
    pub(super) fn form(&self, block: &BlockRef, form: Form) -> Result<Part<'a>, EngineError> {
        let (header, rows) = self.find(block)?;
        let layout = self.spec.block_layout(header.role, rows);
        let range = match form {
            Form::Rows => layout.row_form,
            Form::Columns => layout.column_form,
        };
        if range.is_empty() {
            return Err(Unfit("a query has no column form"));
        }
        let start = header.block_offset(self.spec, block.block);
        let file = &self.upload(block.upload)?.rows;
        Ok(Part { file, offset: start + range.start as u64, len: range.len() })
    }

    /// The sealed labels of blocks, one after the other.
    ///
    /// # Errors
    /// [`EngineError`] if a block does not exist, has no labels or cannot be read, or if they are too many.
    pub fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, EngineError> {
        self.count_rows(blocks)?;
        let part = |block: &BlockRef| {
            let (header, rows) = self.find(block)?;
            if header.role == Role::Query {
                return Err(Unfit("a query has no labels"));
            }
            let file = &self.upload(block.upload)?.rows;
            let offset = header.block_offset(self.spec, block.block);
            Ok(Part { file, offset, len: self.spec.sealed_label_bytes(rows) })
        };
        let parts = blocks.iter().map(part).collect::<Result<Vec<_>, EngineError>>()?;
        let mut out = vec![0; within(parts.iter().map(|part| part.len).sum())?];
        read_parts(&parts, &mut out)?;
        Ok(out)
    }

    /// Bytes of an answer to [`Instruction::Read`] or [`Instruction::Projections`].
    ///
    /// # Errors
    /// [`EngineError::Unfit`] for blocks that do not exist, and for too many bytes.
    pub fn bytes_len(&self, instruction: &Instruction) -> Result<usize, EngineError> {
        within(self.parts(instruction)?.iter().map(|part| part.len).sum())
    }

    /// Reads them into `out`, which has their length.
    ///
    /// # Errors
    /// As [`StoredRows::bytes_len`], and what the disk says.
    pub fn bytes_into(&self, instruction: &Instruction, out: &mut [u8]) -> Result<(), EngineError> {
        read_parts(&self.parts(instruction)?, out)
    }

    fn parts(&self, instruction: &Instruction) -> Result<Vec<Part<'a>>, EngineError> {
        match instruction {
            Instruction::Read { upload, first, count, .. } => {
                let UploadFiles { header, rows: file, .. } = self.upload(*upload)?;
                let end = first.checked_add(*count).filter(|end| *end <= header.blocks(self.spec));
                let last = end.filter(|_| *count > 0).ok_or(Unfit("no such blocks"))? - 1;
                let offset = header.block_offset(self.spec, *first);
                let rows = header.rows_of_block(self.spec, last);
                let end = header.block_offset(self.spec, last) + self.bytes_of(header.role, rows);
                Ok(vec![Part { file, offset, len: (end - offset) as usize }])
            }
            Instruction::Projections { blocks, which, .. } => {
                blocks.iter().map(|block| self.kept(block, Some(*which))).collect()
            }
            _ => Err(Unfit("not an instruction for bytes")),
        }
    }

    fn bytes_of(&self, role: Role, rows: u32) -> u64 {
        self.spec.block_bytes(role, rows) as u64
    }

    /// Where what is kept of a block lies, or one projection of it.
    fn kept(&self, block: &BlockRef, which: Option<Projection>) -> Result<Part<'a>, EngineError> {
        let (_, rows) = self.find(block)?;
        let spec = self.spec;
        let row_part = spec.kept_row_bytes();
        let (skip, len) = match which {
            None => (0, spec.kept_bytes(rows)),
            Some(Projection::Rows) => (0, row_part),
            Some(Projection::Columns) => (row_part, spec.kept_column_bytes(rows)),
        };
        let file = &self.upload(block.upload)?.projections;
        Ok(Part { file, offset: spec.kept_offset(block.block) + skip as u64, len })
    }

    /// Keeps the sealed projections of a block.
    ///
    /// # Errors
    /// [`EngineError`] for a block that does not exist, another length, and what the disk says.
    pub fn keep(&self, block: &BlockRef, sealed: &[u8]) -> Result<(), EngineError> {
        let Part { file, offset, len } = self.kept(block, None)?;
        if sealed.len() != len {
            return Err(Unfit("projections of another length"));
        }
        Ok(file.write_all_at(sealed, offset)?)
    }
}

fn within(bytes: usize) -> Result<usize, EngineError> {
    if (1..=MOST_BYTES).contains(&bytes) { Ok(bytes) } else { Err(Unfit("too many bytes at a time")) }
}

/// Reads parts, one after the other, into a buffer of their length.
fn read_parts(parts: &[Part<'_>], mut out: &mut [u8]) -> Result<(), EngineError> {
    for part in parts {
        let out = out.split_off_mut(..part.len).ok_or(Unfit("a buffer of another length"))?;
        part.read(out)?;
    }
    if out.is_empty() { Ok(()) } else { Err(Unfit("a buffer of another length")) }
}
