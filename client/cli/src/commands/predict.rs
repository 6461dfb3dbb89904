//! `blindsmith predict`.

use std::io::Write;
use std::path::PathBuf;

use blindsmith_arguments::{DataArguments, say_left_out};
use blindsmith_client::Failure;
use blindsmith_client::files::write_file;
use blindsmith_client::predictions::Predictions;
use clap::Args;

use super::{ProjectArguments, bar, report, warn_if_simulated};

/// Encrypts rows under a fresh key, has the warden predict them, and decrypts the answer. The refinery can read
/// neither rows nor answers.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith predict --project ./sales --data april.csv --out predictions.csv"
)]
pub struct Predict {
    #[command(flatten)]
    common: ProjectArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Write the predictions as CSV to this file [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Predict {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let rows = self.data.file().query(&workspace.project)?;
        say_left_out(&self.data.data, &rows.left_out);
        let query = workspace.project.query(rows)?;
        query.misfits.words().iter().for_each(|line| eprintln!("{line}"));
        let bar = bar(query.rows() as u64, "encrypting and sending");
        let predicted = workspace.predict(query, &mut |done| bar.set_position(done))?;
        bar.finish_and_clear();
        warn_if_simulated(Some(predicted.warden));
        if let Some(path) = &self.out {
            let mut text = Vec::new();
            write_csv(&predicted, &mut text)?;
            write_file(path, &text)?;
        }
        report(self.common.json, &predicted, |p| {
            if self.out.is_none() {
                _ = write_csv(p, std::io::stdout());
            }
            if let Some(accuracy) = p.accuracy {
                eprintln!("accuracy against the file's labels: {accuracy:.4}");
            }
        })
    }
}

fn write_csv(predicted: &Predictions, to: impl Write) -> Result<(), Failure> {
    let mut csv = csv::Writer::from_writer(to);
    let failed = |e: csv::Error| Failure::Other(format!("the predictions could not be written: {e}"));
    csv.write_record(&predicted.columns).map_err(failed)?;
    for row in &predicted.predictions {
        let cells = row.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        csv.write_record(cells).map_err(failed)?;
    }
    csv.flush().map_err(|e| Failure::Other(e.to_string()))
}
