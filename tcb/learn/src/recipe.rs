//! Everything that defines a training, as a policy records it.

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::loss::{Loss, Objective, ObjectiveError};
use crate::optimiser::{Moments, Rule};
use crate::schedule::Schedule;

/// A training. The same recipe, rows and labels give the same steps everywhere, up to the rounding and
/// noise of products.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Inputs, the width of each hidden layer, outputs: 2 to 64 numbers from 1 to 2^20.
    pub widths: Vec<usize>,
    /// One for each hidden layer.
    pub activations: Vec<Activation>,
    /// What is minimised.
    pub loss: Loss,
    /// Empty, or one for each output; see [`Loss`] for what they do. Let them average about 1.
    pub class_weights: Vec<f32>,
    /// With the logistic loss: the probability above which a label counts as predicted. From 0.001 to 0.999; 0.5 with other
    /// losses.
    pub threshold: f32,
    /// How weights follow from gradients.
    pub rule: Rule,
    /// From 1e-9 to 1e3.
    pub learning_rate: f32,
    /// From 0 to 1; acts on weights, not on biases.
    pub weight_decay: f32,
    /// The learning rate's course over a round.
    pub schedule: Schedule,
    /// Share of a round's steps in which the learning rate rises linearly; from 0, below 1.
    pub warm_up: f32,
    /// Gradients whose norm over all layers is larger are scaled down to it; from 1e-6 to 1e6.
    pub clip_norm: Option<f32>,
    /// Rows of a batch, about; from 1 to 2^24.
    pub batch_rows: usize,
    /// Batches of more rows are multiplied in parts of whole blocks of at most about so many.
    pub micro_batch_rows: Option<usize>,
    /// Times that a round goes through its rows; from 1 to 10^6.
    pub epochs: u32,
    /// Seed of the initial weights.
    pub start_seed: u64,
    /// Seed of the order of the rows.
    pub order_seed: u64,
    /// Root mean square of the stored inputs: 1/8 for (x - mu)/(8 sigma); from 2^-20 to 2^20.
    pub input_rms: f32,
}

/// A recipe that cannot be trained.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RecipeError {
    /// A setting out of its range.
    #[error("{setting} is out of range: {range}")]
    Range {
        /// The setting.
        setting: &'static str,
        /// What is allowed.
        range: &'static str,
    },
    /// Another number of activations than of hidden layers.
    #[error("{found} activations for {hidden} hidden layers: give one for each")]
    Activations {
        /// Activations found.
        found: usize,
        /// Hidden layers.
        hidden: usize,
    },
    /// Softmax over one class is always 1.
    #[error("softmax cross-entropy needs at least 2 outputs: use the logistic loss for one")]
    OneClass,
    /// Class weights that do not fit.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
}

