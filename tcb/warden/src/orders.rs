//! What the warden does of what the owner orders.

use blindsmith_identity::Action;

use crate::counters::Counter;
use crate::error::{Refusal, RoundError};
use crate::identity::Identity;
use crate::project::Project;

use crate::standing::Place;

/// Why an order is not carried out.
#[derive(Debug)]
pub(crate) enum OrderError {
    /// It is refused, and is no order.
    Refused(Refusal),
    /// It counts, and cannot be written down: the project must be restored before anything else is done.
    Counters(std::io::Error),
}

impl Project {
    /// Carries out the owner's next order.
    pub(crate) fn order(&mut self, identity: &Identity, order: &[u8]) -> Result<(), OrderError> {
        let _counting = identity.counting();
        let counter = match self.counter(identity) {
            Err(RoundError::Counters(e)) => return Err(OrderError::Counters(e)),
            counter => counter.map_err(|e| OrderError::Refused(e.into()))?,
        };
        let before = self.members.roster.clone();
        let action = self.members.order(&self.spec, &counter, order).map_err(OrderError::Refused)?;
        let sequence = self.members.roster.sequence();
        if sequence > self.standing.orders {
            match action {
                Action::Rollback { version } => {
                    if version > self.round {
                        self.members.roster = before;
                        return Err(OrderError::Refused(Refusal::new(format!(
                            "there is no version {version}"
                        ))));
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
            identity.counters.store(&self.id, &counter).map_err(OrderError::Counters)?;
        }
        Ok(())
    }
}
