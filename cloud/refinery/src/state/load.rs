//! The projects that a refinery starts with: what an earlier one stored, reported to each project's machine.

use std::collections::BTreeMap;

use blindsmith_project::{Event, Now, Project};
use blindsmith_protocol::{Blob, Id, from_cbor};
use tracing::warn;

use crate::store::{JobName, ROUND_JOB, Store, StoreError, StoredProject};

/// Reads all projects, and the rounds that were asked for and not finished.
pub(super) fn projects(store: &Store) -> Result<BTreeMap<Id, Project>, StoreError> {
    let mut projects = BTreeMap::new();
    for found in store.projects()? {
        let project = project(store, found)?;
        projects.insert(project.id(), project);
    }
    store.free_jobs()?;
    for queued in store.jobs()? {
        let JobName { project, kind, key } = queued.job;
        // One that a trigger started has no key, and comes by itself.
        let Some(found) = projects.get_mut(&project).filter(|_| kind == ROUND_JOB && !key.is_empty()) else {
            continue;
        };
        match from_cbor(&queued.payload) {
            Ok(epochs) => {
                found.apply(Event::RoundReserved, Now::default());
                found.apply(Event::RoundAsked { epochs, key }, Now::default());
            }
            Err(e) => warn!(%project, "a round that was asked for is lost: its job does not decode: {e}"),
        }
    }
    Ok(projects)
}

fn project(store: &Store, found: StoredProject) -> Result<Project, StoreError> {
    let at = |unix| Now { unix, ..Now::default() };
    let mut project = Project::new(found.spec);
    let id = project.id();
    for (header, verdict, arrived) in found.uploads {
        project.apply(Event::UploadStored { header, verdict }, at(arrived));
    }
    // Before the rounds: those that used them are marked.
    for upload in found.withdrawn {
        project.apply(Event::UploadWithdrawn { upload }, Now::default());
    }
    store.each_round(&id, |record| _ = project.apply(Event::RoundStored(&record), Now::default()))?;
    for (Blob(signed), stored) in found.orders {
        match project.check_order(&signed) {
            Ok(order) => _ = project.apply(Event::OrderStored { order: &order, signed }, at(stored)),
            Err(e) => warn!(project = %id, "an order that was stored is refused: {e}"),
        }
    }
    Ok(project)
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::{ProjectSpec, Trigger};

    use super::*;
    use crate::clock;
    use crate::state::tests::project::{blocks, header, record, spec};

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn after_a_restart_uploads_have_the_times_at_which_they_arrived() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trigger = Trigger { rows: None, daily: Some(120), rounds_per_day: None };
        let spec = ProjectSpec { trigger, ..spec() };
        store.create(&spec, b"sealed").unwrap();
        let rows = blocks(&spec, 1);
        let header = header(&spec, &rows);
        let mut incoming = store.receive(&spec, (&header).into()).unwrap();
        incoming.blocks_arrived(&rows).unwrap();
        incoming.commit(&header).unwrap();
        store.save_round(&spec.id(), &record(0), None).unwrap();
        let arrived = clock::unix();
        drop(store);
        let projects = projects(&Store::open(dir.path()).unwrap()).unwrap();
        let project = &projects[&spec.id()];
        let since = project.uploads()[0].since();
        assert!(since <= arrived && arrived - since < 3600, "{since} {arrived}");
        let today = arrived - arrived % DAY + 2 * 3600;
        let next = if today <= arrived { today + DAY } else { today };
        let at = |unix| Now { unix, ..Now::default() };
        assert!(!project.due(at(next - 1)));
        assert!(project.due(at(next)));
    }
}
