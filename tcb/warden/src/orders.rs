//! What the warden does of what the owner orders.

use blindsmith_identity::Action;

use crate::counters::Counter;
use crate::project::Project;
use crate::session::Identity;
use crate::standing::Place;

impl Project {
    /// Carries out the owner's next order.
    pub(crate) fn order(&mut self, identity: &Identity, order: &[u8]) -> Result<(), String> {
        let _counting = identity.counting();
        let counter = self.counter(identity).map_err(|e| e.to_string())?;
        let action = self.members.order(&self.spec, &counter, order)?;
        let sequence = self.members.roster.sequence();
        if sequence > self.standing.orders {
            match action {
                Action::Rollback { version } => {
                    if version > self.round {
                        return Err(format!("there is no version {version}"));
                    }
                    self.rollback = Some(version);
                }
                Action::Readmit { upload } => _ = self.standing.uploads.insert(upload, Place::Waiting),
                Action::Invite { .. }
                | Action::Revoke { .. }
                | Action::Forgive
                | Action::Resume { .. }
                | Action::Approve(_) => {}
            }
        }
        if sequence > counter.orders {
            let told = Counter { orders: sequence, orders_digest: self.members.orders, ..counter };
            let counter = match action {
                Action::Forgive => Counter { faults: 0, attempts: 0, ..told },
                Action::Resume { lost } if lost.0 == counter.successor => {
                    Counter { successor: [0; 32], ..told }
                }
                _ => told,
            };
            identity.counters.store(&self.id, &counter).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// That the refinery told this warden all orders of which it or the project's state knows.
    pub(crate) fn told_all(&self, counter: &Counter) -> Result<(), String> {
        match self.members.roster.sequence() < counter.orders.max(self.standing.orders) {
            true => Err("the refinery withholds orders of the owner that it gave before".into()),
            false => Ok(()),
        }
    }
}
