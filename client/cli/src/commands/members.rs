//! Members: `blindsmith join`, `invite`, `revoke`, `members`, `withdraw`.

use std::path::PathBuf;

use blindsmith_arguments::TrustArguments;
use blindsmith_client::members::Minima;
use blindsmith_client::{ClientProject, Failure, Prefix};
use blindsmith_identity::{Action, MemberRole, Quota};
use blindsmith_receipts::FixedSchedule;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::orders::give;
use super::{ProjectArguments, report, say_interrupted, warn_if_simulated};

/// Makes you a member of somebody else's project, with your own key and terms. Run it twice. The first run prints your
/// key: give it to the owner, who runs `blindsmith invite`. The second run hands your seed to the warden if that
/// warden is trusted. The directory remembers which wardens you accept; a later run that names others changes your terms.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith join --project ./shared --invitation project.json --accept-simulated --least-contributors 3"
)]
pub struct Join {
    #[command(flatten)]
    common: ProjectArguments,
    /// The owner's project.json, which holds no secret; needed for the first run.
    #[arg(long, value_name = "FILE")]
    invitation: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArguments,
    /// Least number of rows in a version that uses your rows; the owner's rows do not count.
    #[arg(long, value_name = "ROWS", default_value_t = 0, requires = "invitation")]
    least_rows: u64,
    /// Least number of contributors to a version that uses your rows, including you; the owner does not count.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "invitation")]
    least_contributors: u32,
    /// Least number of rows in a training step that uses your rows; the owner's rows do not count.
    #[arg(long, value_name = "ROWS", default_value_t = 0, requires = "invitation")]
    least_step_rows: u64,
    /// Least number of contributors to a training step that uses your rows; the owner does not count.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "invitation")]
    least_step_contributors: u32,
    /// Most versions that may use your rows.
    #[arg(long, value_name = "N", default_value_t = i64::MAX as u64, requires = "invitation",
        hide_default_value = true)]
    most_versions: u64,
    /// Least number of your rows in the validation set from which the owner sees figures of them; with fewer, none of
    /// your rows are used for validation.
    #[arg(long, value_name = "ROWS", default_value_t = 100, requires = "invitation")]
    metrics_rows: u64,
}

impl Join {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let dir = &self.common.project;
        if self.invitation.is_none() && self.trust.names_wardens() {
            ClientProject::accept(dir, self.trust.attestation()?)?;
        }
        if let Some(file) = &self.invitation {
            let mut project = ClientProject::load_file(file)?;
            (project.attestation, project.kem) = (self.trust.attestation()?, self.trust.kem.into());
            if let Some(refinery) = &self.common.refinery {
                project.refinery = refinery.clone();
            }
            let terms = project.terms(&self.minima())?;
            if project.join(terms, dir)?.interrupted {
                say_interrupted(dir);
            }
        }
        let mut workspace = self.common.open()?;
        let joined = workspace.enrol()?;
        warn_if_simulated(joined.warden);
        report(self.common.json, &joined, |j| {
            println!("your public key: {}", j.member);
            println!("your terms:      {} (terms.toml)", j.terms);
            j.allowed.iter().for_each(|line| println!("  {line}"));
            match j.role {
                Some(MemberRole::Contributor) => println!("the warden holds your seed: push rows"),
                Some(MemberRole::Querier) => println!("you may ask for predictions: blindsmith predict"),
                Some(MemberRole::Viewer) => println!("you may look on: blindsmith watch"),
                None => {
                    println!("not invited yet: the owner runs blindsmith invite --member {}", j.member);
                    println!("then run blindsmith join --project {} again", dir.display());
                }
            }
        })
    }

    fn minima(&self) -> Minima {
        Minima {
            version_rows: self.least_rows,
            version_contributors: self.least_contributors,
            step_rows: self.least_step_rows,
            step_contributors: self.least_step_contributors,
            versions: self.most_versions,
            metrics_rows: self.metrics_rows,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Contributor,
    Querier,
    Viewer,
}

/// Writes a key file with which the refinery's page shows the project: uploads, rounds, and the learning curve. The
/// key opens no model, sends no rows and asks no queries. Needs the owner's key.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith viewer --project ./sales --out sales.viewer.key\n\nblindsmith revoke --member KEY takes it back: the refinery then shows it nothing more."
)]
pub struct Viewer {
    #[command(flatten)]
    common: ProjectArguments,
    /// The key file to write. Keep it as secret as the figures.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A name for people to read; the refinery sees it.
    #[arg(long, default_value = "viewer")]
    name: String,
}

#[derive(Serialize)]
struct Viewing {
    member: String,
    order: u64,
}

impl Viewer {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let (member, order) = workspace.add_viewer(&self.out, self.name)?;
        let order = order.order;
        report(self.common.json, &Viewing { member: member.to_string(), order }, |v| {
            println!(
                "order {}: {} sees the project; pick {} in the refinery's page",
                v.order,
                v.member,
                self.out.display()
            );
        })
    }
}

