//! The work of each product of a layer, by its encoding.
//!
//! The functions follow the warden's accelerator, operand by operand: `send` as `Encryption` works, `multiply` as
//! `blindsmith_compute::Product` does, `check` and `open` as `Check`, `MaskTerms` and `Opener` do.

use blindsmith_matrix::{Encoding, OperandShape, ProductShape, Side};
use blindsmith_protocol::Offload;

use crate::counts::Counts;
use crate::network::LayerWork;

/// Rows of a strip up to which each is read off by itself.
const FEW: usize = 2;

/// How the rows of a first layer are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Of one of the two forms.
    pub form: Encoding,
    /// Rows of a block.
    pub block_rows: usize,
}

impl LayerWork {
    /// Z of stored rows, whose form this is.
    pub(crate) fn stored_forward(&self, stored: Stored) -> Counts {
        let mut counts = Counts::default();
        let roots = stored.form.roots();
        let weights = self.operand(Side::Right, roots, (self.inputs, self.outputs));
        counts.send(&weights);
        let product = ProductShape {
            left: stored.form,
            right: weights.encoding,
            rows: self.rows,
            columns: self.outputs,
            mask_sets: 1,
            right_masks: true,
        };
        // Masks times weights, and masks times masks, come once in a step.
        counts.multiply(&product, weights.places());
        counts.cloud.stored += (self.rows * weights.padded()) as f64;
        counts.cloud.masks += (weights.places() * weights.encoding.dimension()) as f64;
        let blocks = self.rows.div_ceil(stored.block_rows);
        let strips = blocks * stored.block_rows.div_ceil(stored.form.strip());
        counts.warden.secrets += (strips * stored.form.dimension()) as f64;
        counts.keep(blocks * weights.padded());
        counts.check(&product);
        counts.open(&product, strips);
        counts.ask(self.parts());
        counts
    }

    /// G of stored rows, whose form this is.
    pub(crate) fn stored_gradient(&self, stored: Stored) -> Counts {
        let rows = self.micro_batch_rows();
        let error = self.operand(Side::Right, stored.form.roots(), (rows, self.outputs));
        let product = ProductShape {
            left: stored.form,
            right: error.encoding,
            rows: self.inputs,
            columns: self.outputs,
            mask_sets: 1,
            right_masks: true,
        };
        let mut counts = Counts::default();
        counts.send(&error);
        counts.multiply(&product, error.places());
        counts.cloud.stored += (error.padded() * self.inputs) as f64;
        counts.cloud.masks += (2 * error.places() * error.encoding.dimension()) as f64;
        counts.keep(error.padded());
        let mut counts = counts.times(self.micro_batches);
        counts.check(&product);
        counts.open(&product, self.inputs.div_ceil(stored.form.strip()));
        counts.ask(1);
        counts
    }

    /// Z of a hidden layer with so many roots.
    pub(crate) fn hidden_forward(&self, roots: usize) -> Counts {
        self.hidden_rows(roots, self.inputs, self.outputs)
    }

    /// D of a hidden layer with so many roots.
    pub(crate) fn hidden_input(&self, roots: usize) -> Counts {
        self.hidden_rows(roots, self.outputs, self.inputs)
    }

    /// Rows that the warden encrypts, times a matrix of `contraction` x `columns` that it encrypts once.
    fn hidden_rows(&self, roots: usize, contraction: usize, columns: usize) -> Counts {
        let right = self.operand(Side::Right, roots, (contraction, columns));
        let left = self.operand(Side::Left, roots, (contraction, self.part_rows()));
        let product = ProductShape {
            left: left.encoding,
            right: right.encoding,
            rows: left.width,
            columns,
            mask_sets: 1,
            right_masks: true,
        };
        let mut part = Counts::default();
        part.send(&left);
        part.multiply(&product, right.places());
        part.cloud.masks += (left.places() * left.encoding.dimension()) as f64;
        part.check(&product);
        part.open(&product, left.strips());
        part.ask(1);
        let mut counts = part.times(self.parts());
        counts.send(&right);
        counts.cloud.masks += (right.places() * right.encoding.dimension()) as f64;
        counts
    }

