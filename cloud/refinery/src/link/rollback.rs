//! An earlier version made the current one.

use blindsmith_project::Event;
use blindsmith_protocol::{FrameError, Id, Outcome, RoundRecord, ToWarden, from_cbor};
use tracing::info;

use super::error::{LinkError, unexpected};
use super::session::{Session, patiently};
use crate::clock;
use crate::store::StoreError;

impl Session<'_> {
    /// Has an earlier version made the current one, and reports how that ended.
    pub(super) fn run_rollback(&mut self, project: Id, version: u64) -> Result<(), FrameError> {
        let result = match self.roll_back(project, version) {
            Ok(()) => Ok(()),
            Err(e) => Err(e.into_failure()?),
        };
        self.shared.report(&project, Event::RollbackEnded(result));
        Ok(())
    }

    fn roll_back(&mut self, project: Id, version: u64) -> Result<(), LinkError> {
        let shared = self.shared;
        let newest = shared.lock().projects.get(&project).and_then(|p| p.newest());
        let newest = newest.ok_or_else(|| LinkError::Refused("no such project".into()))?;
        self.rehearse(&project)?;
        let model = match shared.store.round(&project, version) {
            Ok(record) => record.model,
            // A version that there is not.
            Err(e @ StoreError::Missing(_)) => return Err(LinkError::Refused(e.to_string())),
            Err(e) => return Err(e.into()),
        };
        let round = newest + 1;
        self.warden.send(&ToWarden::Rollback { project, round, version }, &[&model.0])?;
        let mut record: RoundRecord = match self.warden.finish()? {
            (Outcome::Round, body) => from_cbor(&body)?,
            (Outcome::Unable { message }, _) => {
                self.restore()?;
                return Err(LinkError::InTheWay(message));
            }
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            _ => return Err(unexpected("not an answer to a rollback")),
        };
        (record.summary.at, record.summary.asked) = (clock::unix(), true);
        if let Err(e) = patiently(|| shared.store.save_round(&project, &record, None)) {
            self.restore()?;
            return Err(e.into());
        }
        self.warden.send(&ToWarden::Stored { project, round }, &[])?;
        info!(%project, version, "an earlier version is current again");
        shared.round_stored(&project, &record);
        Ok(())
    }
}
