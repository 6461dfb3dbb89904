//! Times each activation with its derivative, and the softmax loss, on 1024 rows of 512 outputs.
//!
//! `cargo run --release -p blindsmith-learn --example activation_cost`

use std::hint::black_box;
use std::time::Instant;

use blindsmith_learn::{Activation, Labels, Loss, Matrix, Objective, Targets};

const ROWS: usize = 1024;
const COLS: usize = 512;
const REPEATS: usize = 21;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let values: Vec<f32> = (0..ROWS * COLS).map(|i| (i % 1601) as f32 / 200.0 - 4.0).collect();
    let bias = vec![0.1; COLS];
    for activation in
        [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Sigmoid, Activation::Identity]
    {
        let mut h = Matrix::default();
        median(&format!("{activation:?}"), &values, |z| {
            let rows = 0..z.rows();
            activation.apply(black_box(z), &bias, &mut h, rows)
        });
    }
    let classes = (0..ROWS).map(|row| (row % COLS) as u32).collect();
    let labels = Labels::new(Targets::Classes(classes));
    let objective = Objective::new(Loss::SoftmaxCrossEntropy, COLS, &[])?;
    median("softmax loss", &values, |z| {
        black_box(objective.error(black_box(z), &labels));
    });
    Ok(())
}

fn median(name: &str, values: &[f32], mut run: impl FnMut(&mut Matrix)) {
    let mut z = Matrix::zeros(ROWS, COLS);
    let mut times = [0.0; REPEATS];
    for time in &mut times {
        z.as_mut_slice().copy_from_slice(values);
        let started = Instant::now();
        run(&mut z);
        *time = started.elapsed().as_secs_f64() * 1e3;
    }
    times.sort_by(f64::total_cmp);
    println!("{name:>14}: median {:.3} ms, least {:.3} ms", times[REPEATS / 2], times[0]);
}
