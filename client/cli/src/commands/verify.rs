//! `blindsmith verify`.

use std::path::PathBuf;

use blindsmith_attest::chain::{Verdict, verify, verify_against};
use blindsmith_client::Failure;
use blindsmith_client::models::CommittedModel;
use blindsmith_client::receipts::{read_bundle, read_policy};
use clap::Args;
use serde::Serialize;

use super::report;

/// Verifies the warden's receipts against the owner's policy: offline, from two files. Exits with 0 only if
/// every check passed, with 9 if one failed, with 8 if a file cannot be read.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith verify --receipts receipts.cbor --policy policy.toml\n  blindsmith verify --receipts receipts.cbor --policy policy.toml --model model.safetensors"
)]
pub struct Verify {
    /// The receipts: a bundle that blindsmith receipts wrote.
    #[arg(long, value_name = "FILE")]
    receipts: PathBuf,
    /// The owner's policy.toml.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Another bundle of the project, from another time or person: both must tell the same history.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A model that blindsmith pull wrote: say which receipt commits to it, and whether it is the current one.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let policy = read_policy(&self.policy)?;
        let receipts = read_bundle(&self.receipts)?;
        let verdict = match &self.against {
            Some(other) => verify_against(&receipts, &read_bundle(other)?, &policy),
            None => verify(&receipts, &policy),
        };
        // Receipts that do not verify commit to nothing.
        let model = self.model.as_deref().filter(|_| verdict.valid);
        let model = model.map(|path| CommittedModel::find(path, &receipts, &policy)).transpose()?;
        let checked = Checked { verdict, model };
        report(self.json, &checked, Checked::print)?;
        match (&checked.verdict.first_fault, &checked.model) {
            (Some(fault), _) => Err(Failure::NotProven(format!("round {}: {}", fault.round, fault.what))),
            (None, Some(model)) if model.round.is_none() => {
                Err(Failure::NotProven("no receipt commits to this model".into()))
            }
            (None, _) => Ok(()),
        }
    }
}

/// A verdict, and what the receipts say of a model.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<CommittedModel>,
}

impl Checked {
    fn print(&self) {
        words(&self.verdict);
        self.model.iter().for_each(|model| println!("\n{}", model.words()));
    }
}

fn words(verdict: &Verdict) {
    match &verdict.first_fault {
        None => println!("VALID: {} rounds after the release", verdict.rounds),
        Some(fault) => println!("NOT VALID, at round {}: {}", fault.round, fault.what),
    }
    for (title, lines) in [("proven", &verdict.proven), ("not proven", &verdict.not_proven)] {
        if !lines.is_empty() {
            println!("\n{title}:");
        }
        lines.iter().for_each(|line| println!("  - {line}"));
    }
}
