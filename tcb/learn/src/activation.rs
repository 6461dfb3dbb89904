//! Activations of hidden layers, each with its derivative.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::elementary::{at_least, at_most, flush, gelu, sigmoid, tanh};
use crate::matrix::Matrix;

/// The function between two layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(z, 0); derivative 0 at +0.
    Relu,
    /// z Phi(z) with the normal distribution function (Hendrycks and Gimpel, 2016; the exact form).
    Gelu,
    /// tanh z.
    Tanh,
    /// 1/(1 + e^-z).
    Sigmoid,
    /// z itself.
    Identity,
}

impl Activation {
    /// (f(z), f'(z)), both zero or at least 2^-60 in magnitude.
    #[inline]
    fn at(self, z: f32) -> (f32, f32) {
        match self {
            Activation::Relu => {
                // What is not zero is at least 2^-60.
                let h = flush(at_least(z, 0.0));
                (h, at_most(h * (1_u64 << 60) as f32, 1.0))
            }
            Activation::Gelu => {
                let (h, slope) = gelu(z);
                (flush(h), flush(slope))
            }
            Activation::Tanh => {
                let h = tanh(z);
                (flush(h), flush(1.0 - h * h))
            }
            Activation::Sigmoid => {
                let (h, slope) = sigmoid(z);
                (flush(h), flush(slope))
            }
            Activation::Identity => (flush(z), 1.0),
        }
    }

    /// h = f(z + bias) in the given rows, with `bias` added to every row of `z`, which becomes f'(z + bias): what
    /// the backward pass needs. `bias` has one value a column.
    pub fn apply(self, z: &mut Matrix, bias: &[f32], h: &mut Matrix, rows: Range<usize>) {
        h.reshape(z.rows(), z.cols());
        // One loop for each function, so that the choice is made outside of it.
        match self {
            Activation::Relu => each(z, bias, h, rows, |z| Activation::Relu.at(z)),
            Activation::Gelu => each(z, bias, h, rows, |z| Activation::Gelu.at(z)),
            Activation::Tanh => each(z, bias, h, rows, |z| Activation::Tanh.at(z)),
            Activation::Sigmoid => each(z, bias, h, rows, |z| Activation::Sigmoid.at(z)),
            Activation::Identity => each(z, bias, h, rows, |z| Activation::Identity.at(z)),
        }
    }

    /// The largest |f(z)| for |z| up to `z`, if there is one.
    pub(crate) fn bound(self, z: f32) -> Option<f32> {
        match self {
            Activation::Tanh | Activation::Sigmoid => Some(1.0),
            _ => z.is_finite().then_some(z),
        }
    }

    /// No |f'(z)| is larger.
    pub(crate) fn slope_bound(self) -> f32 {
        // The derivative of z Phi(z) is largest at sqrt(2): 1.1290.
        if self == Activation::Gelu { 1.13 } else { 1.0 }
    }
}

#[inline(always)]
fn each(z: &mut Matrix, bias: &[f32], h: &mut Matrix, rows: Range<usize>, at: impl Fn(f32) -> (f32, f32)) {
    for (z, h) in z.rows_mut(rows.clone()).zip(h.rows_mut(rows)) {
        for ((z, h), bias) in z.iter_mut().zip(h).zip(bias) {
            (*h, *z) = at(*z + *bias);
        }
    }
}
