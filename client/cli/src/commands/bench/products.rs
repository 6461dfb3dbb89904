//! The cloud's products on random operands, as the refinery's engine forms them.

use blindsmith_compute::{Operand, Orientation, Output, Product, Strip};
use blindsmith_matrix::{ProductKind, ProductShape, Shape};
use blindsmith_ring::{LANES, Lanes, PACKED_BYTES_PER_LANES, Q, backend, zeroed_lanes};

use super::stage::Random;
use crate::Failure;

/// An operand of random residues with its mask.
struct Matrix {
    lanes: Vec<Vec<Lanes>>,
    packed: Vec<Vec<u8>>,
    mask: Vec<Lanes>,
    length: usize,
}

impl Matrix {
    fn random(shape: &Shape, packed: bool, random: &mut Random) -> Self {
        let len = shape.tile.degree() / LANES * shape.strip_len();
        let mut strip = || {
            let mut lanes = zeroed_lanes(len);
            bytemuck::cast_slice_mut::<Lanes, u64>(&mut lanes)
                .iter_mut()
                .for_each(|x| *x = random.next() % Q);
            lanes
        };
        let mask = strip();
        let mut matrix = Matrix { lanes: vec![], packed: vec![], mask, length: shape.strip_len() };
        for _ in 0..shape.strips() {
            let lanes = strip();
            if packed {
                let mut bytes = vec![0; len * PACKED_BYTES_PER_LANES];
                backend::active().pack(&mut bytes, bytemuck::cast_slice(&lanes));
                matrix.packed.push(bytes);
            } else {
                matrix.lanes.push(lanes);
            }
        }
        matrix
    }

    fn strips(&self) -> Vec<Strip<'_>> {
        let lanes = self.lanes.iter().map(|s| Strip::Lanes(s));
        lanes.chain(self.packed.iter().map(|s| Strip::Packed(s))).collect()
    }
}

/// One product: its operands and room for its result.
pub(crate) struct Operands {
    shape: ProductShape,
    left: Matrix,
    right: Matrix,
    out: Vec<u64>,
}

impl Operands {
    /// Random operands; a left one that is `packed` lies as uploads are stored.
    pub(crate) fn random(shape: ProductShape, packed: bool) -> Self {
        let mut random = Random::new(7);
        let left = Matrix::random(&shape.left(), packed, &mut random);
        let right = Matrix::random(&shape.right(), false, &mut random);
        let out = vec![0; shape.residues() + shape.extras() * shape.tile.degree()];
        Operands { shape, left, right, out }
    }

    /// Multiplies, masks included, on the active backend with the current thread pool.
    pub(crate) fn multiply(&mut self) -> Result<(), Failure> {
        let (tile, shape) = (&self.shape.tile, &self.shape);
        let (left, right) = (self.left.strips(), self.right.strips());
        let refused = |e: blindsmith_compute::Error| Failure::Other(e.to_string());
        let a = Operand::new(tile.degree(), &left, self.left.length).map_err(refused)?;
        let b = Operand::new(tile.degree(), &right, self.right.length).map_err(refused)?;
        let a_mask = || a.with_mask(Strip::Lanes(&self.left.mask)).map_err(refused);
        let b_mask = || b.with_mask(Strip::Lanes(&self.right.mask)).map_err(refused);
        let product = match shape.kind {
            ProductKind::Forward => {
                Product::new(Orientation::Forward, a_mask()?, b_mask()?, Output::FoldEval(tile.n()))
            }
            ProductKind::WeightGradient => {
                Product::new(Orientation::WeightGradient, a, b_mask()?, Output::Window(tile.window()))
            }
            ProductKind::InputGradient => Product::new(
                Orientation::InputGradient,
                a_mask()?,
                b,
                Output::Comb { stride: tile.window(), width: tile.n() },
            ),
        };
        product.and_then(|p| p.compute(false, &mut self.out)).map_err(refused)
    }
}
