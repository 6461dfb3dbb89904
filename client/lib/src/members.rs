//! Members: who joins a project, under which terms; what they take back.

use std::path::Path;

use blindsmith_api::message::{Reply, Request};
use blindsmith_api::{Withdrawal, sign_withdrawal};
use blindsmith_attest::appraisal::Policy;
use blindsmith_attest::chain::{Measured, Trust};
use blindsmith_attest::{Appraised, confirmed};
use blindsmith_formats::enrolment_info;
use blindsmith_identity::{
    Action, Enrolment, MAX_TERMS_POLICY, MemberRole, Purpose, Quota, Terms, sign_enrolment,
};
use blindsmith_protocol::{Blob, Id};
use serde::Serialize;

use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::files::write_file;
use crate::keys::Keys;
use crate::layout::TERMS_FILE;
use crate::orders::GivenOrder;
use crate::project::ClientProject;
use crate::terms::{allowed, remember_enrolment, terms_toml};
use crate::trust::{Attestation, measured};
use crate::workspace::Workspace;

/// The least and the most that a member accepts for its rows.
#[derive(Debug, Clone, Copy)]
pub struct Minima {
    /// Least rows of a version that uses the member's; the owner's do not count.
    pub version_rows: u64,
    /// Least contributors of a version that uses the rows, the member among them; the owner does not count.
    pub version_contributors: u32,
    /// Least rows of a training step that uses the rows; the owner's do not count.
    pub step_rows: u64,
    /// Least contributors of a training step that uses the rows; the owner does not count.
    pub step_contributors: u32,
    /// Most versions that use the rows.
    pub versions: u64,
    /// The owner sees validation figures of the rows from so many judged rows on.
    pub metrics_rows: u64,
}

impl Default for Minima {
    fn default() -> Self {
        Minima {
            version_rows: 0,
            version_contributors: 0,
            step_rows: 0,
            step_contributors: 0,
            versions: i64::MAX as u64,
            metrics_rows: 100,
        }
    }
}

/// A member's standing.
#[derive(Debug, Clone, Serialize)]
pub struct Membership {
    /// Its public key.
    pub member: String,
    /// The digest of its terms.
    pub terms: String,
    /// What they allow, in words.
    pub allowed: Vec<String>,
    /// Whether the warden holds its seed.
    pub enrolled: bool,
    /// None before the owner's invitation.
    pub role: Option<MemberRole>,
    /// The kind of the warden that holds the seed, once it does.
    pub warden: Option<&'static str>,
}

/// The wardens of a policy, as terms name them, and the policy itself.
struct AcceptedWardens {
    tees: Vec<String>,
    measurements: Vec<Blob>,
    policy: String,
}

fn of_owner() -> Failure {
    Failure::Settings("this directory is the owner's, who is no member of its project".into())
}

impl ClientProject {
    /// The terms of a member whose policy is that of this project, as it was given to [`ClientProject::join`].
    ///
    /// # Errors
    /// If there is no policy, or it has no room in terms, or names no warden that terms could name.
    pub fn terms(&self, minima: &Minima) -> Result<Terms, Failure> {
        let (wardens, owner) = (self.wardens()?, self.spec.owner.into());
        Ok(Terms {
            origin: self.origin()?,
            tees: wardens.tees,
            step_rows: minima.step_rows,
            step_contributors: minima.step_contributors,
            version_rows: minima.version_rows,
            version_contributors: minima.version_contributors,
            versions: minima.versions,
            metrics_rows: minima.metrics_rows,
            measurements: wardens.measurements,
            policy: wardens.policy,
            ..Terms::without_minima(owner, "none", &[0])
        })
    }

    /// Has the terms in a member's directory accept the wardens of another policy; what else they say stays. They count
    /// for uploads once the warden has the seed under them.
    ///
    /// # Errors
    /// If the directory is the owner's, or the policy does not go into terms. Nothing is written then.
    pub fn accept(dir: &Path, attestation: Attestation) -> Result<(), Failure> {
        let keys = Keys::load(dir)?;
        let Some(terms) = keys.terms().cloned() else { return Err(of_owner()) };
        let project = ClientProject { attestation, ..ClientProject::load(dir)? };
        let AcceptedWardens { tees, measurements, policy } = project.wardens()?;
        let terms = Terms { tees, measurements, policy, ..terms };
        terms.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        write_file(&dir.join(TERMS_FILE), terms_toml(Some(&terms)).as_bytes())?;
        project.attestation.save(dir)
    }

