//! `blindsmith push`, `flush`.

use blindsmith_keys::random_bytes;
use blindsmith_protocol::{ProjectSpec, Role};
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, bar, report, warden_of, warn_if_simulated};
use crate::project::Keys;
use crate::rows::{DataArguments, standardise};
use crate::spool::Spool;
use crate::{Failure, Sender, Sent, send};

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
    /// Keep rows here until they fill row blocks, and send what does: for a few rows at a time, which would take the room
    /// of a whole block each time. blindsmith flush sends the rest.
    #[arg(long)]
    spool: bool,
}

#[derive(Serialize)]
struct Pushed {
    upload: String,
    new: bool,
    rows: usize,
    clipped_values: u64,
    bytes: u64,
    /// Rows for which there would be room in the same bytes.
    room: usize,
    /// The kind of the warden that holds the rows' keys; none if none does yet.
    warden: Option<&'static str>,
}

#[derive(Serialize)]
struct Spooled {
    /// Identifiers of uploads that were filled.
    uploads: Vec<String>,
    /// Rows that were sent.
    sent: usize,
    bytes: u64,
    /// Rows that wait.
    waiting: usize,
    /// Rows of a block.
    block: usize,
    clipped_values: u64,
    /// The kind of the warden that holds the rows' keys; none if none does yet.
    warden: Option<&'static str>,
}

impl Spooled {
    fn new(
        spec: &ProjectSpec,
        sent: &[(Sent, usize)],
        spool: &Spool,
        (clipped_values, warden): (u64, Option<&'static str>),
    ) -> Self {
        Spooled {
            uploads: sent.iter().map(|(sent, _)| sent.upload.to_string()).collect(),
            sent: sent.iter().map(|(_, rows)| rows).sum(),
            bytes: sent.iter().map(|(sent, _)| sent.bytes).sum(),
            waiting: spool.len(),
            block: spec.block_rows(),
            clipped_values,
            warden,
        }
    }

    fn say(&self) {
        for upload in &self.uploads {
            println!("upload {upload}: stored");
        }
        println!(
            "{} rows sent in {} bytes, {} rows wait for a block of {}",
            self.sent, self.bytes, self.waiting, self.block
        );
        if self.waiting > 0 {
            println!("blindsmith flush sends them now, in the room of a whole block");
        }
        if self.clipped_values > 0 {
            println!("{} values lay beyond the recorded bound and were clipped", self.clipped_values);
        }
    }
}

/// Sends rows that wait since blindsmith push --spool, though they fill no block: they take the room of a whole one.
#[derive(Args)]
#[command(after_help = "Example:\n  blindsmith flush --project ./sales")]
pub struct Flush {
    #[command(flatten)]
    common: ProjectArguments,
    /// Those that judge the model.
    #[arg(long)]
    validation: bool,
}

fn role(validation: bool) -> Role {
    if validation { Role::Validation } else { Role::Training }
}

impl Flush {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (project, mut connection) = self.common.open()?;
        let keys = Keys::load(&self.common.project)?;
        let role = role(self.validation);
        let warden = warden_of(&self.common.project);
        warn_if_simulated(warden);
        let mut spool = Spool::open(&self.common.project, role)?;
        let seed = keys.contributor(&project.id());
        let sender = Sender { contributor: keys.public(), terms: keys.pinned(), seed: &seed };
        let sent = spool.send(&mut connection, &project.spec, sender, (role, true))?;
        report(self.common.json, &Spooled::new(&project.spec, &sent, &spool, (0, warden)), Spooled::say)
    }
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
        let role = role(self.validation);
        let count = rows.features.rows();
        let seed = keys.contributor(&id);
        let warden = warden_of(&self.common.project);
        warn_if_simulated(warden);
        if self.spool {
            let mut spool = Spool::open(&self.common.project, role)?;
            let clipped = rows.clipped;
            spool.add(rows)?;
            let sender = Sender { contributor: keys.public(), terms: keys.pinned(), seed: &seed };
            let sent = spool.send(&mut connection, &project.spec, sender, (role, false))?;
            let spooled = Spooled::new(&project.spec, &sent, &spool, (clipped, warden));
            return report(self.common.json, &spooled, Spooled::say);
        }
        let bar = bar(count as u64, "encrypting and sending");
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
            room: count.next_multiple_of(project.spec.block_rows()),
            warden,
        };
        report(self.common.json, &pushed, |p| {
            println!("upload {}: {} rows, {} bytes, stored", p.upload, p.rows, p.bytes);
            if 2 * p.rows <= p.room {
                println!(
                    "the same bytes would hold {} rows: --spool keeps rows here until they fill them",
                    p.room
                );
            }
            if p.clipped_values > 0 {
                println!("{} values lay beyond the recorded bound and were clipped", p.clipped_values);
            }
        })
    }
}
