//! What the warden does of what the owner orders.

use blindsmith_identity::Action;
use thiserror::Error;

use crate::counters::Counter;
use crate::project::Project;
use crate::round::RoundError;
use crate::session::Identity;
use crate::standing::Place;

/// Why an order is not carried out.
#[derive(Debug, Error)]
pub(crate) enum OrderError {
    /// It is refused, and is no order.
    #[error("{0}")]
    Refused(String),
    /// It counts, and cannot be written down: the project must be restored before anything else is done.
    #[error("the warden's counters: {0}")]
    Counters(#[from] std::io::Error),
}

impl Project {
    /// Carries out the owner's next order.
    pub(crate) fn order(&mut self, identity: &Identity, order: &[u8]) -> Result<(), OrderError> {
        let _counting = identity.counting();
        let counter = match self.counter(identity) {
            Err(RoundError::Counters(e)) => return Err(e.into()),
            counter => counter.map_err(|e| OrderError::Refused(e.to_string()))?,
        };
        let before = self.members.roster.clone();
        let action = self.members.order(&self.spec, &counter, order).map_err(OrderError::Refused)?;
        let sequence = self.members.roster.sequence();
        if sequence > self.standing.orders {
            match action {
                Action::Rollback { version } => {
                    if version > self.round {
                        self.members.roster = before;
                        return Err(OrderError::Refused(format!("there is no version {version}")));
                    }
                    self.rollback = Some(version);
                }
                // One that no round was given is new in any case, and is not listed before.
                Action::Readmit { upload } => {
                    self.standing
                        .uploads
                        .get_mut(&upload)
                        .into_iter()
                        .for_each(|place| *place = Place::Waiting);
                }
                Action::Invite { .. }
                | Action::Revoke { .. }
                | Action::Forgive
                | Action::Resume { .. }
                | Action::Approve(_)
                | Action::Void { .. } => {}
            }
        }
        if sequence > counter.orders {
            let told = Counter { orders: sequence, orders_digest: self.members.roster.digest().0, ..counter };
            let counter = match action {
                Action::Forgive => Counter { faults: 0, attempts: 0, ..told },
                Action::Resume { lost } if lost.0 == counter.successor => {
                    Counter { successor: [0; 32], ..told }
                }
                _ => told,
            };
            identity.counters.store(&self.id, &counter)?;
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