    /// G of a hidden layer with so many roots.
    pub(crate) fn hidden_gradient(&self, roots: usize) -> Counts {
        let rows = self.micro_batch_rows();
        let left = self.operand(Side::Left, roots, (rows, self.inputs));
        let right = self.operand(Side::Right, roots, (rows, self.outputs));
        let product = ProductShape {
            left: left.encoding,
            right: right.encoding,
            rows: self.inputs,
            columns: self.outputs,
            mask_sets: 1,
            right_masks: true,
        };
        let mut counts = Counts::default();
        counts.send(&left);
        counts.send(&right);
        counts.multiply(&product, right.places());
        counts.cloud.masks += (2 * right.places() * right.encoding.dimension()) as f64;
        let mut counts = counts.times(self.micro_batches);
        counts.check(&product);
        counts.open(&product, left.strips());
        counts.ask(1);
        counts
    }

    /// The three products of a hidden layer, multiplied by the refinery.
    pub(crate) fn offloaded(&self, offload: Offload) -> Counts {
        let mut counts = self.hidden_forward(offload.forward.into());
        counts += self.hidden_gradient(offload.gradient.into());
        counts += self.hidden_input(offload.input.into());
        counts
    }

    /// The three products of a hidden layer in the clear.
    pub(crate) fn in_the_clear(&self) -> Counts {
        let mut counts = Counts::default();
        counts.warden.plain = 3.0 * self.multiply_adds();
        counts
    }

    /// The training loop's own work on the layer.
    pub(crate) fn learning(&self) -> Counts {
        let mut counts = Counts::default();
        counts.warden.outputs = (self.rows * self.outputs) as f64;
        counts.warden.weights = (self.inputs * self.outputs) as f64;
        counts
    }

    /// The shape of an operand of `contraction` x `width` entries that the warden encrypts.
    pub(crate) fn operand(
        &self,
        side: Side,
        roots: usize,
        (contraction, width): (usize, usize),
    ) -> OperandShape {
        // Unwrap safety: every power of two up to 128 has an encoding at every level.
        let encoding = Encoding::fit(self.security, roots, width).expect("a power of two of roots");
        OperandShape { side, encoding, contraction, width }
    }
}

impl Counts {
    /// An operand that the warden encrypts and sends.
    fn send(&mut self, shape: &OperandShape) {
        let encoding = shape.encoding;
        let elements = (shape.strips() * shape.places()) as f64;
        let (degree, dimension) = (encoding.degree() as f64, encoding.dimension() as f64);
        let masks = (shape.places() * encoding.dimension()) as f64;
        let warden = &mut self.warden;
        warden.entries += shape.contraction as f64 * shape.width as f64;
        warden.masks += masks;
        warden.secrets += (shape.strips() * encoding.dimension()) as f64;
        warden.encrypted += elements * degree;
        warden.ranked += elements * dimension;
        // The message to mixed form, the masks' term back to it: all levels together.
        warden.butterflies += elements * degree * f64::from(encoding.degree().ilog2());
        warden.points += 2.0 * elements * degree;
        warden.projected += shape.residues() as f64 + masks;
        warden.carried += shape.residues() as f64;
        self.cloud.sent += shape.residues() as f64;
    }

    /// A product at the refinery, over so many places.
    fn multiply(&mut self, shape: &ProductShape, places: usize) {
        let rows = shape.rows + shape.mask_sets * shape.left.per_root();
        let columns = shape.columns + usize::from(shape.right_masks) * shape.right.per_root();
        let contraction = (places * shape.left.roots()) as f64;
        let body = (shape.rows * shape.columns) as f64;
        self.cloud.multiply_adds += body * contraction;
        self.cloud.mask_multiply_adds += (rows as f64 * columns as f64 - body) * contraction;
        self.cloud.results += shape.residues() as f64;
    }

    /// Products that are asked for and awaited.
    fn ask(&mut self, products: usize) {
        self.cloud.products += products as f64;
    }

    /// Residues of projections that the refinery keeps, sealed, for the warden.
    fn keep(&mut self, residues: usize) {
        self.warden.kept += residues as f64;
        // Fifty bits of each travel.
        self.warden.carried += residues as f64 * 50.0 / 64.0;
    }

    /// A product that arrives and is checked.
    fn check(&mut self, shape: &ProductShape) {
        self.warden.projected += shape.residues() as f64;
        self.warden.carried += shape.residues() as f64;
    }