impl Recipe {
    /// The default training of a network of these widths.
    ///
    /// GELU and Nesterov's momentum with clipping because they damp the noise of encrypted products: noise of
    /// 1e-4 of their rms moves no weight of a trained MNIST 784-128-10 by more than 2e-4, but by up to 1e-1
    /// with ReLU, whose slope jumps, and by 2e-2 with AdamW. (`cargo run --release -p blindsmith-twin --example
    /// recipes` repeats the trial.) Smaller batches, hence more and noisier steps, lose some of that.
    pub fn new(widths: &[usize], loss: Loss) -> Self {
        Recipe {
            widths: widths.to_vec(),
            activations: vec![Activation::Gelu; widths.len().saturating_sub(2)],
            loss,
            class_weights: Vec::new(),
            threshold: 0.5,
            rule: Rule::Nesterov { momentum: 0.9 },
            learning_rate: 0.5,
            weight_decay: 1e-4,
            schedule: Schedule::Cosine { end: 0.0 },
            warm_up: 0.2,
            clip_norm: Some(0.25),
            batch_rows: 256,
            micro_batch_rows: None,
            epochs: 10,
            start_seed: 0,
            order_seed: 0,
            input_rms: 0.125,
        }
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let hidden = self.widths.len().saturating_sub(2);
        let check = |good: bool, setting: &'static str, range: &'static str| {
            if good { Ok(()) } else { Err(RecipeError::Range { setting, range }) }
        };
        check((2..=64).contains(&self.widths.len()), "widths", "2 to 64 numbers: inputs, hidden, outputs")?;
        let width = |w: &usize| (1..=1 << 20).contains(w);
        check(self.widths.iter().all(width), "widths", "each from 1 to 1048576")?;
        if self.activations.len() != hidden {
            return Err(RecipeError::Activations { found: self.activations.len(), hidden });
        }
        if self.loss == Loss::SoftmaxCrossEntropy && self.outputs() < 2 {
            return Err(RecipeError::OneClass);
        }
        self.objective()?;
        let threshold = match self.loss {
            Loss::Logistic => (0.001..=0.999).contains(&self.threshold),
            _ => self.threshold == 0.5,
        };
        check(threshold, "threshold", "0.001 to 0.999 with two classes or several labels, else 0.5")?;
        check_rule(self.rule, &check)?;
        let rate = (1e-9..=1e3).contains(&self.learning_rate);
        check(rate, "learning_rate", "1e-9 to 1000")?;
        let decay = self.weight_decay == 0.0 || (1e-12..=1.0).contains(&self.weight_decay);
        check(decay, "weight_decay", "0, or 1e-12 to 1")?;
        check_schedule(self.schedule, &check)?;
        check((0.0..1.0).contains(&self.warm_up), "warm_up", "0 or more, less than 1")?;
        let clip = self.clip_norm.is_none_or(|c| (1e-6..=1e6).contains(&c));
        check(clip, "clip_norm", "1e-6 to 1e6, or none")?;
        let rows = |n: usize| (1..=1 << 24).contains(&n);
        check(rows(self.batch_rows), "batch_rows", "1 to 16777216")?;
        check(self.micro_batch_rows.is_none_or(rows), "micro_batch_rows", "1 to 16777216, or none")?;
        check((1..=1_000_000).contains(&self.epochs), "epochs", "1 to 1000000")?;
        let rms = (1.0 / 1_048_576.0..=1_048_576.0).contains(&self.input_rms);
        check(rms, "input_rms", "2^-20 to 2^20, 1/8 for inputs (x - mu)/(8 sigma)")
    }

    /// Outputs of the network; 0 if there are no widths.
    pub fn outputs(&self) -> usize {
        self.widths.last().copied().unwrap_or(0)
    }

    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        self.widths.windows(2).map(|w| (w[0] + 1).saturating_mul(w[1])).fold(0, usize::saturating_add)
    }

    /// Values that a checkpoint keeps: the parameters and what the optimiser keeps of each.
    pub fn state_values(&self) -> usize {
        self.parameters().saturating_mul(1 + self.rule.slots())
    }

    /// The loss with its weights and its threshold.
    pub fn objective(&self) -> Result<Objective, ObjectiveError> {
        let objective = Objective::new(self.loss, self.outputs(), &self.class_weights)?;
        Ok(objective.with_threshold(self.threshold))
    }
}

type Check<'a> = &'a dyn Fn(bool, &'static str, &'static str) -> Result<(), RecipeError>;

fn check_rule(rule: Rule, check: Check<'_>) -> Result<(), RecipeError> {
    let share = |x: f32| (0.0..1.0).contains(&x);
    match rule {
        Rule::Sgd => Ok(()),
        Rule::Momentum { momentum } | Rule::Nesterov { momentum } => {
            check(share(momentum), "momentum", "0 or more, less than 1")
        }
        Rule::Adam(Moments { beta1, beta2, epsilon }) | Rule::AdamW(Moments { beta1, beta2, epsilon }) => {
            check(share(beta1) && share(beta2), "beta1 or beta2", "0 or more, less than 1")?;
            check((1e-12..=1.0).contains(&epsilon), "epsilon", "1e-12 to 1")
        }
    }
}

fn check_schedule(schedule: Schedule, check: Check<'_>) -> Result<(), RecipeError> {
    match schedule {
        Schedule::Constant => Ok(()),
        Schedule::Step { epochs, factor } => {
            check(epochs > 0, "schedule epochs", "1 or more")?;
            check(factor > 0.0 && factor <= 1.0, "schedule factor", "above 0, at most 1")
        }
        Schedule::Cosine { end } => check((0.0..=1.0).contains(&end), "schedule end", "0 to 1"),
    }
}
