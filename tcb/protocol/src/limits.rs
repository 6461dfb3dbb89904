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
