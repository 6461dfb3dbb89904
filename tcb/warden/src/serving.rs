//! What queries are answered from: a copy of the current version, so that they wait for no round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use blindsmith_formats::query_info;
use blindsmith_identity::{PublicKey, open_inquiry};
use blindsmith_keys::{Key, Suite};
use blindsmith_learn::{Network, Objective, Recipe};
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader};
use blindsmith_receipts::{FaultReport, MAX_REASON, RECEIPT_VERSION, Rules, receipt_signing_key, sign_fault};

use crate::cloud::Cloud;
use crate::counters::{Counter, Query};
use crate::project::Project;
use crate::round::RoundError;
use crate::session::Identity;
use crate::transport::lock;

/// The projects of a warden, for all its links.
#[derive(Default)]
pub struct Projects(Mutex<BTreeMap<Id, Arc<Held>>>);

/// A project, and what its queries are answered from.
pub(crate) struct Held {
    pub project: Mutex<Project>,
    serving: Mutex<Arc<Serving>>,
    told: Mutex<Arc<Told>>,
}

/// What the owner's orders say of queries.
pub(crate) struct Told {
    /// The number of the newest one that this warden was told.
    orders: u64,
    queriers: BTreeSet<PublicKey>,
}

impl Told {
    fn of(project: &Project) -> Self {
        let roster = &project.members.roster;
        Told { orders: roster.sequence(), queriers: roster.queriers().copied().collect() }
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
    pub(crate) fn find(&self, id: &Id) -> Option<Arc<Held>> {
        lock(&self.0).get(id).cloned()
    }

    pub(crate) fn insert(&self, project: Project) {
        let serving = Mutex::new(Arc::new(Serving::of(&project)));
        let told = Mutex::new(Arc::new(Told::of(&project)));
        let held = Held { serving, told, project: Mutex::new(project) };
        let id = lock(&held.project).id;
        lock(&self.0).insert(id, Arc::new(held));
    }

    pub(crate) fn remove(&self, id: &Id) {
        lock(&self.0).remove(id);
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl Held {
    /// The version that answers queries now.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        lock(&self.serving).clone()
    }

    /// Queries are answered from the project as it is now.
    pub(crate) fn publish(&self, project: &Project) {
        *lock(&self.serving) = Arc::new(Serving::of(project));
    }

    /// What the owner's orders say of queries now.
    pub(crate) fn told(&self) -> Arc<Told> {
        lock(&self.told).clone()
    }

    /// Queries are answered as the orders say that the project knows now.
    pub(crate) fn tell(&self, project: &Project) {
        *lock(&self.told) = Arc::new(Told::of(project));
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

    fn place(&self) -> Counter {
        Counter::at(self.round, self.newest)
    }

    /// Answers a query of the owner or of a querier, whose signed inquiry holds the sealed seed.
    pub(crate) fn answer<C: Cloud>(
        &self,
        (identity, told): (&Identity, &Told),
        cloud: &C,
        header: UploadHeader,
        inquiry: &[u8],
    ) -> Result<Vec<u8>, RoundError> {
        let (query, querier) = (header.id(), PublicKey::from(header.contributor));
        if header.contributor != self.spec.owner && !told.queriers.contains(&querier) {
            return Err(RoundError::Query);
        }
        let inquiry = open_inquiry(inquiry, &querier).map_err(|_| RoundError::Query)?;
        let suite =
            Suite::numbered(inquiry.kem).filter(|_| (inquiry.project, inquiry.query) == (self.id, query));
        let info = query_info(&self.id, &query, &header.contributor);
        let opened = identity.key.open(suite.ok_or(RoundError::Query)?, &info, &inquiry.envelope.0);
        let (seed, _) = opened.map_err(|_| RoundError::Query)?;
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| RoundError::Query)?;
        let rules = &self.rules;
        identity.count(&self.id, self.place(), |counter| {
            let asked = counter.queriers.get(&header.contributor).cloned().unwrap_or_default();
            let asked = asked.count(
                inquiry.number,
                Query::new(query, self.round),
                (u64::from(header.rows), rules.queries),
            );
            let allowed = counter.successor == [0; 32]
                && counter.orders <= told.orders
                && counter.faults <= rules.faults;
            let asked = asked.filter(|_| allowed).ok_or(RoundError::Query)?;
            let mut counter = counter;
            counter.queriers.insert(header.contributor, asked);
            Ok::<_, RoundError>(counter)
        })?;
        crate::query::answer(self, cloud, header, &Key::from_bytes(*seed))
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
