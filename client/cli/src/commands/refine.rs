//! `blindsmith refine`.

use blindsmith_api::message::Request;
use clap::Args;

use super::status::Report;
use super::{ProjectArguments, bar};
use crate::project::Keys;
use crate::{ClientProject, Connection, Failure};

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
        let (project, mut connection) = self.common.open()?;
        if !self.wait_only {
            let request = Request::Refine { project: project.id(), epochs: self.epochs };
            connection.command(&request, &[])?;
        }
        let keys = Keys::load_if_there(&self.common.project)?;
        let report = watch(&mut connection, &project, keys.as_ref())?;
        report.print(self.common.json)?;
        report.check()
    }
}

/// Waits with a progress bar.
pub(crate) fn watch(
    connection: &mut Connection,
    project: &ClientProject,
    keys: Option<&Keys>,
) -> Result<Report, Failure> {
    let bar = bar(0, "refining");
    let status = connection.watch(project.id(), |progress| {
        bar.set_length(progress.steps);
        bar.set_position(progress.step);
        bar.set_message(format!("round {}", progress.round));
    })?;
    bar.finish_and_clear();
    Report::new(status, project, keys)
}
