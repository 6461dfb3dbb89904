//! How the blocks of an upload lie, and which masks hide them. The refinery, the warden and contributors use it; its one
//! source is the specification of the project.

use std::ops::Range;

use blindsmith_matrix::{MaskSeed, OperandShape, Side};

use crate::project::ProjectSpec;
use crate::upload::Role;

/// Bytes of the tag of what is sealed.
const TAG_BYTES: usize = 16;

/// Where the parts of a block lie, in bytes from its beginning. In a query's block the labels and the column form are
/// empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLayout {
    /// The sealed labels.
    pub labels: Range<usize>,
    /// The row form: rows one after the other, each [`ProjectSpec::row_bytes`] long.
    pub row_form: Range<usize>,
    /// The column form: contraction rows one after the other, each [`ProjectSpec::contraction_row_bytes`] long.
    pub column_form: Range<usize>,
}

impl BlockLayout {
    /// Bytes of the block.
    pub fn bytes(&self) -> usize {
        self.column_form.end
    }

    /// Where both forms lie: packed residues without a gap.
    pub fn forms(&self) -> Range<usize> {
        self.row_form.start..self.column_form.end
    }
}

/// Bytes of packed residues: 50 for each eight, the last ones filled up with zeros.
pub const fn packed_bytes(residues: usize) -> usize {
    residues.div_ceil(8) * 50
}

/// Sizes, which a valid specification has. `rows` are those of a block, 1 to the project's `block_rows`, unless it is said
/// otherwise.
impl ProjectSpec {
    /// Rows of a block, but for the last one of an upload.
    pub fn block_rows(&self) -> usize {
        self.block_rows as usize
    }

    /// Features of a row.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs as usize
    }

    /// A block's rows as the left operand of Z = X W.
    pub fn row_shape(&self, rows: u32) -> OperandShape {
        let (contraction, width) = (self.inputs(), rows as usize);
        OperandShape { side: Side::Left, encoding: self.row_form, contraction, width }
    }

    /// A block's rows as the left operand of G = X^T E.
    pub fn column_shape(&self, rows: u32) -> OperandShape {
        let (contraction, width) = (rows as usize, self.inputs());
        OperandShape { side: Side::Left, encoding: self.column_form, contraction, width }
    }

    /// Bytes of a block's sealed labels: those of its rows, and the tag.
    pub fn sealed_label_bytes(&self, rows: u32) -> usize {
        rows as usize * self.label_bytes as usize + TAG_BYTES
    }

    /// Bytes of one row of the row form.
    pub fn row_bytes(&self) -> usize {
        packed_bytes(self.row_shape(1).padded())
    }

    /// Bytes of one contraction row of the column form.
    pub fn contraction_row_bytes(&self) -> usize {
        packed_bytes(self.inputs())
    }

    /// Where the parts of a block lie.
    pub fn block_layout(&self, role: Role, rows: u32) -> BlockLayout {
        let row_form = rows as usize * self.row_bytes();
        let (labels, column_form) = match role {
            Role::Query => (0, 0),
            Role::Training | Role::Validation => {
                let contraction = self.column_shape(rows).padded();
                (self.sealed_label_bytes(rows), contraction * self.contraction_row_bytes())
            }
        };
        let forms = labels + row_form;
        BlockLayout { labels: 0..labels, row_form: labels..forms, column_form: forms..forms + column_form }
    }

    /// Bytes of a block as it is sent and stored.
    pub fn block_bytes(&self, role: Role, rows: u32) -> usize {
        self.block_layout(role, rows).bytes()
    }

    /// Number of blocks of an upload of `rows` rows.
    pub fn blocks(&self, rows: u32) -> u32 {
        rows.div_ceil(self.block_rows)
    }

    /// Rows of block `index` of an upload of `rows` rows: fewer in the last one, none in those that do not exist.
    pub fn rows_of_block(&self, rows: u32, index: u32) -> u32 {
        let first = u64::from(index) * u64::from(self.block_rows);
        u64::from(rows).saturating_sub(first).min(u64::from(self.block_rows)) as u32
    }

    /// Where block `index` of an upload begins, in bytes.
    pub fn block_offset(&self, role: Role, index: u32) -> u64 {
        u64::from(index) * self.block_bytes(role, self.block_rows) as u64
    }

    /// Bytes of all blocks of an upload of `rows` rows.
    pub fn body_bytes(&self, role: Role, rows: u32) -> u64 {
        let Some(last) = self.blocks(rows).checked_sub(1) else { return 0 };
        self.block_offset(role, last) + self.block_bytes(role, self.rows_of_block(rows, last)) as u64
    }

    /// Bytes of the sealed projection of a block's row form: one residue for each contraction row.
    pub fn kept_row_bytes(&self) -> usize {
        packed_bytes(self.row_shape(1).padded()) + TAG_BYTES
    }

    /// Bytes of the sealed projection of a block's column form: one residue for each contraction row.
    pub fn kept_column_bytes(&self, rows: u32) -> usize {
        packed_bytes(self.column_shape(rows).padded()) + TAG_BYTES
    }

    /// Where what is kept of block `index` of an upload begins, in bytes.
    pub fn kept_offset(&self, index: u32) -> u64 {
        u64::from(index) * self.kept_bytes(self.block_rows) as u64
    }

    /// Bytes of what is kept of a block: the sealed projection of its row form, then that of its column form.
    pub fn kept_bytes(&self, rows: u32) -> usize {
        self.kept_row_bytes() + self.kept_column_bytes(rows)
    }
}

/// Masks of stored rows.
impl ProjectSpec {
    /// The masks of the row form in an era: place k hides inputs k n to (k + 1) n of all rows.
    pub fn row_mask(&self, era: u32) -> MaskSeed {
        let mut hash = blake3::Hasher::new_derive_key("blindsmith row masks v1");
        hash.update(&self.mask.0).update(&era.to_le_bytes());
        MaskSeed(*hash.finalize().as_bytes())
    }

    /// The masks of the column form of an upload: place g hides rows g n to (g + 1) n of the upload, so block b begins
    /// at place b `block_rows` / n.
    pub fn column_mask(&self, nonce: &[u8; 32], era: u32) -> MaskSeed {
        let mut hash = blake3::Hasher::new_derive_key("blindsmith column masks v1");
        hash.update(&self.mask.0);
        let form = self.column_form;
        for size in [form.roots(), form.strip(), form.rank()] {
            hash.update(&(size as u32).to_le_bytes());
        }
        hash.update(&era.to_le_bytes()).update(nonce);
        MaskSeed(*hash.finalize().as_bytes())
    }

    /// The first place of block `index` under [`ProjectSpec::column_mask`].
    pub fn first_place(&self, index: u32) -> usize {
        index as usize * self.column_shape(self.block_rows).places()
    }
}
