//! Trains recipes in the clear on digits or MNIST and prints what became of them.
//!
//! `cargo run --release -p blindsmith-twin --example recipes -- digits FILE.csv.gz [key=value ...]`
//! `cargo run --release -p blindsmith-twin --example recipes -- mnist DIRECTORY [key=value ...]`
//!
//! Keys of the recipe: epochs, batch, micro, rate, decay, warm, clip, end (of the cosine), constant, rms, rule
//! (sgd, momentum, nesterov, adam, adamw), hidden (widths, or none), activation. Of the trial: seeds, block,
//! threads, verbose, and noise: each seed is then trained twice, with noise of that size, relative
//! to their rms, in all products, and without, and the weights are compared.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use blindsmith_learn::{
    Accelerator, Activation, Block, Bounds, Labels, Left, Loss, Matrix, Moments, Pass, Recipe, Rule, Sampler,
    Schedule, Targets, Trainer, gather_labels,
};
use blindsmith_twin::{Twin, TwinError};
use flate2::read::GzDecoder;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

struct Rows {
    inputs: usize,
    values: Vec<f32>,
    classes: Vec<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("which data: digits or mnist")?;
    let path = arguments.next().ok_or("where is it")?;
    let settings: HashMap<String, String> = arguments
        .map(|a| a.split_once('=').map(|(k, v)| (k.into(), v.into())).ok_or(format!("{a}: not key=value")))
        .collect::<Result<_, _>>()?;
    let (mut train, mut test) = match name.as_str() {
        "digits" => digits(Path::new(&path))?,
        _ => (mnist(Path::new(&path), "train")?, mnist(Path::new(&path), "t10k")?),
    };
    standardise(&mut train, &mut test);
    compare(&train, &test, &settings)
}

fn compare(train: &Rows, test: &Rows, settings: &HashMap<String, String>) -> Result<(), Box<dyn Error>> {
    let number = |key: &str, default: f64| settings.get(key).map_or(Ok(default), |v| v.parse::<f64>());
    let (seeds, noise) = (number("seeds", 5.0)? as u64, number("noise", 0.0)? as f32);
    let block_rows = number("block", 16.0)? as u32;
    let (mut worst, mut sum, mut seconds, mut difference) = (1.0_f64, 0.0, 0.0, 0.0_f32);
    for seed in 0..seeds {
        let mut recipe = recipe(train.inputs, settings)?;
        (recipe.start_seed, recipe.order_seed) = (seed, seed);
        let mut results = Vec::new();
        let mut trace = Vec::new();
        for noise in if noise > 0.0 { vec![noise, 0.0] } else { vec![0.0] } {
            let mut twin = Twin::new(block_rows, number("threads", 2.0)? as usize);
            twin.replay_noise(std::mem::take(&mut trace));
            let mut data =
                Data { accelerator: Noisy::new(twin, noise, seed), labels: Vec::new(), block_rows };
            data.push(train)?;
            data.push(test)?;
            let (trainer, accuracy, time) =
                data.train(&recipe, settings.contains_key("verbose"), &mut trace)?;
            results.push((trainer, accuracy));
            seconds += time;
        }
        let accuracy = results[0].1;
        (worst, sum) = (worst.min(accuracy), sum + accuracy);
        difference = difference.max(distance(&results[0].0, &results[results.len() - 1].0));
    }
    let count = seeds as f64;
    println!(
        "mean {:.4} worst {worst:.4} of {seeds}; {:.2} s each; noise {noise:e} moves a weight by at most {difference:.1e}",
        sum / count,
        seconds / count
    );
    Ok(())
}