    fn wardens(&self) -> Result<AcceptedWardens, Failure> {
        let policy = self.attestation.text().to_owned();
        if policy.len() > MAX_TERMS_POLICY {
            return Err(Failure::Settings(format!(
                "the policy has {} bytes, and terms have room for {MAX_TERMS_POLICY}: leave comments out, or sections \
                 that accept nothing",
                policy.len()
            )));
        }
        let (tees, measurements) = wardens(self.attestation.policy()?.policy());
        let message = match (tees.is_empty(), policy.is_empty()) {
            (false, _) => return Ok(AcceptedWardens { tees, measurements, policy }),
            (true, true) => {
                "say which wardens may hold your secrets: --attestation FILE with a policy (blindsmith policy init \
                 writes one), or --accept-simulated for tests"
            }
            (true, false) => {
                "the policy names no warden that terms could name: list enclaves by mrenclave, guests by mrtd or \
                 measurement (terms say what holds your rows, not who signed it)"
            }
        };
        Err(Failure::Settings(message.into()))
    }
}

impl Workspace {
    /// Hands a member's seed to the warden, once the owner invited it as a contributor and if the warden may be trusted.
    ///
    /// # Errors
    /// If the directory is the owner's, the warden is not to be trusted, or the terms do not allow it.
    pub fn enrol(&mut self) -> Result<Membership, Failure> {
        let keys = Keys::load(&self.dir)?;
        let Some(terms) = keys.terms() else {
            return Err(of_owner());
        };
        let role = match self.roster() {
            Ok(roster) => roster.member(&keys.public().into()).map(|member| member.role),
            // Over HTTP, who is no member is told nothing.
            Err(Failure::Refused(_)) => None,
            Err(e) => return Err(e),
        };
        let enrolled = role == Some(MemberRole::Contributor);
        let mut warden = None;
        if enrolled {
            let appraised = self.appraise_warden(&keys.identity(), Purpose::Release)?;
            warden = Some(appraised.tee());
            let trust = enrol(&mut self.connection, &self.project, &keys, terms, &appraised)?;
            self.project.save_trust(&trust, appraised.measurement(), &self.dir)?;
            remember_enrolment(&self.dir, terms)?;
        }
        let allowed = allowed(terms);
        let (terms, member) = (Id(terms.digest()).to_string(), keys.public().to_string());
        Ok(Membership { member, terms, allowed, enrolled, role, warden })
    }

    /// Writes a key file with which the refinery's page shows the project, and invites it as a viewer. Needs the owner's key.
    ///
    /// # Errors
    /// If the file is there already, or the order is refused.
    pub fn add_viewer(&mut self, path: &Path, name: String) -> Result<(Id, GivenOrder), Failure> {
        let keys = Keys::load_owner(&self.dir)?;
        if path.exists() {
            return Err(Failure::project(path, "it is there already: give another name"));
        }
        let viewer = keys.write_viewer(&self.project.id(), path)?;
        let (role, quota) = (MemberRole::Viewer, Quota { bytes: 0, rows: 0, uploads: 0 });
        let order = self.order(Action::Invite { member: viewer.into(), name, role, quota });
        // Without the order nobody knows the key.
        let order = order.inspect_err(|_| _ = std::fs::remove_file(path))?;
        Ok((viewer, order))
    }

    /// Takes an upload of one's own back: its rows are deleted at the refinery.
    ///
    /// # Errors
    /// If the refinery refuses.
    pub fn withdraw(&mut self, upload: Id) -> Result<(), Failure> {
        let keys = Keys::load(&self.dir)?;
        let withdrawal = Withdrawal { project: self.project.id(), upload };
        let withdrawal = Blob(sign_withdrawal(&withdrawal, &keys.identity()));
        let request =
            Request::Withdraw { project: self.project.id(), contributor: keys.public(), withdrawal };
        self.connection.command(&request, &[])
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
pub fn enrol(
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
    confirmed(warden, &id, &confirmation, &shown)?;
    Ok(Trust { evidence: warden.evidence().clone(), confirmation: shown })
}
