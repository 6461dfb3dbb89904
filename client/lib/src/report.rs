//! A project as its owner sees it: uploads, rounds, and what the rounds achieved.

use blindsmith_api::decision_word;
use blindsmith_api::message::{ProjectStatus, Request, UploadState, UploadSummary};
use blindsmith_formats::{RoundMetrics, VALUES, WORSE, model_context};
use blindsmith_protocol::{Decision, Progress, Quarantined, Role, RoundSummary};
use serde::Serialize;

use crate::failure::Failure;
use crate::figures::Figures;
use crate::keys::Keys;
use crate::orders::KnownOrders;
use crate::policy::has_policy;
use crate::project::ClientProject;
use crate::workspace::Workspace;

impl Workspace {
    /// What the refinery knows, opened with the owner's key where that is there; the owner's orders are compared where the
    /// directory has a policy.
    ///
    /// # Errors
    /// If a figure does not open, or the refinery shows other orders than before.
    pub fn status(&mut self) -> Result<Report, Failure> {
        let status = self.fetch_status()?;
        let released = !status.rounds.is_empty();
        let mut found = self.report(status)?;
        if released && has_policy(&self.dir) {
            found.orders = Some(self.compare_orders()?);
        }
        Ok(found)
    }

    /// Opens a status with the owner's key where that is there.
    ///
    /// # Errors
    /// If a figure does not open.
    pub fn report(&self, status: ProjectStatus) -> Result<Report, Failure> {
        Report::new(status, &self.project, Keys::load_if_there(&self.dir)?.as_ref())
    }

    /// Asks for a round of so many epochs, or of the project's. It runs when the warden has time.
    ///
    /// # Errors
    /// If the refinery refuses.
    pub fn request_round(&mut self, epochs: Option<u32>) -> Result<(), Failure> {
        let request = Request::Refine { project: self.project.id(), epochs };
        self.connection.command(&request, &[])
    }

    /// Waits until no round is running or due, or none can be because no warden is there, telling of progress.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn wait(&mut self, observe: impl FnMut(&Progress)) -> Result<Report, Failure> {
        let status = self.connection.watch(self.project.id(), observe)?;
        self.report(status)
    }
}

/// A project as its owner sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The project.
    pub project: String,
    /// Its name.
    pub name: String,
    /// The kind of the connected warden.
    pub warden: Option<String>,
    /// Whether the warden holds the project's secrets.
    pub ready: bool,
    /// Whether a round is running or due.
    pub busy: bool,
    /// Rounds that wait, without the one that is running.
    pub queued: u32,
    /// Why the last round failed.
    pub failure: Option<String>,
    /// The uploads.
    pub uploads: Vec<UploadReport>,
    /// The rounds.
    pub rounds: Vec<RoundReport>,
    /// The owner's orders, where they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<KnownOrders>,
}

/// An upload.
#[derive(Debug, Clone, Serialize)]
pub struct UploadReport {
    /// Its identifier.
    pub upload: String,
    /// What it is for.
    pub role: Role,
    /// Its rows.
    pub rows: u32,
    /// Its bytes.
    pub bytes: u64,
    /// Its contributor's public key.
    pub contributor: String,
    /// What became of it. For the owner of a project with a fixed schedule, from the sealed metrics.
    pub state: UploadState,
    /// Whether the warden refused it.
    pub refused: bool,
    /// Why it was refused or set aside, or waits.
    pub reason: Option<String>,
}

impl UploadReport {
    /// What became of it, in words.
    pub fn standing(&self) -> String {
        let words = match self.state {
            UploadState::Stored => "waits until the warden reads it",
            UploadState::Admitted => "waits for the next round",
            UploadState::Used => "used",
            UploadState::Refused => "REFUSED",
            UploadState::Quarantined => "QUARANTINED",
            UploadState::Withdrawn => "withdrawn",
        };
        match &self.reason {
            Some(reason) => format!("{words}: {reason}"),
            None => words.into(),
        }
    }
}

