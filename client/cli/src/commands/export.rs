//! `blindsmith export`.

use std::path::PathBuf;

use blindsmith_client::Failure;
use blindsmith_client::export::{figures, write_mlflow, write_tensorboard};
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, report};

/// Writes the figures of all rounds for TensorBoard or MLflow: losses, accuracy, rows, steps, seconds. A round is a step.
/// Run it again after more rounds: it replaces what it wrote before. Losses need the owner's key.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:\n  blindsmith export --project ./sales --tensorboard runs/sales && tensorboard --logdir runs\n  blindsmith export --project ./sales --mlflow mlruns && MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri mlruns"
)]
pub struct Export {
    #[command(flatten)]
    common: ProjectArguments,
    /// The directory for TensorBoard's event file, made if it is not there.
    #[arg(long, value_name = "DIR", required_unless_present = "mlflow")]
    tensorboard: Option<PathBuf>,
    /// MLflow's file store (mlruns), made if it is not there. The project becomes an experiment with one run. MLflow 3.17
    /// reads file stores only with MLFLOW_ALLOW_FILE_STORE=true, or after mlflow migrate-filestore.
    #[arg(long, value_name = "DIR")]
    mlflow: Option<PathBuf>,
}

#[derive(Serialize)]
struct Exported {
    rounds: usize,
    figures: usize,
    tensorboard: Option<PathBuf>,
    mlflow: Option<PathBuf>,
}

impl Export {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let found = workspace.status()?;
        let all = figures(&found);
        let tensorboard = self.tensorboard.as_deref().map(|dir| write_tensorboard(&all, dir)).transpose()?;
        let mlflow = self.mlflow.as_deref();
        let mlflow = mlflow.map(|dir| write_mlflow(&workspace.project, &found, &all, dir)).transpose()?;
        let exported = Exported { rounds: found.rounds.len(), figures: all.len(), tensorboard, mlflow };
        report(self.common.json, &exported, |e| {
            for place in [&e.tensorboard, &e.mlflow].into_iter().flatten() {
                println!("{} figures of {} rounds written to {}", e.figures, e.rounds, place.display());
            }
        })
    }
}
