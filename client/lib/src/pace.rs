//! How a project trains if its owner does not say: chosen from the number of rows. `init` and `plan` use it.

use serde::Serialize;

use crate::project::Task;

/// Steps of a round that a model needs to become good, if there are few rows.
const STEPS: usize = 220;
/// Batches of an epoch, if there are neither few rows nor many.
const BATCHES: usize = 12;
/// The same for numbers as labels: a curve is fitted more and more closely for as long as there are rows to fit it to.
const CURVE_STEPS: usize = 2_000;
const CURVE_BATCHES: usize = 32;
/// Rows from which on those that judge are enough to see when a round makes no progress.
const MANY: usize = 20_000;

/// Settings that depend on how many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pace {
    /// The rows that they are for.
    pub rows: usize,
    /// The kind of labels.
    #[serde(skip)]
    pub task: Task,
    /// Rows of a batch: products of fewer cost as much.
    pub batch_rows: usize,
    /// Epochs of a round.
    pub epochs: u32,
    /// Few rows are learnt by heart without it.
    pub weight_decay: f32,
    /// Epochs without progress after which a round stops; 0 never stops early.
    pub patience: u32,
}

impl Pace {
    /// For so many rows to train on. The constants follow from the ten tables of docs/training.md.
    pub fn of(rows: usize, task: Task) -> Self {
        let rows = rows.max(1);
        let (batches, steps, most) = match task {
            Task::Classify | Task::MultiLabel => (BATCHES, STEPS, 60),
            Task::Regress => (CURVE_BATCHES, (rows / 2).clamp(STEPS, CURVE_STEPS), 100),
        };
        let batch_rows = (rows / batches).next_power_of_two().clamp(32, 1024);
        let epochs = steps.div_ceil(rows.div_ceil(batch_rows)).clamp(5, most) as u32;
        // About one over the rows.
        let weight_decay = match rows {
            0..200 => 1e-2,
            200..600 => 3e-3,
            600..2_000 => 1e-3,
            2_000..6_000 => 3e-4,
            _ => 1e-4,
        };
        let patience = if rows < MANY { 0 } else { 3 };
        Pace { rows, task, batch_rows, epochs, weight_decay, patience }
    }

    /// What was chosen, and why, in a line.
    pub fn words(&self) -> String {
        let Pace { rows, task, batch_rows, epochs, weight_decay, patience } = self;
        let why = match (*rows < 1000, *rows < MANY) {
            (false, true) if *task == Task::Regress => {
                "small batches and many epochs, since numbers are learnt in some thousand steps"
            }
            (true, _) => "few rows: small batches and many epochs, so that a round makes some hundred steps",
            (_, true) => "about a dozen batches to an epoch, and some hundred steps to a round",
            (_, false) => {
                "many rows: large batches cost less, few epochs suffice, and a round that stalls stops"
            }
        };
        format!(
            "for about {rows} rows, where nothing else is said: --batch-rows {batch_rows} --epochs {epochs} \
             --weight-decay {weight_decay} --patience {patience} ({why}; --expect-rows if there will be more)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_have_small_batches_many_epochs_and_more_weight_decay() {
        let pace = |rows| {
            let Pace { batch_rows, epochs, patience, .. } = Pace::of(rows, Task::Classify);
            (batch_rows, epochs, patience)
        };
        assert_eq!(pace(0), (32, 60, 0));
        assert_eq!(pace(150), (32, 44, 0));
        assert_eq!(pace(1_295), (128, 20, 0));
        assert_eq!(pace(60_000), (1024, 5, 3));
        assert_eq!(pace(10_000_000), (1024, 5, 3));
        let decays = [100, 400, 1_295, 5_000, 60_000].map(|rows| Pace::of(rows, Task::Classify).weight_decay);
        assert_eq!(decays, [1e-2, 3e-3, 1e-3, 3e-4, 1e-4]);
    }

    #[test]
    fn numbers_are_learnt_in_more_steps_if_there_are_rows_for_it() {
        let pace = |rows| {
            let Pace { batch_rows, epochs, patience, .. } = Pace::of(rows, Task::Regress);
            (batch_rows, epochs, patience)
        };
        assert_eq!(pace(331), (32, 20, 0), "few rows are learnt as classes are");
        assert_eq!(pace(4_225), (256, 100, 0));
        assert_eq!(pace(6_750), (256, 75, 0));
        assert_eq!(pace(60_000), (1024, 34, 3));
        assert_eq!(pace(10_000_000), (1024, 5, 3));
    }

    #[test]
    fn a_round_makes_some_hundred_steps_at_least() {
        for (rows, task) in
            (200..100_000).step_by(317).flat_map(|r| [(r, Task::Classify), (r, Task::Regress)])
        {
            let Pace { batch_rows, epochs, .. } = Pace::of(rows, task);
            let steps = rows.div_ceil(batch_rows) * epochs as usize;
            assert!(steps >= 220, "{rows} rows: {steps} steps");
        }
    }
}
