//! `blindsmith attest`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use blindsmith_attest::appraisal::{
    Appraisal, Collateral, Envelope, MAX_COLLATERAL, MAX_EVIDENCE, MAX_POLICY, Policy, Refusal, appraise,
};
use clap::{Args, Subcommand};

use super::report;
use crate::Failure;
use crate::trust::now;

/// What collateral's files are called; others in a directory are passed over.
const COLLATERAL_EXTENSIONS: [&str; 5] = ["json", "pem", "der", "crt", "cer"];

/// Appraises attestation evidence of hardware.
#[derive(Args)]
#[command(disable_version_flag = true)]
pub struct Attest {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Appraise(Appraise),
}

/// Appraises a quote of Intel SGX or TDX, or a report of AMD SEV-SNP, offline. Exits with 0 only if it is accepted,
/// with 2 if it is refused, with 3 if a file cannot be used.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith policy init trusted.toml\n  blindsmith attest appraise --evidence warden.quote --collateral collateral.json --policy trusted.toml"
)]
struct Appraise {
    /// The evidence: a raw quote or report.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// Collateral: Intel's as JSON, AMD's certificates in PEM or DER. May be repeated; of a directory, the files named
    /// *.json, *.pem, *.der, *.crt and *.cer are taken.
    #[arg(long, value_name = "FILE")]
    collateral: Vec<PathBuf>,
    /// The policy: what is trusted.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The time to appraise at, in seconds since 1970; now, if absent.
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<u64>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl Attest {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Appraise(command) => command.run(),
        }
    }
}

impl Appraise {
    fn run(self) -> Result<(), Failure> {
        let policy = read_policy(&self.policy)?;
        let bytes = read(&self.evidence, MAX_EVIDENCE)?;
        let Envelope { evidence, vouched } =
            Envelope::parse(&bytes).map_err(|e| Failure::unusable(&self.evidence, e))?;
        let collateral = read_collateral(&files(&self.collateral)?)?;
        let at = self.at.map_or_else(now, Ok)?;
        let mut appraisal = appraise(&evidence, &collateral, &policy, at);
        if let Some(data) = vouched.map(hex).filter(|data| appraisal.report_data.as_ref() != Some(data)) {
            appraisal.accepted = false;
            appraisal.refusals.push(Refusal {
                claim: "report.data".into(),
                expected: data,
                found: appraisal.report_data.clone().unwrap_or_default(),
                advice: "the report does not vouch for the claims that came with it: do not trust them"
                    .into(),
            });
        }
        report(self.json, &appraisal, words)?;
        match appraisal.refusals.as_slice() {
            [] => Ok(()),
            refusals => {
                let mut claims: Vec<&str> = refusals.iter().map(|refusal| refusal.claim.as_str()).collect();
                claims.dedup();
                Err(Failure::EvidenceRefused(claims.join(", ")))
            }
        }
    }
}

fn words(appraisal: &Appraisal) {
    let Appraisal { accepted, tee, tcb_status, measurement, report_data, refusals } = appraisal;
    println!("{}: {tee}", if *accepted { "ACCEPTED" } else { "REFUSED" });
    for (name, value) in
        [("tcb status", tcb_status), ("measurement", measurement), ("report data", report_data)]
    {
        if let Some(value) = value {
            println!("  {name}: {value}");
        }
    }
    for refusal in refusals {
        println!("\n{}", refusal.claim);
        println!("  expected: {}", refusal.expected);
        println!("  found:    {}", refusal.found);
        println!("  advice:   {}", refusal.advice);
    }
}

fn hex(bytes: [u8; 64]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads collateral.
pub(crate) fn read_collateral(files: &[PathBuf]) -> Result<Collateral, Failure> {
    let mut collateral = Collateral::default();
    for path in files {
        let bytes = read(path, MAX_COLLATERAL)?;
        collateral.add(&bytes).map_err(|e| Failure::unusable(path, e))?;
    }
    Ok(collateral)
}

/// The files of collateral, directories opened, in the order of their names.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| Failure::unusable(path, e))? {
            let file = entry.map_err(|e| Failure::unusable(path, e))?.path();
            let extension = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            if extension.is_some_and(|e| COLLATERAL_EXTENSIONS.contains(&e.as_str())) {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Reads a policy for appraisals.
pub(super) fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let text = String::from_utf8(read(path, MAX_POLICY)?)
        .map_err(|_| Failure::unusable(path, "not usable as a policy: it is not text (UTF-8)"))?;
    Policy::parse(&text).map_err(|e| Failure::unusable(path, e))
}

/// A file, but no more than one byte beyond `most`: readers refuse that.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::unusable(path, e))?;
    Ok(bytes)
}
