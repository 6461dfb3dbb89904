//! `blindsmith projects`.

use std::path::PathBuf;

use blindsmith_api::message::{Reply, Request};
use blindsmith_api::{ProjectState, Projects};
use clap::Args;

use super::report;
use blindsmith_client::failure::unexpected;
use blindsmith_client::{ClientProject, Connection, Failure, Keys};

/// Lists the projects of a refinery that a key may see, with their state. Over the local socket nobody is
/// authenticated: without a key, lists all projects.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith projects --refinery ./refinery/refinery.sock\n  blindsmith projects --project ./sales\n  blindsmith projects --refinery https://refinery.example.org --key owner.key --json"
)]
pub struct ProjectsCommand {
    /// A project's directory, to take key and refinery from.
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// The refinery: `http(s)://HOST[:PORT]`, or the path of its socket.
    #[arg(long, value_name = "URL", required_unless_present = "project")]
    refinery: Option<String>,
    /// A key file: an owner's or a member's.
    #[arg(long, value_name = "FILE", conflicts_with = "project")]
    key: Option<PathBuf>,
    /// Certificates (PEM) of the authority that signed the refinery's certificate, if the system does not trust it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl ProjectsCommand {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (mut key, mut recorded) = (None, None);
        if let Some(dir) = &self.project {
            recorded = Some(ClientProject::load(dir)?.refinery);
            key = Keys::load_signing(dir)?;
        }
        if let Some(file) = &self.key {
            key = Some(Keys::load_file(file)?.identity());
        }
        let refinery = self.refinery.clone().or(recorded).unwrap_or_default();
        let asked = Request::Projects { key: key.as_ref().map(|key| key.verifying().into()) };
        let mut connection = Connection::reach(&refinery, key, self.ca.as_deref())?;
        let (Reply::Projects(found), _) = connection.request(&asked, &[])? else { return Err(unexpected()) };
        report(self.json, &found, words)
    }
}

fn words(found: &Projects) {
    if found.projects.is_empty() {
        return println!("no projects");
    }
    println!("{:<64}  {:<11}  {:<7}  {:>5}  name", "project", "role", "state", "round");
    for p in &found.projects {
        let state = match p.state {
            ProjectState::Ready => "ready",
            ProjectState::Busy => "busy",
            ProjectState::Waiting => "waiting",
            ProjectState::Failed => "failed",
        };
        let round = p.round.map_or_else(|| "-".to_owned(), |round| round.to_string());
        println!(
            "{}  {:<11}  {state:<7}  {round:>5}  {}",
            p.project,
            p.role.as_deref().unwrap_or("-"),
            p.name
        );
        p.failure.iter().for_each(|why| println!("    {why}"));
    }
}
