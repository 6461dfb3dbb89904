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
/// refused whole, before anything is encrypted. Rows that fill no row block wait here for more, as a block takes the same
/// room however few are in it: --now sends them all the same.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith push --project ./sales --data march.csv\n  blindsmith push --project ./sales --data held-out.csv --validation\n  blindsmith push --project ./sales --data today.csv --now"
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
    /// Send at once, however few rows there are: they take the room of whole blocks.
    #[arg(long, conflicts_with = "spool")]
    now: bool,
    /// Keep here what does not fill row blocks, of many rows too, and send the rest. blindsmith flush sends what waits.
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
    /// The upload, if one was filled.
    upload: Option<String>,
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
        let uploads: Vec<String> = sent.iter().map(|(sent, _)| sent.upload.to_string()).collect();
        Spooled {
            upload: uploads.last().cloned(),
            uploads,
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
        if self.sent > 0 {
            println!("{} rows sent in {} bytes", self.sent, self.bytes);
        }
        if self.waiting > 0 {
            println!("{} rows wait here until they fill a block of {}", self.waiting, self.block);
            println!("blindsmith flush sends them now, in the room of a whole block, as push --now does");
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
        if self.spool || (!self.now && count < project.spec.block_rows()) {
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
                    "the same bytes would hold {} rows: without --now, rows wait until they fill them",
                    p.room
                );
            }
            if p.clipped_values > 0 {
                println!("{} values lay beyond the recorded bound and were clipped", p.clipped_values);
            }
        })
    }
}
