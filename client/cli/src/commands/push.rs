//! `blindsmith push`.

use blindsmith_keys::random_bytes;
use blindsmith_protocol::{ProjectSpec, Role};
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, bar, report, warden_of, warn_if_simulated};
use crate::project::Keys;
use crate::rows::{DataArguments, Misfits, standardise};
use crate::{Failure, Sender, era, send};

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
    /// The lowest era that the upload may have. Each era has masks and secrets of its own. A new era begins by itself
    /// after many rows; raise it by hand after a withdrawal.
    #[arg(long, value_name = "N", default_value_t = 0)]
    era: u32,
}

#[derive(Serialize)]
struct Pushed {
    upload: String,
    new: bool,
    rows: usize,
    clipped_values: u64,
    #[serde(flatten)]
    misfits: Misfits,
    bytes: u64,
    era: u32,
    /// Rows that share what a round does for each of these few, if the upload has fewer.
    strip: Option<usize>,
    /// The kind of the warden that holds the rows' keys; none if none does yet.
    warden: Option<&'static str>,
}

/// The rows of a strip or of a group, whichever has more, if the upload has fewer: the warden opens products strip by
/// strip, and the column form is filled up to whole groups.
fn few(spec: &ProjectSpec, rows: usize) -> Option<usize> {
    let strip = spec.row_form.strip().max(spec.column_form.roots());
    (rows < strip).then_some(strip)
}

impl Push {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (project, mut connection) = self.common.open()?;
        let keys = Keys::load(&self.common.project)?;
        let mut data = self.data.labelled(&project)?;
        if !self.keep_order {
            data.shuffle(&random_bytes());
        }
        let rows = standardise(&project, data)?;
        let id = project.id();
        let role = if self.validation { Role::Validation } else { Role::Training };
        let count = rows.features.rows();
        let seed = keys.contributor(&id);
        let warden = warden_of(&self.common.project);
        warn_if_simulated(warden);
        let stored = era::stored_rows(&connection.status(id)?);
        let era = era::next(&self.common.project, stored, self.era)?;
        let bar = bar(count as u64, "encrypting and sending");
        let sent = send(
            &mut connection,
            &project.spec,
            Sender { contributor: keys.public(), terms: keys.pinned(), seed: &seed, era },
            role,
            (&rows.features, &rows.targets),
            &mut |done| bar.set_position(done),
        )?;
        bar.finish_and_clear();
        let pushed = Pushed {
            upload: sent.upload.to_string(),
            new: sent.new,
            rows: count,
            clipped_values: rows.misfits.clipped_values(),
            misfits: rows.misfits,
            bytes: sent.bytes,
            era,
            strip: few(&project.spec, count),
            warden,
        };
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
