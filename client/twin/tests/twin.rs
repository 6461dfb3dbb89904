//! The twin against the reference accelerator, and its refusals.

// The reference has parts that only the tests beside it use.
#[allow(dead_code)]
#[path = "../../../tcb/learn/tests/learn/naive.rs"]
mod naive;

use blindsmith_learn::*;
use blindsmith_twin::{Run, RunError, Twin, TwinError};
use naive::Naive;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const BLOCK: u32 = 8;

fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut next = |_| (generator.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0;
    Matrix::from_rows(rows, cols, (0..rows * cols).map(&mut next).collect()).expect("shape")
}

/// Three classes by the first two inputs.
fn classes(rows: &Matrix) -> Targets {
    Targets::Classes(rows.iter_rows().map(|x| u32::from(x[0] > 0.0) + u32::from(x[1] > 0.0)).collect())
}

/// Two uploads of 61 and 20 rows.
fn uploads(inputs: usize) -> [Matrix; 2] {
    [random(61, inputs, 1), random(20, inputs, 2)]
}

fn recipe(inputs: usize) -> Recipe {
    let mut recipe = Recipe::new(&[inputs, 7, 5, 3], Loss::SoftmaxCrossEntropy);
    (recipe.batch_rows, recipe.epochs) = (24, 3);
    recipe
}

fn blocks() -> Vec<Block> {
    Block::of_upload(0, 61, BLOCK).chain(Block::of_upload(1, 20, BLOCK)).collect()
}

/// What the reference makes of the recipe.
fn reference(recipe: &Recipe) -> (TrainerState, Metrics) {
    let uploads = uploads(recipe.widths[0]);
    let labels = uploads.each_ref().map(|rows| Labels::new(classes(rows)));
    let sampler = Sampler::new(blocks(), recipe.batch_rows, recipe.order_seed).expect("sampler");
    let mut naive = Naive::new(uploads.to_vec(), BLOCK);
    let mut trainer = Trainer::new(recipe.clone()).expect("recipe");
    let load = |_: &mut Naive, blocks: &[Block]| Ok(gather_labels(blocks, BLOCK, &labels)?);
    trainer.begin_round(&sampler, recipe.epochs);
    for _ in 0..recipe.epochs {
        trainer.train_epoch(&mut naive, &sampler, load).expect("epoch");
    }
    let metrics = trainer.judge(&mut naive, &sampler, load).expect("metrics").metrics();
    (trainer.state(), metrics)
}

fn twin(recipe: &Recipe, threads: usize) -> (TrainerState, Metrics) {
    let mut run = Run::new(recipe.clone(), BLOCK, threads).expect("recipe");
    for rows in uploads(recipe.widths[0]) {
        let labels = Labels::new(classes(&rows));
        run.push(rows, labels).expect("rows");
    }
    assert_eq!([run.blocks(0), run.blocks(1)].concat(), blocks());
    assert_eq!(run.blocks(2), []);
    let mut epochs = Vec::new();
    run.train_round(blocks(), |report, _| epochs.push(report.epoch)).expect("round");
    assert_eq!(epochs, [0, 1, 2]);
    let metrics = run.evaluate(blocks()).expect("metrics");
    (run.trainer().state(), metrics)
}

