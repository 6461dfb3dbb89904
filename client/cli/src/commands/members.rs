//! Members: `blindsmith join`, `invite`, `revoke`, `members`, `withdraw`.

use std::path::PathBuf;

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::Appraised;
use blindsmith_attest::appraisal::Policy;
use blindsmith_attest::chain::{Measured, Trust};
use blindsmith_identity::{
    Action, Enrolment, MAX_TERMS_POLICY, MemberRole, Purpose, Quota, Terms, Withdrawal, sign_enrolment,
    sign_withdrawal,
};
use blindsmith_protocol::{Blob, Id};
use blindsmith_receipts::FixedSchedule;
use blindsmith_warden::enrolment_info;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::ids::Prefix;
use super::orders::{give, order, roster};
use super::{ProjectArguments, report, warn_if_simulated};
use crate::connection::unexpected;
use crate::project::Keys;
use crate::trust::{TrustArguments, appraise_warden, measured};
use crate::{ClientProject, Connection, Failure};

/// Makes you a member of somebody else's project, with your own key and terms. Run it twice. The first run prints your
/// key: give it to the owner, who runs `blindsmith invite`. The second run hands your seed to the warden if that
/// warden is trusted.
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

#[derive(Serialize)]
struct Joined {
    member: String,
    terms: String,
    enrolled: bool,
    /// None before the owner's invitation.
    role: Option<MemberRole>,
    /// The kind of the warden that holds the seed, once it does.
    warden: Option<&'static str>,
}

