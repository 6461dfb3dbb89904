//! How often a training step does what.

use crate::{Form, ProductKind, ProductShape, Shape, Tile};

/// What one layer is asked to do in a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerWork {
    /// Rows of a batch.
    pub rows: usize,
    /// Inputs of the layer.
    pub inputs: usize,
    /// Outputs of the layer.
    pub outputs: usize,
    /// Whether it is the first layer, whose left operand is stored uploads.
    pub first: bool,
    /// Micro-batches that the batch is cut into, at least 1; the cloud adds up their weight gradients.
    pub parts: usize,
}

impl LayerWork {
    /// The layers of a network with the given widths (inputs first), the batch in one piece.
    pub fn of_network(widths: &[usize], rows: usize) -> Vec<Self> {
        let layer = |(l, w): (usize, &[usize])| LayerWork {
            rows,
            inputs: w[0],
            outputs: w[1],
            first: l == 0,
            parts: 1,
        };
        widths.windows(2).enumerate().map(layer).collect()
    }
}

/// One kind of product: residues, at every point of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProductCounts {
    /// Multiplications of residues.
    pub multiply_adds: f64,
    /// Residues read of a left operand that is packed to 50 bits, as uploads are stored.
    pub stored: f64,
    /// Residues read of other operands.
    pub loaded: f64,
    /// Residues of the result before it is folded or cropped.
    pub cells: f64,
    /// Residues that are left of it.
    pub kept: f64,
}

/// A training step of one layer, in elementary steps.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// The cloud's products: forward, weight gradient, input gradient.
    pub products: [ProductCounts; 3],
    /// Residues of uploads that the cloud reads from its files.
    pub read: f64,
    /// Coefficients of masks that each side expands.
    pub masks: f64,
    /// Coefficients that the warden encrypts.
    pub encrypted: f64,
    /// Those of them that are also multiplied with secrets, for the warden's own terms.
    pub crossed: f64,
    /// Coefficients of secrets that the warden derives.
    pub secrets: f64,
    /// Points of products that the warden opens: forward, weight gradient, input gradient.
    pub opened: [f64; 3],
    /// Values that come out.
    pub values: f64,
    /// Plain entries of operands: bounded, hashed, rounded.
    pub entries: f64,
    /// Bytes of operands from warden to cloud.
    pub sent_bytes: f64,
    /// Bytes of products from cloud to warden.
    pub received_bytes: f64,
}

impl Counts {
    /// Counts of a layer under a tile.
    pub fn of(work: &LayerWork, tile: Tile) -> Self {
        let mut counts = Counts::default();
        let parts = work.parts.max(1);
        let weights = Shape::new(Form::Weights, tile, work.inputs, work.outputs);
        counts.encrypt(&weights, false);
        // Parts of a batch are alike: counted once and multiplied.
        let mut part = Counts::default();
        part.part(&LayerWork { rows: work.rows.div_ceil(parts), ..*work }, tile);
        counts.add(&part, parts as f64);
        let gradient = ProductShape {
            kind: ProductKind::WeightGradient,
            tile,
            rows: work.rows.div_ceil(parts),
            inputs: work.inputs,
            outputs: work.outputs,
        };
        counts.open(&gradient);
        counts
    }

    /// What is done for each part of a batch.
    fn part(&mut self, work: &LayerWork, tile: Tile) {
        let shape =
            |kind| ProductShape { kind, tile, rows: work.rows, inputs: work.inputs, outputs: work.outputs };
        let (forward, gradient) = (shape(ProductKind::Forward), shape(ProductKind::WeightGradient));
        let rows = forward.left();
        if work.first {
            self.read += residues(&rows);
            self.secrets += (rows.strips() * tile.degree()) as f64;
        } else {
            self.encrypt(&rows, false);
            let input = shape(ProductKind::InputGradient);
            self.encrypt(&input.left(), true);
            self.multiply(&input, false);
            self.open(&input);
        }
        self.multiply(&forward, work.first);
        self.open(&forward);
        self.encrypt(&gradient.right(), true);
        self.multiply(&gradient, work.first);
    }

    fn encrypt(&mut self, shape: &Shape, crossed: bool) {
        let (coefficients, degree) = (residues(shape), shape.tile.degree());
        self.masks += (shape.strip_len() * degree) as f64;
        self.secrets += (shape.strips() * degree) as f64;
        self.encrypted += coefficients;
        self.crossed += if crossed { coefficients } else { 0.0 };
        self.entries += (shape.rows * shape.cols) as f64;
        self.sent_bytes += 8.0 * coefficients;
    }

    fn multiply(&mut self, shape: &ProductShape, stored: bool) {
        let degree = shape.tile.degree() as f64;
        let (left, right) = (residues(&shape.left()), residues(&shape.right()));
        let (rows, cols) = shape.grid();
        let cells = (rows * cols) as f64 * degree;
        let contraction = left / degree / rows as f64;
        let product = &mut self.products[shape.kind as usize];
        product.multiply_adds += contraction * cells;
        product.stored += if stored { left } else { 0.0 };
        product.loaded += right + if stored { 0.0 } else { left };
        product.cells += cells;
        product.kept += shape.residues() as f64;
    }

