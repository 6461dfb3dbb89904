//! `blindsmith receipts`: fetches what the warden signed, and shows it.

use std::path::PathBuf;

use blindsmith_api::decision_word;
use blindsmith_attest::chain::Bundle;
use blindsmith_protocol::{Blob, Decision, Id};
use blindsmith_receipts::{Receipt, open_fault, open_receipt, receipt_digest};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::orders::remember;
use super::pull::fetch_bundle;
use super::status::SetAside;
use super::verify::bundle;
use super::{ProjectArguments, report};
use crate::Failure;
use crate::project::{has_policy, load_trust};

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
        let (project, mut connection) = self.common.open()?;
        let trust = load_trust(&self.common.project)?;
        let bundle = fetch_bundle(&mut connection, &project, trust)?;
        std::fs::write(&out, bundle.to_bytes()).map_err(|e| Failure::project(&out, e))?;
        if has_policy(&self.common.project) {
            remember(&mut connection, &project, &self.common.project)?;
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

/// What a file of receipts says.
#[derive(Serialize)]
struct Shown {
    project: String,
    /// The kind of the warden that was given the secrets.
    warden: &'static str,
    /// The key that signed the receipts.
    key: String,
    /// That nothing else was verified.
    verified: bool,
    rounds: Vec<ShownRound>,
    faults: Vec<ShownFault>,
}

#[derive(Serialize)]
struct ShownRound {
    round: u64,
    /// SHA-256 of the receipt as signed.
    receipt: String,
    previous: Option<String>,
    tee: String,
    measurement: String,
    rules: String,
    recipe: String,
    decision: &'static str,
    reason: Option<String>,
    current: u64,
    attempts: u32,
    trials: u32,
    faults: u32,
    rows: u64,
    steps: u64,
    orders: u64,
    orders_digest: String,
    model_before: String,
    model_after: String,
    uploads: Vec<String>,
    quarantined: Vec<SetAside>,
}

#[derive(Serialize)]
struct ShownFault {
    round: u64,
    attempt: u32,
    instruction: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Text from a file that anybody could have made, fit to be shown.
fn plain(text: &str) -> String {
    text.escape_debug().to_string()
}

impl ShownRound {
    fn of(signed: &Blob, receipt: &Receipt) -> Self {
        let reason = match &receipt.decision {
            Decision::Restored { version } => Some(format!("version {version}")),
            other => other.reason().map(plain),
        };
        ShownRound {
            round: receipt.round,
            receipt: hex(&receipt_digest(&signed.0)),
            previous: receipt.previous.map(|digest| hex(&digest)),
            tee: plain(&receipt.tee),
            measurement: hex(&receipt.measurement.0),
            rules: hex(&receipt.rules),
            recipe: receipt.recipe.to_string(),
            decision: decision_word(&receipt.decision),
            reason,
            current: receipt.current,
            attempts: receipt.attempts,
            trials: receipt.trials,
            faults: receipt.faults,
            rows: receipt.rows,
            steps: receipt.steps,
            orders: receipt.orders,
            orders_digest: receipt.orders_digest.to_string(),
            model_before: hex(&receipt.before),
            model_after: hex(&receipt.after),
            uploads: receipt.uploads.iter().map(Id::to_string).collect(),
            quarantined: receipt.quarantined.iter().map(SetAside::from).collect(),
        }
    }
}

impl Shown {
    fn of(bundle: &Bundle) -> Result<Self, Failure> {
        let (tee, project, key) = bundle.trust.opened().map_err(Failure::NotProven)?;
        let not = |what: String| move |e| Failure::NotProven(format!("{what}: {e}"));
        let round = |(n, signed): (usize, &Blob)| {
            let receipt = open_receipt(&signed.0, &key).map_err(not(format!("receipt {n}")))?;
            Ok(ShownRound::of(signed, &receipt))
        };
        let fault = |(n, signed): (usize, &Blob)| {
            let fault = open_fault(&signed.0, &key).map_err(not(format!("report {}", n + 1)))?;
            Ok(ShownFault {
                round: fault.round,
                attempt: fault.attempt,
                instruction: plain(&fault.instruction),
            })
        };
        Ok(Shown {
            project: project.to_string(),
            warden: tee.name(),
            key: key.to_string(),
            verified: false,
            rounds: bundle.receipts.iter().enumerate().map(round).collect::<Result<_, Failure>>()?,
            faults: bundle.faults.iter().enumerate().map(fault).collect::<Result<_, Failure>>()?,
        })
    }

    fn print(&self) {
        println!("project {}", self.project);
        println!("warden  {}, whose key {} signed all that follows", self.warden, self.key);
        println!("NOT VERIFIED: blindsmith verify compares it with the owner's policy");
        for r in &self.rounds {
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
        for f in &self.faults {
            println!("\nwrong answer in round {}, attempt {}: {}", f.round, f.attempt, f.instruction);
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        report(self.json, &Shown::of(&bundle(&self.file)?)?, Shown::print)
    }
}
