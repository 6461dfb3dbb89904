//! The three products as public objects: their grids of tiles, what of each tile travels, and the extra
//! rows, columns and corner that the masks bring.

use serde::{Deserialize, Serialize};

use crate::{Form, Shape, Tile};

/// Which product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProductKind {
    /// Z = X W.
    Forward,
    /// G = X^T E.
    WeightGradient,
    /// D = E W^T.
    InputGradient,
}

/// The shape of a product of a layer with `inputs` and `outputs` over `rows` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductShape {
    /// Which product.
    pub kind: ProductKind,
    /// The layer's tile.
    pub tile: Tile,
    /// Rows of the batch.
    pub rows: usize,
    /// Inputs of the layer.
    pub inputs: usize,
    /// Outputs of the layer.
    pub outputs: usize,
}

impl ProductShape {
    /// The left operand.
    pub const fn left(&self) -> Shape {
        match self.kind {
            ProductKind::InputGradient => Shape::new(Form::ErrorLeft, self.tile, self.rows, self.outputs),
            _ => Shape::new(Form::Rows, self.tile, self.rows, self.inputs),
        }
    }

    /// The right operand.
    pub const fn right(&self) -> Shape {
        match self.kind {
            ProductKind::WeightGradient => Shape::new(Form::ErrorRight, self.tile, self.rows, self.outputs),
            _ => Shape::new(Form::Weights, self.tile, self.inputs, self.outputs),
        }
    }

    /// Rows and columns of the plain result.
    pub const fn size(&self) -> (usize, usize) {
        match self.kind {
            ProductKind::Forward => (self.rows, self.outputs),
            ProductKind::WeightGradient => (self.inputs, self.outputs),
            ProductKind::InputGradient => (self.rows, self.inputs),
        }
    }

    /// Rows and columns of one tile of the result.
    pub const fn tile_size(&self) -> (usize, usize) {
        let t = &self.tile;
        match self.kind {
            ProductKind::Forward => (t.m(), t.p()),
            ProductKind::WeightGradient => (t.n(), t.p()),
            ProductKind::InputGradient => (t.m(), t.n()),
        }
    }

    /// Rows and columns of the grid of tiles.
    pub const fn grid(&self) -> (usize, usize) {
        let ((rows, cols), (r, c)) = (self.size(), self.tile_size());
        (rows.div_ceil(r), cols.div_ceil(c))
    }

    /// Residues of a tile that travel: Z folded to N/n points (in the evaluation domain), G the first n p
    /// coefficients, D the m n coefficients that matter.
    pub const fn tile_residues(&self) -> usize {
        let (r, c) = self.tile_size();
        r * c
    }

    /// Residues of all tiles.
    pub const fn residues(&self) -> usize {
        let (rows, cols) = self.grid();
        rows * cols * self.tile_residues()
    }

    /// Polynomials that travel at full length besides: for Z the column alpha (one for each row block), the
    /// row beta (one for each output block) and the corner gamma; for G the column r and for D the row rho
    /// (one for each input block).
    pub const fn extras(&self) -> usize {
        let (rows, cols) = self.grid();
        match self.kind {
            ProductKind::Forward => rows + cols + 1,
            ProductKind::WeightGradient => rows,
            ProductKind::InputGradient => cols,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_follow_from_the_operands() {
        let tile = Tile::new(16, 16, 8).unwrap();
        let shape = |kind| ProductShape { kind, tile, rows: 1000, inputs: 784, outputs: 100 };
        let z = shape(ProductKind::Forward);
        assert_eq!(z.grid(), (z.left().strips(), z.right().strips()));
        assert_eq!(z.left().strip_len(), z.right().strip_len());
        let g = shape(ProductKind::WeightGradient);
        assert_eq!(g.grid(), (g.left().strip_len(), g.right().strips()));
        assert_eq!(g.left().strips(), g.right().strip_len());
        let d = shape(ProductKind::InputGradient);
        assert_eq!(d.grid(), (d.left().strips(), d.right().strip_len()));
        assert_eq!(d.left().strip_len(), d.right().strips());
        assert_eq!((z.tile_residues(), g.tile_residues(), d.tile_residues()), (128, 128, 256));
    }
}
