//! The owner's orders, and members that enrol.

use blindsmith_identity::open_enrolment;
use blindsmith_project::Event;
use blindsmith_protocol::{Blob, Id};
use tracing::info;

use crate::refusal::{Refusal, RefusalKind};
use crate::scheduler::Job;
use crate::state::Shared;

impl Shared {
    /// Stores an order of the owner; the warden is told of it.
    pub(crate) fn order(&self, project: Id, signed: Vec<u8>) -> Result<(), Refusal> {
        let _one_by_one = self.commits.lock().unwrap_or_else(|e| e.into_inner());
        if self.project(&project, |p| p.has_order(&signed))? {
            return Ok(());
        }
        let order = self.check(&project, |p| p.check_order(&signed))?;
        self.store.save_order(&project, order.sequence, &signed)?;
        info!(%project, sequence = order.sequence, "an order of the owner is stored");
        self.report(&project, Event::OrderStored { order: &order, signed });
        Ok(())
    }

    /// What the owner ordered so far.
    pub(crate) fn orders(&self, project: &Id) -> Result<Vec<Blob>, Refusal> {
        self.project(project, |p| p.orders().iter().cloned().map(Blob).collect())
    }

    /// Has the warden enrol a contributor that the owner invited; what it signed.
    pub(crate) fn enrol(&self, project: Id, contributor: Id, enrolment: Vec<u8>) -> Result<Blob, Refusal> {
        let invited = self.project(&project, |p| p.roster().contributor(&contributor.into()).is_some())?;
        if !invited {
            let message = format!("{contributor} is not invited: its owner does that with blindsmith invite");
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        open_enrolment(&enrolment, &contributor.into())
            .map_err(|e| Refusal::new(RefusalKind::Invalid, format!("the enrolment was refused: {e}")))?;
        self.ask_warden(|reply| Job::Enrol { project, contributor, enrolment, reply })
    }
}
