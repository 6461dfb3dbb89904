//! Whole trainings with the reference accelerator.

use std::convert::Infallible;
use std::ops::Range;

use blindsmith_learn::*;

use crate::gradients::numbers;
use crate::naive::Naive;

const BLOCK: u32 = 4;

/// Rows, their labels and a sampler of their blocks.
struct Task {
    rows: Matrix,
    labels: Vec<Labels>,
    sampler: Sampler,
}

impl Task {
    fn new(rows: Matrix, targets: Targets, recipe: &Recipe) -> Self {
        let blocks = Block::of_upload(0, rows.rows() as u32, BLOCK).collect();
        let sampler = Sampler::new(blocks, recipe.batch_rows, recipe.order_seed).expect("sampler");
        Task { rows, labels: vec![Labels::new(targets)], sampler }
    }

    fn load(&self) -> impl Fn(&mut Naive, &[Block]) -> Result<Labels, TrainError<Infallible>> + Copy {
        |_, blocks| Ok(gather_labels(blocks, BLOCK, &self.labels)?)
    }

    fn naive(&self) -> Naive {
        Naive::new(vec![self.rows.clone()], BLOCK)
    }

    fn train(&self, trainer: &mut Trainer, epochs: u32) -> Metrics {
        let mut naive = self.naive();
        trainer.begin_round(&self.sampler, epochs);
        for _ in 0..epochs {
            trainer.train_epoch(&mut naive, &self.sampler, self.load()).expect("epoch");
        }
        trainer.judge(&mut naive, &self.sampler, self.load()).expect("metrics").metrics()
    }
}

/// Exclusive or of the signs of two numbers, on 36 rows.
fn signs() -> (Matrix, Vec<u32>) {
    let values = numbers(72, 5);
    let classes = values.chunks(2).map(|x| u32::from((x[0] > 0.0) != (x[1] > 0.0))).collect();
    (Matrix::from_rows(36, 2, values.iter().map(|x| x / 8.0).collect()).expect("shape"), classes)
}

fn small(loss: Loss, outputs: usize) -> Recipe {
    let mut recipe = Recipe::new(&[2, 12, outputs], loss);
    recipe.batch_rows = 12;
    recipe
}

