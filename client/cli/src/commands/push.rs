//! `blindsmith push`.

use blindsmith_arguments::{DataArguments, say_left_out};
use blindsmith_client::Failure;
use blindsmith_client::push::PushOptions;
use clap::Args;

use super::{ProjectArguments, bar, report, warn_if_simulated};

/// Reads, checks, standardises, shuffles and encrypts rows, and sends them. One bad value refuses the whole file
/// before anything is encrypted.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith push --project ./sales --data march.csv\n  blindsmith push --project ./sales --data held-out.csv --validation"
)]
pub struct Push {
    #[command(flatten)]
    common: ProjectArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Use these rows as validation set: the warden measures the model on them and never trains on them.
    #[arg(long)]
    validation: bool,
    /// Do not shuffle: the file's rows are in random order already.
    #[arg(long)]
    keep_order: bool,
    /// Push rows again that were pushed from this directory before: they then count twice.
    #[arg(long)]
    again: bool,
    /// Push although the warden does not hold your seed yet. It refuses the rows, and reads them again once you have joined.
    #[arg(long)]
    early: bool,
    /// The era of the upload, at least: its masks and secrets serve no rows of another era. Rows begin a new era by
    /// themselves as they grow many; raise it by hand after a withdrawal.
    #[arg(long, value_name = "N", default_value_t = 0)]
    era: u32,
}

impl Push {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let rows = self.data.file().labelled(&workspace.project)?;
        say_left_out(&self.data.data, &rows.left_out);
        warn_if_simulated(workspace.warden());
        let options = PushOptions {
            validation: self.validation,
            keep_order: self.keep_order,
            again: self.again,
            era: self.era,
            early: self.early,
        };
        let bar = bar(rows.data.rows() as u64, "encrypting and sending");
        let pushed = workspace.push(rows, options, &mut |done| bar.set_position(done));
        let pushed = pushed.map_err(|failure| match failure {
            Failure::Repeated { .. } => Failure::Settings(format!("{}: {failure}", self.data.data.display())),
            other => other,
        })?;
        bar.finish_and_clear();
        report(self.common.json, &pushed, |p| {
            println!("upload {}: {} rows, {} bytes, stored", p.upload, p.rows, p.bytes);
            if let Some(strip) = p.strip {
                println!(
                    "training on so few rows takes the warden as long as on {strip} that come together: push seldom, \
                     many at a time"
                );
            }
            p.misfits.words().iter().for_each(|line| println!("{line}"));
        })
    }
}
