//! Uploads read by the warden.

use blindsmith_project::{Event, Verdict};
use blindsmith_protocol::{Blob, FrameError, Id, Outcome, ToWarden, UploadHeader};
use tracing::warn;

use super::error::{LinkError, unexpected};
use super::session::Session;
use crate::engine::{Blocks, Engine, UploadFiles};
use crate::scheduler::Query;
use crate::store::StoreError;

impl Session<'_> {
    /// Has an upload read, and reports what the warden found.
    pub(super) fn read_upload(&mut self, project: Id, upload: Id) -> Result<(), FrameError> {
        let verdict = match self.admit(&project, &upload) {
            Ok(verdict) => verdict,
            Err(LinkError::Broken(e)) => return Err(e),
            Err(LinkError::InTheWay(why)) => {
                warn!(%project, %upload, why, "an upload waits");
                self.shared.report(&project, Event::UploadUnreadable { upload, why });
                return Ok(());
            }
            // It is tried again by the next refinery.
            Err(LinkError::Refused(why)) => Verdict::Refused(format!("it could not be read: {why}")),
        };
        if let Verdict::Refused(reason) = &verdict {
            warn!(%project, %upload, reason, "an upload is left out");
        }
        self.shared.report(&project, Event::UploadJudged { upload, verdict });
        Ok(())
    }

    /// Has an upload read by the warden, and keeps what it found.
    pub(super) fn admit(&mut self, project: &Id, upload: &Id) -> Result<Verdict, LinkError> {
        let shared = self.shared;
        let found = {
            let state = shared.lock();
            let p = state.projects.get(project);
            p.and_then(|p| Some((p.spec().clone(), p.upload(upload)?.header().clone())))
        };
        let (spec, header) = found.ok_or_else(|| LinkError::InTheWay("no such upload".into()))?;
        let rows = shared.store.rows(project, upload)?;
        let kept = shared.store.projections()?;
        let reopened = kept.reopen();
        let projections = reopened.map_err(|e| StoreError::Io { path: kept.path().into(), source: e })?;
        let blocks = Blocks::new(vec![UploadFiles { header: header.clone(), rows, projections }]);
        let memory = self.warden.operands();
        let mut engine =
            Engine::new(&spec, &blocks).with_row_bytes(shared.row_bytes).with_shared(memory.as_deref());
        self.warden.send(&ToWarden::Admit { project: *project, header }, &[])?;
        let verdict = match self.follow(project, &mut engine)? {
            (Outcome::Admitted { admission }, _) => Verdict::Admitted(admission),
            (Outcome::Malformed { reason }, _) => Verdict::Refused(reason),
            (Outcome::Unable { message }, _) => return Err(LinkError::InTheWay(message)),
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            (Outcome::Fault { instruction, report }, _) => {
                return Err(self.fault(project, &instruction, &report));
            }
            _ => return Err(unexpected("not an answer to an upload")),
        };
        shared.store.judge(project, upload, kept, &verdict)?;
        Ok(verdict)
    }

    /// Has a query answered.
    pub(super) fn query(&mut self, query: Query) -> Result<(), FrameError> {
        let Query { header, rows, envelope, reply } = query;
        super::session::answer(&reply, self.ask(*header, rows, envelope))
    }

    fn ask(
        &mut self,
        header: UploadHeader,
        rows: std::fs::File,
        envelope: Vec<u8>,
    ) -> Result<Vec<u8>, LinkError> {
        let (shared, project) = (self.shared, header.project);
        let spec = shared.lock().projects.get(&project).map(|p| p.spec().clone());
        let spec = spec.ok_or_else(|| LinkError::Refused("no such project".into()))?;
        let projections = shared.store.projections()?.into_file();
        let command = ToWarden::Query { project, header: header.clone(), envelope: Blob(envelope) };
        let blocks = Blocks::new(vec![UploadFiles { header, rows, projections }]);
        self.warden.send(&command, &[])?;
        let memory = self.warden.operands();
        let mut engine =
            Engine::new(&spec, &blocks).with_row_bytes(shared.row_bytes).with_shared(memory.as_deref());
        match self.follow(&project, &mut engine)? {
            (Outcome::Answer, answer) => Ok(answer),
            (Outcome::Refused { message }, _) => Err(LinkError::Refused(message)),
            (Outcome::Fault { instruction, report }, _) => {
                self.fault(&project, &instruction, &report);
                Err(LinkError::Refused("the query was refused".into()))
            }
            _ => Err(unexpected("not an answer to a query")),
        }
    }
}