impl Join {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let dir = &self.common.project;
        if let Some(file) = &self.invitation {
            let mut project = ClientProject::load_file(file)?;
            (project.attestation, project.kem) = (self.trust.attestation()?, self.trust.kem);
            if let Some(refinery) = &self.common.refinery {
                project.refinery = refinery.clone();
            }
            project.join(self.terms(&project)?, dir)?;
        }
        let keys = Keys::load(dir)?;
        let Some(terms) = keys.terms() else {
            return Err(Failure::Settings(
                "this directory is the owner's, and the owner is no member of its own project".into(),
            ));
        };
        let (project, mut connection) = self.common.open()?;
        let role = match roster(&mut connection, &project) {
            Ok(roster) => roster.member(&keys.public().into()).map(|member| member.role),
            // Over HTTP, who is no member is told nothing.
            Err(Failure::Refused(_)) => None,
            Err(e) => return Err(e),
        };
        let enrolled = role == Some(MemberRole::Contributor);
        let mut kind = None;
        if enrolled {
            let warden = appraise_warden(
                &mut connection,
                (project.id(), &project.attestation, project.kem),
                &keys.identity(),
                Purpose::Release,
            )?;
            kind = Some(warden.tee());
            warn_if_simulated(kind);
            let trust = enrol(&mut connection, &project, &keys, terms, &warden)?;
            project.save_trust(&trust, warden.measurement(), dir)?;
        }
        let digest = Id(terms.digest()).to_string();
        let member = keys.public().to_string();
        let joined = Joined { member, terms: digest, enrolled, role, warden: kind };
        report(self.common.json, &joined, |j| {
            println!("your public key: {}", j.member);
            println!("your terms:      {} (terms.toml)", j.terms);
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

    fn terms(&self, project: &ClientProject) -> Result<Terms, Failure> {
        let owner = project.spec.owner.into();
        let policy = project.attestation.text().to_owned();
        if policy.len() > MAX_TERMS_POLICY {
            return Err(Failure::Settings(format!(
                "the policy has {} bytes, and terms have room for {MAX_TERMS_POLICY}: leave comments out, or sections \
                 that accept nothing",
                policy.len()
            )));
        }
        let (tees, measurements) = wardens(project.attestation.policy()?.policy());
        let tees = match tees.is_empty() {
            false => tees,
            true if policy.is_empty() => vec!["none".to_owned()],
            true => {
                let message = "the policy names no warden that terms could name: list enclaves by mrenclave, guests by mrtd \
                               or measurement (terms say what holds your rows, not who signed it)";
                return Err(Failure::Settings(message.into()));
            }
        };
        Ok(Terms {
            origin: project.origin()?,
            tees,
            step_rows: self.least_step_rows,
            step_contributors: self.least_step_contributors,
            version_rows: self.least_rows,
            version_contributors: self.least_contributors,
            versions: self.most_versions,
            metrics_rows: self.metrics_rows,
            measurements,
            policy,
            ..Terms::without_minima(owner, "none", &[0])
        })
    }
}

/// Kinds and measurements of the wardens that a policy accepts, as terms name them.
fn wardens(policy: &Policy) -> (Vec<String>, Vec<Blob>) {
    let (mut tees, mut measurements) = (Vec::new(), Vec::new());
    if policy.accept_simulated {
        tees.push("simulated".to_owned());
    }
    for Measured { tee, measurement } in measured(policy) {
        if !tees.iter().any(|known| known == tee.name()) {
            tees.push(tee.name().to_owned());
        }
        if !measurements.contains(&measurement) {
            measurements.push(measurement);
        }
    }
    (tees, measurements)
}

/// Hands the seed of a member's uploads to a warden.
pub(crate) fn enrol(
    connection: &mut Connection,
    project: &ClientProject,
    keys: &Keys,
    terms: &Terms,
    warden: &Appraised,
) -> Result<Trust, Failure> {
    // The warden refuses it too; what it must not have is not sent.
    if !terms.allow_warden(warden.tee(), warden.measurement()) {
        let message = format!(
            "your terms do not allow a warden of the kind {} with this measurement: see terms.toml",
            warden.tee()
        );
        return Err(Failure::Settings(message));
    }
    let (id, contributor, session) = (project.id(), keys.public(), warden.session());
    let info = enrolment_info(&session, &terms.digest());
    let seed = keys.contributor(&id);
    let sealed = warden.recipient().seal(&info, seed.expose());
    let (envelope, confirmation) = sealed.map_err(|e| Failure::Other(e.to_string()))?;
    let enrolment = Enrolment { project: id, terms: terms.clone(), session, envelope: Blob(envelope) };
    let enrolment = Blob(sign_enrolment(&enrolment, &keys.identity()));
    let request = Request::Enrol { project: id, contributor, enrolment };
    let (Reply::Confirmed { confirmation: shown }, _) = connection.request(&request, &[])? else {
        return Err(unexpected());
    };
    warden.confirmed(&id, &confirmation, &shown)?;
    Ok(Trust { evidence: warden.evidence().clone(), confirmation: shown })
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
        let keys = Keys::load_owner(&self.common.project)?;
        let project = ClientProject::load(&self.common.project)?.id();
        if self.out.exists() {
            return Err(Failure::project(&self.out, "it is there already: give another name"));
        }
        let member = keys.write_viewer(&project, &self.out)?.into();
        let (role, quota) = (MemberRole::Viewer, Quota { bytes: 0, rows: 0, uploads: 0 });
        let order = order(&self.common, Action::Invite { member, name: self.name, role, quota });
        // Without the order nobody knows the key.
        let order = order.inspect_err(|_| _ = std::fs::remove_file(&self.out))?;
        report(self.common.json, &Viewing { member: Id::from(member).to_string(), order }, |v| {
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
        let (project, mut connection) = self.common.open()?;
        let member = self.member.member(&mut connection, &project)?;
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
    let (project, mut connection) = common.open()?;
    let status = connection.status(project.id())?;
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
        let (project, mut connection) = self.common.open()?;
        let member = self.member.member(&mut connection, &project)?;
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
        let (project, mut connection) = self.common.open()?;
        let roster = roster(&mut connection, &project)?;
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
        let (project, mut connection) = self.common.open()?;
        let keys = Keys::load(&self.common.project)?;
        let upload = self.upload.upload(&mut connection, &project)?;
        let withdrawal = Withdrawal { project: project.id(), upload };
        let withdrawal = Blob(sign_withdrawal(&withdrawal, &keys.identity()));
        let request = Request::Withdraw { project: project.id(), contributor: keys.public(), withdrawal };
        connection.command(&request, &[])?;
        report(self.common.json, &Withdrawn { withdrawn: upload.to_string() }, |w| {
            println!(
                "the rows of upload {} are deleted; versions trained on them stay as they are",
                w.withdrawn
            )
        })
    }
}
