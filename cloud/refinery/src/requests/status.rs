//! A project's status, in parts.

use blindsmith_api::message::{ProjectStatus, Seen};
use blindsmith_project::Project;
use blindsmith_protocol::Id;

use crate::clock;
use crate::refusal::Refusal;
use crate::state::{Shared, State};

impl Shared {
    /// A part of a project's status: what follows what was seen, of the uploads those of one contributor if it is named.
    pub(crate) fn status(&self, id: &Id, seen: Seen, only: Option<&Id>) -> Result<ProjectStatus, Refusal> {
        // Another run may have had another past.
        let seen = if seen.run == self.run { seen } else { Seen { run: self.run, ..Seen::default() } };
        let (mut status, known) = {
            let state = self.lock();
            let found = state.projects.get(id).ok_or_else(|| Refusal::no_project(id))?;
            (state.status(found, seen, only), found.rounds().len() as u64)
        };
        status.rounds = self.store.summaries(id, seen.rounds..known)?;
        status.seen.rounds = seen.rounds.min(known) + status.rounds.len() as u64;
        status.more |= status.seen.rounds < known;
        Ok(status)
    }
}

impl State {
    /// The same without rounds.
    fn status(&self, project: &Project, seen: Seen, only: Option<&Id>) -> ProjectStatus {
        let now = clock::now();
        let part = project.uploads_after(seen.change, only);
        ProjectStatus {
            project: project.id(),
            name: project.spec().name.clone(),
            ready: project.ready(),
            warden: self.warden.as_ref().map(|served| served.tee.clone()),
            busy: project.unfinished() > 0 || project.due(now),
            queued: project.queued(now),
            failure: project.failure().map(str::to_owned),
            uploads: part.uploads,
            rounds: Vec::new(),
            seen: Seen { change: part.change, ..seen },
            more: part.more,
        }
    }
}