/// The largest difference between two trainers' weights.
fn distance(a: &Trainer, b: &Trainer) -> f32 {
    let of = |t: &Trainer| t.state().parameters.concat();
    of(a).iter().zip(of(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

struct Data {
    accelerator: Noisy,
    labels: Vec<Labels>,
    block_rows: u32,
}

impl Data {
    fn push(&mut self, rows: &Rows) -> Result<(), Box<dyn Error>> {
        let matrix = Matrix::from_rows(rows.classes.len(), rows.inputs, rows.values.clone());
        self.accelerator.twin.push(matrix.ok_or("shape")?)?;
        self.labels.push(Labels::new(Targets::Classes(rows.classes.clone())));
        Ok(())
    }

    fn sampler(&self, upload: u32, recipe: &Recipe) -> Result<Sampler, Box<dyn Error>> {
        let blocks = self.accelerator.twin.blocks(upload).collect();
        Ok(Sampler::new(blocks, recipe.batch_rows, recipe.order_seed)?)
    }

    /// The trained trainer, its accuracy on the second upload, and the seconds that training took.
    fn train(
        mut self,
        recipe: &Recipe,
        verbose: bool,
        trace: &mut Vec<Vec<f32>>,
    ) -> Result<(Trainer, f64, f64), Box<dyn Error>> {
        let (training, held_out) = (self.sampler(0, recipe)?, self.sampler(1, recipe)?);
        let mut trainer = Trainer::new(recipe.clone())?;
        let (labels, block_rows) = (self.labels, self.block_rows);
        let load = |_: &mut Noisy, blocks: &[Block]| Ok(gather_labels(blocks, block_rows, &labels)?);
        trainer.begin_round(&training, recipe.epochs);
        let mut seconds = 0.0;
        for _ in 0..recipe.epochs {
            let started = Instant::now();
            let report = trainer.train_epoch(&mut self.accelerator, &training, load)?;
            seconds += started.elapsed().as_secs_f64();
            trace.extend(report.gradient_noise);
            if verbose {
                let metrics = trainer.judge(&mut self.accelerator, &held_out, load)?.metrics();
                println!("  epoch {}: loss {:.4}; {metrics:?}", report.epoch, report.loss);
            }
        }
        let metrics = trainer.judge(&mut self.accelerator, &held_out, load)?.metrics();
        Ok((trainer, metrics.accuracy.unwrap_or(0.0), seconds))
    }
}

/// A twin whose products carry noise, as decryption leaves it: of the given size relative to their rms.
struct Noisy {
    twin: Twin,
    noise: f32,
    random: ChaCha8Rng,
    of_gradients: Vec<f32>,
}

impl Noisy {
    fn new(twin: Twin, noise: f32, seed: u64) -> Self {
        Noisy { twin, noise, random: ChaCha8Rng::seed_from_u64(seed), of_gradients: Vec::new() }
    }

    /// Returns the standard deviation of what it adds.
    fn disturb(&mut self, values: &mut [f32]) -> f32 {
        if self.noise == 0.0 {
            return 0.0;
        }
        let rms = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
        for v in values {
            // The sum of four uniform numbers is close to normal.
            let word = self.random.next_u64();
            let sum: f32 = (0..4).map(|i| ((word >> (16 * i)) & 0xffff) as f32 / 65_536.0 - 0.5).sum();
            *v += self.noise * rms * sum * 3.0_f32.sqrt();
        }
        self.noise * rms
    }
}

impl Accelerator for Noisy {
    type Error = TwinError;

    fn begin(&mut self, pass: Pass) -> Result<(), TwinError> {
        self.twin.begin(pass)
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), TwinError> {
        self.twin.load_weights(layer, weights)
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), TwinError> {
        self.twin.forward(layer, left, rows.clone(), out)?;
        self.disturb(out.values_mut(rows));
        Ok(())
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), TwinError> {
        self.twin.add_gradient(layer, left, error, bounds)
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), TwinError> {
        self.twin.input_gradient(layer, error, rows.clone(), out)?;
        self.disturb(out.values_mut(rows));
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), TwinError> {
        self.twin.take_gradient(layer, out)?;
        let deviation = self.disturb(out.as_mut_slice());
        self.of_gradients.resize(self.of_gradients.len().max(layer + 1), 0.0);
        self.of_gradients[layer] = deviation;
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        if self.noise == 0.0 { self.twin.gradient_noise(layer) } else { self.of_gradients[layer] }
    }
}

fn recipe(inputs: usize, settings: &HashMap<String, String>) -> Result<Recipe, Box<dyn Error>> {
    let text = |key: &str, default: &'static str| settings.get(key).cloned().unwrap_or(default.into());
    let hidden = text("hidden", if inputs == 64 { "32" } else { "128" });
    let mut widths = vec![inputs];
    for width in hidden.split(',').filter(|w| *w != "none") {
        widths.push(width.parse()?);
    }
    widths.push(10);
    let mut recipe = Recipe::new(&widths, Loss::SoftmaxCrossEntropy);
    for (key, value) in settings {
        let value = value.as_str();
        match key.as_str() {
            "epochs" => recipe.epochs = value.parse()?,
            "batch" => recipe.batch_rows = value.parse()?,
            "micro" => recipe.micro_batch_rows = Some(value.parse()?),
            "rate" => recipe.learning_rate = value.parse()?,
            "decay" => recipe.weight_decay = value.parse()?,
            "warm" => recipe.warm_up = value.parse()?,
            "clip" => recipe.clip_norm = Some(value.parse()?),
            "end" => recipe.schedule = Schedule::Cosine { end: value.parse()? },
            "rms" => recipe.input_rms = value.parse()?,
            "constant" => recipe.schedule = Schedule::Constant,
            "activation" => {
                let activation = match value {
                    "relu" => Activation::Relu,
                    "tanh" => Activation::Tanh,
                    "sigmoid" => Activation::Sigmoid,
                    "identity" => Activation::Identity,
                    _ => Activation::Gelu,
                };
                recipe.activations.fill(activation);
            }
            "rule" => {
                recipe.rule = match value {
                    "sgd" => Rule::Sgd,
                    "momentum" => Rule::Momentum { momentum: 0.9 },
                    "adam" => Rule::Adam(Moments::default()),
                    "adamw" => Rule::AdamW(Moments::default()),
                    _ => recipe.rule,
                };
            }
            _ => {}
        }
    }
    Ok(recipe)
}

/// (x - mu)/(8 sigma) by the training rows, within [-1, 1]; constant columns become 0.
fn standardise(train: &mut Rows, test: &mut Rows) {
    let inputs = train.inputs;
    let count = train.classes.len() as f64;
    for column in 0..inputs {
        let of_column = || train.values.iter().skip(column).step_by(inputs).map(|&v| f64::from(v));
        let mean = of_column().sum::<f64>() / count;
        let deviation = (of_column().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        let factor = if deviation > 0.0 { 1.0 / (8.0 * deviation) } else { 0.0 };
        for rows in [&mut *train, &mut *test] {
            for v in rows.values.iter_mut().skip(column).step_by(inputs) {
                *v = ((f64::from(*v) - mean) * factor).clamp(-1.0, 1.0) as f32;
            }
        }
    }
}

/// 64 values and the class a line; every fifth row is held out.
fn digits(path: &Path) -> Result<(Rows, Rows), Box<dyn Error>> {
    let mut text = String::new();
    GzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
    let empty = || Rows { inputs: 64, values: Vec::new(), classes: Vec::new() };
    let (mut train, mut test) = (empty(), empty());
    for (number, line) in text.lines().enumerate() {
        let values: Vec<f32> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let (class, values) = values.split_last().ok_or("empty line")?;
        let rows = if number % 5 == 4 { &mut test } else { &mut train };
        rows.values.extend_from_slice(values);
        rows.classes.push(*class as u32);
    }
    Ok((train, test))
}

fn mnist(directory: &Path, part: &str) -> Result<Rows, Box<dyn Error>> {
    let read = |name: String| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(directory.join(name))?).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let images = read(format!("{part}-images-idx3-ubyte.gz"))?;
    let labels = read(format!("{part}-labels-idx1-ubyte.gz"))?;
    Ok(Rows {
        inputs: 784,
        values: images[16..].iter().map(|&v| f32::from(v)).collect(),
        classes: labels[8..].iter().map(|&v| u32::from(v)).collect(),
    })
}
