//! The list of projects.

use blindsmith_api::{ProjectEntry, ProjectState, Projects};
use blindsmith_identity::{MemberRole, PublicKey};
use blindsmith_project::{Membership, Project};

use crate::clock;
use crate::state::Shared;

impl Shared {
    /// The projects in which this key is somebody; all of them, if none is named.
    pub(crate) fn projects(&self, key: Option<&PublicKey>) -> Projects {
        let state = self.lock();
        let warden = state.warden.is_some();
        Projects { projects: state.projects.values().filter_map(|p| entry(p, key, warden)).collect() }
    }
}

/// A project's entry; None if the key is nobody's there.
fn entry(project: &Project, key: Option<&PublicKey>, warden: bool) -> Option<ProjectEntry> {
    let role = match key.map(|key| project.membership(key)) {
        None => None,
        Some(Membership::Owner) => Some("owner"),
        Some(Membership::Member(MemberRole::Contributor)) => Some("contributor"),
        Some(Membership::Member(MemberRole::Querier)) => Some("querier"),
        Some(Membership::Member(MemberRole::Viewer)) => Some("viewer"),
        Some(Membership::None) => return None,
    };
    let failed = project.failure().is_some() && project.failed();
    let state = match (failed, warden && project.ready()) {
        (_, false) => ProjectState::Waiting,
        (true, true) => ProjectState::Failed,
        (false, true) if project.idle(warden, clock::now()) => ProjectState::Ready,
        (false, true) => ProjectState::Busy,
    };
    Some(ProjectEntry {
        project: project.id().to_string(),
        name: project.spec().name.clone(),
        role: role.map(str::to_owned),
        state,
        round: project.newest(),
        failure: project.failure().map(str::to_owned),
    })
}
