//! `blindsmith attest`.

mod fetch;

use std::path::{Path, PathBuf};

use blindsmith_attest::AppraisedPolicy;
use blindsmith_attest::appraisal::{Appraisal, Envelope, MAX_POLICY, Policy, Refusal, Unusable, appraise};
use blindsmith_attest::chain::Trust;
use blindsmith_protocol::{from_cbor, to_cbor};
use clap::{Args, Subcommand};
use fetch::Fetch;

use super::report;
use blindsmith_client::Failure;
use blindsmith_client::collateral::{files, read_collateral};
use blindsmith_client::files::read_limited;
use blindsmith_client::trust::now;

/// Longest file of evidence, in bytes: a warden's envelope has claims, report and auxiliary data.
const MAX_FILE: usize = 128 << 10;

/// Fetches the warden's evidence and appraises it, or appraises stored evidence. Without a command it is `fetch`. Exits
/// with 0 only if the evidence is accepted, with 2 if it is refused, with 64 if the arguments are wrong.
#[derive(Args)]
#[command(disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Attest {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    fetch: Fetch,
}

#[derive(Subcommand)]
enum Command {
    Fetch(Fetch),
    Appraise(Appraise),
}

/// Appraises stored evidence, offline: a quote of Intel SGX or TDX, a report of AMD SEV-SNP, or the stored answer of a
/// warden. Exits with 0 only if the evidence is accepted, with 2 if it is refused, with 3 if a file cannot be used,
/// with 64 if the arguments are wrong.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith policy init trusted.toml\n  blindsmith attest appraise --evidence warden.quote --collateral collateral.json --policy trusted.toml"
)]
struct Appraise {
    /// The evidence: a raw quote or report, a file that attest fetch --out wrote, or a project's evidence.cbor.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// Collateral: Intel's as JSON, AMD's certificates in PEM or DER, AMD's revocation lists in DER. May be repeated.
    /// From a directory, the files *.json, *.pem, *.der, *.crt, *.cer and *.crl are taken.
    #[arg(long, value_name = "FILE")]
    collateral: Vec<PathBuf>,
    /// The policy that says which evidence is trusted.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The time of appraisal, in seconds since 1970 [default: now].
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<u64>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl Attest {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let done = match self.command {
            Some(Command::Appraise(command)) => command.run(),
            Some(Command::Fetch(command)) => command.run(),
            None => self.fetch.run(),
        };
        done.map_err(|failure| match failure {
            Failure::Settings(words) => Failure::Usage(words),
            other => other,
        })
    }
}

impl Appraise {
    fn run(self) -> Result<(), Failure> {
        let policy = read_policy(&self.policy)?;
        let bytes = read(&self.evidence, MAX_FILE)?;
        let stored = Stored::parse(&bytes).map_err(|e| Failure::unusable(&self.evidence, e))?;
        let collateral = read_collateral(&files(&self.collateral)?)?;
        let at = self.at.map_or_else(now, Ok)?;
        let Envelope { evidence, vouched } = stored.envelope;
        let mut appraisal = appraise(&evidence, &collateral, &policy, at);
        if let Some(data) = vouched.map(hex).filter(|data| appraisal.report_data.as_ref() != Some(data)) {
            appraisal.refusals.push(Refusal {
                claim: "report.data".into(),
                expected: data,
                found: appraisal.report_data.clone().unwrap_or_default(),
                advice: "the report does not vouch for the claims that came with it: do not trust them"
                    .into(),
            });
        }
        appraisal.refusals.extend(stored.unconfirmed);
        appraisal.accepted &= appraisal.refusals.is_empty();
        conclude(self.json, &appraisal)
    }
}

/// Stored evidence.
struct Stored {
    envelope: Envelope,
    /// What is wrong with a warden's confirmation beside it.
    unconfirmed: Option<Refusal>,
}

impl Stored {
    /// Parses what [`Envelope::parse`] does, or the evidence in a project's directory, beside which is what the warden
    /// signed when it had opened the release.
    fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let trust = if bytes.len() <= MAX_FILE { from_cbor::<Trust>(bytes).ok() } else { None };
        let Some(trust) = trust else {
            return Ok(Stored { envelope: Envelope::parse(bytes)?, unconfirmed: None });
        };
        let unconfirmed = trust.opened().err().map(|found| Refusal {
            claim: "confirmation".into(),
            expected: "what the warden of this evidence signed once it opened the release".into(),
            found,
            advice: "the file was put together or altered: do not trust the receipts that it leads to".into(),
        });
        Ok(Stored { envelope: Envelope::parse(&to_cbor(&trust.evidence))?, unconfirmed })
    }
}

/// Prints an appraisal; the command fails if it refused.
fn conclude(json: bool, appraisal: &Appraisal) -> Result<(), Failure> {
    report(json, appraisal, words)?;
    if appraisal.accepted {
        return Ok(());
    }
    let mut claims: Vec<&str> = appraisal.refusals.iter().map(|refusal| refusal.claim.as_str()).collect();
    claims.dedup();
    Err(Failure::EvidenceRefused(claims.join(", ")))
}

fn words(appraisal: &Appraisal) {
    let Appraisal { accepted, tee, tcb_status, measurement, report_data, refusals } = appraisal;
    println!("{}: {tee}", if *accepted { "ACCEPTED" } else { "REFUSED" });
    if *tee == "simulated" {
        println!(
            "  SIMULATED: this evidence proves nothing; whoever runs the warden reads what is released to it"
        );
    }
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

/// Reads a policy for appraisals.
pub(super) fn read_policy(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&policy_text(path)?).map_err(|e| Failure::unusable(path, e))
}

/// The same with the digest of its file, for sessions.
fn read_appraised(path: &Path) -> Result<AppraisedPolicy, Failure> {
    AppraisedPolicy::parse(&policy_text(path)?).map_err(|e| Failure::unusable(path, e))
}

fn policy_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path, MAX_POLICY)?)
        .map_err(|_| Failure::unusable(path, "not usable as a policy: it is not text (UTF-8)"))
}

/// A file of at most about so many bytes.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    read_limited(path, most).map_err(|e| Failure::unusable(path, e))
}