    fn open(&mut self, shape: &ProductShape) {
        let degree = shape.tile.degree() as f64;
        let (rows, cols) = shape.grid();
        self.opened[shape.kind as usize] += (rows * cols) as f64 * degree;
        self.values += shape.residues() as f64;
        self.received_bytes += 8.0 * (shape.residues() as f64 + shape.extras() as f64 * degree);
    }

    /// Adds `times` times another's counts.
    fn add(&mut self, other: &Counts, times: f64) {
        for (sum, other) in self.products.iter_mut().zip(&other.products) {
            sum.multiply_adds += times * other.multiply_adds;
            sum.stored += times * other.stored;
            sum.loaded += times * other.loaded;
            sum.cells += times * other.cells;
            sum.kept += times * other.kept;
        }
        self.opened.iter_mut().zip(&other.opened).for_each(|(sum, other)| *sum += times * other);
        self.read += times * other.read;
        self.masks += times * other.masks;
        self.encrypted += times * other.encrypted;
        self.crossed += times * other.crossed;
        self.secrets += times * other.secrets;
        self.values += times * other.values;
        self.entries += times * other.entries;
        self.sent_bytes += times * other.sent_bytes;
        self.received_bytes += times * other.received_bytes;
    }
}

/// Coefficients of an operand in tiles.
fn residues(shape: &Shape) -> f64 {
    (shape.strips() * shape.strip_len() * shape.tile.degree()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 64 x 49 x 64 tiles of 16 x 16 x 8, as in the design's example.
    #[test]
    fn a_first_layer_is_counted() {
        let tile = Tile::new(16, 16, 8).unwrap();
        let work = LayerWork { rows: 1024, inputs: 784, outputs: 512, first: true, parts: 1 };
        let counts = Counts::of(&work, tile);
        let n = 2048.0;
        let [forward, gradient, input] = counts.products;
        assert_eq!(forward.multiply_adds, 64.0 * 49.0 * 64.0 * n);
        assert_eq!(gradient.multiply_adds, forward.multiply_adds);
        assert_eq!(input, ProductCounts::default());
        assert_eq!((forward.stored, forward.loaded), (64.0 * 49.0 * n, 49.0 * 64.0 * n));
        assert_eq!((forward.cells, forward.kept), (64.0 * 64.0 * n, 1024.0 * 512.0));
        assert_eq!((gradient.cells, gradient.kept), (49.0 * 64.0 * n, 784.0 * 512.0));
        // Weights and errors.
        assert_eq!(counts.encrypted, (49.0 * 64.0 + 64.0 * 64.0) * n);
        assert_eq!(counts.crossed, 64.0 * 64.0 * n);
        assert_eq!(counts.opened, [64.0 * 64.0 * n, 49.0 * 64.0 * n, 0.0]);
        assert_eq!(counts.sent_bytes, 8.0 * counts.encrypted);
        let extras = 64.0 + 64.0 + 1.0 + 49.0;
        assert_eq!(counts.received_bytes, 8.0 * (1024.0 * 512.0 + 784.0 * 512.0 + extras * n));
    }

    #[test]
    fn a_hidden_layer_also_encrypts_activations_and_opens_input_gradients() {
        let tile = Tile::new(16, 16, 8).unwrap();
        let work = LayerWork { rows: 64, inputs: 32, outputs: 16, first: false, parts: 1 };
        let counts = Counts::of(&work, tile);
        let (r, k, j, n) = (4.0, 2.0, 2.0, 2048.0);
        // Weights, activations, errors twice.
        assert_eq!(counts.encrypted, (k * j + r * k + 2.0 * r * j) * n);
        assert_eq!(counts.opened, [r * j * n, k * j * n, r * k * n]);
        assert!(counts.products.iter().all(|p| p.multiply_adds == r * k * j * n && p.stored == 0.0));
        assert_eq!(counts.read, 0.0);
    }

    #[test]
    fn parts_open_their_gradient_once() {
        let tile = Tile::new(16, 16, 8).unwrap();
        let whole = LayerWork { rows: 1024, inputs: 256, outputs: 128, first: true, parts: 1 };
        let (one, four) = (Counts::of(&whole, tile), Counts::of(&LayerWork { parts: 4, ..whole }, tile));
        assert_eq!(one.opened, four.opened);
        assert_eq!(one.encrypted, four.encrypted);
        let work = |c: &Counts| c.products.map(|p| p.multiply_adds);
        assert_eq!(work(&one), work(&four));
        // But the cloud forms it four times.
        assert_eq!(4.0 * one.products[1].cells, four.products[1].cells);
    }
}
