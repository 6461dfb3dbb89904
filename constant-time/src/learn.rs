//! Training and judging on secret products and labels.

use std::convert::Infallible;
use std::ops::Range;

use blindsmith_learn::{
    Accelerator, Activation, Batch, Block, Bounds, Labels, Left, Loss, Matrix, Moments, Objective, Pass,
    Recipe, Rule, Sampler, Scoreboard, Targets, Trainer, largest_column_sum, largest_row_sum, predict,
};
use blindsmith_learn::{elementary as e, product};

use crate::Case;
use crate::valgrind::expect_secret;
use crate::values::{reals, secret, secret_matrix, words};

pub const CASES: &[Case] = &[
    ("learn: elementary functions", elementary),
    ("learn: products of matrices", products),
    ("learn: activations", activations),
    ("learn: losses, errors, predictions", losses),
    ("learn: sums for metrics", metrics),
    ("learn: steps of every optimiser", optimisers),
    ("learn: steps with clipping", clipping),
    ("learn: steps in micro-batches of every loss and activation", micro_batches),
    ("learn: predictions of a network", predictions),
];

const ACTIVATIONS: [Activation; 5] =
    [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Sigmoid, Activation::Identity];
const LOSSES: [Loss; 3] = [Loss::SoftmaxCrossEntropy, Loss::Logistic, Loss::MeanSquaredError];
const ROWS: usize = 32;
const OUTPUTS: usize = 11;

fn elementary() {
    let xs = secret(reals(1, 64));
    let functions: [fn(f32) -> f32; 16] = [
        e::flush,
        e::flush_square,
        e::reciprocal,
        e::reciprocal_sqrt,
        e::sqrt,
        e::exp,
        e::ln,
        e::tanh,
        |x| e::normal_tail(x).0,
        |x| e::sigmoid(x).0,
        |x| e::sigmoid(x).1,
        |x| e::gelu(x).0,
        |x| e::gelu(x).1,
        |x| e::at_least(x, 0.5) + e::at_most(x, 0.5),
        |x| e::equal(x, 1.0),
        |x| e::select(e::mask(x > 0.5), x, e::keep(e::mask(x < 0.1), x)),
    ];
    for f in functions {
        // In vectors, and alone.
        let ys: Vec<f32> = xs.iter().map(|&x| f(x)).collect();
        expect_secret(&ys[..]);
        expect_secret(&std::hint::black_box(f)(xs[7]));
    }
}

/// Shapes with whole tiles, panels and blocks, and with the rests of them.
fn products() {
    for (rows, inner, columns) in [(1, 1, 1), (9, 100, 33), (64, 40, 16)] {
        let (left, right) = (secret_matrix(1, rows, inner), secret_matrix(2, inner, columns));
        let mut out = Matrix::zeros(rows, columns);
        product::multiply(&left, &right, 0..rows, &mut out);
        expect_secret(out.as_slice());
        let turned = secret_matrix(3, columns, inner);
        let mut out = Matrix::zeros(rows, columns);
        product::transposed_right(&left, &turned, 0..rows, &mut out);
        expect_secret(out.as_slice());
        let turned = secret_matrix(4, inner, rows);
        let mut out = Matrix::zeros(rows, columns);
        product::add_transposed_left(&turned, &right, &mut out);
        expect_secret(out.as_slice());
        expect_secret(&largest_row_sum(left.as_slice(), inner));
        expect_secret(&largest_column_sum(left.as_slice(), inner));
    }
}

fn activations() {
    for activation in ACTIVATIONS {
        let (mut z, mut h) = (secret_matrix(1, ROWS, OUTPUTS), Matrix::default());
        activation.apply(&mut z, &secret(reals(2, OUTPUTS)), &mut h, 0..ROWS);
        expect_secret(h.as_slice());
        if activation != Activation::Identity {
            expect_secret(z.as_slice());
        }
    }
}

/// Labels of which targets and validity are secret.
fn labels(loss: Loss, rows: usize, outputs: usize) -> Labels {
    let words = words(3, rows * outputs);
    let targets = match loss {
        Loss::SoftmaxCrossEntropy => {
            Targets::Classes(secret(words[..rows].iter().map(|w| (w % outputs as u64) as u32).collect()))
        }
        _ => {
            let values = secret(words.iter().map(|w| (w & 1) as f32).collect());
            Targets::Values(Matrix::from_rows(rows, outputs, values).expect("a value each"))
        }
    };
    let labels = Labels::new(targets).with_valid(secret((0..rows).map(|r| r % 5 != 4).collect()));
    labels.expect("a flag each")
}

fn objective(loss: Loss, outputs: usize) -> Objective {
    let weights = secret(vec![2.0; outputs]);
    let weights = if loss == Loss::MeanSquaredError { &[] } else { &weights[..] };
    Objective::new(loss, outputs, weights).expect("an objective")
}

