//! Losses with their error: the derivative of the loss with respect to the last layer's outputs.
//!
//! The error E is in sum form: one row's derivative is not divided by the number of rows, so that
//! |e| <= 1 times the class's weight for softmax and logistic loss, whatever the batch. The
//! squared error e = z - t is unbounded. The gradient of the mean is the sum form's times
//! [`Objective::mean_factor`].

use serde::{Deserialize, Serialize};

use crate::elementary::{at_least, at_most, equal, exp, flush, keep, ln, mask, reciprocal, sigmoid};
use crate::labels::{Labels, Targets};
use crate::matrix::Matrix;

/// What training minimises: the mean over the valid rows of this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// -ln softmax(z)\[class\], for one class of several; a class weight multiplies its rows.
    SoftmaxCrossEntropy,
    /// -w t ln p - (1 - t) ln(1 - p) with p = 1/(1 + e^-z), for one or several independent labels t, the
    /// mean over the outputs; the output's class weight w multiplies the positive term.
    Logistic,
    /// (z - t)^2, for regression, the mean over the outputs.
    MeanSquaredError,
}

/// A loss with its class weights and number of outputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Objective {
    loss: Loss,
    class_weights: Vec<f32>,
    threshold: f32,
}

/// Labels or weights that do not fit the loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectiveError {
    /// Class weights of another number.
    #[error("{found} class weights for {outputs} outputs: give one for each output, or none")]
    ClassWeights {
        /// Weights found.
        found: usize,
        /// Outputs of the model.
        outputs: usize,
    },
    /// A class weight outside the range, or with a loss that has no classes.
    #[error("class weights are from 1/64 to 64, average about 1, and do not go with a squared error")]
    ClassWeight,
    /// Class numbers where values are needed, or the reverse.
    #[error(
        "softmax cross-entropy needs class numbers; the other losses need a value for each of {outputs} outputs"
    )]
    Kind {
        /// Outputs of the model.
        outputs: usize,
    },
    /// A class beyond the outputs or a value outside the range. Which row is not said: labels are secret.
    #[error(
        "a label is out of range: class numbers are below the number of outputs ({outputs}), \
         logistic targets from 0 to 1, regression targets within 2^20"
    )]
    Target {
        /// Outputs of the model.
        outputs: usize,
    },
}

impl Objective {
    /// `class_weights` is empty or has one entry an output.
    pub fn new(loss: Loss, outputs: usize, class_weights: &[f32]) -> Result<Self, ObjectiveError> {
        if class_weights.is_empty() {
            return Ok(Objective { loss, class_weights: vec![1.0; outputs], threshold: 0.5 });
        }
        if class_weights.len() != outputs {
            return Err(ObjectiveError::ClassWeights { found: class_weights.len(), outputs });
        }
        if (loss == Loss::MeanSquaredError) | !weights_in_range(class_weights) {
            return Err(ObjectiveError::ClassWeight);
        }
        Ok(Objective { loss, class_weights: class_weights.to_vec(), threshold: 0.5 })
    }

    /// The same with another probability above which the logistic loss counts a label as predicted.
    pub fn with_threshold(self, threshold: f32) -> Self {
        Objective { threshold, ..self }
    }

    /// The threshold in log-odds: outputs above it are predictions. 0 of one half.
    pub(crate) fn least_logit(&self) -> f32 {
        (self.threshold / (1.0 - self.threshold)).ln()
    }

    /// The same with all class weights 1.
    pub fn unweighted(&self) -> Self {
        Objective { class_weights: vec![1.0; self.outputs()], ..*self }
    }

    /// The most that a row's loss, its mean over the outputs, counts where models and rows are judged: eight times that
    /// of a model that knows nothing, and of targets of unit variance the square of eight standard deviations.
    pub(crate) fn clip(&self) -> f32 {
        match self.loss {
            Loss::SoftmaxCrossEntropy => 8.0 * ln(self.outputs().max(2) as f32),
            Loss::Logistic => 8.0 * std::f32::consts::LN_2,
            Loss::MeanSquaredError => 64.0,
        }
    }

