//! The refinery's product on random operands, as its engine forms it.

use blindsmith_compute::{Left, MaskSet, Names, Product, Row};
use blindsmith_matrix::Encoding;
use blindsmith_ring::{PACKED_BYTES_PER_LANES, Q, backend};

use super::stage::Random;
use blindsmith_client::Failure;

/// The sizes of a product of stored rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Rows of the batch.
    pub rows: usize,
    /// Inputs of the layer.
    pub inputs: usize,
    /// Outputs of the layer.
    pub outputs: usize,
    /// How the rows are encoded.
    pub left: Encoding,
    /// How the weights are encoded: with as many roots.
    pub right: Encoding,
}

impl Sizes {
    /// Groups of inputs.
    fn places(&self) -> usize {
        self.inputs.div_ceil(self.left.roots())
    }

    /// Multiply-adds of the product with all masks.
    pub fn augmented_macs(&self) -> f64 {
        let (rows, columns) = (self.rows + self.left.per_root(), self.outputs + self.right.per_root());
        (rows * columns) as f64 * (self.places() * self.left.roots()) as f64
    }
}

/// One product: its operands and room for its result.
pub(crate) struct Operands {
    sizes: Sizes,
    /// Packed, as they are stored.
    packed: Vec<Vec<u8>>,
    /// The same, plain.
    plain: Vec<Vec<u64>>,
    right: Vec<Vec<u64>>,
    left_masks: Vec<Vec<u64>>,
    right_masks: Vec<Vec<u64>>,
    places: Vec<u32>,
    out: Vec<u64>,
}

/// What of a product is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Packed rows times weights alone.
    Stored,
    /// Plain rows times weights alone.
    Plain,
    /// Packed rows and masks, times weights and masks.
    Augmented,
}

impl Operands {
    /// Random operands.
    pub fn random(sizes: Sizes) -> Self {
        let mut random = Random::new(7);
        let mut matrix = |rows: usize, cols: usize| -> Vec<Vec<u64>> {
            (0..rows).map(|_| (0..cols).map(|_| random.next() % Q).collect()).collect()
        };
        let contraction = sizes.places() * sizes.left.roots();
        let plain = matrix(sizes.rows, contraction.next_multiple_of(8));
        let pack = |row: &Vec<u64>| {
            let mut bytes = vec![0; row.len() / 8 * PACKED_BYTES_PER_LANES];
            backend::active().pack(&mut bytes, row);
            bytes
        };
        Operands {
            packed: plain.iter().map(pack).collect(),
            plain,
            right: matrix(contraction, sizes.outputs.next_multiple_of(8)),
            left_masks: matrix(sizes.places(), sizes.left.dimension()),
            right_masks: matrix(sizes.places(), sizes.right.dimension()),
            places: (0..sizes.places() as u32).collect(),
            sizes,
            out: Vec::new(),
        }
    }

    /// Multiplies on the active device with the current thread pool.
    pub fn multiply(&mut self, form: Form) -> Result<(), Failure> {
        let left: Vec<Row<'_>> = match form {
            Form::Plain => self.plain.iter().map(|row| Row::Plain(row)).collect(),
            _ => self.packed.iter().map(|row| Row::Packed(row)).collect(),
        };
        let right: Vec<Row<'_>> = self.right.iter().map(|row| Row::Plain(row)).collect();
        let left_masks: Vec<&[u64]> = self.left_masks.iter().map(|mask| &mask[..]).collect();
        let right_masks: Vec<&[u64]> = self.right_masks.iter().map(|mask| &mask[..]).collect();
        let sets = [MaskSet { places: &self.places, rows: &left_masks }];
        let augmented = form == Form::Augmented;
        let product = Product {
            roots: self.sizes.left.roots(),
            rows: self.sizes.rows,
            left: Left::Rows(&left),
            left_masks: if augmented { &sets } else { &[] },
            right: &right,
            columns: 0..self.sizes.outputs,
            right_masks: augmented.then_some(&right_masks[..]),
            names: Names::default(),
        };
        let residues = product.residues();
        self.out.resize(residues.max(self.out.len()), 0);
        let done = product.multiply(false, &mut self.out[..residues]);
        done.map_err(|e| Failure::Other(e.to_string()))
    }
}
