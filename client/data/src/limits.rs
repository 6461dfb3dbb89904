//! What a file may ask of this machine.

/// Bounds on what is read; beyond one of them a file is refused with
/// [`FileDefect::TooLarge`](crate::FileDefect::TooLarge) before the memory is taken.
///
/// The defaults let through any table that fits a desktop's memory and stop a decompression bomb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of content, after decompression. Default 16 GiB.
    pub file_bytes: u64,
    /// Bytes of the matrices of features and labels (8 per cell). Default 8 GiB.
    pub matrix_bytes: u64,
    /// Data rows, at most `u32::MAX`. Default 100 million.
    pub rows: u64,
    /// Columns, skipped ones included. Default 65,536.
    pub columns: usize,
    /// Bytes of one cell of a feature or label column. Default 4,096.
    pub cell_bytes: usize,
    /// Distinct labels of a categorical column. Default 4,096.
    pub classes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 16 << 30,
            matrix_bytes: 8 << 30,
            rows: 100_000_000,
            columns: 65_536,
            cell_bytes: 4_096,
            classes: 4_096,
        }
    }
}
