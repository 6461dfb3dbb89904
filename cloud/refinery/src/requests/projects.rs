//! Projects: created, and their secrets released to a warden that was attested.

use blindsmith_project::Project;
use blindsmith_protocol::{Blob, Evidence, Id, ProjectSpec};

use crate::refusal::{Refusal, RefusalKind};
use crate::scheduler::Job;
use crate::state::Shared;

impl Shared {
    /// The warden's evidence for who asks.
    pub(crate) fn attest(&self, asker: Id, request: Vec<u8>) -> Result<Evidence, Refusal> {
        self.ask_warden(|reply| Job::Attest { asker, request, reply })
    }

    /// Hands a release to the warden; what it signed.
    pub(crate) fn release(&self, project: Id, release: Vec<u8>) -> Result<Blob, Refusal> {
        self.spec(&project)?;
        self.ask_warden(|reply| Job::Release { project, release, reply })
    }

    /// Creates a project; the same once more changes nothing.
    pub(crate) fn create(&self, spec: ProjectSpec, model: &[u8]) -> Result<(), Refusal> {
        spec.validate().map_err(|e| Refusal::new(RefusalKind::Invalid, e.to_string()))?;
        self.store.create(&spec, model)?;
        self.lock().projects.entry(spec.id()).or_insert_with(|| Project::new(spec));
        Ok(())
    }
}
