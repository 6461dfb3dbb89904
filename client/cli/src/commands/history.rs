//! Versions: `blindsmith history`, `rollback`, `readmit`, `forgive`.

use blindsmith_api::message::UploadState;
use blindsmith_client::figures::Figures;
use blindsmith_client::report::{QuarantinedUpload, Report, mark};
use blindsmith_client::{Failure, Prefix};
use blindsmith_identity::Action;
use blindsmith_protocol::Id;
use clap::Args;
use serde::Serialize;

use super::orders::give;
use super::{ProjectArguments, report, warn_if_simulated};

/// Lists the rounds with their decisions, and which version was current after each.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith history --project ./sales\n  blindsmith pull --project ./sales --version 3 --out v3.safetensors"
)]
pub struct History {
    #[command(flatten)]
    common: ProjectArguments,
}

#[derive(Serialize)]
struct Versions {
    project: String,
    /// The kind of the connected warden; where none is, of the one that was given the secrets.
    warden: Option<String>,
    /// The version that is current.
    current: u64,
    rounds: Vec<Round>,
    versions: Vec<Version>,
    uploads: Vec<UploadPlace>,
}

/// A model that can be fetched, and the round that left it.
#[derive(Serialize)]
struct Version {
    version: u64,
    round: u64,
    decision: &'static str,
    /// Whether it is the current one.
    current: bool,
    uploads: u32,
    /// Uploads that the round used and that were withdrawn since.
    withdrawn: Vec<String>,
}

#[derive(Serialize)]
struct Round {
    round: u64,
    decision: &'static str,
    reason: Option<String>,
    current: u64,
    uploads: u32,
    rows: u64,
    trials: u32,
    at: u64,
    asked: bool,
    quarantined: Vec<QuarantinedUpload>,
    /// Uploads that it used and that were withdrawn since.
    withdrawn: Vec<String>,
    loss_before: Option<f64>,
    validation: Option<Figures>,
}

#[derive(Serialize)]
struct UploadPlace {
    upload: String,
    contributor: String,
    rows: u32,
    state: UploadState,
    reason: Option<String>,
}

impl History {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let status = workspace.fetch_status()?;
        let Report { project, warden, rounds, uploads, .. } = workspace.report(status)?;
        let rounds: Vec<Round> = rounds
            .into_iter()
            .map(|r| Round {
                round: r.round,
                decision: r.decision,
                reason: r.failure,
                current: r.current,
                uploads: r.uploads,
                rows: r.rows,
                trials: r.trials,
                at: r.at,
                asked: r.asked,
                quarantined: r.quarantined,
                withdrawn: r.withdrawn,
                loss_before: r.loss_before,
                validation: r.validation,
            })
            .collect();
        let uploads = uploads.into_iter().map(|u| UploadPlace {
            upload: u.upload,
            contributor: u.contributor,
            rows: u.rows,
            state: u.state,
            reason: u.reason,
        });
        let current = rounds.last().map_or(0, |r| r.current);
        let warden = warden.or_else(|| workspace.warden().map(str::to_owned));
        warn_if_simulated(warden.as_deref());
        let version = |r: &Round| Version {
            version: r.round,
            round: r.round,
            decision: r.decision,
            current: r.round == current,
            uploads: r.uploads,
            withdrawn: r.withdrawn.clone(),
        };
        let versions = rounds.iter().map(version).collect();
        let versions = Versions { project, warden, current, rounds, versions, uploads: uploads.collect() };
        report(self.common.json, &versions, |v| {
            println!("current version {}", v.current);
            println!("round  decision     version  uploads      rows  trainings  validation");
            for r in &v.rounds {
                let validation = r.validation.as_ref().map_or(String::from("-"), Figures::words);
                println!(
                    "{:>5}  {:<11}  {:>7}  {:>7}  {:>8}  {:>9}  {validation}",
                    r.round, r.decision, r.current, r.uploads, r.rows, r.trials
                );
                if let Some(reason) = &r.reason {
                    println!("       {reason}");
                }
                for q in &r.quarantined {
                    println!("       quarantined {}: {}", &q.upload[..16], q.reason);
                }
                mark(&r.withdrawn).into_iter().for_each(|line| println!("{line}"));
            }
        })
    }
}

/// Makes an earlier version the current one; later rounds continue from it. Needs the owner's key.
#[derive(Args)]
pub struct Rollback {
    #[command(flatten)]
    common: ProjectArguments,
    /// The version.
    #[arg(long, value_name = "VERSION")]
    to: u64,
}

impl Rollback {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        give(
            &self.common,
            Action::Rollback { version: self.to },
            "the next round makes that version current again",
        )
    }
}

/// Ends the quarantine of an upload: the next round tries it again. Needs the owner's key.
#[derive(Args)]
pub struct Readmit {
    #[command(flatten)]
    common: ProjectArguments,
    /// The upload's identifier, or its first six digits or more.
    #[arg(long, value_name = "ID")]
    upload: Prefix,
}

impl Readmit {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let upload = self.upload.upload(&mut self.common.open()?)?;
        give(&self.common, Action::Readmit { upload }, "the next round tries that upload again")
    }
}

/// Lets the warden work with the refinery again, after more wrong answers or attempts than the rules allow. Needs the
/// owner's key.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith forgive --project ./sales\n  blindsmith forgive --project ./sales --lost WARDEN"
)]
pub struct Forgive {
    #[command(flatten)]
    common: ProjectArguments,
    /// Undo a hand-over to a warden that was lost before it began: WARDEN is its key, and the warden that handed the
    /// project over continues. Wrong answers are not forgiven. If the lost warden did begin, there are two histories
    /// from then on.
    #[arg(long, value_name = "WARDEN")]
    lost: Option<Id>,
}

impl Forgive {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.lost {
            Some(lost) => give(
                &self.common,
                Action::Resume { lost },
                "the warden that had the project before may continue with it",
            ),
            None => give(&self.common, Action::Forgive, "wrong answers and attempts are forgiven"),
        }
    }
}
