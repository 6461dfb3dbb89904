//! Gradients of every activation with every loss, against finite differences of a forward pass in `f64`
//! that shares no code with the crate.

use blindsmith_learn::*;

use crate::naive::Naive;

const INPUTS: usize = 4;
const HIDDEN: usize = 5;
const ROWS: usize = 6;
const ACTIVATIONS: [Activation; 5] =
    [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Sigmoid, Activation::Identity];

/// Numbers in [-1, 1) without a pattern.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

fn activate(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Relu => z.max(0.0),
        Activation::Gelu => 0.5 * z * (1.0 + libm::erf(z / std::f64::consts::SQRT_2)),
        Activation::Tanh => z.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        Activation::Identity => z,
    }
}

/// One training problem: three layers, weighted rows of which one is not valid.
struct Problem {
    recipe: Recipe,
    rows: Matrix,
    labels: Labels,
    outputs: usize,
}

impl Problem {
    fn new(activation: Activation, loss: Loss, outputs: usize) -> Self {
        let mut recipe = Recipe::new(&[INPUTS, HIDDEN, HIDDEN, outputs], loss);
        recipe.activations = vec![activation; 2];
        (recipe.rule, recipe.input_rms) = (Rule::Sgd, 0.5);
        recipe.schedule = Schedule::Constant;
        (recipe.learning_rate, recipe.weight_decay, recipe.warm_up, recipe.clip_norm) = (1.0, 0.0, 0.0, None);
        if loss != Loss::MeanSquaredError {
            recipe.class_weights = (0..outputs).map(|j| 0.5 + 0.25 * j as f32).collect();
        }
        let targets = match loss {
            Loss::SoftmaxCrossEntropy => Targets::Classes((0..ROWS).map(|r| (r % outputs) as u32).collect()),
            Loss::Logistic => values(outputs, |i| (i % 2) as f32),
            Loss::MeanSquaredError => values(outputs, |i| (i % 5) as f32 - 2.0),
        };
        let valid = (0..ROWS).map(|r| r != 2).collect();
        let labels = Labels::new(targets).with_valid(valid);
        let rows = Matrix::from_rows(ROWS, INPUTS, numbers(ROWS * INPUTS, 7)).expect("shape");
        Problem { recipe, rows, labels: labels.expect("labels"), outputs }
    }

    /// The mean loss of the network given by flat parameters for unit-rms inputs.
    fn loss(&self, parameters: &[Vec<f64>]) -> f64 {
        let rms = f64::from(self.recipe.input_rms);
        let widths = &self.recipe.widths;
        let mut sum = 0.0;
        for r in (0..ROWS).filter(|&r| r != 2) {
            let mut h: Vec<f64> = self.rows.row(r).iter().map(|&x| f64::from(x) / rms).collect();
            for l in 0..3 {
                let (weights, bias) = (&parameters[2 * l], &parameters[2 * l + 1]);
                let outputs = widths[l + 1];
                h = (0..outputs)
                    .map(|j| {
                        bias[j] + h.iter().enumerate().map(|(i, x)| x * weights[i * outputs + j]).sum::<f64>()
                    })
                    .map(|z| if l < 2 { activate(self.recipe.activations[l], z) } else { z })
                    .collect();
            }
            sum += self.row_loss(r, &h);
        }
        sum / (ROWS - 1) as f64
    }

    fn row_loss(&self, row: usize, z: &[f64]) -> f64 {
        let class_weight = |j: usize| f64::from(*self.recipe.class_weights.get(j).unwrap_or(&1.0));
        let target = |j: usize| (row * self.outputs + j) as f64;
        let mean = |each: &dyn Fn(usize) -> f64| (0..z.len()).map(each).sum::<f64>() / z.len() as f64;
        match self.recipe.loss {
            Loss::SoftmaxCrossEntropy => {
                let class = row % self.outputs;
                class_weight(class) * (z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[class])
            }
            Loss::Logistic => mean(&|j| {
                let (t, p) = (target(j) % 2.0, 1.0 / (1.0 + (-z[j]).exp()));
                -class_weight(j) * t * p.ln() - (1.0 - t) * (1.0 - p).ln()
            }),
            Loss::MeanSquaredError => mean(&|j| (z[j] - (target(j) % 5.0 - 2.0)).powi(2)),
        }
    }

    /// One step of plain descent at rate 1: the gradient is what the parameters lose.
    fn check(&self) {
        let mut trainer = Trainer::new(self.recipe.clone()).expect("recipe");
        // Biases away from zero, so that their gradients are of the general kind.
        let mut state = trainer.state();
        let biased = |(t, tensor): (usize, &mut Vec<f32>)| {
            if t % 2 == 1 {
                *tensor = numbers(tensor.len(), t as u32);
            }
        };
        state.parameters.iter_mut().enumerate().for_each(biased);
        trainer = Trainer::restore(self.recipe.clone(), state.clone()).expect("state");
        let before: Vec<Vec<f64>> =
            state.parameters.iter().map(|t| t.iter().map(|&w| f64::from(w)).collect()).collect();

        // The second block is a short one.
        let mut naive = Naive::new(vec![self.rows.clone()], 4);
        let blocks = Block::of_upload(0, ROWS as u32, 4).collect();
        let batch = Batch::new(blocks, self.labels.clone()).expect("batch");
        let report = trainer.train_step(&mut naive, &batch).expect("step");
        assert!((report.loss - self.loss(&before)).abs() < 1e-5 * (1.0 + report.loss));

        let after = trainer.state().parameters;
        let mut norm = 0.0;
        for (t, tensor) in before.iter().enumerate() {
            for (i, &weight) in tensor.iter().enumerate() {
                let at = |shift: f64| {
                    let mut moved = before.clone();
                    moved[t][i] += shift;
                    self.loss(&moved)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                let found = weight - f64::from(after[t][i]);
                let close = (found - expected).abs() < 2e-5 * (1.0 + expected.abs());
                assert!(close, "{:?} tensor {t} entry {i}: {found} for {expected}", self.recipe.loss);
                norm += expected * expected;
            }
        }
        assert!(norm > 1e-4, "a gradient of zero would show nothing");
        assert!((f64::from(report.gradient_norm) / norm.sqrt() - 1.0).abs() < 1e-4);
    }
}

fn values(outputs: usize, value: impl Fn(usize) -> f32) -> Targets {
    let values = (0..ROWS * outputs).map(value).collect();
    Targets::Values(Matrix::from_rows(ROWS, outputs, values).expect("shape"))
}

#[test]
fn softmax_gradients_match_finite_differences() {
    for activation in ACTIVATIONS {
        Problem::new(activation, Loss::SoftmaxCrossEntropy, 2).check();
        Problem::new(activation, Loss::SoftmaxCrossEntropy, 4).check();
    }
}

#[test]
fn logistic_gradients_match_finite_differences() {
    for activation in ACTIVATIONS {
        Problem::new(activation, Loss::Logistic, 1).check();
        Problem::new(activation, Loss::Logistic, 3).check();
    }
}

#[test]
fn squared_error_gradients_match_finite_differences() {
    for activation in ACTIVATIONS {
        Problem::new(activation, Loss::MeanSquaredError, 1).check();
        Problem::new(activation, Loss::MeanSquaredError, 3).check();
    }
}
