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

use crate::failure::unexpected;
use crate::trust::measured;
use crate::{ClientProject, Connection, Failure, GivenOrder, Keys, Workspace};

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
    /// Whether the warden holds its seed.
    pub enrolled: bool,
    /// None before the owner's invitation.
    pub role: Option<MemberRole>,
    /// The kind of the warden that holds the seed, once it does.
    pub warden: Option<&'static str>,
}

impl ClientProject {
    /// The terms of a member whose policy is that of this project, as it was given to [`ClientProject::join`].
    ///
    /// # Errors
    /// If the policy has no room in terms, or names no warden that terms could name.
    pub fn terms(&self, minima: &Minima) -> Result<Terms, Failure> {
        let owner = self.spec.owner.into();
        let policy = self.attestation.text().to_owned();
        if policy.len() > MAX_TERMS_POLICY {
            return Err(Failure::Settings(format!(
                "the policy has {} bytes, and terms have room for {MAX_TERMS_POLICY}: leave comments out, or sections \
                 that accept nothing",
                policy.len()
            )));
        }
        let (tees, measurements) = wardens(self.attestation.policy()?.policy());
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
            origin: self.origin()?,
            tees,
            step_rows: minima.step_rows,
            step_contributors: minima.step_contributors,
            version_rows: minima.version_rows,
            version_contributors: minima.version_contributors,
            versions: minima.versions,
            metrics_rows: minima.metrics_rows,
            measurements,
            policy,
            ..Terms::without_minima(owner, "none", &[0])
        })
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
            return Err(Failure::Settings(
                "this directory is the owner's, who is no member of its project".into(),
            ));
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
        }
        let (terms, member) = (Id(terms.digest()).to_string(), keys.public().to_string());
        Ok(Membership { member, terms, enrolled, role, warden })
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