#[test]
fn every_rule_learns_exclusive_or() {
    let adam = Moments { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
    let rules = [
        (Rule::Sgd, 1.0),
        (Rule::Momentum { momentum: 0.9 }, 0.3),
        (Rule::Nesterov { momentum: 0.9 }, 0.3),
        (Rule::Adam(adam), 0.03),
        (Rule::AdamW(adam), 0.03),
    ];
    for (rule, rate) in rules {
        let mut recipe = small(Loss::SoftmaxCrossEntropy, 2);
        (recipe.rule, recipe.learning_rate, recipe.clip_norm) = (rule, rate, Some(1.0));
        let (rows, classes) = signs();
        let task = Task::new(rows, Targets::Classes(classes), &recipe);
        let mut trainer = Trainer::new(recipe).expect("recipe");
        let metrics = task.train(&mut trainer, 150);
        assert!(metrics.accuracy > Some(0.95) && metrics.loss < 0.15, "{rule:?}: {metrics:?}");
    }
}

#[test]
fn every_activation_learns_independent_labels() {
    let (rows, classes) = signs();
    let first = rows.iter_rows().map(|x| f32::from(x[0] > 0.0));
    let values = first.zip(&classes).flat_map(|(a, &b)| [a, b as f32]).collect();
    let targets = Targets::Values(Matrix::from_rows(36, 2, values).expect("shape"));
    for activation in [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Sigmoid] {
        let mut recipe = small(Loss::Logistic, 2);
        (recipe.activations, recipe.learning_rate) = (vec![activation], 1.0);
        let task = Task::new(rows.clone(), targets.clone(), &recipe);
        let metrics = task.train(&mut Trainer::new(recipe).expect("recipe"), 300);
        assert!(metrics.accuracy > Some(0.95), "{activation:?}: {metrics:?}");
    }
}

#[test]
fn least_squares_recovers_the_line() {
    let x = numbers(40, 9);
    let y = x.iter().map(|x| 3.0 * x - 1.0).collect();
    let mut recipe = Recipe::new(&[1, 1], Loss::MeanSquaredError);
    (recipe.weight_decay, recipe.input_rms, recipe.batch_rows) = (0.0, 1.0, 8);
    let rows = Matrix::from_rows(40, 1, x).expect("shape");
    let targets = Targets::Values(Matrix::from_rows(40, 1, y).expect("shape"));
    let task = Task::new(rows, targets, &recipe);
    let mut trainer = Trainer::new(recipe).expect("recipe");
    let metrics = task.train(&mut trainer, 60);
    let layer = &trainer.network().layers()[0];
    assert!((layer.weights.as_slice()[0] - 3.0).abs() < 1e-3 && (layer.bias[0] + 1.0).abs() < 1e-3);
    assert!(metrics.rmse < Some(1e-3));
}

#[test]
fn one_row_one_class_and_less_than_a_block_train() {
    let mut recipe = Recipe::new(&[2, 1], Loss::Logistic);
    recipe.batch_rows = 1;
    let rows = Matrix::from_rows(1, 2, vec![0.1, -0.1]).expect("shape");
    let task = Task::new(rows, Targets::Values(Matrix::from_rows(1, 1, vec![1.0]).expect("shape")), &recipe);
    let metrics = task.train(&mut Trainer::new(recipe).expect("recipe"), 30);
    assert_eq!((metrics.rows, metrics.accuracy, metrics.auc), (1, Some(1.0), None));
}

#[test]
fn a_round_follows_from_the_recipe_alone() {
    let (rows, classes) = signs();
    let result = |order_seed, start_seed| {
        let recipe = Recipe { order_seed, start_seed, ..small(Loss::SoftmaxCrossEntropy, 2) };
        let task = Task::new(rows.clone(), Targets::Classes(classes.clone()), &recipe);
        let mut trainer = Trainer::new(recipe).expect("recipe");
        task.train(&mut trainer, 3);
        trainer.state()
    };
    assert_eq!(result(1, 1), result(1, 1));
    assert_ne!(result(1, 1), result(2, 1));
    assert_ne!(result(1, 1), result(1, 2));
}

#[test]
fn what_is_in_excluded_rows_changes_nothing() {
    let (rows, classes) = signs();
    let result = |disturbance: f32, excluded_class: u32| {
        let recipe = small(Loss::SoftmaxCrossEntropy, 2);
        let (mut rows, mut classes) = (rows.clone(), classes.clone());
        rows.reshape(35, 2);
        classes.truncate(35);
        classes[17] = excluded_class;
        let mut task = Task::new(rows, Targets::Classes(classes), &recipe);
        let valid = (0..35).map(|r| r != 17).collect();
        task.labels[0] = task.labels[0].clone().with_valid(valid).expect("flags");
        let mut trainer = Trainer::new(recipe).expect("recipe");
        let mut naive = task.naive();
        naive.disturbance = disturbance;
        trainer.begin_round(&task.sampler, 3);
        (0..3).for_each(|_| {
            trainer.train_epoch(&mut naive, &task.sampler, task.load()).expect("epoch");
        });
        let metrics = trainer.judge(&mut naive, &task.sampler, task.load()).expect("metrics").metrics();
        assert_eq!(metrics.rows, 34);
        (trainer.state(), metrics)
    };
    let expected = result(0.0, 0);
    assert_eq!(result(1e6, 0), expected);
    assert_eq!(result(-3.0, 1_000_000), expected);
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let (rows, classes) = signs();
    let result = |micro_batch_rows| {
        let recipe = Recipe { micro_batch_rows, batch_rows: 36, ..small(Loss::SoftmaxCrossEntropy, 2) };
        let task = Task::new(rows.clone(), Targets::Classes(classes.clone()), &recipe);
        let mut trainer = Trainer::new(recipe).expect("recipe");
        let mut naive = task.naive();
        trainer.begin_round(&task.sampler, 1);
        trainer.train_epoch(&mut naive, &task.sampler, task.load()).expect("epoch");
        (trainer.state().parameters.concat(), naive.micro_batches)
    };
    let (whole, one) = result(None);
    assert_eq!(one, 1);
    for (rows, parts) in [(36, 1), (12, 3), (8, 5), (1, 9)] {
        let (weights, found) = result(Some(rows));
        assert_eq!(found, parts);
        assert!(whole.iter().zip(weights).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn a_restored_trainer_goes_on_where_it_was() {
    let (rows, classes) = signs();
    for rule in [Rule::Sgd, Rule::Nesterov { momentum: 0.9 }, Rule::AdamW(Moments::default())] {
        let recipe = Recipe { rule, ..small(Loss::SoftmaxCrossEntropy, 2) };
        let task = Task::new(rows.clone(), Targets::Classes(classes.clone()), &recipe);
        let mut naive = task.naive();
        let mut trainer = Trainer::new(recipe.clone()).expect("recipe");
        trainer.begin_round(&task.sampler, 4);
        let mut epoch =
            |t: &mut Trainer| t.train_epoch(&mut naive, &task.sampler, task.load()).expect("epoch");
        epoch(&mut trainer);
        let text = serde_json::to_string(&trainer.state()).expect("text");
        let state: TrainerState = serde_json::from_str(&text).expect("state");
        let mut other = Trainer::restore(recipe, state).expect("state fits");
        assert_eq!(epoch(&mut trainer), epoch(&mut other));
        assert_eq!(trainer.state(), other.state());
        assert_eq!((other.epochs(), other.steps()), (2, 6));
    }
}

#[test]
fn states_of_another_model_are_refused() {
    let recipe = small(Loss::SoftmaxCrossEntropy, 2);
    let state = Trainer::new(recipe.clone()).expect("recipe").state();
    let refused = |spoil: fn(&mut TrainerState)| {
        let mut state = state.clone();
        spoil(&mut state);
        match Trainer::restore(recipe.clone(), state) {
            Err(SetupError::State(error)) => error,
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    let kind = "parameters";
    assert_eq!(refused(|s| drop(s.parameters.pop())), StateError::Count { kind, found: 3, expected: 4 });
    let length = StateError::Length { kind, index: 0, found: 25, expected: 24 };
    assert_eq!(refused(|s| s.parameters[0].push(0.0)), length);
    assert_eq!(refused(|s| s.parameters[2][1] = f32::NAN), StateError::Value { kind, index: 2 });
    let count = StateError::Count { kind: "moments", found: 0, expected: 4 };
    assert_eq!(refused(|s| s.moments.clear()), count);
}

#[test]
fn networks_of_another_shape_do_not_continue_a_recipe() {
    let network = Network::initial(&[2, 12, 2], &[Activation::Gelu], 0.125, 3).expect("network");
    let recipe = small(Loss::SoftmaxCrossEntropy, 2);
    let continued = Trainer::continue_from(recipe.clone(), network.clone()).expect("same shape");
    assert_eq!(continued.network(), &network);
    for other in [
        Recipe { activations: vec![Activation::Relu], ..recipe.clone() },
        Recipe { input_rms: 1.0, ..recipe.clone() },
        small(Loss::SoftmaxCrossEntropy, 3),
    ] {
        let refused = Trainer::continue_from(other, network.clone()).map(|_| ());
        assert!(matches!(refused, Err(SetupError::Mismatch { .. })));
    }
}

#[test]
fn divergence_stops_with_an_error() {
    let mut recipe = small(Loss::MeanSquaredError, 1);
    (recipe.learning_rate, recipe.rule, recipe.clip_norm) = (1000.0, Rule::Sgd, None);
    let (rows, _) = signs();
    let task =
        Task::new(rows, Targets::Values(Matrix::from_rows(36, 1, numbers(36, 1)).expect("shape")), &recipe);
    let mut trainer = Trainer::new(recipe).expect("recipe");
    let mut naive = task.naive();
    let error = (0..100).find_map(|_| trainer.train_epoch(&mut naive, &task.sampler, task.load()).err());
    assert!(matches!(error, Some(TrainError::Diverged { step: 1.. })));
}

#[test]
fn labels_of_the_wrong_kind_or_number_stop_before_anything_is_multiplied() {
    let recipe = small(Loss::SoftmaxCrossEntropy, 2);
    let (rows, classes) = signs();
    let mut trainer = Trainer::new(recipe.clone()).expect("recipe");
    let before = trainer.state();
    let mut error = |targets: Targets, rows_short: usize| {
        let task = Task::new(rows.clone(), targets, &recipe);
        let load = |_: &mut Naive, blocks: &[Block]| {
            let labels = gather_labels(blocks, BLOCK, &task.labels)?;
            Ok(labels.slice(0..labels.rows() - rows_short).map_err(BatchError::from)?)
        };
        let error = trainer.train_epoch(&mut task.naive(), &task.sampler, load).expect_err("refused");
        assert_eq!(trainer.state(), before);
        error
    };
    let kind = error(Targets::Values(Matrix::zeros(36, 2)), 0);
    assert!(matches!(kind, TrainError::Objective(ObjectiveError::Kind { outputs: 2 })));
    let range = error(Targets::Classes(vec![2; 36]), 0);
    assert!(matches!(range, TrainError::Objective(ObjectiveError::Target { outputs: 2 })));
    let short = error(Targets::Classes(classes), 1);
    assert!(matches!(short, TrainError::Batch(BatchError::Rows { labels: 11, rows: 12 })));
}

/// Gives one row too few, or fails.
struct Faulty {
    naive: Naive,
    fails: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl Accelerator for Faulty {
    type Error = NoAnswer;

    fn begin(&mut self, pass: Pass) -> Result<(), NoAnswer> {
        self.naive.begin(pass).map_err(|e| match e {})
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), NoAnswer> {
        self.naive.load_weights(layer, weights).map_err(|e| match e {})
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), NoAnswer> {
        self.naive.forward(layer, left, rows, out).map_err(|e| match e {})?;
        out.reshape(out.rows() - 1, out.cols());
        if self.fails { Err(NoAnswer) } else { Ok(()) }
    }

    fn add_gradient(&mut self, _: usize, _: Left<'_>, _: &Matrix, _: Option<Bounds>) -> Result<(), NoAnswer> {
        unreachable!("forward stops first")
    }

    fn input_gradient(
        &mut self,
        _: usize,
        _: &Matrix,
        _: Range<usize>,
        _: &mut Matrix,
    ) -> Result<(), NoAnswer> {
        unreachable!("forward stops first")
    }

    fn take_gradient(&mut self, _: usize, _: &mut Matrix) -> Result<(), NoAnswer> {
        unreachable!("forward stops first")
    }

    fn gradient_noise(&self, _: usize) -> f32 {
        0.0
    }
}

#[test]
fn failures_of_the_accelerator_are_reported_and_change_nothing() {
    let recipe = small(Loss::SoftmaxCrossEntropy, 2);
    let (rows, classes) = signs();
    let task = Task::new(rows, Targets::Classes(classes), &recipe);
    let blocks = task.sampler.epoch(0).next().expect("a batch");
    let batch = Batch::gather(&blocks, BLOCK, &task.labels).expect("batch");
    let mut trainer = Trainer::new(recipe).expect("recipe");
    let before = trainer.state();
    let mut error =
        |fails| trainer.train_step(&mut Faulty { naive: task.naive(), fails }, &batch).expect_err("fails");
    assert!(matches!(error(true), TrainError::Accelerator(NoAnswer)));
    let shape = error(false);
    assert!(matches!(
        shape,
        TrainError::Shape { call: "forward", layer: 0, found: (11, 12), expected: (12, 12) }
    ));
    assert_eq!(trainer.state(), before);
}

#[test]
fn predictions_agree_with_the_metrics() {
    let recipe = small(Loss::SoftmaxCrossEntropy, 2);
    let (rows, classes) = signs();
    let task = Task::new(rows, Targets::Classes(classes.clone()), &recipe);
    let mut trainer = Trainer::new(recipe).expect("recipe");
    let metrics = task.train(&mut trainer, 20);
    let batch = Batch::unlabelled(Block::of_upload(0, 36, BLOCK).collect());
    let found =
        predict(trainer.network(), trainer.objective(), &mut task.naive(), &batch).expect("predictions");
    assert_eq!(found.shape(), (36, 2));
    let hits =
        found.iter_rows().zip(&classes).filter(|(p, c)| usize::from(p[1] > p[0]) == **c as usize).count();
    assert_eq!(metrics.accuracy, Some(hits as f64 / 36.0));
    assert!(found.iter_rows().all(|p| (p[0] + p[1] - 1.0).abs() < 1e-6));
}

/// Uniform features, their classes or values, and a sampler that deals all rows at once.
fn large(loss: Loss, hidden: &[usize], outputs: usize) -> (Recipe, Task) {
    const ROWS: usize = 640;
    let widths: Vec<usize> = [&[6], hidden, &[outputs]].concat();
    let mut recipe = Recipe::new(&widths, loss);
    recipe.batch_rows = ROWS;
    let rows = Matrix::from_rows(ROWS, 6, numbers(ROWS * 6, 3)).expect("rows");
    let targets = match loss {
        Loss::SoftmaxCrossEntropy => {
            Targets::Classes(rows.iter_rows().map(|r| u32::from(r[0] * r[1] > 0.0)).collect())
        }
        _ => {
            let values = rows.iter_rows().flat_map(|r| vec![f32::from(r[0] * r[1] > 0.0); outputs]);
            Targets::Values(Matrix::from_rows(ROWS, outputs, values.collect()).expect("values"))
        }
    };
    let task = Task::new(rows, targets, &recipe);
    (recipe, task)
}

fn one_step(recipe: &Recipe, task: &Task) -> (TrainerState, StepReport, Naive) {
    let blocks = task.sampler.epoch(0).next().expect("a batch");
    let batch = Batch::gather(&blocks, BLOCK, &task.labels).expect("batch");
    assert!(batch.rows() >= 600);
    let mut naive = task.naive();
    let mut trainer = Trainer::new(recipe.clone()).expect("recipe");
    let report = trainer.train_step(&mut naive, &batch).expect("step");
    (trainer.state(), report, naive)
}

fn close(a: &StepReport, b: &StepReport) {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * a.abs().max(1.0);
    assert!(near(a.loss, b.loss) && near(a.gradient_norm.into(), b.gradient_norm.into()), "{a:?} {b:?}");
}

#[test]
fn parts_that_are_multiplied_side_by_side_give_the_step_of_the_whole() {
    let (recipe, task) = large(Loss::SoftmaxCrossEntropy, &[7, 5], 2);
    let blocks = task.sampler.epoch(0).next().expect("a batch");
    let batch = Batch::gather(&blocks, BLOCK, &task.labels).expect("batch");
    let parts = batch.parts();
    assert_eq!((parts.len(), parts[0].end, parts[1].end), (2, parts[1].start, batch.rows()));
    let blocks: Vec<Block> = parts.iter().flat_map(|rows| batch.blocks_of(rows.clone())).collect();
    assert_eq!(blocks, batch.blocks());

    let (_, whole, _) = one_step(&recipe, &task);
    // Micro-batches this small are in one part each.
    let (_, summed, naive) = one_step(&Recipe { micro_batch_rows: Some(100), ..recipe }, &task);
    assert!(naive.micro_batches > 5);
    close(&whole, &summed);
}

#[test]
fn bounds_of_micro_batches_hold_and_are_given_where_the_loss_has_one() {
    for (loss, hidden, expected) in [
        (Loss::SoftmaxCrossEntropy, [7].as_slice(), 2),
        (Loss::Logistic, &[7], 2),
        (Loss::MeanSquaredError, &[7], 0),
        (Loss::SoftmaxCrossEntropy, &[], 1),
        // Three layers: the first one's error has no useful bound, the last one's left operand neither.
        (Loss::SoftmaxCrossEntropy, &[7, 5], 1),
    ] {
        let (mut recipe, task) = large(loss, hidden, 2);
        let (_, _, naive) = one_step(&recipe, &task);
        assert_eq!(naive.bounded, 0, "one micro-batch needs none");
        recipe.micro_batch_rows = Some(200);
        recipe.input_rms = 1.0;
        let (_, _, naive) = one_step(&recipe, &task);
        assert_eq!(naive.bounded, expected * naive.micro_batches, "{loss:?} {hidden:?}");
    }
}

#[test]
fn without_clipping_weights_are_loaded_ahead_and_the_steps_stay_the_same() {
    let mut recipe = small(Loss::SoftmaxCrossEntropy, 2);
    recipe.clip_norm = None;
    let (rows, classes) = signs();
    let train = |recipe: &Recipe| {
        let task = Task::new(rows.clone(), Targets::Classes(classes.clone()), recipe);
        let mut trainer = Trainer::new(recipe.clone()).expect("recipe");
        let mut naive = task.naive();
        trainer.begin_round(&task.sampler, 2);
        for _ in 0..2 {
            trainer.train_epoch(&mut naive, &task.sampler, task.load()).expect("epoch");
        }
        (trainer.state(), naive.used_ahead, trainer.steps() as usize)
    };
    let layers = recipe.widths.len() - 1;
    let (ahead, used, steps) = train(&recipe);
    assert_eq!(used, (steps - 1) * (layers - 1));
    // A limit that is never reached gives the same steps, one after the other.
    recipe.clip_norm = Some(1e6);
    let (clipped, used, _) = train(&recipe);
    assert_eq!(used, 0);
    assert_eq!(ahead, clipped);
}
