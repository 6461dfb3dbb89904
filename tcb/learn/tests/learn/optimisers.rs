//! Each rule against a scalar re-implementation in `f64` after PyTorch's documentation, over many steps of
//! gradients that an accelerator reads from a script.

use std::convert::Infallible;
use std::ops::Range;

use blindsmith_learn::*;

use crate::gradients::numbers;

const WEIGHTS: usize = 6;
const ROWS: u32 = 4;
const STEPS: usize = 60;

/// Answers every weight gradient from a list.
struct Script {
    gradients: Vec<Vec<f32>>,
    next: usize,
    noise: f32,
}

impl Accelerator for Script {
    type Error = Infallible;

    fn begin(&mut self, _: Pass) -> Result<(), Infallible> {
        Ok(())
    }

    fn load_weights(&mut self, _: usize, _: &Matrix) -> Result<(), Infallible> {
        Ok(())
    }

    fn forward(
        &mut self,
        _: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), Infallible> {
        let Left::Rows(_) = left else { unreachable!("one layer") };
        out.values_mut(rows).fill(0.0);
        Ok(())
    }

    fn add_gradient(
        &mut self,
        _: usize,
        _: Left<'_>,
        _: &Matrix,
        _: Option<Bounds>,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn input_gradient(
        &mut self,
        _: usize,
        _: &Matrix,
        _: Range<usize>,
        _: &mut Matrix,
    ) -> Result<(), Infallible> {
        unreachable!("one layer")
    }

    fn take_gradient(&mut self, _: usize, out: &mut Matrix) -> Result<(), Infallible> {
        *out = Matrix::from_rows(3, 2, self.gradients[self.next].clone()).expect("shape");
        self.next += 1;
        Ok(())
    }

    fn gradient_noise(&self, _: usize) -> f32 {
        self.noise
    }
}

fn recipe(rule: Rule) -> Recipe {
    let mut recipe = Recipe::new(&[3, 2], Loss::MeanSquaredError);
    recipe.rule = rule;
    recipe.schedule = Schedule::Constant;
    (recipe.learning_rate, recipe.weight_decay, recipe.warm_up, recipe.clip_norm) = (0.05, 0.01, 0.0, None);
    recipe.input_rms = 0.5;
    recipe
}

fn script(noise: f32) -> Script {
    let gradients = (0..STEPS).map(|s| numbers(WEIGHTS, s as u32).iter().map(|g| g * 3.0).collect());
    Script { gradients: gradients.collect(), next: 0, noise }
}

/// Four rows of which the outputs are right: the biases' gradients are zero.
fn batch() -> Batch {
    let labels = Labels::new(Targets::Values(Matrix::zeros(4, 2)));
    Batch::new(vec![Block { upload: 0, index: 0, rows: 4 }], labels).expect("batch")
}

/// What the trainer makes of the script.
fn trained(recipe: &Recipe, mut script: Script) -> (Vec<f32>, Vec<StepReport>) {
    let mut trainer = Trainer::new(recipe.clone()).expect("recipe");
    let sampler = Sampler::new(batch().blocks().to_vec(), 4, 0).expect("sampler");
    trainer.begin_round(&sampler, STEPS as u32);
    let steps = (0..STEPS).map(|_| trainer.train_step(&mut script, &batch()).expect("step")).collect();
    assert_eq!(trainer.network().layers()[0].bias, [0.0, 0.0]);
    (trainer.state().parameters[0].clone(), steps)
}

/// One weight by the textbook; `epsilon` is Adam's.
struct Scalar {
    w: f64,
    m: f64,
    v: f64,
    t: i32,
}

impl Scalar {
    fn step(&mut self, recipe: &Recipe, rate: f64, g: f64, epsilon: f64) {
        self.t += 1;
        let decay = f64::from(recipe.weight_decay);
        let decayed = g + decay * self.w;
        match recipe.rule {
            Rule::Sgd => self.w -= rate * decayed,
            Rule::Momentum { momentum } => {
                self.m = f64::from(momentum) * self.m + decayed;
                self.w -= rate * self.m;
            }
            Rule::Nesterov { momentum } => {
                self.m = f64::from(momentum) * self.m + decayed;
                self.w -= rate * (decayed + f64::from(momentum) * self.m);
            }
            Rule::Adam(moments) => self.adam(moments, rate, decayed, epsilon),
            Rule::AdamW(moments) => {
                self.w *= 1.0 - rate * decay;
                self.adam(moments, rate, g, epsilon);
            }
        }
    }