fn losses() {
    for (loss, outputs) in
        LOSSES.into_iter().flat_map(|loss| [1, 2, 8, OUTPUTS].map(|outputs| (loss, outputs)))
    {
        if (loss, outputs) == (Loss::SoftmaxCrossEntropy, 1) {
            continue;
        }
        let (labels, objective) = (labels(loss, ROWS, outputs), objective(loss, outputs));
        objective.check(&labels).expect("labels in range");
        let mut z = secret_matrix(4, ROWS, outputs);
        expect_secret(&objective.error(&mut z, &labels));
        expect_secret(z.as_slice());
        if let Some(bounds) = objective.error_bounds() {
            expect_secret(&bounds.0);
        }
        expect_secret(&objective.mean_factor(labels.valid_rows()).0);
        let mut z = secret_matrix(4, ROWS, outputs);
        objective.predictions(&mut z);
        expect_secret(z.as_slice());
    }
}

fn metrics() {
    for (loss, outputs) in LOSSES.into_iter().flat_map(|loss| [(loss, 2), (loss, OUTPUTS)]) {
        let mut sums = Scoreboard::new(objective(loss, outputs));
        for seed in 0..2 {
            let mut z = secret_matrix(seed, ROWS, outputs);
            sums.add(&mut z, &labels(loss, ROWS, outputs));
            expect_secret(z.as_slice());
        }
        expect_secret(&sums);
    }
}

/// Gives secret products of the right shape.
#[derive(Default)]
struct Products {
    weights: Vec<(usize, usize)>,
}

impl Products {
    fn fill(&self, seed: usize, out: &mut Matrix, rows: Range<usize>) {
        let cols = out.cols();
        out.values_mut(rows.clone()).copy_from_slice(secret_matrix(seed as u64, rows.len(), cols).as_slice());
    }
}

impl Accelerator for Products {
    type Error = Infallible;

    fn begin(&mut self, _: Pass) -> Result<(), Infallible> {
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), Infallible> {
        self.weights.resize(self.weights.len().max(layer + 1), (0, 0));
        self.weights[layer] = weights.shape();
        Ok(())
    }

    fn forward(
        &mut self,
        l: usize,
        _: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        self.fill(l + 10, out, rows);
        Ok(())
    }

    fn add_gradient(
        &mut self,
        _: usize,
        _: Left<'_>,
        error: &Matrix,
        _: Option<Bounds>,
    ) -> Result<(), Infallible> {
        expect_secret(error.as_slice());
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        _: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        self.fill(layer + 20, out, rows);
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), Infallible> {
        let (rows, cols) = self.weights[layer];
        out.reshape(rows, cols);
        self.fill(layer + 30, out, 0..rows);
        Ok(())
    }

    fn gradient_noise(&self, _: usize) -> f32 {
        1e-6
    }
}

const BLOCK_ROWS: u32 = 8;

fn blocks() -> Vec<Block> {
    Block::of_upload(0, ROWS as u32, BLOCK_ROWS).collect()
}

/// Two steps: weights are secret after the first.
fn train(recipe: Recipe) {
    let (loss, outputs) = (recipe.loss, recipe.outputs());
    let sampler = Sampler::new(blocks(), ROWS, 0).expect("blocks");
    let mut trainer = Trainer::new(recipe).expect("a recipe");
    trainer.begin_round(&sampler, 4);
    let mut products = Products::default();
    for _ in 0..2 {
        let batch = Batch::new(blocks(), labels(loss, ROWS, outputs)).expect("labels of the rows");
        let report = trainer.train_step(&mut products, &batch).expect("a step");
        expect_secret(&report.loss);
        expect_secret(&report.gradient_norm);
        for layer in trainer.network().layers() {
            expect_secret(layer.weights.as_slice());
            expect_secret(&layer.bias[..]);
        }
    }
}

fn recipe(rule: Rule) -> Recipe {
    let recipe = Recipe::new(&[19, 9, OUTPUTS], Loss::SoftmaxCrossEntropy);
    Recipe { rule, learning_rate: 0.01, clip_norm: None, batch_rows: ROWS, ..recipe }
}

fn optimisers() {
    let moments = Moments::default();
    let momentum = 0.9;
    for rule in [
        Rule::Sgd,
        Rule::Momentum { momentum },
        Rule::Nesterov { momentum },
        Rule::Adam(moments),
        Rule::AdamW(moments),
    ] {
        train(recipe(rule));
    }
}

fn clipping() {
    for limit in [1e-3, 1e3] {
        train(Recipe { clip_norm: Some(limit), ..recipe(Rule::Sgd) });
    }
}

fn micro_batches() {
    for loss in LOSSES {
        for activation in ACTIVATIONS {
            let activations = vec![activation];
            train(Recipe { loss, activations, micro_batch_rows: Some(ROWS / 2), ..recipe(Rule::Sgd) });
        }
    }
}

fn predictions() {
    let trainer = Trainer::new(recipe(Rule::Sgd)).expect("a recipe");
    let batch = Batch::unlabelled(blocks());
    let found = predict(trainer.network(), trainer.objective(), &mut Products::default(), &batch);
    expect_secret(found.expect("predictions").as_slice());
}
