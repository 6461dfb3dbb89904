//! Dense models as plain numbers.

use std::fmt;

use crate::error::{Error, ModelDefect, Result};

/// Layers at most; far beyond what is trained encrypted.
const LAYERS: usize = 1_000;

/// A sequence of dense layers; the activations between them are not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// From the input to the output.
    pub layers: Vec<Linear>,
}

/// A dense layer: y = x W + b for a row x. `Debug` shows the shape alone.
#[derive(Clone, PartialEq)]
pub struct Linear {
    /// Length of x.
    pub inputs: usize,
    /// Length of y.
    pub outputs: usize,
    /// W, inputs x outputs, row-major: the weight of input i in output o is `weight[i * outputs + o]`.
    /// (PyTorch stores the transpose.)
    pub weight: Vec<f32>,
    /// b, one per output.
    pub bias: Vec<f32>,
}

impl Model {
    /// Checks that there are layers, that each layer's lengths fit its shape, that shapes chain, and that all
    /// values are finite. `name` stands for the model in the error; tensors are named by layer.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn check(&self, name: &str) -> Result<()> {
        let modules: Vec<usize> = (0..self.layers.len()).map(|layer| 2 * layer).collect();
        self.check_named(name, |layer, part| format!("{}.{part}", modules[layer]))
    }

    pub(crate) fn check_named(&self, file: &str, tensor: impl Fn(usize, &str) -> String) -> Result<()> {
        let refuse = |defect| Err(Error::Model { file: file.into(), defect });
        match self.layers.len() {
            0 => return refuse(ModelDefect::NoLayers),
            found if found > LAYERS => {
                return refuse(ModelDefect::TooManyLayers { found, limit: LAYERS });
            }
            _ => {}
        }
        let mut inputs = self.layers[0].inputs;
        for (index, layer) in self.layers.iter().enumerate() {
            let shape = |part: &str, found: Vec<usize>, expected: String| {
                refuse(ModelDefect::Shape { name: tensor(index, part), found, expected })
            };
            if layer.inputs != inputs {
                let expected = format!("[_, {inputs}], the outputs of the layer before");
                return shape("weight", vec![layer.outputs, layer.inputs], expected);
            }
            let cells = layer.inputs.checked_mul(layer.outputs);
            if cells != Some(layer.weight.len()) || cells == Some(0) {
                let found = vec![layer.weight.len()];
                return shape("weight", found, format!("{} x {}, not empty", layer.outputs, layer.inputs));
            }
            if layer.bias.len() != layer.outputs {
                return shape("bias", vec![layer.bias.len()], format!("[{}]", layer.outputs));
            }
            for (part, values) in [("weight", &layer.weight), ("bias", &layer.bias)] {
                if let Some(index_in_layer) = values.iter().position(|value| !value.is_finite()) {
                    let index_in_tensor = match part {
                        "weight" => transposed_index(index_in_layer, layer.inputs, layer.outputs),
                        _ => index_in_layer,
                    };
                    let name = tensor(index, part);
                    return refuse(ModelDefect::NotFinite { name, index: index_in_tensor });
                }
            }
            inputs = layer.outputs;
        }
        Ok(())
    }
}

impl Linear {
    /// A layer from PyTorch's orientation: `weight` outputs x inputs, row-major.
    pub(crate) fn from_torch(inputs: usize, outputs: usize, weight: &[f32], bias: Vec<f32>) -> Self {
        Self { inputs, outputs, weight: transposed(weight, outputs, inputs), bias }
    }

    /// The weight in PyTorch's orientation, outputs x inputs, row-major.
    pub(crate) fn torch_weight(&self) -> Vec<f32> {
        transposed(&self.weight, self.inputs, self.outputs)
    }
}

/// The transpose of a row-major matrix of `rows` x `columns`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

/// Where the element at `index` of an inputs x outputs matrix is in its transpose.
fn transposed_index(index: usize, inputs: usize, outputs: usize) -> usize {
    (index % outputs) * inputs + index / outputs
}

impl fmt::Debug for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linear({} -> {})", self.inputs, self.outputs)
    }
}
