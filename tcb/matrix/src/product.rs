//! The one product: what of it there is, and how it lies.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::encoding::Encoding;

/// The part of an augmented product that is asked for. The left operand has rows and masks, the right one columns
/// and masks; any of them may be left out where the product has it already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Columns of the right operand, from the first to before the last.
    pub columns: (u32, u32),
    /// Whether the left operand's masks are multiplied: parts P and R.
    pub left_masks: bool,
    /// Whether the right operand's masks are multiplied: parts Q and R.
    pub right_masks: bool,
}

/// The shape of a product: rows and masks of the left operand times columns and masks of the right one.
///
/// Its residues lie one after the other:
///
/// | part | residues | of |
/// |---|---|---|
/// | C | rows x columns | body times body |
/// | P | mask sets x columns x N_left | masks of the left times body of the right |
/// | Q | rows x N_right | body of the left times masks of the right |
/// | R | mask sets x n x (N_left / n) x (N_right / n) | masks times masks, root by root |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductShape {
    /// The left operand's encoding.
    pub left: Encoding,
    /// The right operand's encoding, of as many roots.
    pub right: Encoding,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Sets of masks under which the left operand stands; 0 if they are not multiplied.
    pub mask_sets: usize,
    /// Whether the right operand's masks are multiplied.
    pub right_masks: bool,
}

impl ProductShape {
    /// Residues of the parts C, P, Q and R.
    pub fn parts(&self) -> [usize; 4] {
        let (left, right) = (self.left.dimension(), self.right.dimension());
        let masked = usize::from(self.right_masks);
        [
            self.rows * self.columns,
            self.mask_sets * self.columns * left,
            masked * self.rows * right,
            masked * self.mask_sets * self.left.per_root() * right,
        ]
    }

    /// Where the parts C, P, Q and R lie.
    pub fn ranges(&self) -> [Range<usize>; 4] {
        let mut end = 0;
        self.parts().map(|len| {
            let start = end;
            end += len;
            start..end
        })
    }

    /// Residues of all parts.
    pub fn residues(&self) -> usize {
        self.parts().iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_many_as_the_augmented_matrices_have() {
        let (left, right) = (Encoding::new(4, 128, 4).unwrap(), Encoding::new(4, 512, 1).unwrap());
        let shape = ProductShape { left, right, rows: 10, columns: 7, mask_sets: 2, right_masks: true };
        let n = 4;
        assert_eq!(shape.parts(), [70, 2 * 7 * 2048, 10 * 2048, 2 * 2048 * 2048 / n]);
        assert_eq!(shape.ranges()[3].end, shape.residues());
        let bare = ProductShape { mask_sets: 0, right_masks: false, ..shape };
        assert_eq!(bare.parts(), [70, 0, 0, 0]);
    }
}
