//! How a project trains if its owner does not say: chosen from the number of rows. `init` and `plan` use it.

use serde::Serialize;

/// Steps of a round that a model needs to become good, if there are few rows.
const STEPS: usize = 220;
/// Batches of an epoch, if there are neither few rows nor many.
const BATCHES: usize = 12;
/// Rows from which on those that judge are enough to see when a round makes no progress.
const MANY: usize = 20_000;

/// Settings that depend on how many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pace {
    /// The rows that they are for.
    pub rows: usize,
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
    /// For so many rows to train on.
    pub fn of(rows: usize) -> Self {
        let rows = rows.max(1);
        let batch_rows = (rows / BATCHES).next_power_of_two().clamp(32, 1024);
        let steps = rows.div_ceil(batch_rows);
        let epochs = STEPS.div_ceil(steps).clamp(5, 60) as u32;
        // About one over the rows.
        let weight_decay = match rows {
            0..200 => 1e-2,
            200..600 => 3e-3,
            600..2_000 => 1e-3,
            2_000..6_000 => 3e-4,
            _ => 1e-4,
        };
        let patience = if rows < MANY { 0 } else { 3 };
        Pace { rows, batch_rows, epochs, weight_decay, patience }
    }

    /// What was chosen, and why, in a line.
    pub fn words(&self) -> String {
        let Pace { rows, batch_rows, epochs, weight_decay, patience } = self;
        let why = match (*rows < 1000, *rows < MANY) {
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
            let Pace { batch_rows, epochs, patience, .. } = Pace::of(rows);
            (batch_rows, epochs, patience)
        };
        assert_eq!(pace(0), (32, 60, 0));
        assert_eq!(pace(150), (32, 44, 0));
        assert_eq!(pace(1_295), (128, 20, 0));
        assert_eq!(pace(60_000), (1024, 5, 3));
        assert_eq!(pace(10_000_000), (1024, 5, 3));
        let decays = [100, 400, 1_295, 5_000, 60_000].map(|rows| Pace::of(rows).weight_decay);
        assert_eq!(decays, [1e-2, 3e-3, 1e-3, 3e-4, 1e-4]);
    }

    #[test]
    fn a_round_makes_some_hundred_steps_at_least() {
        for rows in (200..100_000).step_by(317) {
            let Pace { batch_rows, epochs, .. } = Pace::of(rows);
            let steps = rows.div_ceil(batch_rows) * epochs as usize;
            assert!(steps >= 220, "{rows} rows: {steps} steps");
        }
    }
}
