//! A project's rounds for the tools that show experiments: the event files of TensorBoard, the file store of MLflow.
//!
//! Users are `blindsmith export` and programs on this library. Figures come from a [`Report`]; one that was opened without
//! the owner's key has no losses.

mod mlflow;
mod tensorboard;

pub use mlflow::write_mlflow;
pub use tensorboard::write_tensorboard;

use crate::report::{Report, RoundReport};

/// One figure of one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Its name, such as `validation/loss`.
    pub name: &'static str,
    /// The round.
    pub round: u64,
    /// When the refinery stored the round, in seconds since 1970.
    pub at: u64,
    /// The value; always finite.
    pub value: f64,
}

/// The figures of all rounds, by round. What a round has not, or what is no finite number, is left out.
pub fn figures(report: &Report) -> Vec<Figure> {
    report.rounds.iter().flat_map(of_round).collect()
}

fn of_round(round: &RoundReport) -> impl Iterator<Item = Figure> {
    let metrics = round.validation.as_ref().map(|figures| &figures.metrics);
    let training = round.training_loss.as_ref().and_then(|losses| losses.last().copied());
    let (number, at) = (round.round, round.at);
    let named = [
        ("training/loss", training),
        ("validation/rows", metrics.map(|m| m.rows as f64)),
        ("validation/loss", metrics.map(|m| m.loss)),
        ("validation/loss_before", round.loss_before),
        ("validation/accuracy", metrics.and_then(|m| m.accuracy)),
        ("validation/auc", metrics.and_then(|m| m.auc)),
        ("validation/f1", metrics.and_then(|m| m.f1)),
        ("validation/f1_macro", metrics.and_then(|m| m.f1_macro)),
        ("validation/rmse", metrics.and_then(|m| m.rmse)),
        ("validation/r2", metrics.and_then(|m| m.r2)),
        ("round/rows", Some(round.rows as f64)),
        ("round/uploads", Some(f64::from(round.uploads))),
        ("round/steps", Some(round.steps as f64)),
        ("round/seconds", Some(round.seconds)),
        ("round/current_version", Some(round.current as f64)),
    ];
    named.into_iter().filter_map(move |(name, value)| {
        let value = value.filter(|value| value.is_finite())?;
        Some(Figure { name, round: number, at, value })
    })
}
