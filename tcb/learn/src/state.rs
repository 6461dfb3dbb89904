//! What a checkpoint keeps of a training: flat tensors and counters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schedule::Position;
use crate::trainer::Trainer;

/// All that training changes. `Debug` shows sizes only.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Weights (inputs x outputs, row by row) and biases, alternating, layer by layer.
    #[serde(with = "tensors")]
    pub parameters: Vec<Vec<f32>>,
    /// The optimiser's vectors: for each of the parameters none, one or two of the same length.
    #[serde(with = "tensors")]
    pub moments: Vec<Vec<f32>>,
    /// Steps taken, over all rounds.
    pub steps: u64,
    /// Epochs done, over all rounds.
    pub epochs: u64,
    /// Steps done in the current round.
    pub round_step: u64,
    /// Steps of the current round.
    pub round_steps: u64,
    /// Steps of an epoch of the current round.
    pub steps_per_epoch: u64,
}

/// Tensors as bytes, four little-endian ones a value: formats that write numbers as short as they go would make
/// the length depend on the values.
mod tensors {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub fn serialize<S: Serializer>(tensors: &[Vec<f32>], to: S) -> Result<S::Ok, S::Error> {
        let bytes = |tensor: &Vec<f32>| {
            ByteBuf::from(tensor.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
        };
        to.collect_seq(tensors.iter().map(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f32>>, D::Error> {
        let values = |bytes: ByteBuf| match bytes.as_chunks::<4>() {
            (values, []) => Ok(values.iter().map(|v| f32::from_le_bytes(*v)).collect()),
            _ => Err(D::Error::custom("a tensor is no whole number of values")),
        };
        Vec::<ByteBuf>::deserialize(from)?.into_iter().map(values).collect()
    }
}

/// A state that does not fit the recipe.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// Another number of tensors.
    #[error(
        "the checkpoint has {found} tensors of {kind} where the recipe's model has {expected}: it is of another model or optimiser"
    )]
    Count {
        /// Parameters or moments.
        kind: &'static str,
        /// Tensors found.
        found: usize,
        /// Tensors expected.
        expected: usize,
    },
    /// A tensor of another length.
    #[error(
        "tensor {index} of the checkpoint's {kind} has {found} values where the recipe's model has {expected}"
    )]
    Length {
        /// Parameters or moments.
        kind: &'static str,
        /// Which tensor.
        index: usize,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// NaN or infinity.
    #[error("tensor {index} of the checkpoint's {kind} has a value that is not finite")]
    Value {
        /// Parameters or moments.
        kind: &'static str,
        /// Which tensor.
        index: usize,
    },
}

impl TrainerState {
    pub(crate) fn of(trainer: &Trainer) -> Self {
        let layers = trainer.network.layers().iter();
        let slots = trainer.optimiser.slots.iter().flatten();
        TrainerState {
            parameters: layers.flat_map(|l| [l.weights.as_slice().to_vec(), l.bias.clone()]).collect(),
            moments: slots.filter(|s| !s.is_empty()).cloned().collect(),
            steps: trainer.optimiser.steps,
            epochs: trainer.epochs,
            round_step: trainer.position.step,
            round_steps: trainer.position.steps,
            steps_per_epoch: trainer.position.steps_per_epoch,
        }
    }

    pub(crate) fn restore(&self, trainer: &mut Trainer) -> Result<(), StateError> {
        let parameters = trainer
            .network
            .layers_mut()
            .iter_mut()
            .flat_map(|l| [l.weights.as_mut_slice(), l.bias.as_mut_slice()]);
        fill("parameters", parameters.collect(), &self.parameters)?;
        let slots = trainer.optimiser.slots.iter_mut().flatten().filter(|s| !s.is_empty());
        fill("moments", slots.map(Vec::as_mut_slice).collect(), &self.moments)?;
        trainer.optimiser.steps = self.steps;
        trainer.epochs = self.epochs;
        trainer.position = Position {
            step: self.round_step,
            steps: self.round_steps,
            steps_per_epoch: self.steps_per_epoch,
        };
        Ok(())
    }
}

impl fmt::Debug for TrainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrainerState({} tensors, step {})", self.parameters.len(), self.steps)
    }
}

fn fill(kind: &'static str, to: Vec<&mut [f32]>, from: &[Vec<f32>]) -> Result<(), StateError> {
    if to.len() != from.len() {
        return Err(StateError::Count { kind, found: from.len(), expected: to.len() });
    }
    for (index, (to, from)) in to.into_iter().zip(from).enumerate() {
        if to.len() != from.len() {
            return Err(StateError::Length { kind, index, found: from.len(), expected: to.len() });
        }
        if !from.iter().fold(true, |all, v| all & v.is_finite()) {
            return Err(StateError::Value { kind, index });
        }
        to.copy_from_slice(from);
    }
    Ok(())
}
