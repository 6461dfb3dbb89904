//! Settings of a model and its training.

use blindsmith_learn::{Activation, Loss, Recipe, Rule, Schedule};
use blindsmith_matrix::Security;

use crate::failure::Failure;
use crate::pace::Pace;

/// Rows that the warden treats at a time, if nothing else is asked for.
pub const MICRO_BATCH: usize = 1024;

/// How much the rows of each class count in training.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ClassWeights {
    /// Rows count equally.
    #[default]
    Equal,
    /// Each class counts equally, as often as it occurs in the first rows.
    Balanced,
    /// By name; classes that are not named have 1. Of two classes only their ratio counts.
    Named(Vec<(String, f32)>),
}

impl ClassWeights {
    /// A weight for each output of a project's model; `rows` are those of each class in the first table.
    ///
    /// # Errors
    /// If the labels are no classes, or one that is named is none of them.
    pub fn of(&self, classes: &[String], rows: &[u64]) -> Result<Vec<f32>, Failure> {
        let each: Vec<f32> = match self {
            ClassWeights::Equal => return Ok(Vec::new()),
            _ if classes.len() < 2 => {
                return Err(Failure::Settings("class weights go with the task classify".into()));
            }
            ClassWeights::Balanced => {
                let (all, several) = (rows.iter().sum::<u64>() as f32, classes.len() as f32);
                // A class without rows yet is taken to have one.
                rows.iter().map(|rows| all / (several * (*rows).max(1) as f32)).collect()
            }
            ClassWeights::Named(named) => {
                if let Some((name, _)) = named.iter().find(|(name, _)| !classes.contains(name)) {
                    let message =
                        format!("a class weight is for {name:?}; the classes are {}", classes.join(", "));
                    return Err(Failure::Settings(message));
                }
                let weight =
                    |class: &String| named.iter().find(|(name, _)| name == class).map_or(1.0, |(_, w)| *w);
                classes.iter().map(weight).collect()
            }
        };
        let within = |w: f32| w.clamp(1.0 / 64.0, 64.0);
        Ok(match each.as_slice() {
            [negative, positive] => vec![within(positive / negative)],
            several => several.iter().copied().map(within).collect(),
        })
    }
}

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
    /// How much the rows of each class count.
    pub class_weights: ClassWeights,
    /// With two classes or several labels: the probability above which class 1 or a label is predicted.
    pub threshold: f32,
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
            class_weights: ClassWeights::Equal,
            threshold: 0.5,
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
        recipe.threshold = self.threshold;
        recipe.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        Ok(recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn balanced_classes_count_equally() {
        let of = |rows: &[u64]| {
            let classes: Vec<String> = (0..rows.len()).map(|i| i.to_string()).collect();
            ClassWeights::Balanced.of(&classes, rows).unwrap()
        };
        assert_eq!(of(&[98, 2]), [49.0], "of two classes the positive one has the ratio");
        assert_eq!(of(&[999, 1]), [64.0], "a recipe has room for no more");
        assert_eq!(of(&[10, 20, 30]), [2.0, 1.0, 2.0 / 3.0]);
        assert_eq!(of(&[10, 20, 0])[2], 10.0);
    }

    #[test]
    fn named_weights_belong_to_classes() {
        let named = |name: &str| ClassWeights::Named(vec![(name.into(), 3.0)]);
        assert_eq!(named("b").of(&names(&["a", "b", "c"]), &[1, 1, 1]).unwrap(), [1.0, 3.0, 1.0]);
        assert_eq!(named("a").of(&names(&["a", "b"]), &[1, 1]).unwrap(), [1.0 / 3.0]);
        let refused = named("d").of(&names(&["a", "b"]), &[1, 1]).unwrap_err().to_string();
        assert!(refused.contains("\"d\"") && refused.contains("a, b"), "{refused}");
        assert!(ClassWeights::Balanced.of(&[], &[]).is_err());
        assert!(ClassWeights::Equal.of(&[], &[]).unwrap().is_empty());
    }
}
