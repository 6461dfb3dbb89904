//! What rounds left: models, summaries, receipts.

use blindsmith_api::message::{Ledger, PAGE};
use blindsmith_project::Project;
use blindsmith_protocol::{Id, RoundSummary};

use crate::refusal::{Refusal, RefusalKind};
use crate::state::Shared;

impl Shared {
    /// Rounds from this one on, as many as an answer should have.
    pub(crate) fn rounds(&self, id: &Id, from: u64) -> Result<Vec<RoundSummary>, Refusal> {
        let known = self.project(id, |p| p.rounds().len() as u64)?;
        Ok(self.store.summaries(id, from..known)?)
    }

    /// The sealed model of a version, the newest if none is named.
    pub(crate) fn pull(&self, project: &Id, version: Option<u64>) -> Result<(u64, Vec<u8>), Refusal> {
        let newest = self.project(project, Project::newest)?;
        let none = "the project has no model yet: no warden holds its secrets";
        let newest = newest.ok_or_else(|| Refusal::new(RefusalKind::Conflict, none))?;
        let version = version.unwrap_or(newest);
        if version > newest {
            let message = format!("there is no version {version}: the newest is {newest}");
            return Err(Refusal::new(RefusalKind::Unknown, message));
        }
        Ok((version, self.store.round(project, version)?.model.0))
    }

    /// A page of receipts, from a round on; after the last of them, of reports of wrong answers.
    pub(crate) fn receipts(&self, project: &Id, from: u64, faults: u64) -> Result<Ledger, Refusal> {
        self.spec(project)?;
        let (receipts, mut more) = self.store.receipts(project, from, PAGE)?;
        let left = PAGE.saturating_sub(receipts.iter().map(|receipt| receipt.0.len()).sum());
        let mut reports = Vec::new();
        if !more {
            (reports, more) = self.store.faults_after(project, faults, left)?;
        }
        Ok(Ledger { receipts, faults: reports, more })
    }
}