    fn adam(&mut self, moments: Moments, rate: f64, g: f64, epsilon: f64) {
        let (b1, b2) = (f64::from(moments.beta1), f64::from(moments.beta2));
        self.m = b1 * self.m + (1.0 - b1) * g;
        self.v = b2 * self.v + (1.0 - b2) * g * g;
        let (m, v) = (self.m / (1.0 - b1.powi(self.t)), self.v / (1.0 - b2.powi(self.t)));
        self.w -= rate * m / (v.sqrt() + epsilon);
    }
}

/// The script by the textbook. The mean is over four rows, and inputs were stored at half their size.
fn expected(recipe: &Recipe, rate: impl Fn(usize) -> f64, noise: f32) -> Vec<f64> {
    let factor = 1.0 / (f64::from(ROWS) * f64::from(recipe.input_rms));
    let start = Trainer::new(recipe.clone()).expect("recipe").state().parameters[0].clone();
    let mut scalars: Vec<Scalar> =
        start.iter().map(|&w| Scalar { w: f64::from(w), m: 0.0, v: 0.0, t: 0 }).collect();
    for (s, gradient) in script(noise).gradients.iter().enumerate() {
        let gradient: Vec<f64> = gradient.iter().map(|&g| f64::from(g) * factor).collect();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let clip = recipe.clip_norm.map_or(1.0, |limit| (f64::from(limit) / norm).min(1.0));
        for (scalar, g) in scalars.iter_mut().zip(gradient) {
            let epsilon = match recipe.rule {
                Rule::Adam(m) | Rule::AdamW(m) => f64::from(m.epsilon).max(10.0 * f64::from(noise) * factor),
                _ => 0.0,
            };
            scalar.step(recipe, rate(s), g * clip, epsilon);
        }
    }
    scalars.into_iter().map(|s| s.w).collect()
}

fn check(recipe: &Recipe, rate: impl Fn(usize) -> f64, noise: f32) {
    let (found, _) = trained(recipe, script(noise));
    for (found, expected) in found.iter().zip(expected(recipe, rate, noise)) {
        assert!((f64::from(*found) - expected).abs() < 2e-5, "{:?}: {found} for {expected}", recipe.rule);
    }
}

const RULES: [Rule; 5] = [
    Rule::Sgd,
    Rule::Momentum { momentum: 0.9 },
    Rule::Nesterov { momentum: 0.8 },
    Rule::Adam(Moments { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 }),
    Rule::AdamW(Moments { beta1: 0.8, beta2: 0.999, epsilon: 1e-6 }),
];

#[test]
fn every_rule_matches_its_textbook() {
    for rule in RULES {
        check(&recipe(rule), |_| f64::from(0.05_f32), 0.0);
    }
}

#[test]
fn every_rule_matches_its_textbook_with_clipping_and_a_schedule() {
    for rule in RULES {
        let mut recipe = recipe(rule);
        recipe.clip_norm = Some(0.7);
        recipe.schedule = Schedule::Step { epochs: 7, factor: 0.5 };
        check(&recipe, |s| f64::from(0.05_f32) * 0.5_f64.powi(s as i32 / 7), 0.0);
    }
}

#[test]
fn adams_epsilon_is_at_least_ten_deviations_of_the_noise() {
    for rule in [RULES[3], RULES[4]] {
        check(&recipe(rule), |_| f64::from(0.05_f32), 0.2);
    }
}

#[test]
fn gradients_of_noise_alone_hardly_move_weights_under_adam() {
    let moved = |noise: f32| {
        let mut recipe = recipe(Rule::Adam(Moments::default()));
        recipe.weight_decay = 0.0;
        let mut script = script(noise);
        script.gradients.iter_mut().flatten().for_each(|g| *g *= 1e-6);
        let start = Trainer::new(recipe.clone()).expect("recipe").state().parameters[0].clone();
        let end = trained(&recipe, script).0;
        start.iter().zip(end).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let (unaware, aware) = (moved(0.0), moved(3e-6));
    assert!(unaware > 0.1 && aware < 0.1 * unaware, "{unaware} without the margin, {aware} with it");
}

#[test]
fn reports_tell_norm_rate_noise_and_rows() {
    let mut recipe = recipe(Rule::Sgd);
    recipe.clip_norm = Some(0.5);
    let (_, steps) = trained(&recipe, script(0.25));
    let gradient = &script(0.25).gradients[0];
    let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() / (4.0 * 0.5);
    assert!(
        (f64::from(steps[0].gradient_norm) / norm - 1.0).abs() < 1e-6,
        "the norm is that before clipping"
    );
    assert_eq!((steps[0].rows, steps[0].learning_rate, steps[0].loss), (4, 0.05, 0.0));
    assert_eq!(steps[0].gradient_noise, [0.25]);
}

#[test]
fn schedules_at_known_points() {
    let factor = |schedule: Schedule, warm_up, step| {
        schedule.factor(Position { step, steps: 100, steps_per_epoch: 10 }, warm_up)
    };
    assert_eq!(factor(Schedule::Constant, 0.0, 0), 1.0);
    // Four warm-up steps: 1/5, 2/5, 3/5, 4/5, then the schedule itself.
    for (step, expected) in [(0, 0.2), (1, 0.4), (3, 0.8), (4, 1.0), (99, 1.0)] {
        assert_eq!(factor(Schedule::Constant, 0.04, step), expected);
    }
    let halves = Schedule::Step { epochs: 3, factor: 0.5 };
    for (step, expected) in [(0, 1.0), (29, 1.0), (30, 0.5), (60, 0.25), (99, 0.125)] {
        assert_eq!(factor(halves, 0.0, step), expected);
    }
    let cosine = Schedule::Cosine { end: 0.2 };
    for (step, expected) in [(0, 1.0), (50, 0.6), (100, 0.2), (1000, 0.2)] {
        assert!((factor(cosine, 0.0, step) - expected).abs() < 1e-7);
    }
    // After 20 warm-up steps the cosine covers the remaining 80.
    assert!((factor(cosine, 0.2, 60) - 0.6).abs() < 1e-7);
    assert_eq!(factor(cosine, 0.2, 20), 1.0);
    let nowhere = Position { step: 3, steps: 0, steps_per_epoch: 0 };
    assert_eq!(Schedule::Cosine { end: 0.0 }.factor(nowhere, 0.2), 1.0);
}
