//! `blindsmith push`.

use blindsmith_keys::random_bytes;
use blindsmith_protocol::Role;
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, bar, report};
use crate::project::Keys;
use crate::rows::{DataArguments, standardise};
use crate::{Failure, Sender, send};

/// Reads, checks, standardises, shuffles and encrypts rows, and sends them. A file with one bad value is
/// refused whole, before anything is encrypted.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith push --project ./sales --data march.csv\n  blindsmith push --project ./sales --data held-out.csv --validation"
)]
pub struct Push {
    #[command(flatten)]
    common: ProjectArguments,
    #[command(flatten)]
    data: DataArguments,
    /// These rows judge the model and are never trained on.
    #[arg(long)]
    validation: bool,
    /// Keep the file's order of rows instead of shuffling them: for rows that are in random order already.
    #[arg(long)]
    keep_order: bool,
}

#[derive(Serialize)]
struct Pushed {
    upload: String,
    new: bool,
    rows: usize,
    clipped_values: u64,
    bytes: u64,
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
        let bar = bar(count as u64, "encrypting and sending");
        let seed = keys.contributor(&id);
        let sent = send(
            &mut connection,
            &project.spec,
            Sender { contributor: keys.public(), terms: keys.pinned(), seed: &seed },
            role,
            (&rows.features, &rows.targets),
            &mut |done| bar.set_position(done),
        )?;
        bar.finish_and_clear();
        let pushed = Pushed {
            upload: sent.upload.to_string(),
            new: sent.new,
            rows: count,
            clipped_values: rows.clipped,
            bytes: sent.bytes,
        };
        report(self.common.json, &pushed, |p| {
            println!("upload {}: {} rows, {} bytes, stored", p.upload, p.rows, p.bytes);
            if p.clipped_values > 0 {
                println!("{} values lay beyond the recorded bound and were clipped", p.clipped_values);
            }
        })
    }
}
