//! Shapes of matrices in tiles, and plain matrices to be encoded.

use serde::{Deserialize, Serialize};

use crate::{Position, Tile};

/// What an operand is, hence how its entries lie in a tile and how its tiles form strips.
///
/// A strip is one block row of a left matrix or one block column of a right matrix: the tiles that share
/// one secret. The tiles of a strip follow the contraction of Z (or of the product it is made for).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Form {
    /// Features or activations, rows x inputs; strips are row blocks, their tiles input blocks.
    Rows = 0,
    /// Weights, inputs x outputs; strips are output blocks, their tiles input blocks.
    Weights = 1,
    /// Errors as right operand, rows x outputs; strips are output blocks, their tiles row blocks.
    ErrorRight = 2,
    /// Errors as left operand, rows x outputs; strips are row blocks, their tiles output blocks.
    ErrorLeft = 3,
}

/// A matrix of `rows` x `cols` entries cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How its tiles are made.
    pub form: Form,
    /// The tile sizes.
    pub tile: Tile,
    /// Rows of the plain matrix.
    pub rows: usize,
    /// Columns of the plain matrix.
    pub cols: usize,
}

impl Shape {
    /// A matrix of `rows` x `cols` in the given form.
    pub const fn new(form: Form, tile: Tile, rows: usize, cols: usize) -> Self {
        Shape { form, tile, rows, cols }
    }

    /// Rows and columns of one tile of this form.
    pub const fn tile_size(&self) -> (usize, usize) {
        let t = &self.tile;
        match self.form {
            Form::Rows => (t.m(), t.n()),
            Form::Weights => (t.n(), t.p()),
            Form::ErrorRight | Form::ErrorLeft => (t.m(), t.p()),
        }
    }

    /// Tiles along rows and columns.
    pub const fn blocks(&self) -> (usize, usize) {
        let (rows, cols) = self.tile_size();
        (self.rows.div_ceil(rows), self.cols.div_ceil(cols))
    }

    /// Number of strips.
    pub const fn strips(&self) -> usize {
        match self.form {
            Form::Rows | Form::ErrorLeft => self.blocks().0,
            Form::Weights | Form::ErrorRight => self.blocks().1,
        }
    }

    /// Tiles in a strip.
    pub const fn strip_len(&self) -> usize {
        match self.form {
            Form::Rows | Form::ErrorLeft => self.blocks().1,
            Form::Weights | Form::ErrorRight => self.blocks().0,
        }
    }

    /// First row and column of tile `k` of strip `strip`.
    pub const fn origin(&self, strip: usize, k: usize) -> (usize, usize) {
        let (rows, cols) = self.tile_size();
        match self.form {
            Form::Rows | Form::ErrorLeft => (strip * rows, k * cols),
            Form::Weights | Form::ErrorRight => (k * rows, strip * cols),
        }
    }

    /// The positions of a tile's entries, row by row.
    pub fn positions(&self) -> Vec<Position> {
        let (rows, cols) = self.tile_size();
        let t = &self.tile;
        let at = |r, c| match self.form {
            Form::Rows => t.rows(r, c),
            Form::Weights => t.weights(r, c),
            Form::ErrorRight => t.error_right(r, c),
            Form::ErrorLeft => t.error_left(r, c),
        };
        (0..rows).flat_map(|r| (0..cols).map(move |c| at(r, c))).collect()
    }
}

/// A plain matrix, row by row.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// `rows * cols` entries, row by row.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
}

impl<'a> View<'a> {
    /// A view of `rows` x `cols` entries.
    ///
    /// # Panics
    /// If `data` has another length.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
        View { data, rows, cols }
    }
}
