//! `blindsmith verify`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use blindsmith_attest::chain::{
    Bundle, MAX_BUNDLE, MAX_POLICY, OwnerPolicy, Verdict, verify, verify_against,
};
use clap::Args;

use super::report;
use crate::Failure;

/// Verifies the warden's receipts against the owner's policy: offline, from two files. Exits with 0 only if
/// every check passed, with 9 if one failed, with 8 if a file cannot be read.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith verify --receipts receipts.cbor --policy policy.toml"
)]
pub struct Verify {
    /// The receipts: a bundle, as the refinery gives it out.
    #[arg(long, value_name = "FILE")]
    receipts: PathBuf,
    /// The owner's policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Another bundle of the project, from another time or person: both must tell the same story.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let policy = policy(&self.policy)?;
        let receipts = bundle(&self.receipts)?;
        let verdict = match &self.against {
            Some(other) => verify_against(&receipts, &bundle(other)?, &policy),
            None => verify(&receipts, &policy),
        };
        report(self.json, &verdict, words)?;
        match verdict.first_fault {
            None if verdict.valid => Ok(()),
            fault => Err(Failure::NotProven(
                fault.map_or_else(String::new, |f| format!("round {}: {}", f.round, f.what)),
            )),
        }
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

fn bundle(path: &Path) -> Result<Bundle, Failure> {
    Bundle::from_bytes(&read(path, MAX_BUNDLE)?).map_err(|e| Failure::project(path, e))
}

fn policy(path: &Path) -> Result<OwnerPolicy, Failure> {
    let text = String::from_utf8(read(path, MAX_POLICY)?)
        .map_err(|_| Failure::project(path, "not a policy: it is not text (UTF-8)"))?;
    OwnerPolicy::parse(&text).map_err(|e| Failure::project(path, format_args!("not a policy: {e}")))
}

/// A file, but no more than one byte beyond `most`: readers refuse that.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::project(path, e))?;
    Ok(bytes)
}
