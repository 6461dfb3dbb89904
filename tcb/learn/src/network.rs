//! Dense layers, their initialisation and the two passes through them.

use std::ops::Range;

use crate::accelerator::{Accelerator, Bounds, Left};
use crate::activation::Activation;
use crate::batch::Batch;
use crate::elementary::{at_most, flush, keep, mask};
use crate::loss::largest_magnitude;
use crate::matrix::{Matrix, largest_column_sum, largest_row_sum};
use crate::random::Random;

/// One dense layer: z = h W + b.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// inputs x outputs.
    pub weights: Matrix,
    /// One value an output.
    pub bias: Vec<f32>,
}

/// Dense layers with an activation between any two.
///
/// Weights are those for inputs of unit rms, (x - mu)/sigma. Rows are stored smaller, (x - mu)/(8 sigma) by
/// default, so that |x| <= 1; `input_rms` says by how much, and the first layer's weights are divided by it
/// on their way to the accelerator, its gradient when it comes back. Initialisation, learning rate, decay
/// and clipping thus see an ordinary network. Powers of two make the conversion exact.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    activations: Vec<Activation>,
    input_rms: f32,
}

/// Layers that do not make a network.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// No layer at all.
    #[error("a network has at least one layer")]
    Empty,
    /// Shapes that do not fit each other.
    #[error(
        "layer {layer} has weights of {inputs} x {outputs} and {bias} biases; it needs {expected} inputs and a bias for each output"
    )]
    Shape {
        /// Layer, from 0.
        layer: usize,
        /// Rows of its weights.
        inputs: usize,
        /// Columns of its weights.
        outputs: usize,
        /// Its biases.
        bias: usize,
        /// Outputs of the layer below.
        expected: usize,
    },
    /// Another number of activations than of hidden layers.
    #[error("{found} activations for {hidden} hidden layers: give one for each")]
    Activations {
        /// Activations found.
        found: usize,
        /// Hidden layers.
        hidden: usize,
    },
    /// NaN or infinite parameters.
    #[error("layer {layer} has a weight or bias that is not finite or beyond 2^20")]
    Value {
        /// Layer, from 0.
        layer: usize,
    },
    /// An impossible rms.
    #[error("the rms of stored inputs is from 2^-20 to 2^20, usually 1/8")]
    InputRms,
}

impl Network {
    /// A network of given layers, for instance of an imported model; its first layer is for unit-rms inputs.
    pub fn new(
        layers: Vec<Layer>,
        activations: Vec<Activation>,
        input_rms: f32,
    ) -> Result<Self, NetworkError> {
        const LIMIT: f32 = 1_048_576.0;
        let mut expected = layers.first().ok_or(NetworkError::Empty)?.weights.rows();
        for (layer, Layer { weights, bias }) in layers.iter().enumerate() {
            let (inputs, outputs) = weights.shape();
            if inputs != expected || inputs == 0 || outputs == 0 || bias.len() != outputs {
                return Err(NetworkError::Shape { layer, inputs, outputs, bias: bias.len(), expected });
            }
            if !weights.as_slice().iter().chain(bias).fold(true, |all, w| all & (w.abs() <= LIMIT)) {
                return Err(NetworkError::Value { layer });
            }
            expected = outputs;
        }
        if activations.len() != layers.len() - 1 {
            return Err(NetworkError::Activations { found: activations.len(), hidden: layers.len() - 1 });
        }
        if !(1.0 / LIMIT..=LIMIT).contains(&input_rms) {
            return Err(NetworkError::InputRms);
        }
        Ok(Network { layers, activations, input_rms })
    }

