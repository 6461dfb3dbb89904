//! What other wardens were asked that did not answer yet.

use std::collections::BTreeMap;
use std::sync::Mutex;

use blindsmith_evidence::Challenge;
use blindsmith_protocol::Id;

use crate::lock::lock;

/// Challenges that wait for an answer, one a project.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<BTreeMap<Id, Challenge>>);

impl Challenges {
    /// Remembers a project's challenge; an earlier one is forgotten.
    pub fn insert(&self, project: Id, challenge: Challenge) {
        lock(&self.0).insert(project, challenge);
    }

    /// A project's challenge, which is used by that, whatever comes of the answer.
    pub fn take(&self, project: &Id) -> Option<Challenge> {
        lock(&self.0).remove(project)
    }
}
