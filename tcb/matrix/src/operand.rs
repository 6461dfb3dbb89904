//! Shapes of encrypted operands, and plain matrices to be encoded.

use serde::{Deserialize, Serialize};

use crate::encoding::Encoding;

/// On which side of a product an operand stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Side {
    /// Its rows are private: contraction entry i becomes z^-i.
    Left = 0,
    /// Its columns are private: contraction entry i becomes z^i.
    Right = 1,
}

/// An encrypted operand of `contraction` x `width` plain entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperandShape {
    /// On which side it stands.
    pub side: Side,
    /// How its entries become coefficients.
    pub encoding: Encoding,
    /// Entries along the contraction, without padding.
    pub contraction: usize,
    /// Private entries: rows of a left operand, columns of a right one.
    pub width: usize,
}

impl OperandShape {
    /// Groups of n entries along the contraction, the last one filled up with zeros.
    pub const fn places(&self) -> usize {
        self.contraction.div_ceil(self.encoding.roots())
    }

    /// Contraction rows of the ciphertext: places times roots.
    pub const fn padded(&self) -> usize {
        self.places() * self.encoding.roots()
    }

    /// Groups of m private entries, each under a secret of its own.
    pub const fn strips(&self) -> usize {
        self.width.div_ceil(self.encoding.strip())
    }

    /// Residues of a contraction row as it is sent: the width, rounded up to whole groups of eight.
    pub const fn stride(&self) -> usize {
        self.width.next_multiple_of(8)
    }

    /// Residues of the ciphertext as it is sent: contraction rows, one after the other.
    pub const fn residues(&self) -> usize {
        self.padded() * self.stride()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_contraction_is_padded() {
        let encoding = Encoding::new(16, 128, 1).unwrap();
        let shape = OperandShape { side: Side::Right, encoding, contraction: 785, width: 10 };
        assert_eq!((shape.places(), shape.padded(), shape.strips()), (50, 800, 1));
        assert_eq!((shape.stride(), shape.residues()), (16, 800 * 16));
    }
}