    /// A network with biases 0 and weights uniform in +-bound: bound^2 = 6/inputs below ReLU and GELU (He
    /// and others, 2015), 6/(inputs + outputs) elsewhere (Glorot and Bengio, 2010). Uniform rather than
    /// normal so that a seed gives the same bits everywhere.
    pub fn initial(
        widths: &[usize],
        activations: &[Activation],
        input_rms: f32,
        seed: u64,
    ) -> Result<Self, NetworkError> {
        let layers = widths.windows(2).enumerate().map(|(l, width)| {
            let (inputs, outputs) = (width[0], width[1]);
            let fan = match activations.get(l) {
                Some(Activation::Relu | Activation::Gelu) => inputs,
                _ => inputs + outputs,
            };
            let bound = (6.0 / fan as f32).sqrt();
            let mut random = Random::new(b"blindsmith/start", seed, l as u64);
            let mut weights = Matrix::zeros(inputs, outputs);
            weights.as_mut_slice().iter_mut().for_each(|w| *w = bound * random.symmetric());
            Layer { weights, bias: vec![0.0; outputs] }
        });
        Network::new(layers.collect(), activations.to_vec(), input_rms)
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// The layers, without a copy.
    pub fn into_layers(self) -> Vec<Layer> {
        self.layers
    }

    /// The activations of the hidden layers.
    pub fn activations(&self) -> &[Activation] {
        &self.activations
    }

    /// The rms of the stored rows.
    pub fn input_rms(&self) -> f32 {
        self.input_rms
    }

    /// Inputs, then the outputs of each layer.
    pub fn widths(&self) -> Vec<usize> {
        let outputs = self.layers.iter().map(|l| l.weights.cols());
        std::iter::once(self.layers[0].weights.rows()).chain(outputs).collect()
    }

    /// Outputs of the last layer.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].weights.cols()
    }

    /// Hands all weights to the accelerator that it does not hold already.
    pub(crate) fn load<A: Accelerator>(
        &self,
        accelerator: &mut A,
        tape: &mut Tape,
    ) -> Result<(), PassError<A::Error>> {
        for l in 0..self.layers.len() {
            if !accelerator.loaded_ahead(l) {
                let weights = self.accelerated(l, &mut tape.below);
                accelerator.load_weights(l, weights).map_err(PassError::Accelerator)?;
            }
        }
        Ok(())
    }

    /// The weights of a layer as the accelerator multiplies with them.
    pub(crate) fn accelerated<'a>(&'a self, layer: usize, scaled: &'a mut Matrix) -> &'a Matrix {
        let weights = &self.layers[layer].weights;
        if layer > 0 {
            return weights;
        }
        scaled.reshape(weights.rows(), weights.cols());
        let factor = 1.0 / self.input_rms;
        let each = scaled.as_mut_slice().iter_mut().zip(weights.as_slice());
        each.for_each(|(s, w)| *s = factor * w);
        scaled
    }

