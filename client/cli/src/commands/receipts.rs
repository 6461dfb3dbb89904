//! `blindsmith receipts`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::orders::remember;
use super::pull::fetch_bundle;
use super::{ProjectArguments, report};
use crate::Failure;
use crate::project::{has_policy, load_trust};

/// Fetches what the warden signed of all rounds, for blindsmith verify: the receipts, its reports of wrong answers
/// of the refinery, and the evidence that was appraised when the secrets were released.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith receipts --project ./sales --out receipts.cbor\n  blindsmith verify --receipts receipts.cbor --policy ./sales/policy.toml"
)]
pub struct Receipts {
    #[command(flatten)]
    common: ProjectArguments,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
        let (project, mut connection) = self.common.open()?;
        let trust = load_trust(&self.common.project)?;
        let bundle = fetch_bundle(&mut connection, &project, trust)?;
        std::fs::write(&self.out, bundle.to_bytes()).map_err(|e| Failure::project(&self.out, e))?;
        if has_policy(&self.common.project) {
            let newest = bundle.receipts.len().saturating_sub(1) as u64;
            remember(&mut connection, &project, &self.common.project, newest)?;
        }
        let fetched = Fetched {
            receipts: bundle.receipts.len(),
            faults: bundle.faults.len(),
            file: self.out.display().to_string(),
        };
        report(self.common.json, &fetched, |f| {
            println!(
                "{} receipts and {} reports of wrong answers written to {}",
                f.receipts, f.faults, f.file
            )
        })
    }
}
