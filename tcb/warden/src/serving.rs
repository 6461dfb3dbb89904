//! What queries are answered from: a copy of the current version, so that they wait for no round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use blindsmith_identity::PublicKey;
use blindsmith_keys::Key;
use blindsmith_learn::{Network, Objective, Recipe};
use blindsmith_protocol::{Blob, Id, ProjectSpec};
use blindsmith_receipts::{FaultReport, MAX_REASON, RECEIPT_VERSION, Rules, receipt_signing_key, sign_fault};

use crate::counters::Counter;
use crate::error::RoundError;
use crate::identity::Identity;
use crate::lock::lock;
use crate::project::Project;

/// The projects of a warden, for all its links.
#[derive(Default)]
pub struct Projects(Mutex<BTreeMap<Id, Arc<Service>>>);

/// A project, and what its queries are answered from.
pub(crate) struct Service {
    pub project: Mutex<Project>,
    serving: Mutex<Arc<Serving>>,
    audience: Mutex<Arc<Audience>>,
}

/// Who may ask, by the owner's orders.
pub(crate) struct Audience {
    /// The number of the newest one that this warden has.
    pub orders: u64,
    pub queriers: BTreeSet<PublicKey>,
}

impl Audience {
    fn of(project: &Project) -> Self {
        let roster = &project.members.roster;
        Audience { orders: roster.sequence(), queriers: roster.queriers().copied().collect() }
    }
}

/// A version that answers queries.
pub(crate) struct Serving {
    pub spec: ProjectSpec,
    pub id: Id,
    pub rules: Rules,
    pub recipe: Recipe,
    pub network: Network,
    pub objective: Objective,
    /// Query operands are keyed from it; rounds have another.
    pub encryption: Key,
    pub round: u64,
    /// The key of its receipts is derived from it.
    vault: Key,
    newest: [u8; 32],
}

impl Projects {
    pub(crate) fn find(&self, id: &Id) -> Option<Arc<Service>> {
        lock(&self.0).get(id).cloned()
    }

    pub(crate) fn insert(&self, project: Project) {
        let serving = Mutex::new(Arc::new(Serving::of(&project)));
        let audience = Mutex::new(Arc::new(Audience::of(&project)));
        let service = Service { serving, audience, project: Mutex::new(project) };
        let id = lock(&service.project).id;
        lock(&self.0).insert(id, Arc::new(service));
    }

    pub(crate) fn remove(&self, id: &Id) {
        lock(&self.0).remove(id);
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl Service {
    /// The version that answers queries now.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        lock(&self.serving).clone()
    }

    /// Queries are answered from the project as it is now.
    pub(crate) fn publish(&self, project: &Project) {
        *lock(&self.serving) = Arc::new(Serving::of(project));
    }

    /// Who may ask now.
    pub(crate) fn audience(&self) -> Arc<Audience> {
        lock(&self.audience).clone()
    }

    /// Queries are answered as the orders say that the project knows now.
    pub(crate) fn admit(&self, project: &Project) {
        *lock(&self.audience) = Arc::new(Audience::of(project));
    }
}

impl Serving {
    fn of(project: &Project) -> Self {
        let release = &project.release;
        Serving {
            spec: project.spec.clone(),
            id: project.id,
            rules: release.rules.clone(),
            recipe: release.recipe.clone(),
            network: project.trainer.network().clone(),
            objective: project.trainer.objective().clone(),
            encryption: project.encryption.derive("queries", &[]),
            round: project.round,
            vault: Key::from_bytes(*project.vault.expose()),
            newest: project.newest(),
        }
    }

    /// The counter of a project that stands here, without anything tried since.
    pub(crate) fn place(&self) -> Counter {
        Counter::at(self.round, self.newest)
    }

    /// Counts a wrong answer; the signed report of it.
    pub(crate) fn fault(&self, identity: &Identity, instruction: &str) -> Result<Blob, RoundError> {
        let counter = identity.count(&self.id, self.place(), |counter| {
            Ok::<_, RoundError>(Counter { faults: counter.faults.saturating_add(1), ..counter })
        })?;
        let instruction: String = instruction.chars().filter(|c| !c.is_control()).collect();
        let mut end = instruction.len().min(MAX_REASON);
        while !instruction.is_char_boundary(end) {
            end -= 1;
        }
        let report = FaultReport {
            version: RECEIPT_VERSION,
            project: self.id,
            tee: identity.tee().name().into(),
            round: self.round + 1,
            attempt: counter.attempts,
            fault: counter.faults,
            instruction: instruction[..end].into(),
            previous: Some(self.newest),
        };
        Ok(Blob(sign_fault(&report, &receipt_signing_key(&self.vault))))
    }
}