    /// The loss.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.class_weights.len()
    }

    /// Refuses labels of the wrong kind, and valid rows whose target is out of range. Looks at all rows
    /// whatever it finds.
    pub fn check(&self, labels: &Labels) -> Result<(), ObjectiveError> {
        let outputs = self.outputs();
        let valid = labels.valid.iter().map(|&valid| mask(valid));
        let bad = match (&labels.targets, self.loss) {
            (Targets::Classes(classes), Loss::SoftmaxCrossEntropy) => {
                let rows = classes.iter().zip(valid);
                rows.fold(0, |bad, (&class, valid)| bad | (valid & mask(class as usize >= outputs)))
            }
            (Targets::Values(values), Loss::Logistic | Loss::MeanSquaredError)
                if values.cols() == outputs =>
            {
                let (low, high) = match self.loss {
                    Loss::Logistic => (0.0, 1.0),
                    _ => (-1_048_576.0, 1_048_576.0),
                };
                let inside = |t: f32| t == at_most(at_least(t, low), high);
                let row = |bad, (row, valid): (&[f32], u32)| {
                    row.iter().fold(bad, |bad, &t| bad | (valid & mask(!inside(t))))
                };
                values.iter_rows().zip(valid).fold(0, row)
            }
            _ => return Err(ObjectiveError::Kind { outputs }),
        };
        if bad == 0 { Ok(()) } else { Err(ObjectiveError::Target { outputs }) }
    }

    /// Turns the last layer's outputs into the error, zero in rows that are not valid, and returns the sum
    /// of the loss over valid rows and outputs. The labels have passed [`Objective::check`] and have as many
    /// rows.
    pub fn error(&self, outputs: &mut Matrix, labels: &Labels) -> f64 {
        let mut sum = 0.0;
        self.error_by_row(outputs, labels, |loss| sum += f64::from(loss));
        sum
    }

    /// As [`Objective::error`], with each row's loss, the sum over its outputs; 0 of rows that are not valid.
    pub(crate) fn error_by_row(&self, outputs: &mut Matrix, labels: &Labels, mut each: impl FnMut(f32)) {
        let rows = outputs.iter_rows_mut().zip(&labels.valid);
        match &labels.targets {
            Targets::Classes(classes) => {
                for ((z, &valid), &class) in rows.zip(classes) {
                    each(self.class_error(z, class, mask(valid)));
                }
            }
            Targets::Values(values) => {
                for ((z, &valid), t) in rows.zip(values.iter_rows()) {
                    each(self.value_error(z, t, mask(valid)));
                }
            }
        }
    }

    /// Error and softmax cross-entropy of one row.
    fn class_error(&self, z: &mut [f32], class: u32, valid: u32) -> f32 {
        let class = class as f32;
        let weight = at_class(&self.class_weights, class);
        let top = largest(z);
        let chosen = at_class(z, class) - top;
        let sum = exponentials(z, top);
        let share = reciprocal(sum);
        for (j, z) in z.iter_mut().enumerate() {
            *z = keep(valid, weight * flush(*z * share - equal(j as u32 as f32, class)));
        }
        keep(valid, weight * (ln(sum) - chosen))
    }

    /// Error and summed loss of one row of values.
    fn value_error(&self, z: &mut [f32], targets: &[f32], valid: u32) -> f32 {
        let mut sum = 0.0;
        for ((z, &t), &class_weight) in z.iter_mut().zip(targets).zip(&self.class_weights) {
            let (error, loss) = match self.loss {
                Loss::Logistic => logistic(*z, t, class_weight),
                _ => (*z - t, (*z - t) * (*z - t)),
            };
            *z = keep(valid, flush(error));
            sum += keep(valid, loss);
        }
        sum
    }

    /// Bounds on one entry of the error and on the sum of magnitudes of a row of it, whatever the outputs; none
    /// for the squared error.
    pub fn error_bounds(&self) -> Option<(f32, f32)> {
        let entry = largest_magnitude(&self.class_weights);
        match self.loss {
            // sum over j of |p_j - t_j| = 2 (1 - p_class).
            Loss::SoftmaxCrossEntropy => Some((entry, 2.0 * entry)),
            Loss::Logistic => Some((entry, entry * self.outputs() as f32)),
            Loss::MeanSquaredError => None,
        }
    }

    /// What the sum form of a gradient or loss is multiplied with to give that of the mean over `rows`
    /// valid rows: (loss, gradient).
    pub fn mean_factor(&self, rows: u32) -> (f32, f32) {
        let rows = rows.max(1) as f32;
        match self.loss {
            Loss::SoftmaxCrossEntropy => (reciprocal(rows), reciprocal(rows)),
            Loss::Logistic => {
                let mean = reciprocal(rows * self.outputs() as f32);
                (mean, mean)
            }
            Loss::MeanSquaredError => {
                let mean = reciprocal(rows * self.outputs() as f32);
                (mean, 2.0 * mean)
            }
        }
    }

    /// The class that a row of predictions says: the first of the most probable ones, class 1 of two if it is more probable
    /// than the threshold. 0 where labels are no classes.
    pub fn class(&self, predictions: &[f32]) -> u32 {
        match (self.loss, predictions) {
            (Loss::SoftmaxCrossEntropy, all) => {
                let (top, mut open, mut class) = (largest(all), u32::MAX, 0);
                for (j, p) in all.iter().enumerate() {
                    let is = open & mask(*p == top);
                    open &= !is;
                    class |= is & j as u32;
                }
                class
            }
            (Loss::Logistic, [p]) => mask(*p > self.threshold) & 1,
            _ => 0,
        }
    }

    /// Turns the last layer's outputs into predictions: probabilities, or the values themselves.
    pub fn predictions(&self, outputs: &mut Matrix) {
        match self.loss {
            Loss::SoftmaxCrossEntropy => outputs.iter_rows_mut().for_each(softmax),
            Loss::Logistic => outputs.as_mut_slice().iter_mut().for_each(|z| *z = sigmoid(*z).0),
            Loss::MeanSquaredError => {}
        }
    }
}

