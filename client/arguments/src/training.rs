//! Settings of a model and its training, on the command line.

use blindsmith_client::training::{ClassWeights, MICRO_BATCH, Training};
use blindsmith_learn::{Activation, Moments, Rule, Schedule};
use blindsmith_matrix::Security;
use clap::{Args, ValueEnum};

use crate::data::{Names, names};

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

fn class_weights(text: &str) -> Result<ClassWeights, String> {
    if text == "balanced" {
        return Ok(ClassWeights::Balanced);
    }
    let Names(parts) = names(text)?;
    let pair = |part: &String| {
        let (name, weight) = part.rsplit_once('=')?;
        Some((name.to_owned(), weight.parse().ok().filter(|w| (1.0 / 64.0..=64.0).contains(w))?))
    };
    let named: Option<Vec<(String, f32)>> = parts.iter().map(pair).collect();
    let named = named.ok_or("give balanced, or names with weights from 1/64 to 64, such as ill=20,well=1")?;
    Ok(ClassWeights::Named(named))
}

fn threshold(text: &str) -> Result<f32, String> {
    let good = |p: &f32| (0.001..=0.999).contains(p);
    text.parse().ok().filter(good).ok_or_else(|| "give a probability from 0.001 to 0.999".into())
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
    /// How much the rows of each class count in training: balanced, so that each class counts equally (as it occurs in the
    /// first rows), or weights by name such as ill=20 [default: rows count equally].
    #[arg(long, value_name = "WEIGHTS", value_parser = class_weights)]
    class_weights: Option<ClassWeights>,
    /// With two classes or several labels: the probability above which the second class, or a label, is predicted, in
    /// figures and in predictions.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.5, value_parser = threshold)]
    threshold: f32,
    /// Security level in bits: 128 or 256.
    #[arg(long, value_name = "BITS", default_value = "128", value_parser = security)]
    pub security: Security,
}

fn security(text: &str) -> Result<Security, String> {
    let bits: u16 = text.parse().map_err(|_| "128 or 256".to_string())?;
    Security::try_from(bits).map_err(|e| e.to_string())
}

impl TrainingArguments {
    /// The settings.
    pub fn settings(&self) -> Training {
        Training {
            hidden: self.hidden.0.clone(),
            activation: match self.activation {
                ActivationName::Relu => Activation::Relu,
                ActivationName::Gelu => Activation::Gelu,
                ActivationName::Tanh => Activation::Tanh,
                ActivationName::Sigmoid => Activation::Sigmoid,
                ActivationName::Identity => Activation::Identity,
            },
            epochs: self.epochs,
            batch_rows: self.batch_rows,
            micro_batch: self.micro_batch,
            rule: match self.optimiser {
                OptimiserName::Sgd => Rule::Sgd,
                OptimiserName::Momentum => Rule::Momentum { momentum: 0.9 },
                OptimiserName::Nesterov => Rule::Nesterov { momentum: 0.9 },
                OptimiserName::Adam => Rule::Adam(Moments::default()),
                OptimiserName::Adamw => Rule::AdamW(Moments::default()),
            },
            learning_rate: self.learning_rate,
            schedule: match self.schedule {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Cosine => Schedule::Cosine { end: 0.0 },
                ScheduleName::Step => Schedule::Step { epochs: 3, factor: 0.5 },
            },
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            seed: self.seed,
            security: self.security,
            class_weights: self.class_weights.clone().unwrap_or_default(),
            threshold: self.threshold,
        }
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
        all.push(("--threshold", self.threshold.to_string()));
        match &self.class_weights {
            None | Some(ClassWeights::Equal) => {}
            Some(ClassWeights::Balanced) => all.push(("--class-weights", "balanced".into())),
            Some(ClassWeights::Named(named)) => {
                let named = named.iter().map(|(name, weight)| format!("{name}={weight}")).collect();
                all.push(("--class-weights", Names(named).to_string()));
            }
        }
        all.extend(self.learning_rate.map(|v| ("--learning-rate", v.to_string())));
        all.extend(self.weight_decay.map(|v| ("--weight-decay", v.to_string())));
        all.extend(self.batch_rows.map(|v| ("--batch-rows", v.to_string())));
        all.extend(self.epochs.map(|v| ("--epochs", v.to_string())));
        all.push(("--clip-norm", self.clip_norm.to_string()));
        all.into_iter().flat_map(|(k, v)| [k.to_owned(), v]).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        training: TrainingArguments,
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let settings = Defaults::parse_from(["test"]).training.settings();
        assert_eq!(format!("{settings:?}"), format!("{:?}", Training::default()));
    }
}
