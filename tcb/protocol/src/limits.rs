//! Limits on everything that comes from outside. Exceeding one is an error of whoever sent it.

/// Largest head of a frame, in bytes.
pub const MAX_HEAD: usize = 4 << 20;
/// Largest body of a frame, in bytes.
pub const MAX_BODY: usize = 256 << 20;
/// Nesting of CBOR items.
pub const CBOR_DEPTH: usize = 16;
/// Rows of one upload.
pub const MAX_ROWS: u32 = 1 << 26;
/// Uploads of one project: their headers travel in one message.
pub const MAX_UPLOADS: usize = 8192;
/// Features of a row, and outputs of a layer.
pub const MAX_WIDTH: u32 = 1 << 16;
/// Layers of a model.
pub const MAX_LAYERS: usize = 64;
/// Bytes of labels for one row.
pub const MAX_LABEL_BYTES: u32 = 4 << 10;
/// Length of names that people give.
pub const MAX_NAME: usize = 128;
/// Rows of one batch.
pub const MAX_BATCH_ROWS: u32 = 1 << 18;
/// Epochs of one round.
pub const MAX_EPOCHS: u32 = 1_000_000;
/// Bytes of a sealed model or checkpoint.
pub const MAX_SEALED: usize = 2 << 30;
/// Operands that a warden may keep at the refinery at a time.
pub const MAX_OPERANDS: usize = 1024;
/// Stripes of columns in which a product is asked for.
pub const MAX_STRIPES: usize = 64;
/// Sums of products that a warden may keep at the refinery at a time: one for each stripe of a layer's gradient.
pub const MAX_SUMS: usize = MAX_LAYERS * MAX_STRIPES;
/// Fewest rows of a block but the last one of an upload.
pub const MIN_BLOCK_ROWS: u32 = 8;
/// Most rows of a block.
pub const MAX_BLOCK_ROWS: u32 = 4096;
/// Eras of a project.
pub const MAX_ERAS: u32 = 1 << 16;
/// Entries that a product adds up, padding included.
pub const MAX_CONTRACTION: usize = (1 << 16) + blindsmith_matrix::MAX_ROOTS;
/// Largest body of a frame of residues ([`crate::ToWarden::Residues`]), in bytes: a multiple of eight.
pub const MAX_PIECE: usize = 8 << 20;
