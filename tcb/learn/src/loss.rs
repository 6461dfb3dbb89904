//! Losses with their error: the derivative of the loss with respect to the last layer's outputs.
//!
//! The error E is in sum form: one row's derivative is not divided by the number of rows, so that
//! |e| <= 1 times the row's and the class's weight for softmax and logistic loss, whatever the batch. The
//! squared error e = z - t is unbounded. The gradient of the mean is the sum form's times
//! [`Objective::mean_factor`].

use serde::{Deserialize, Serialize};

use crate::Matrix;
use crate::elementary::{at_least, exp, flush, keep, ln, mask, reciprocal, sigmoid};
use crate::labels::{Labels, Targets, weights_in_range};

/// What training minimises: the mean over the valid rows of this, times the row's weight.
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
    #[error("class weights are from 2^-20 to 2^20, average about 1, and do not go with a squared error")]
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
            return Ok(Objective { loss, class_weights: vec![1.0; outputs] });
        }
        if class_weights.len() != outputs {
            return Err(ObjectiveError::ClassWeights { found: class_weights.len(), outputs });
        }
        let zero = class_weights.contains(&0.0);
        if loss == Loss::MeanSquaredError || zero || !weights_in_range(class_weights) {
            return Err(ObjectiveError::ClassWeight);
        }
        Ok(Objective { loss, class_weights: class_weights.to_vec() })
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
        let allowed = |t: f32| match self.loss {
            Loss::Logistic => (t >= 0.0) & (t <= 1.0),
            _ => t.abs() <= 1_048_576.0,
        };
        let good = match (&labels.targets, self.loss) {
            (Targets::Classes(classes), Loss::SoftmaxCrossEntropy) => classes
                .iter()
                .zip(&labels.valid)
                .fold(true, |all, (&c, &valid)| all & (!valid | ((c as usize) < outputs))),
            (Targets::Values(values), Loss::Logistic | Loss::MeanSquaredError)
                if values.cols() == outputs =>
            {
                values.iter_rows().zip(&labels.valid).fold(true, |all, (row, &valid)| {
                    row.iter().fold(all, |all, &t| all & (!valid | allowed(t)))
                })
            }
            _ => return Err(ObjectiveError::Kind { outputs }),
        };
        if good { Ok(()) } else { Err(ObjectiveError::Target { outputs }) }
    }

    /// Turns the last layer's outputs into the error, zero in rows that are not valid, and returns the sum
    /// of the loss over valid rows and outputs. The labels have passed [`Objective::check`] and have as many
    /// rows.
    pub fn error(&self, outputs: &mut Matrix, labels: &Labels) -> f64 {
        let weights = labels.weights.iter().zip(&labels.valid);
        let rows = outputs.iter_rows_mut().zip(weights);
        let mut sum = 0.0;
        match &labels.targets {
            Targets::Classes(classes) => {
                for ((z, (&weight, &valid)), &class) in rows.zip(classes) {
                    sum += f64::from(self.class_error(z, class, keep(mask(valid), weight)));
                }
            }
            Targets::Values(values) => {
                for ((z, (&weight, &valid)), t) in rows.zip(values.iter_rows()) {
                    sum += f64::from(self.value_error(z, t, weight, mask(valid)));
                }
            }
        }
        sum
    }

    /// Softmax cross-entropy of one row; a weight of 0 is a row that does not count.
    fn class_error(&self, z: &mut [f32], class: u32, row_weight: f32) -> f32 {
        let is_class = |j: usize| mask(j as u32 == class);
        let weight = row_weight
            * self.class_weights.iter().enumerate().map(|(j, &w)| keep(is_class(j), w)).sum::<f32>();
        let top = z.iter().fold(f32::NEG_INFINITY, |top, &z| at_least(z, top));
        let chosen: f32 = z.iter().enumerate().map(|(j, &z)| keep(is_class(j), z - top)).sum();
        let sum = exponentials(z, top);
        let share = reciprocal(sum);
        for (j, z) in z.iter_mut().enumerate() {
            *z = weight * flush(*z * share - keep(is_class(j), 1.0));
        }
        weight * (ln(sum) - chosen)
    }

    fn value_error(&self, z: &mut [f32], targets: &[f32], weight: f32, valid: u32) -> f32 {
        let mut sum = 0.0;
        for ((z, &t), &class_weight) in z.iter_mut().zip(targets).zip(&self.class_weights) {
            let (error, loss) = match self.loss {
                Loss::Logistic => logistic(*z, t, class_weight),
                _ => (*z - t, (*z - t) * (*z - t)),
            };
            *z = keep(valid, weight * flush(error));
            sum += keep(valid, weight * loss);
        }
        sum
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

    /// Turns the last layer's outputs into predictions: probabilities, or the values themselves.
    pub fn predictions(&self, outputs: &mut Matrix) {
        match self.loss {
            Loss::SoftmaxCrossEntropy => outputs.iter_rows_mut().for_each(softmax),
            Loss::Logistic => outputs.as_mut_slice().iter_mut().for_each(|z| *z = sigmoid(*z).0),
            Loss::MeanSquaredError => {}
        }
    }
}

/// Softmax in place.
pub(crate) fn softmax(z: &mut [f32]) {
    let top = z.iter().fold(f32::NEG_INFINITY, |top, &z| at_least(z, top));
    let share = reciprocal(exponentials(z, top));
    z.iter_mut().for_each(|z| *z = flush(*z * share));
}

/// z becomes e^(z - top), or e^-60 if that is more; returns the sum, which is at least 1.
fn exponentials(z: &mut [f32], top: f32) -> f32 {
    z.iter_mut().for_each(|z| *z = exp(at_least(*z - top, -60.0)));
    z.iter().sum()
}

/// Error and loss of one output with logit z, target t and weight w of the positive term.
fn logistic(z: f32, t: f32, w: f32) -> (f32, f32) {
    let factor = 1.0 + t * (w - 1.0);
    // ln(1 + e^-z)
    let softplus = at_least(-z, 0.0) + ln(1.0 + exp(at_least(-z.abs(), -60.0)));
    (factor * sigmoid(z).0 - w * t, factor * softplus + (1.0 - t) * z)
}