/// Invites a member, or gives it another name, role or quota. Needs the owner's key.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith invite --project ./sales --member KEY --name 'Clinic B' --most-rows 1000000"
)]
pub struct Invite {
    #[command(flatten)]
    common: ProjectArguments,
    /// The public key that blindsmith join printed; for a present member its first six digits or more are enough.
    #[arg(long, value_name = "KEY")]
    member: Prefix,
    /// A name for people to read; the refinery sees it.
    #[arg(long, default_value = "member")]
    name: String,
    /// The member's role.
    #[arg(long, value_enum, default_value = "contributor")]
    role: RoleName,
    /// Most bytes that the member may have stored at a time.
    #[arg(long, value_name = "BYTES", default_value_t = Quota::default().bytes)]
    most_bytes: u64,
    /// Most rows that the member may have stored at a time.
    #[arg(long, value_name = "ROWS", default_value_t = Quota::default().rows)]
    most_rows: u64,
    /// Most uploads that the member may have stored at a time.
    #[arg(long, value_name = "N", default_value_t = Quota::default().uploads)]
    most_uploads: u32,
}

impl Invite {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let role = match self.role {
            RoleName::Contributor => MemberRole::Contributor,
            RoleName::Querier => MemberRole::Querier,
            RoleName::Viewer => MemberRole::Viewer,
        };
        let quota = Quota { bytes: self.most_bytes, rows: self.most_rows, uploads: self.most_uploads };
        let member = self.member.member(&mut self.common.open()?)?;
        let action = Action::Invite { member, name: self.name.clone(), role, quota };
        give(&self.common, action, "the member is invited; send it project.json")?;
        if matches!(self.role, RoleName::Contributor) {
            warn_without_judges(&self.common)?;
        }
        Ok(())
    }
}

/// Under a fixed schedule the owner's rows alone judge: says so where it has none.
fn warn_without_judges(common: &ProjectArguments) -> Result<(), Failure> {
    let mut workspace = common.open()?;
    let (status, project) = (workspace.fetch_status()?, &workspace.project);
    let own = status.uploads.iter().any(|upload| upload.contributor == project.spec.owner);
    if !own && project.rules.fixed_schedule != FixedSchedule::Never {
        eprintln!(
            "no rows of yours judge: until there are some, every round is promoted, whatever members send (blindsmith push \
             --validation)"
        );
    }
    Ok(())
}

/// Revokes a member: its rows enter no further round, and its queries are refused. Needs the owner's key.
#[derive(Args)]
pub struct Revoke {
    #[command(flatten)]
    common: ProjectArguments,
    /// The member's public key, or its first six digits or more.
    #[arg(long, value_name = "KEY")]
    member: Prefix,
}

impl Revoke {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let member = self.member.member(&mut self.common.open()?)?;
        give(&self.common, Action::Revoke { member }, "its rows enter no further round")
    }
}

/// Lists the members of a project, as they follow from the owner's signed orders.
#[derive(Args)]
pub struct Members {
    #[command(flatten)]
    common: ProjectArguments,
}

#[derive(Serialize)]
struct MemberReport {
    member: String,
    name: String,
    role: MemberRole,
    revoked: bool,
    quota: Quota,
}

impl Members {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let roster = self.common.open()?.roster()?;
        let members = roster.members().map(|(key, m)| MemberReport {
            member: key.to_string(),
            name: m.name.clone(),
            role: m.role,
            revoked: m.revoked,
            quota: m.quota,
        });
        let members: Vec<MemberReport> = members.collect();
        report(self.common.json, &members, |members| {
            for m in members {
                let revoked = if m.revoked { "  REVOKED" } else { "" };
                println!("{}  {:?}  {}{revoked}", m.member, m.role, m.name);
            }
        })
    }
}

/// Withdraws an upload of your own. The refinery deletes its rows and marks versions that used it; its digest stays in
/// the receipts. Models that were trained on it stay as they are: this does not unlearn. The upload's key is not
/// deleted, because it follows from your own key, which you and the warden keep.
#[derive(Args)]
pub struct Withdraw {
    #[command(flatten)]
    common: ProjectArguments,
    /// The upload's identifier, or its first six digits or more.
    #[arg(long, value_name = "ID")]
    upload: Prefix,
}

#[derive(Serialize)]
struct Withdrawn {
    withdrawn: String,
}

impl Withdraw {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let upload = self.upload.upload(&mut workspace)?;
        workspace.withdraw(upload)?;
        report(self.common.json, &Withdrawn { withdrawn: upload.to_string() }, |w| {
            println!(
                "the rows of upload {} are deleted; versions trained on them stay as they are",
                w.withdrawn
            )
        })
    }
}
