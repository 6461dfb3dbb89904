//! The subcommands.

pub mod approve;
pub mod attest;
pub mod export;
pub mod history;
pub mod init;
pub mod manual;
pub mod members;
pub mod orders;
pub mod plan;
pub mod policy;
pub mod predict;
pub mod projects;
pub mod pull;
pub mod push;
pub mod receipts;
pub mod refine;
pub mod status;
pub mod verify;
#[cfg(feature = "watch")]
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use blindsmith_client::{Failure, Workspace};
use blindsmith_lab::{bench, demo, report, soak};

/// Train a model in a cloud that can read neither the model nor the data.
#[derive(Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a demonstration on real data: encrypt, refine, fetch, compare with training in the clear.
    Demo(demo::Demo),
    /// Measures what encryption costs on this machine.
    Bench(bench::Bench),
    /// Creates a project: model, training, keys; hands the secrets to the warden.
    Init(Box<init::Init>),
    /// Predicts, before anything runs, what the refinery will multiply and what training costs.
    Plan(plan::Plan),
    /// Encrypts rows and sends them.
    Push(push::Push),
    /// Runs a round now and waits for it, or only waits for rounds that run by themselves.
    Refine(refine::Refine),
    /// Shows uploads, rounds and, for the owner, what the rounds achieved.
    Status(status::Status),
    /// Lists the projects of a refinery that a key may see.
    Projects(projects::ProjectsCommand),
    /// Shows a project while it learns.
    #[cfg(feature = "watch")]
    Watch(watch::Watch),
    /// Fetches and decrypts the refined model.
    Pull(pull::Pull),
    /// Writes the figures of all rounds for TensorBoard or MLflow.
    Export(export::Export),
    /// Fetches the warden's receipts, for verify.
    Receipts(receipts::Receipts),
    /// Predicts encrypted rows; only you can read rows and answers.
    Predict(predict::Predict),
    /// Verifies the warden's receipts, offline.
    Verify(verify::Verify),
    /// Tests the service with contributors, a poisoned upload and kills.
    Soak(soak::Soak),
    /// Lists rounds, their decisions, and versions.
    History(history::History),
    /// Makes an earlier version the current one.
    Rollback(history::Rollback),
    /// Gives a quarantined upload another try.
    Readmit(history::Readmit),
    /// Lets the warden work again after too many wrong answers or attempts.
    Forgive(history::Forgive),
    /// Approves of wardens to which the project may be handed over.
    Approve(approve::Approve),
    /// Becomes a member of somebody's project.
    Join(members::Join),
    /// Invites a member.
    Invite(members::Invite),
    /// Revokes a member.
    Revoke(members::Revoke),
    /// Lists the owner's orders, and can void a refused one.
    Orders(orders::Orders),
    /// Lists members.
    Members(members::Members),
    /// Writes a key file that shows the project and its figures in the page, but opens no model.
    Viewer(members::Viewer),
    /// Withdraws an upload of your own.
    Withdraw(members::Withdraw),
    /// Fetches the warden's evidence and appraises it, or appraises stored evidence, offline.
    Attest(attest::Attest),
    /// Writes or explains a policy for the appraisal of evidence.
    Policy(policy::Policy),
    /// Prints a script that completes commands and options in a shell.
    Completions(manual::Completions),
    /// Writes manual pages.
    Man(manual::Man),
}

/// What every command that works on a project takes.
#[derive(Debug, Clone, Args)]
pub struct ProjectArguments {
    /// The project's directory.
    #[arg(long, value_name = "DIR", default_value = "blindsmith-project")]
    pub project: PathBuf,
    /// The refinery: `http(s)://HOST[:PORT]`, or the path of its socket [default: the one recorded].
    #[arg(long, value_name = "URL")]
    pub refinery: Option<String>,
    /// Certificates (PEM) of the authority that signed the refinery's certificate, if the system does not trust it.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

impl ProjectArguments {
    fn open(&self) -> Result<Workspace, Failure> {
        Workspace::open(&self.project, self.refinery.as_deref(), self.ca.as_deref())
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Demo(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::Plan(command) => command.run(),
            Command::Push(command) => command.run(),
            Command::Refine(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Projects(command) => command.run(),
            #[cfg(feature = "watch")]
            Command::Watch(command) => command.run(),
            Command::Pull(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Receipts(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Soak(command) => command.run(),
            Command::History(command) => command.run(),
            Command::Rollback(command) => command.run(),
            Command::Readmit(command) => command.run(),
            Command::Forgive(command) => command.run(),
            Command::Approve(command) => command.run(),
            Command::Join(command) => command.run(),
            Command::Invite(command) => command.run(),
            Command::Revoke(command) => command.run(),
            Command::Orders(command) => command.run(),
            Command::Members(command) => command.run(),
            Command::Viewer(command) => command.run(),
            Command::Withdraw(command) => command.run(),
            Command::Attest(command) => command.run(),
            Command::Policy(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

/// Says on standard error that a warden proves nothing, if it is such a one.
fn warn_if_simulated(warden: Option<&str>) {
    if warden == Some("simulated") {
        eprintln!("warden: SIMULATED - whoever runs it can read the secrets released to it");
    }
}

/// Says on standard error that an earlier command was interrupted.
fn say_interrupted(dir: &Path) {
    eprintln!(
        "{}: an init or join was interrupted here. This one begins anew, with a new key; if the refinery has the earlier \
         project, that stays empty",
        dir.display()
    );
}

/// A progress bar on standard error; none where nobody looks.
fn bar(len: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<24} {wide_bar} {pos}/{len} [{elapsed}<{eta}]");
    let bar = ProgressBar::new(len).with_message(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