    /// Runs a batch through all layers; the last one's outputs are then in `tape.outputs`.
    ///
    /// Each part goes on to the next layer as soon as it is through one, while the accelerator works at the
    /// other part.
    pub(crate) fn forward<A: Accelerator>(
        &self,
        accelerator: &mut A,
        batch: &Batch,
        tape: &mut Tape,
    ) -> Result<(), PassError<A::Error>> {
        let last = self.layers.len() - 1;
        tape.slopes.resize_with(last, Matrix::default);
        tape.hidden.resize_with(last, Matrix::default);
        let parts = batch.parts();
        for rows in &parts {
            accelerator.start_forward(0, Left::Rows(batch), rows.clone()).map_err(PassError::Accelerator)?;
        }
        for (l, layer) in self.layers.iter().enumerate() {
            let (below, above) = tape.hidden.split_at_mut(l);
            let z = if l < last { &mut tape.slopes[l] } else { &mut tape.outputs };
            let shape = (batch.rows(), layer.bias.len());
            z.reshape(shape.0, shape.1);
            for rows in &parts {
                let left = operand(l, batch, below);
                accelerator.forward(l, left, rows.clone(), z).map_err(PassError::Accelerator)?;
                expect_shape("forward", l, z, shape)?;
                if l == last {
                    z.rows_mut(rows.clone()).for_each(|row| add(row, &layer.bias));
                } else {
                    self.activations[l].apply(z, &layer.bias, &mut above[0], rows.clone());
                    let left = Left::Hidden(&above[0]);
                    accelerator.start_forward(l + 1, left, rows.clone()).map_err(PassError::Accelerator)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the error in `tape.outputs` back through all layers, adding to the biases' gradients here and
    /// to the weights' in the accelerator.
    pub(crate) fn backward<A: Accelerator>(
        &self,
        accelerator: &mut A,
        batch: &Batch,
        bounds: &[Option<Bounds>],
        tape: &mut Tape,
        gradients: &mut [Layer],
    ) -> Result<(), PassError<A::Error>> {
        let parts = batch.parts();
        let last = self.layers.len() - 1;
        if last > 0 {
            for rows in &parts {
                accelerator
                    .start_input_gradient(last, &tape.outputs, rows.clone())
                    .map_err(PassError::Accelerator)?;
            }
        }
        for (l, layer) in self.layers.iter().enumerate().rev() {
            tape.outputs.iter_rows().for_each(|row| add(&mut gradients[l].bias, row));
            let bounds = bounds.get(l).copied().flatten();
            accelerator
                .add_gradient(l, operand(l, batch, &tape.hidden[..l]), &tape.outputs, bounds)
                .map_err(PassError::Accelerator)?;
            if l == 0 {
                break;
            }
            let shape = (batch.rows(), layer.weights.rows());
            tape.below.reshape(shape.0, shape.1);
            for rows in &parts {
                accelerator
                    .input_gradient(l, &tape.outputs, rows.clone(), &mut tape.below)
                    .map_err(PassError::Accelerator)?;
                expect_shape("input_gradient", l, &tape.below, shape)?;
                let valid = &batch.labels().valid;
                times_slopes(&mut tape.below, &tape.slopes[l - 1], valid, rows.clone());
                if l > 1 {
                    accelerator
                        .start_input_gradient(l - 1, &tape.below, rows.clone())
                        .map_err(PassError::Accelerator)?;
                }
            }
            std::mem::swap(&mut tape.outputs, &mut tape.below);
        }
        Ok(())
    }

    /// For each layer whose operands are bounded whatever the rows: what holds for all of them. `error` bounds
    /// an entry of the last layer's error, `row` the sum of magnitudes of a row of it.
    ///
    /// Only what follows from one layer's weights is used: bounds through several layers are so loose that
    /// nothing could be scaled by them.
    pub(crate) fn bounds(&self, error: f32, row: f32) -> Vec<Option<Bounds>> {
        let last = self.layers.len() - 1;
        let left = |l: usize| match l.checked_sub(1) {
            None => Some(1.0),
            Some(0) => {
                let below = &self.layers[0];
                let bias = largest_magnitude(&below.bias);
                self.activations[0]
                    .bound(SLACK * (sum_of(largest_column_sum, &below.weights) / self.input_rms + bias))
            }
            Some(below) => self.activations[below].bound(f32::INFINITY),
        };
        let error = |l: usize| {
            if l == last {
                return Some(error);
            }
            let above = (l + 1 == last).then(|| &self.layers[last].weights)?;
            let largest = largest_magnitude(above.as_slice());
            let slope = self.activations[l].slope_bound();
            Some(SLACK * slope * at_most(row * largest, error * sum_of(largest_row_sum, above)))
        };
        (0..=last).map(|l| Some(Bounds { left: left(l)?, error: error(l)? })).collect()
    }
}

/// Room in a bound for the noise of the products that it speaks of.
const SLACK: f32 = 1.25;

fn sum_of(largest: fn(&[f32], usize) -> f64, matrix: &Matrix) -> f32 {
    largest(matrix.as_slice(), matrix.cols()) as f32
}

/// What the forward pass leaves for the backward pass; kept between steps for its memory.
#[derive(Default)]
pub(crate) struct Tape {
    /// Derivatives of the activations, one matrix a hidden layer.
    slopes: Vec<Matrix>,
    /// Activations, one matrix a hidden layer.
    hidden: Vec<Matrix>,
    /// Outputs of the last layer, then its error, then the errors below.
    pub(crate) outputs: Matrix,
    /// The next of those; before the first product, the first layer's weights as they are loaded.
    below: Matrix,
}

/// Why a pass failed.
pub(crate) enum PassError<E> {
    Accelerator(E),
    Shape { call: &'static str, layer: usize, found: (usize, usize), expected: (usize, usize) },
}

pub(crate) fn expect_shape<E>(
    call: &'static str,
    layer: usize,
    matrix: &Matrix,
    expected: (usize, usize),
) -> Result<(), PassError<E>> {
    let found = matrix.shape();
    if found == expected { Ok(()) } else { Err(PassError::Shape { call, layer, found, expected }) }
}

fn operand<'a>(layer: usize, batch: &'a Batch, below: &'a [Matrix]) -> Left<'a> {
    match layer {
        0 => Left::Rows(batch),
        l => Left::Hidden(&below[l - 1]),
    }
}

/// error *= slopes in the given rows, and those that are not valid become zero: the accelerator's noise is in
/// them, too.
fn times_slopes(error: &mut Matrix, slopes: &Matrix, valid: &[bool], rows: Range<usize>) {
    let valid = &valid[rows.clone()];
    for ((error, slopes), &valid) in error.rows_mut(rows.clone()).zip(slopes.rows_of(rows)).zip(valid) {
        let valid = mask(valid);
        for (e, s) in error.iter_mut().zip(slopes) {
            *e = keep(valid, flush(*e) * s);
        }
    }
}

fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
}
