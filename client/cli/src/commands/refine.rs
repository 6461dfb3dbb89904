//! `blindsmith refine`.

use blindsmith_client::Failure;
use clap::Args;

use super::{ProjectArguments, bar, status};

/// Asks for a round and waits until the refinery is idle.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith refine --project ./sales --epochs 3\n  blindsmith refine --project ./sales --wait-only"
)]
pub struct Refine {
    #[command(flatten)]
    common: ProjectArguments,
    /// Epochs of this round [default: the project's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epochs: Option<u32>,
    /// Only wait for the rounds that are running or due; ask for none.
    #[arg(long)]
    wait_only: bool,
}

impl Refine {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        if !self.wait_only {
            workspace.request_round(self.epochs)?;
        }
        let bar = bar(0, "refining");
        let report = workspace.wait(|progress| {
            bar.set_length(progress.steps);
            bar.set_position(progress.step);
            bar.set_message(format!("round {}", progress.round));
        })?;
        bar.finish_and_clear();
        status::print(&report, self.common.json)?;
        report.check()
    }
}
