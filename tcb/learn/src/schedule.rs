//! How the learning rate changes in the course of a round.

use serde::{Deserialize, Serialize};

/// Factor on the learning rate after the warm-up.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// 1.
    Constant,
    /// `factor`^(number of full `epochs` gone).
    Step {
        /// Epochs between two changes, at least 1.
        epochs: u32,
        /// Above 0, at most 1.
        factor: f32,
    },
    /// From 1 to `end` along half a cosine (Loshchilov and Hutter, 2017), over the steps after the warm-up.
    Cosine {
        /// From 0 to 1.
        end: f32,
    },
}

/// Where in a round a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Steps done in this round.
    pub step: u64,
    /// Steps of the whole round.
    pub steps: u64,
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
}

impl Schedule {
    /// The factor at `position` with a linear warm-up over the share `warm_up` of the round: step i of w
    /// warm-up steps has (i + 1)/(w + 1). Without a round (`steps` = 0) it is 1.
    pub fn factor(self, position: Position, warm_up: f32) -> f32 {
        if position.steps == 0 {
            return 1.0;
        }
        let steps = position.steps as f64;
        let rising = (f64::from(warm_up) * steps).round();
        let step = (position.step as f64).min(steps);
        if step < rising {
            return ((step + 1.0) / (rising + 1.0)) as f32;
        }
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { epochs, factor } => {
                let gone = position.step / position.steps_per_epoch.max(1) / u64::from(epochs.max(1));
                f64::from(factor).powi(i32::try_from(gone).unwrap_or(i32::MAX)) as f32
            }
            Schedule::Cosine { end } => {
                let progress = (step - rising) / (steps - rising).max(1.0);
                let cosine = (std::f64::consts::PI * progress.min(1.0)).cos();
                let end = f64::from(end);
                (end + (1.0 - end) * 0.5 * (1.0 + cosine)) as f32
            }
        }
    }
}
