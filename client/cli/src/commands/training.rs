//! Settings of a model and its training.

use blindsmith_learn::{Activation, Loss, Moments, Recipe, Rule, Schedule};
use blindsmith_matrix::Security;
use clap::{Args, ValueEnum};

use super::pace::Pace;
use crate::Failure;

/// Widths of hidden layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden(pub Vec<usize>);

impl std::str::FromStr for Hidden {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Hidden(Vec::new()));
        }
        let widths = text.split(',').map(|w| w.trim().parse()).collect::<Result<Vec<usize>, _>>();
        match widths {
            Ok(widths) if widths.iter().all(|w| *w > 0) => Ok(Hidden(widths)),
            _ => Err("give widths such as 128 or 64,32, or none for a linear model".into()),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ActivationName {
    Relu,
    Gelu,
    Tanh,
    Sigmoid,
    Identity,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OptimiserName {
    Sgd,
    Momentum,
    Nesterov,
    Adam,
    Adamw,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScheduleName {
    Constant,
    Cosine,
    Step,
}

/// The model and how it is trained.
#[derive(Debug, Clone, Args)]
pub struct TrainingArguments {
    /// Widths of the hidden layers, such as 128 or 64,32; none for a linear model.
    #[arg(long, value_name = "WIDTHS", default_value = "32")]
    pub hidden: Hidden,
    /// The activation between layers.
    #[arg(long, value_enum, default_value = "gelu")]
    activation: ActivationName,
    /// Epochs of a round [default: chosen from the number of rows].
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Rows of a batch, about [default: chosen from the number of rows].
    #[arg(long, value_name = "ROWS")]
    pub batch_rows: Option<usize>,
    /// Rows that the warden processes at a time. It splits larger batches and sums the gradients of the pieces.
    #[arg(long, value_name = "ROWS", default_value_t = MICRO_BATCH)]
    pub micro_batch: usize,
    /// The optimiser.
    #[arg(long, value_enum, default_value = "nesterov")]
    optimiser: OptimiserName,
    /// Learning rate [default: 0.5; 0.001 for adam and adamw].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// How the learning rate changes over a round; `step` halves it every third epoch.
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Weight decay [default: chosen from the number of rows].
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f32>,
    /// Clip the gradient to this norm; 0 does not clip.
    #[arg(long, value_name = "NORM", default_value_t = 0.25)]
    clip_norm: f32,
    /// Seed of the initial weights and of the order of the rows (never of encryption).
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Security level in bits: 128 or 256.
    #[arg(long, value_name = "BITS", default_value = "128", value_parser = security)]
    pub security: Security,
}

/// Rows that the warden treats at a time, if nothing else is asked for.
pub const MICRO_BATCH: usize = 1024;

fn security(text: &str) -> Result<Security, String> {
    let bits: u16 = text.parse().map_err(|_| "128 or 256".to_string())?;
    Security::try_from(bits).map_err(|e| e.to_string())
}

impl TrainingArguments {
    /// The same, with what depends on the number of rows chosen where nothing else is said.
    pub fn paced(mut self, pace: &Pace) -> Self {
        self.batch_rows.get_or_insert(pace.batch_rows);
        self.epochs.get_or_insert(pace.epochs);
        self.weight_decay.get_or_insert(pace.weight_decay);
        self
    }

    /// The arguments that give the same settings.
    pub fn to_arguments(&self) -> Vec<String> {
        let name =
            |v: Option<clap::builder::PossibleValue>| v.map(|v| v.get_name().to_owned()).unwrap_or_default();
        let hidden = match self.hidden.0.as_slice() {
            [] => "none".to_owned(),
            widths => widths.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        };
        let mut all = vec![
            ("--hidden", hidden),
            ("--activation", name(self.activation.to_possible_value())),
            ("--optimiser", name(self.optimiser.to_possible_value())),
            ("--schedule", name(self.schedule.to_possible_value())),
            ("--micro-batch", self.micro_batch.to_string()),
            ("--seed", self.seed.to_string()),
            ("--security", self.security.bits().to_string()),
        ];
        all.extend(self.learning_rate.map(|v| ("--learning-rate", v.to_string())));
        all.extend(self.weight_decay.map(|v| ("--weight-decay", v.to_string())));
        all.extend(self.batch_rows.map(|v| ("--batch-rows", v.to_string())));
        all.extend(self.epochs.map(|v| ("--epochs", v.to_string())));
        all.push(("--clip-norm", self.clip_norm.to_string()));
        all.into_iter().flat_map(|(k, v)| [k.to_owned(), v]).collect()
    }

    /// The recipe for these inputs and outputs.
    pub fn recipe(&self, inputs: usize, outputs: usize, loss: Loss, factor: f64) -> Result<Recipe, Failure> {
        let mut widths = vec![inputs];
        widths.extend(&self.hidden.0);
        widths.push(outputs);
        let mut recipe = Recipe::new(&widths, loss);
        let activation = match self.activation {
            ActivationName::Relu => Activation::Relu,
            ActivationName::Gelu => Activation::Gelu,
            ActivationName::Tanh => Activation::Tanh,
            ActivationName::Sigmoid => Activation::Sigmoid,
            ActivationName::Identity => Activation::Identity,
        };
        recipe.activations.fill(activation);
        recipe.rule = match self.optimiser {
            OptimiserName::Sgd => Rule::Sgd,
            OptimiserName::Momentum => Rule::Momentum { momentum: 0.9 },
            OptimiserName::Nesterov => Rule::Nesterov { momentum: 0.9 },
            OptimiserName::Adam => Rule::Adam(Moments::default()),
            OptimiserName::Adamw => Rule::AdamW(Moments::default()),
        };
        let adaptive = matches!(self.optimiser, OptimiserName::Adam | OptimiserName::Adamw);
        recipe.learning_rate =
            self.learning_rate.unwrap_or(if adaptive { 1e-3 } else { recipe.learning_rate });
        recipe.schedule = match self.schedule {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Cosine => Schedule::Cosine { end: 0.0 },
            ScheduleName::Step => Schedule::Step { epochs: 3, factor: 0.5 },
        };
        recipe.weight_decay = self.weight_decay.unwrap_or(recipe.weight_decay);
        recipe.clip_norm = (self.clip_norm != 0.0).then_some(self.clip_norm);
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.batch_rows = self.batch_rows.unwrap_or(recipe.batch_rows);
        recipe.micro_batch_rows = Some(self.micro_batch);
        recipe.start_seed = self.seed;
        recipe.order_seed = self.seed;
        recipe.input_rms = (1.0 / factor) as f32;
        recipe.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        Ok(recipe)
    }
}