    /// A product that is opened; its rows stand in so many strips.
    fn open(&mut self, shape: &ProductShape, strips: usize) {
        let (left, right) = (shape.left, shape.right);
        let column_strips = shape.columns.div_ceil(right.strip());
        self.warden.values += shape.rows as f64 * shape.columns as f64;
        // Masks of both sides, once for each column strip, then added to the terms of every column.
        self.back(right, shape.mask_sets * left.per_root() * column_strips);
        self.warden.terms += (shape.mask_sets * shape.columns * left.dimension()) as f64;
        // The masks' terms of the left operand, column by column; of few rows each is read off.
        if shape.rows <= FEW * strips {
            self.warden.ranked += (shape.rows * shape.columns) as f64 * left.dimension() as f64;
        } else {
            self.back(left, strips * shape.columns);
            self.fold(left, strips * shape.columns);
        }
        // Those of the right operand, row by row.
        self.back(right, shape.rows * column_strips);
        self.fold(right, shape.rows * column_strips);
    }

    /// So many elements whose roots are added up, which takes about what a pass over their points takes.
    fn fold(&mut self, encoding: Encoding, elements: usize) {
        self.warden.points += elements as f64 * encoding.degree() as f64;
    }

    /// So many elements: masks times secrets, brought back from full evaluation to mixed form.
    fn back(&mut self, encoding: Encoding, elements: usize) {
        let points = elements as f64 * encoding.degree() as f64;
        self.warden.ranked += elements as f64 * encoding.dimension() as f64;
        self.warden.butterflies += points * f64::from(encoding.strip().ilog2());
        self.warden.points += points;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blindsmith_matrix::Security;

    fn work(rows: usize, inputs: usize, outputs: usize) -> LayerWork {
        LayerWork { rows, micro_batches: 1, inputs, outputs, security: Security::Bits128 }
    }

    fn stored(work: &LayerWork, roots: usize, width: usize, block_rows: usize) -> Stored {
        Stored { form: Encoding::fit(work.security, roots, width).unwrap(), block_rows }
    }

    /// The figures of the table in `docs/arithmetic.md`: work in plain products, operations of opening.
    #[test]
    fn counts_are_those_of_the_table() {
        for (rows, inputs, outputs, roots, products) in [
            (1024, 784, 512, 4, 3.15),
            (1024, 784, 512, 8, 1.93),
            (4096, 4096, 4096, 2, 1.56),
            (1024, 784, 10, 16, 16.0),
        ] {
            let work = LayerWork { ..work(rows, inputs, outputs) };
            let mut counts = work.stored_forward(stored(&work, roots, rows, rows));
            counts += work.stored_gradient(stored(&work, roots, inputs, rows));
            let all = counts.cloud.multiply_adds + counts.cloud.mask_multiply_adds;
            let found = all / (2.0 * work.multiply_adds());
            assert!((found / products - 1.0).abs() < 0.1, "{rows} {inputs} {outputs} {roots}: {found}");
        }
    }

    #[test]
    fn a_matrix_without_masks_would_cost_one_product() {
        let work = work(256, 128, 64);
        let counts = work.stored_forward(stored(&work, 16, 64, 64));
        assert_eq!(counts.cloud.multiply_adds, work.multiply_adds());
        let extra = 1.0 + counts.cloud.mask_multiply_adds / work.multiply_adds();
        assert!((extra - (256.0 + 128.0) * (64.0 + 128.0) / (256.0 * 64.0)).abs() < 1e-9);
        // Every entry is one residue.
        let sent = counts.cloud.sent;
        assert_eq!(sent, 128.0 * 64.0);
    }

    #[test]
    fn micro_batches_repeat_what_is_not_shared() {
        let whole = work(4096, 512, 256);
        let cut = LayerWork { micro_batches: 4, ..whole };
        let of = |work: &LayerWork| work.stored_gradient(stored(work, 8, 512, 256));
        let (a, b) = (of(&whole), of(&cut));
        assert_eq!(a.cloud.multiply_adds, b.cloud.multiply_adds);
        assert_eq!(a.cloud.mask_multiply_adds, b.cloud.mask_multiply_adds);
        assert_eq!(a.warden.values, b.warden.values);
        assert_eq!(4.0 * a.cloud.results, b.cloud.results);
    }
}