/// A round.
#[derive(Debug, Clone, Serialize)]
pub struct RoundReport {
    /// Its number; 0 is the initial model.
    pub round: u64,
    /// Uploads used, validation included.
    pub uploads: u32,
    /// Rows trained on.
    pub rows: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Wall-clock time in which the refinery multiplied.
    pub cloud_seconds: f64,
    /// Core time of the refinery.
    pub cloud_cpu_seconds: f64,
    /// Wall-clock time in which the warden did not wait.
    pub warden_seconds: f64,
    /// Core time of the warden.
    pub warden_cpu_seconds: f64,
    /// Of it, what went into checking products.
    pub check_cpu_seconds: f64,
    /// Bytes between the two.
    pub traffic_bytes: u64,
    /// Largest resident memory of the warden so far.
    pub warden_peak_bytes: u64,
    /// What became of it: promoted, rolled-back, failed, restored or sealed.
    pub decision: &'static str,
    /// The version that is current after it.
    pub current: u64,
    /// Uploads that it set aside. Under a fixed schedule for the owner alone.
    pub quarantined: Vec<QuarantinedUpload>,
    /// Uploads that it used and that were withdrawn since.
    pub withdrawn: Vec<String>,
    /// Trainings that it took.
    pub trials: u32,
    /// Unix time at which the refinery stored it.
    pub at: u64,
    /// Whether somebody asked for it; else a trigger started it.
    pub asked: bool,
    /// Why its model was discarded, if it was: it is the one before it. Under a fixed schedule for the owner alone.
    pub failure: Option<String>,
    /// The loss of the version before over the rows that judge; for the owner alone.
    pub loss_before: Option<f64>,
    /// Each contributor's part; for the owner alone.
    pub contributors: Vec<ContributorReport>,
    /// Mean training loss of each epoch; for the owner alone.
    pub training_loss: Option<Vec<f64>>,
    /// Figures over the validation rows; for the owner alone.
    pub validation: Option<Figures>,
    /// See [`RoundMetrics::gradient_noise`].
    #[serde(skip)]
    pub gradient_noise: Vec<Vec<f32>>,
}

/// An upload that a round set aside.
#[derive(Debug, Clone, Serialize)]
pub struct QuarantinedUpload {
    /// Its identifier.
    pub upload: String,
    /// Why.
    pub reason: String,
}

/// A contributor's part in a round.
#[derive(Debug, Clone, Serialize)]
pub struct ContributorReport {
    /// Its public key.
    pub contributor: String,
    /// Its rows.
    pub rows: u64,
    /// Figures over those that judge, where its terms show them.
    pub validation: Option<Figures>,
}

impl From<&Quarantined> for QuarantinedUpload {
    fn from(q: &Quarantined) -> Self {
        QuarantinedUpload { upload: q.upload.to_string(), reason: q.reason.to_string() }
    }
}

/// A round's decision, opened with the owner's key where it is sealed.
fn opened(round: &RoundSummary, project: &ClientProject, keys: Option<&Keys>) -> Result<Decision, Failure> {
    let (Decision::Sealed(sealed), Some(keys)) = (&round.decision, keys) else {
        return Ok(round.decision.clone());
    };
    let (id, refused) = (project.id(), || Failure::Keys { what: "a round's decision" });
    let bytes = keys.owner(&id).unseal(&model_context("decision", &id, round.round), &sealed.0);
    open_decision(&bytes.map_err(|_| refused())?).ok_or_else(refused)
}

/// The decision in opened bytes; None if they are none.
fn open_decision(bytes: &[u8]) -> Option<Decision> {
    match std::str::from_utf8(bytes).ok()?.trim_end_matches('\0') {
        "promoted" => Some(Decision::Promoted),
        "rolled back" => Some(Decision::RolledBack { reason: WORSE.into() }),
        "failed" => Some(Decision::Failed { reason: VALUES.into() }),
        other => Some(Decision::Restored { version: other.strip_prefix("restored ")?.parse().ok()? }),
    }
}

