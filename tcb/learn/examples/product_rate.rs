//! The least time of each product of a layer in the clear: forward, weight gradient and input gradient.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p blindsmith-learn --example product_rate -- ROWS INPUTS OUTPUTS`

use std::time::Instant;

use blindsmith_learn::{Matrix, product};

const REPEATS: usize = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shape: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let &[rows, inputs, outputs] = shape.as_slice() else {
        return Err("give rows, inputs and outputs".into());
    };
    let filled = |rows, cols| {
        let values = (0..rows * cols).map(|i| (i % 1601) as f32 / 800.0 - 1.0).collect();
        Matrix::from_rows(rows, cols, values).ok_or("shape")
    };
    let (h, w, e) = (filled(rows, inputs)?, filled(inputs, outputs)?, filled(rows, outputs)?);
    let (mut z, mut g, mut d) =
        (Matrix::zeros(rows, outputs), Matrix::zeros(inputs, outputs), Matrix::zeros(rows, inputs));
    let terms = (rows * inputs * outputs) as f64;
    least("forward", terms, || product::multiply(&h, &w, 0..rows, &mut z));
    least("weight gradient", terms, || product::add_transposed_left(&h, &e, &mut g));
    least("input gradient", terms, || product::transposed_right(&e, &w, 0..rows, &mut d));
    Ok(())
}

fn least(name: &str, terms: f64, mut run: impl FnMut()) {
    let mut times = [0.0; REPEATS];
    for time in &mut times {
        let started = Instant::now();
        run();
        *time = started.elapsed().as_secs_f64();
    }
    times.sort_by(f64::total_cmp);
    let time = times[0];
    println!("{name:>16}: {:.2} ms, {:.1} G multiply-adds a second", time * 1e3, terms / time / 1e9);
}