fn distance(a: &TrainerState, b: &TrainerState) -> f32 {
    let (a, b) = (a.parameters.concat(), b.parameters.concat());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_twin_takes_the_steps_of_the_reference() {
    for micro_batch_rows in [None, Some(16)] {
        let recipe = Recipe { micro_batch_rows, ..recipe(11) };
        let expected = reference(&recipe);
        for threads in [1, 2] {
            let found = twin(&recipe, threads);
            assert!(
                distance(&found.0, &expected.0) < 1e-5,
                "{} in {threads} threads",
                distance(&found.0, &expected.0)
            );
            assert_eq!(found.1.rows, 81);
            assert!((found.1.loss - expected.1.loss).abs() < 1e-5);
        }
    }
}

#[test]
fn products_of_many_shapes_match_the_reference() {
    for (rows, inner, cols) in [(8, 1, 1), (1, 5, 3), (24, 64, 10), (40, 33, 17), (16, 100, 1)] {
        let (left, right) = (random(rows, inner, 3), random(inner, cols, 4));
        let mut twin = Twin::new(1, 1);
        twin.begin(Pass::Training { micro_batches: 1, rows }).expect("pass");
        twin.load_weights(0, &random(1, 1, 0)).expect("weights");
        twin.load_weights(1, &right).expect("weights");
        let close = |found: &Matrix, expected: Matrix| {
            assert_eq!(found.shape(), expected.shape());
            assert!(found.as_slice().iter().zip(expected.as_slice()).all(|(a, b)| (a - b).abs() < 1e-4));
        };
        let mut out = Matrix::default();
        out.reshape(rows, cols);
        twin.forward(1, Left::Hidden(&left), 0..left.rows(), &mut out).expect("product");
        close(&out, naive::multiply(&left, &right));
        let error = random(rows, cols, 5);
        for _ in 0..2 {
            twin.add_gradient(1, Left::Hidden(&left), &error, None).expect("product");
        }
        twin.take_gradient(1, &mut out).expect("gradient");
        let mut twice = naive::multiply(&naive::transpose(&left), &error);
        twice.as_mut_slice().iter_mut().for_each(|v| *v *= 2.0);
        close(&out, twice);
        out.reshape(rows, inner);
        twin.input_gradient(1, &error, 0..error.rows(), &mut out).expect("product");
        close(&out, naive::multiply(&error, &naive::transpose(&right)));
    }
}

#[test]
fn replayed_noise_reaches_adam_step_by_step() {
    let mut recipe = recipe(11);
    recipe.rule = Rule::Adam(Moments::default());
    let mut run = Run::new(recipe, BLOCK, 1).expect("recipe");
    for rows in uploads(11) {
        let labels = Labels::new(classes(&rows));
        run.push(rows, labels).expect("rows");
    }
    // Three epochs of three steps; the record ends two steps early.
    let record: Vec<Vec<f32>> = (0..7).map(|s| (0..3).map(|l| (10 * s + l) as f32).collect()).collect();
    run.twin_mut().replay_noise(record.clone());
    let mut found = Vec::new();
    run.train_round(blocks(), |report, _| found.extend(report.gradient_noise.clone())).expect("round");
    assert_eq!(found[..7], record);
    assert_eq!(found[7..], [vec![0.0; 3], vec![0.0; 3]]);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut run = Run::new(recipe(11), BLOCK, 1).expect("recipe");
    let labels = |n| Labels::new(Targets::Classes(vec![0; n]));
    assert_eq!(run.push(random(9, 11, 0), labels(9)).expect("rows"), 0);
    let other = run.push(random(9, 10, 0), labels(9));
    assert!(matches!(other, Err(RunError::Rows(TwinError::Inputs { found: 10, expected: 11 }))));
    let short = run.push(random(9, 11, 0), labels(8));
    assert!(matches!(short, Err(RunError::Labels(BatchError::Rows { labels: 8, rows: 9 }))));
    assert!(matches!(run.train_round(Vec::new(), |_, _| ()), Err(RunError::Sampler(SamplerError::Empty))));
    let beyond = Block { upload: 0, index: 2, rows: 8 };
    assert!(run.train_round(vec![beyond], |_, _| ()).is_err());
}

#[test]
fn products_without_their_operands_are_refused() {
    let mut twin = Twin::new(BLOCK, 1);
    twin.push(random(16, 4, 0)).expect("rows");
    let mut out = Matrix::zeros(8, 2);
    let block = |index, rows| Block { upload: 0, index, rows };
    let batch = |block| Batch::unlabelled(vec![block]);
    let good = batch(block(0, BLOCK));
    let early = TwinError::Operands { product: "forward", layer: 0 };
    assert_eq!(twin.forward(0, Left::Rows(&good), 0..8, &mut out), Err(early));
    twin.load_weights(0, &random(5, 2, 0)).expect("weights");
    assert_eq!(
        twin.forward(0, Left::Rows(&good), 0..8, &mut out),
        Err(early),
        "weights for 5 inputs, rows of 4"
    );
    for bad in [block(1, 9), block(2, 1), block(0, 9), Block { upload: 1, ..block(0, BLOCK) }] {
        let found = twin.forward(0, Left::Rows(&batch(bad)), 0..bad.rows as usize, &mut out);
        assert_eq!(found, Err(TwinError::Block(bad)));
    }
    let gradient = |layer| TwinError::Operands { product: "weight gradient", layer };
    assert_eq!(twin.take_gradient(0, &mut out), Err(gradient(0)));
    assert_eq!(twin.add_gradient(3, Left::Rows(&good), &random(8, 2, 0), None), Err(gradient(3)));
    assert_eq!(twin.add_gradient(0, Left::Rows(&good), &random(7, 2, 0), None), Err(gradient(0)));
    let input = TwinError::Operands { product: "input gradient", layer: 0 };
    assert_eq!(twin.input_gradient(0, &random(8, 3, 0), 0..8, &mut out), Err(input));
}