/// The uploads that a round used and that were withdrawn since.
fn withdrawn(uploads: &[UploadSummary], round: u64) -> Vec<String> {
    let used = |u: &&UploadSummary| u.used_in.iter().any(|(from, to)| (*from..=*to).contains(&round));
    uploads.iter().filter(used).map(|u| u.upload.to_string()).collect()
}

/// A line below a round that used what was withdrawn since.
pub fn mark(withdrawn: &[String]) -> Option<String> {
    let ids: Vec<&str> = withdrawn.iter().map(|id| &id[..16]).collect();
    (!ids.is_empty()).then(|| format!("       used uploads that were withdrawn since: {}", ids.join(", ")))
}

impl Report {
    /// Opens the sealed metrics if the owner's keys are there.
    pub fn new(status: ProjectStatus, project: &ClientProject, keys: Option<&Keys>) -> Result<Self, Failure> {
        let id = project.id();
        let key = keys.map(|k| k.metrics(&id));
        // Of rounds whose decisions are sealed: the version that is current, and all that was set aside so far.
        let (mut current, mut aside) = (0, None::<Vec<Quarantined>>);
        let rounds = status.rounds.iter().map(|r| {
            let decision = opened(r, project, keys)?;
            let sealed = matches!(r.decision, Decision::Sealed(_));
            current = match &decision {
                Decision::Promoted | Decision::Sealed(_) => r.round,
                Decision::Restored { version } => *version,
                Decision::RolledBack { .. } | Decision::Failed { .. } => current,
            };
            let metrics = match &key {
                None => None,
                Some(key) => {
                    let refused = || Failure::Keys { what: "a round's metrics" };
                    let opened = key.unseal(&model_context("metrics", &id, r.round), &r.metrics.0);
                    Some(RoundMetrics::decode(&opened.map_err(|_| refused())?).map_err(|_| refused())?)
                }
            };
            let public = decision.reason().map(str::to_owned);
            let known = metrics.is_some();
            let mut m = metrics.unwrap_or_else(|| RoundMetrics::of(r.round));
            let validation = m.validation.take().map(|metrics| Figures::of(metrics, project));
            let mut quarantined =
                if m.quarantined.is_empty() { r.quarantined.clone() } else { m.quarantined };
            if sealed && known {
                let before = aside.replace(quarantined.clone()).unwrap_or_default();
                quarantined.retain(|q| !before.contains(q));
            }
            let part = |c: &blindsmith_formats::ContributorMetrics| ContributorReport {
                contributor: c.contributor.to_string(),
                rows: c.rows,
                validation: c.validation.clone().map(|metrics| Figures::of(metrics, project)),
            };
            Ok(RoundReport {
                round: r.round,
                uploads: r.uploads,
                rows: r.rows,
                steps: r.steps,
                seconds: r.seconds,
                cloud_seconds: r.cloud_seconds,
                cloud_cpu_seconds: r.cloud_cpu_seconds,
                warden_seconds: r.warden_seconds,
                warden_cpu_seconds: r.warden_cpu_seconds,
                check_cpu_seconds: r.check_cpu_seconds,
                decision: decision_word(&decision),
                current: if sealed { current } else { r.current },
                quarantined: quarantined.iter().map(QuarantinedUpload::from).collect(),
                withdrawn: withdrawn(&status.uploads, r.round),
                trials: r.trials,
                at: r.at,
                asked: r.asked,
                failure: m.failure.or(public),
                loss_before: m.before,
                contributors: m.contributors.iter().map(part).collect(),
                traffic_bytes: r.traffic_bytes,
                warden_peak_bytes: r.warden_peak_bytes,
                training_loss: known.then_some(m.training_loss),
                validation,
                gradient_noise: m.gradient_noise,
            })
        });
        let rounds = rounds.collect::<Result<_, Failure>>()?;
        let aside = aside.unwrap_or_default();
        let upload = |u: &UploadSummary| {
            let reason = aside.iter().find(|q| q.upload == u.upload).map(|q| q.reason.to_string());
            let open = matches!(u.state, UploadState::Used | UploadState::Admitted);
            let (state, reason) = match reason {
                Some(reason) if open => (UploadState::Quarantined, Some(reason)),
                _ => (u.state, u.reason.clone()),
            };
            UploadReport {
                upload: u.upload.to_string(),
                role: u.role,
                rows: u.rows,
                bytes: u.bytes,
                contributor: u.contributor.to_string(),
                state,
                refused: u.state == UploadState::Refused,
                reason,
            }
        };
        Ok(Report {
            project: id.to_string(),
            name: status.name,
            warden: status.warden,
            ready: status.ready,
            busy: status.busy,
            queued: status.queued,
            failure: status.failure,
            rounds,
            uploads: status.uploads.iter().map(upload).collect(),
            orders: None,
        })
    }

