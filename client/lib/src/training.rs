//! Settings of a model and its training.

use blindsmith_learn::{Activation, Loss, Recipe, Rule, Schedule};
use blindsmith_matrix::Security;

use crate::Failure;
use crate::pace::Pace;

/// Rows that the warden treats at a time, if nothing else is asked for.
pub const MICRO_BATCH: usize = 1024;

/// The model and how it is trained. What is `None` follows from the number of rows ([`Training::paced`]).
#[derive(Debug, Clone)]
pub struct Training {
    /// Widths of the hidden layers; none for a linear model.
    pub hidden: Vec<usize>,
    /// Between layers.
    pub activation: Activation,
    /// Epochs of a round.
    pub epochs: Option<u32>,
    /// Rows of a batch, about.
    pub batch_rows: Option<usize>,
    /// Rows that the warden treats at a time: larger batches pass in pieces, whose gradients are summed.
    pub micro_batch: usize,
    /// How weights follow from gradients.
    pub rule: Rule,
    /// The learning rate; 0.5 if none is given, 0.001 for Adam and AdamW.
    pub learning_rate: Option<f32>,
    /// The learning rate's course over a round.
    pub schedule: Schedule,
    /// Weight decay.
    pub weight_decay: Option<f32>,
    /// The gradient is clipped to this norm; 0 does not clip.
    pub clip_norm: f32,
    /// Seed of the initial weights and of the order of the rows, never of encryption.
    pub seed: u64,
    /// Security level.
    pub security: Security,
}

impl Default for Training {
    fn default() -> Self {
        Training {
            hidden: vec![32],
            activation: Activation::Gelu,
            epochs: None,
            batch_rows: None,
            micro_batch: MICRO_BATCH,
            rule: Rule::Nesterov { momentum: 0.9 },
            learning_rate: None,
            schedule: Schedule::Cosine { end: 0.0 },
            weight_decay: None,
            clip_norm: 0.25,
            seed: 0,
            security: Security::Bits128,
        }
    }
}

impl Training {
    /// The same, with what depends on the number of rows chosen where nothing else is said.
    pub fn paced(mut self, pace: &Pace) -> Self {
        self.batch_rows.get_or_insert(pace.batch_rows);
        self.epochs.get_or_insert(pace.epochs);
        self.weight_decay.get_or_insert(pace.weight_decay);
        self
    }

    /// The recipe for these inputs and outputs; `factor` is that of the features' standardisation.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn recipe(&self, inputs: usize, outputs: usize, loss: Loss, factor: f64) -> Result<Recipe, Failure> {
        let mut widths = vec![inputs];
        widths.extend(&self.hidden);
        widths.push(outputs);
        let mut recipe = Recipe::new(&widths, loss);
        recipe.activations.fill(self.activation);
        recipe.rule = self.rule;
        let adaptive = matches!(self.rule, Rule::Adam(_) | Rule::AdamW(_));
        recipe.learning_rate =
            self.learning_rate.unwrap_or(if adaptive { 1e-3 } else { recipe.learning_rate });
        recipe.schedule = self.schedule;
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
