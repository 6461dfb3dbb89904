//! Uploads: made durable, and withdrawn.

use blindsmith_api::open_withdrawal;
use blindsmith_project::Event;
use blindsmith_protocol::{Id, Role, UploadHeader};
use tracing::{info, warn};

use crate::refusal::{Refusal, RefusalKind};
use crate::state::Shared;
use crate::store::Incoming;

/// Refuses to store a query.
pub(crate) fn check_stored(header: &UploadHeader) -> Result<(), Refusal> {
    match header.role {
        Role::Training | Role::Validation => Ok(()),
        Role::Query => Err(Refusal::new(RefusalKind::Invalid, "a query is asked, not stored")),
    }
}

impl Shared {
    /// Makes an upload durable; its identifier, and false if it was there already.
    pub(crate) fn commit(&self, incoming: Incoming<'_>, header: UploadHeader) -> Result<(Id, bool), Refusal> {
        check_stored(&header)?;
        let (project, upload) = (header.project, header.id());
        let _one_by_one = self.commits.lock().unwrap_or_else(|e| e.into_inner());
        if !self.check(&project, |p| p.check_upload(&header))? {
            return Ok((upload, false));
        }
        incoming.commit(&header)?;
        info!(%project, %upload, rows = header.rows, "an upload is stored");
        self.report(&project, Event::UploadStored { header, verdict: None });
        Ok((upload, true))
    }

    /// Deletes an upload's rows at its contributor's word.
    pub(crate) fn withdraw(&self, project: &Id, contributor: &Id, signed: &[u8]) -> Result<(), Refusal> {
        let invalid =
            |e: String| Refusal::new(RefusalKind::Invalid, format!("the withdrawal was refused: {e}"));
        let withdrawal =
            open_withdrawal(signed, &(*contributor).into()).map_err(|e| invalid(e.to_string()))?;
        if withdrawal.project != *project {
            return Err(invalid("it is for another project".into()));
        }
        let upload = withdrawal.upload;
        self.check(project, |p| p.check_withdrawal(&upload, contributor))?;
        self.store.mark_withdrawn(project, &upload)?;
        self.report(project, Event::UploadWithdrawn { upload });
        // After that, so that no round is missed which is stored meanwhile. It is withdrawn: what fails here is no refusal.
        match self.store.used_in(project, &upload) {
            Ok(rounds) => _ = self.report(project, Event::UsesFound { upload, rounds }),
            Err(e) => warn!(%project, %upload, "versions that used it are marked after the next start: {e}"),
        }
        // Only then is it acknowledged; what cannot be deleted now is when it is asked for again, or at the next start.
        self.store.finish_withdrawal(project, &upload)?;
        info!(%project, %upload, "an upload was withdrawn");
        Ok(())
    }
}
