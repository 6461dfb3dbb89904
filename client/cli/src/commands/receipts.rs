//! `blindsmith receipts`: fetches what the warden signed, and shows it.

use std::path::PathBuf;

use blindsmith_client::Failure;
use blindsmith_client::policy::has_policy;
use blindsmith_client::receipts::{ReceiptsReport, read_bundle};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{ProjectArguments, report};

/// Fetches the statements that the warden signed about all rounds, for blindsmith verify: the receipts, the reports of
/// wrong answers of the refinery, and the evidence that was appraised when the secrets were released. `show` prints a
/// file of receipts.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  blindsmith receipts --project ./sales --out receipts.cbor\n  blindsmith receipts show receipts.cbor\n  blindsmith verify --receipts receipts.cbor --policy ./sales/policy.toml"
)]
pub struct Receipts {
    #[command(subcommand)]
    show: Option<ReceiptsCommand>,
    #[command(flatten)]
    common: ProjectArguments,
    /// The file to write.
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum ReceiptsCommand {
    /// Prints a file of receipts: rounds, decisions, uploads with their digests, measurements, orders.
    Show(Show),
}

/// Prints a file of receipts. It checks signatures with the key that the file itself names. Use blindsmith verify to
/// check that key, and that the rounds follow each other.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith receipts show receipts.cbor\n  blindsmith receipts show receipts.cbor --json | jq '.rounds[-1]'"
)]
struct Show {
    /// The file, as blindsmith receipts --out writes it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Fetched {
    receipts: usize,
    faults: usize,
    file: String,
}

impl Receipts {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(ReceiptsCommand::Show(show)) = self.show {
            return show.run();
        }
        let out = self.out.ok_or_else(|| Failure::Settings("give the file to write: --out FILE".into()))?;
        let mut workspace = self.common.open()?;
        let bundle = workspace.receipts()?;
        std::fs::write(&out, bundle.to_bytes()).map_err(|e| Failure::project(&out, e))?;
        if has_policy(&workspace.dir) {
            workspace.compare_orders()?;
        }
        let fetched = Fetched {
            receipts: bundle.receipts.len(),
            faults: bundle.faults.len(),
            file: out.display().to_string(),
        };
        report(self.common.json, &fetched, |f| {
            println!(
                "{} receipts and {} reports of wrong answers written to {}",
                f.receipts, f.faults, f.file
            )
        })
    }
}

fn print(found: &ReceiptsReport) {
    println!("project {}", found.project);
    println!("warden  {}, whose key {} signed all that follows", found.warden, found.key);
    println!("NOT VERIFIED: blindsmith verify compares it with the owner's policy");
    for r in &found.rounds {
        println!("\nround {}: {}, version {} is current", r.round, r.decision, r.current);
        if let Some(reason) = &r.reason {
            println!("  {reason}");
        }
        println!("  receipt      {}", r.receipt);
        let measured = if r.measurement.is_empty() { "none" } else { &r.measurement };
        println!("  warden       {}, measurement {measured}", r.tee);
        println!(
            "  trained on   {} rows in {} steps, {} trainings, attempt {}",
            r.rows, r.steps, r.trials, r.attempts
        );
        println!("  orders       {} (digest {})", r.orders, r.orders_digest);
        println!("  model        {}", r.model_after);
        if r.faults > 0 {
            println!("  {} WRONG ANSWERS of the refinery since the receipt before", r.faults);
        }
        r.uploads.iter().for_each(|upload| println!("  used         {upload}"));
        r.quarantined.iter().for_each(|q| println!("  quarantined  {}: {}", q.upload, q.reason));
    }
    for f in &found.faults {
        println!("\nwrong answer in round {}, attempt {}: {}", f.round, f.attempt, f.instruction);
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        report(self.json, &ReceiptsReport::of(&read_bundle(&self.file)?)?, print)
    }
}