    /// The failure of the last round, as an error.
    pub fn check(&self) -> Result<(), Failure> {
        let failed = |r: &&RoundReport| r.decision != "rolled-back";
        let sealed = self.rounds.last().filter(failed).and_then(|r| Some((r.round, r.failure.as_ref()?)));
        match &self.failure {
            Some(message) => Err(Failure::Refused(message.clone())),
            None if let Some((round, cause)) = sealed => Err(Failure::Refused(format!(
                "round {round} failed, and the model is the one before it: {cause}"
            ))),
            None if self.busy => {
                Err(Failure::Refused("no warden is connected: start blindsmith-warden".into()))
            }
            None => Ok(()),
        }
    }
}

/// What an upload is for, in one word.
pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Training => "training",
        Role::Validation => "validation",
        Role::Query => "query",
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_formats::decision_bytes;
    use blindsmith_protocol::Id;

    use super::*;

    fn upload(state: UploadState, reason: Option<&str>) -> UploadReport {
        UploadReport {
            upload: "a1".repeat(32),
            role: Role::Training,
            rows: 1,
            bytes: 1,
            contributor: "b1".repeat(32),
            state,
            refused: state == UploadState::Refused,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn each_state_of_an_upload_has_words_of_its_own() {
        for (state, reason, words) in [
            (UploadState::Stored, None, "waits until the warden reads it"),
            (UploadState::Stored, Some("no room"), "waits until the warden reads it: no room"),
            (UploadState::Admitted, None, "waits for the next round"),
            (UploadState::Used, None, "used"),
            (UploadState::Refused, Some("no member"), "REFUSED: no member"),
            (UploadState::Quarantined, Some("worse"), "QUARANTINED: worse"),
            (UploadState::Withdrawn, None, "withdrawn"),
        ] {
            assert_eq!(upload(state, reason).standing(), words);
        }
    }

    #[test]
    fn a_round_is_marked_with_what_was_withdrawn_since() {
        let upload = |byte, used_in: &[(u64, u64)]| UploadSummary {
            upload: Id([byte; 32]),
            place: byte.into(),
            role: Role::Training,
            rows: 1,
            bytes: 1,
            contributor: Id([9; 32]),
            state: if used_in.is_empty() { UploadState::Used } else { UploadState::Withdrawn },
            reason: None,
            used_in: used_in.to_vec(),
        };
        let uploads = [upload(1, &[]), upload(2, &[(1, 2), (4, 4)]), upload(3, &[(2, 3)])];
        let marked = |round| withdrawn(&uploads, round).len();
        assert_eq!([0, 1, 2, 3, 4, 5].map(marked), [0, 1, 2, 1, 1, 0]);
        let line = mark(&withdrawn(&uploads, 2)).unwrap();
        assert_eq!(line.trim(), "used uploads that were withdrawn since: 0202020202020202, 0303030303030303");
        assert_eq!(mark(&[]), None);
    }

    #[test]
    fn the_owner_reads_what_was_decided() {
        for decision in [
            Decision::Promoted,
            Decision::RolledBack { reason: WORSE.into() },
            Decision::Failed { reason: VALUES.into() },
            Decision::Restored { version: u64::MAX },
        ] {
            assert_eq!(open_decision(&decision_bytes(&decision)), Some(decision));
        }
        assert_eq!(open_decision(b"restored"), None);
        assert_eq!(open_decision(&[0xff; 64]), None);
    }
}