/// Is every class weight from 1/64 to 64? Looks at all of them whatever it finds.
fn weights_in_range(weights: &[f32]) -> bool {
    const LIMIT: f32 = 64.0;
    let good = |w: f32| w == at_most(at_least(w, 1.0 / LIMIT), LIMIT);
    weights.iter().fold(0, |bad, &w| bad | mask(!good(w))) == 0
}

/// Softmax in place.
pub(crate) fn softmax(z: &mut [f32]) {
    let share = reciprocal(exponentials(z, largest(z)));
    z.iter_mut().for_each(|z| *z = flush(*z * share));
}

/// z becomes e^(z - top), or e^-60 if that is more; returns the sum, which is at least 1.
fn exponentials(z: &mut [f32], top: f32) -> f32 {
    z.iter_mut().for_each(|z| *z = exp(at_least(*z - top, -60.0)));
    reduce(z, 0.0, |_, z| z, |a, b| a + b)
}

/// The largest of the values.
pub(crate) fn largest(values: &[f32]) -> f32 {
    reduce(values, f32::NEG_INFINITY, |_, v| v, |a, b| at_least(b, a))
}

/// The largest magnitude of the values, 0 of none.
pub(crate) fn largest_magnitude(values: &[f32]) -> f32 {
    reduce(values, 0.0, |_, v| v.abs(), |a, b| at_least(b, a))
}

/// The value at place `class`, 0 beyond the end.
fn at_class(values: &[f32], class: f32) -> f32 {
    reduce(values, 0.0, |j, v| equal(j, class) * v, |a, b| a + b)
}

/// `join` over `each`(place, value), begun at `neutral`, in eight strands that the compiler keeps in vectors.
#[inline(always)]
fn reduce(
    values: &[f32],
    neutral: f32,
    each: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut strands = [neutral; 8];
    let mut places: [f32; 8] = std::array::from_fn(|lane| lane as u32 as f32);
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for ((strand, place), &value) in strands.iter_mut().zip(&mut places).zip(chunk) {
            *strand = join(*strand, each(*place, value));
            *place += 8.0;
        }
    }
    for ((strand, &place), &value) in strands.iter_mut().zip(&places).zip(rest) {
        *strand = join(*strand, each(place, value));
    }
    strands.into_iter().fold(neutral, join)
}

/// Error and loss of one output with logit z, target t and weight w of the positive term.
fn logistic(z: f32, t: f32, w: f32) -> (f32, f32) {
    let factor = 1.0 + t * (w - 1.0);
    // ln(1 + e^-z)
    let softplus = at_least(-z, 0.0) + ln(1.0 + exp(at_least(-z.abs(), -60.0)));
    (factor * sigmoid(z).0 - w * t, factor * softplus + (1.0 - t) * z)
}
