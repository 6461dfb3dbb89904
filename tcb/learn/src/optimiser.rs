//! Update rules, in the form of PyTorch's optimisers of the same names.

use serde::{Deserialize, Serialize};

use crate::elementary::{at_least, flush, flush_square, reciprocal, sqrt};

/// How weights follow from gradients. g is the gradient of the mean loss, lr the learning rate; weight
/// decay wd applies to weights, not to biases.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// w -= lr (g + wd w).
    Sgd,
    /// v = momentum v + g + wd w; w -= lr v.
    Momentum {
        /// From 0, below 1.
        momentum: f32,
    },
    /// v = momentum v + g'; w -= lr (g' + momentum v), with g' = g + wd w.
    Nesterov {
        /// From 0, below 1.
        momentum: f32,
    },
    /// Kingma and Ba, 2015, with g + wd w for g.
    Adam(Moments),
    /// Loshchilov and Hutter, 2019: Adam, and w -= lr wd w beside it.
    AdamW(Moments),
}

/// Constants of Adam and AdamW.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Decay of the mean of the gradients; from 0, below 1.
    pub beta1: f32,
    /// Decay of the mean of their squares; from 0, below 1.
    pub beta2: f32,
    /// Least denominator, at least 1e-12. Where gradients carry noise it is raised, see [`NOISE_MARGIN`].
    pub epsilon: f32,
}

impl Default for Moments {
    fn default() -> Self {
        Moments { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Adam divides by the root of the second moment, which makes full steps of gradients that are nothing but
/// encryption noise. Its epsilon is therefore at least this many standard deviations of the noise in the
/// gradient of the mean.
pub const NOISE_MARGIN: f32 = 10.0;

/// A rule with the state that it keeps for each tensor.
#[derive(Clone)]
pub(crate) struct Optimiser {
    rule: Rule,
    /// First and second moment of each tensor, empty if the rule has none.
    pub(crate) slots: Vec<[Vec<f32>; 2]>,
    pub(crate) steps: u64,
}

/// What an update of one tensor depends on besides its gradient.
#[derive(Clone, Copy)]
pub(crate) struct Update {
    pub(crate) learning_rate: f32,
    /// 0 for biases.
    pub(crate) weight_decay: f32,
    /// Standard deviation of the noise in the gradient of the mean.
    pub(crate) noise: f32,
    /// Factor on the gradient.
    pub(crate) factor: f32,
}

impl Rule {
    /// Vectors of state for each tensor.
    pub(crate) fn slots(self) -> usize {
        match self {
            Rule::Sgd => 0,
            Rule::Momentum { .. } | Rule::Nesterov { .. } => 1,
            Rule::Adam(_) | Rule::AdamW(_) => 2,
        }
    }
}

impl Optimiser {
    /// State zero for tensors of these lengths.
    pub(crate) fn new(rule: Rule, lengths: &[usize]) -> Self {
        let slot = |wanted: bool, n: usize| vec![0.0; if wanted { n } else { 0 }];
        let slots = lengths.iter().map(|&n| [slot(rule.slots() > 0, n), slot(rule.slots() > 1, n)]);
        Optimiser { rule, slots: slots.collect(), steps: 0 }
    }

    /// Counts a step; then comes one `update` for each tensor.
    pub(crate) fn begin_step(&mut self) {
        self.steps += 1;
    }

    /// Moves `weights`, tensor number `tensor`, by `gradient`.
    pub(crate) fn update(&mut self, tensor: usize, weights: &mut [f32], gradient: &[f32], by: Update) {
        let (lr, wd) = (by.learning_rate, by.weight_decay);
        let [first, second] = &mut self.slots[tensor];
        let each = weights.iter_mut().zip(gradient.iter().map(|&g| flush(g) * by.factor));
        match self.rule {
            Rule::Sgd => each.for_each(|(w, g)| *w = flush(*w - lr * flush(g + wd * *w))),
            Rule::Momentum { momentum } => {
                for ((w, g), v) in each.zip(first) {
                    *v = flush(momentum * *v + (g + wd * *w));
                    *w = flush(*w - lr * *v);
                }
            }
            Rule::Nesterov { momentum } => {
                for ((w, g), v) in each.zip(first) {
                    let g = g + wd * *w;
                    *v = flush(momentum * *v + g);
                    *w = flush(*w - lr * flush(g + momentum * *v));
                }
            }
            Rule::Adam(moments) => {
                let step = AdamStep::new(moments, self.steps, by);
                for (((w, g), m), v) in each.zip(first).zip(second) {
                    step.apply(w, g + wd * *w, m, v);
                }
            }
            Rule::AdamW(moments) => {
                let step = AdamStep::new(moments, self.steps, by);
                for (((w, g), m), v) in each.zip(first).zip(second) {
                    *w -= lr * wd * *w;
                    step.apply(w, g, m, v);
                }
            }
        }
    }
}

/// The constants of one step of Adam.
struct AdamStep {
    beta1: f32,
    beta2: f32,
    learning_rate: f32,
    correction1: f32,
    correction2: f32,
    epsilon: f32,
}

impl AdamStep {
    fn new(Moments { beta1, beta2, epsilon }: Moments, steps: u64, by: Update) -> Self {
        let correction = |beta: f32| {
            let power = f64::from(beta).powi(i32::try_from(steps).unwrap_or(i32::MAX));
            (1.0 / (1.0 - power)) as f32
        };
        AdamStep {
            beta1,
            beta2,
            learning_rate: by.learning_rate,
            correction1: correction(beta1),
            correction2: correction(beta2),
            epsilon: at_least(epsilon, NOISE_MARGIN * by.noise),
        }
    }

    #[inline]
    fn apply(&self, w: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = flush(g);
        *m = flush(self.beta1 * *m + (1.0 - self.beta1) * g);
        *v = flush_square(self.beta2 * *v + (1.0 - self.beta2) * flush_square(g * g));
        // sqrt gives 2^-60 for 0: less than any epsilon.
        let root = sqrt(*v * self.correction2);
        *w = flush(*w - self.learning_rate * flush(*m * self.correction1 * reciprocal(root + self.epsilon)));
    }
}
