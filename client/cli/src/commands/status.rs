//! `blindsmith status`.

use blindsmith_client::Failure;
use blindsmith_client::figures::Figures;
use blindsmith_client::orders::KnownOrders;
use blindsmith_client::report::{Report, mark, role_word};
use clap::Args;

use super::{ProjectArguments, report};

/// Shows uploads and rounds and, if the directory has the owner's key, what the rounds achieved.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith status --project ./sales\n  blindsmith status --project ./sales --json | jq .rounds"
)]
pub struct Status {
    #[command(flatten)]
    common: ProjectArguments,
}

impl Status {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        print(&self.common.open()?.status()?, self.common.json)
    }
}

/// Prints a project.
pub(super) fn print(found: &Report, json: bool) -> Result<(), Failure> {
    report(json, found, |r| {
        println!("project {} ({})", r.project, r.name);
        match r.warden.as_deref() {
            None => println!("no warden is connected"),
            Some("simulated") => {
                println!("warden: SIMULATED (protects nothing), secrets {}", held(r.ready))
            }
            Some(tee) => println!("warden: {tee}, secrets {}", held(r.ready)),
        }
        if let Some(KnownOrders { given, known, round }) = r.orders.filter(|orders| orders.given > 0) {
            println!("orders of the owner: {given}, of which the warden knew {known} in round {round}");
        }
        if let Some(failure) = &r.failure {
            println!("last round failed: {failure}");
        }
        println!("\nuploads");
        for u in &r.uploads {
            let (id, role, standing) = (&u.upload[..16], role_word(u.role), u.standing());
            println!("  {id}  {:>10} rows  {:>14} bytes  {role:<10}  {standing}", u.rows, u.bytes);
        }
        if r.queued > 0 {
            println!("\nrounds that wait: {}", r.queued);
        }
        println!("\nround  uploads      rows   steps  seconds  training loss  validation");
        for round in &r.rounds {
            let loss = round.training_loss.as_ref().and_then(|l| l.last().copied());
            let loss = loss.map_or(String::from("-"), |l| format!("{l:.4}"));
            let validation = round.validation.as_ref().map_or(String::from("-"), Figures::words);
            let validation = match &round.failure {
                Some(cause) if round.decision == "rolled-back" => format!("ROLLED BACK: {cause}"),
                Some(cause) => format!("FAILED: {cause}"),
                None if round.decision == "restored" => format!("version {} again", round.current),
                None => validation,
            };
            println!(
                "{:>5}  {:>7}  {:>8}  {:>6}  {:>7.2}  {loss:>13}  {validation}",
                round.round, round.uploads, round.rows, round.steps, round.seconds
            );
            mark(&round.withdrawn).into_iter().for_each(|line| println!("{line}"));
        }
        print_figures(r);
    })
}

fn held(ready: bool) -> &'static str {
    if ready { "held" } else { "not held: run init, or restart the warden that had them" }
}

/// The figures of the newest round that has some, class by class.
fn print_figures(report: &Report) {
    let newest = report.rounds.iter().rev().find_map(|r| Some((r.round, r.validation.as_ref()?)));
    let Some((round, figures)) = newest else { return };
    let lines = figures.table();
    if !lines.is_empty() {
        println!("\nfigures of round {round}, over {} validation rows", figures.metrics.rows);
    }
    lines.iter().for_each(|line| println!("  {line}"));
}
