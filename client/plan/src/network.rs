//! What is planned for.

use blindsmith_matrix::Security;

/// A network of dense layers and the batches that it is trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Inputs, hidden layers, outputs: at least two widths, each from 1 to 65,536.
    pub widths: Vec<usize>,
    /// Rows of a batch, at least 1.
    pub batch_rows: usize,
    /// Rows that the warden treats at a time, at least 1.
    pub micro_batch_rows: usize,
    /// Root mean square of the stored features, which are at most 1.
    pub input_rms: f64,
    /// Security level.
    pub security: Security,
}

/// One layer's part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerWork {
    /// Rows of the batch.
    pub rows: usize,
    /// Micro-batches that it is cut into, at least 1; the refinery adds up their weight gradients.
    pub micro_batches: usize,
    /// Inputs of the layer.
    pub inputs: usize,
    /// Outputs of the layer.
    pub outputs: usize,
    /// Security level.
    pub security: Security,
}

/// Rows of a micro-batch from which its products of rows are asked for in two parts.
const HALVED: usize = 512;

impl Network {
    /// The layers, the first one first.
    pub fn layers(&self) -> Vec<LayerWork> {
        let layer = |w: &[usize]| LayerWork {
            rows: self.batch_rows,
            micro_batches: self.batch_rows.div_ceil(self.micro_batch_rows.max(1)).max(1),
            inputs: w[0],
            outputs: w[1],
            security: self.security,
        };
        self.widths.windows(2).map(layer).collect()
    }
}

impl LayerWork {
    /// Rows of a micro-batch.
    pub fn micro_batch_rows(&self) -> usize {
        self.rows.div_ceil(self.micro_batches)
    }

    /// Products of rows that a step asks for: one or two for each micro-batch.
    pub fn parts(&self) -> usize {
        if self.micro_batch_rows() >= HALVED { 2 * self.micro_batches } else { self.micro_batches }
    }

    /// Rows of such a product.
    pub fn part_rows(&self) -> usize {
        self.rows.div_ceil(self.parts())
    }

    /// Multiply-adds of one of the layer's products in the clear.
    pub fn multiply_adds(&self) -> f64 {
        self.rows as f64 * self.inputs as f64 * self.outputs as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_as_the_warden_cuts_them() {
        let network = |batch_rows| Network {
            widths: vec![784, 128, 10],
            batch_rows,
            micro_batch_rows: 1024,
            input_rms: 0.125,
            security: Security::Bits128,
        };
        for (rows, micro_batches, parts) in
            [(1, 1, 1), (511, 1, 1), (512, 1, 2), (1024, 1, 2), (4096, 4, 8), (1025, 2, 4)]
        {
            let layer = network(rows).layers()[1];
            assert_eq!((layer.micro_batches, layer.parts()), (micro_batches, parts), "{rows} rows");
            assert_eq!((layer.inputs, layer.outputs), (128, 10));
        }
    }
}
