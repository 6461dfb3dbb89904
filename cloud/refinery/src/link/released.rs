//! Projects whose secrets a warden was given, and whether one has them.

use std::sync::Arc;

use blindsmith_protocol::{Id, ProjectSpec};

use crate::state::Shared;

/// Such a project, with the number of its last round.
pub(super) struct Released {
    pub project: Id,
    pub spec: Arc<ProjectSpec>,
    pub round: u64,
}

/// All of them.
pub(super) fn released(shared: &Shared) -> Vec<Released> {
    let state = shared.lock();
    let found = state
        .projects
        .iter()
        .filter_map(|(id, p)| Some(Released { project: *id, spec: p.spec().clone(), round: p.newest()? }));
    found.collect()
}

/// Whether a warden can go on with all of these projects.
pub(super) fn holds_all(shared: &Shared, holder: &Id, projects: &[Id]) -> bool {
    let held = |id: &Id| matches!(shared.store.holding(id, holder), Ok(Some(_)));
    projects.iter().all(held)
}
