//! What a warden is given to hold: states to go on from, releases, orders, members.

use blindsmith_project::Event;
use blindsmith_protocol::{Blob, FrameError, Id, Outcome, RoundRecord, ToWarden, from_cbor};
use tracing::warn;

use super::error::{LinkError, unexpected};
use super::released::{Released, released};
use super::session::Session;
use crate::clock;
use crate::scheduler::Job;

/// Whether a warden works for a project.
enum Custody {
    /// It does.
    Works,
    /// It handed the project over to this warden.
    HandedOver(Id),
}

/// What became of an order.
enum OrderOutcome {
    /// The warden took it, and so it stands.
    Taken(Custody),
    /// The warden refused it.
    Refused,
}

/// Why a project waits that another warden took over.
fn handed_over(to: &Id) -> String {
    format!(
        "this warden handed the project over to warden {to}: start that one, with --take-over; if it is lost, and never \
         began, the owner may let this one go on with blindsmith forgive --lost {to}"
    )
}

impl Session<'_> {
    /// Gives a warden that starts the states that it or an earlier one sealed.
    pub(super) fn restore(&mut self) -> Result<(), FrameError> {
        for found in released(self.shared) {
            let project = found.project;
            match self.restore_one(found) {
                Ok(custody) => self.stands(&project, custody),
                Err(LinkError::Broken(e)) => return Err(e),
                Err(LinkError::InTheWay(why)) => {
                    warn!(%project, "{why}");
                    self.shared.report(&project, Event::WardenUnable { why });
                }
                Err(LinkError::Refused(why)) => {
                    self.retired.remove(&project);
                    self.shared.report(&project, Event::WardenUnable { why });
                }
            }
        }
        Ok(())
    }

    fn restore_one(&mut self, found: Released) -> Result<Custody, LinkError> {
        let Released { project, spec, round } = found;
        let store = &self.shared.store;
        let state = store.round(&project, round)?.state;
        let holding = Blob(store.holding(&project, &self.holder())?.unwrap_or_default());
        self.warden.send(&ToWarden::Restore { spec: (*spec).clone(), holding }, &[&state.0])?;
        let custody = match self.warden.finish()? {
            (Outcome::Ready { retired: None, .. }, _) => Custody::Works,
            (Outcome::Ready { retired: Some(to), .. }, _) => Custody::HandedOver(to),
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            _ => return Err(unexpected("not an answer to restore")),
        };
        // One that handed the project over may have to repeat that, and needs the orders for it.
        self.warden.send(&ToWarden::Stored { project, round }, &[])?;
        // An order may have let it go on with the project.
        Ok(match self.members(project)? {
            OrderOutcome::Taken(later) => later,
            OrderOutcome::Refused => custody,
        })
    }

    /// Takes note of whether this warden works for a project.
    fn stands(&mut self, project: &Id, custody: Custody) {
        match custody {
            Custody::Works => {
                self.retired.remove(project);
                self.shared.report(project, Event::WardenReady);
            }
            Custody::HandedOver(to) => {
                self.retired.insert(*project);
                self.shared.report(project, Event::WardenUnable { why: handed_over(&to) });
            }
        }
    }

    /// Tells the warden of an order that the owner gave now.
    pub(super) fn ordered(&mut self, project: Id, order: Vec<u8>) -> Result<(), FrameError> {
        let ready = self.shared.lock().projects.get(&project).is_some_and(|p| p.ready());
        // One that holds no secrets yet is told when it does.
        if !ready && !self.retired.contains(&project) {
            return Ok(());
        }
        match self.order(project, order)? {
            OrderOutcome::Taken(custody) if matches!(custody, Custody::HandedOver(_)) == ready => {
                self.stands(&project, custody);
            }
            OrderOutcome::Taken(_) | OrderOutcome::Refused => {}
        }
        if let Some(successor) = self.successor.take() {
            self.shared.lock().scheduler.push(Job::HandOver(successor));
        }
        Ok(())
    }

    /// Tells the warden of the owner's orders and of the members that enrolled; what became of the last order that it
    /// took.
    fn members(&mut self, project: Id) -> Result<OrderOutcome, FrameError> {
        let orders = self.shared.lock().projects.get(&project).map(|p| p.orders().to_vec());
        let mut last = OrderOutcome::Refused;
        for order in orders.unwrap_or_default() {
            if let taken @ OrderOutcome::Taken(_) = self.order(project, order)? {
                last = taken;
            }
        }
        let enrolments = match self.shared.store.enrolments(&project, &self.holder()) {
            Ok(enrolments) => enrolments,
            Err(e) => {
                warn!(%project, "{e}");
                return Ok(last);
            }
        };
        for (contributor, token) in enrolments {
            self.warden.send(&ToWarden::Enrolled { project, contributor, token: Blob(token) }, &[])?;
            match self.warden.finish()? {
                (Outcome::Enrolled { .. }, _) => {}
                (Outcome::Refused { message }, _) => warn!(%project, %contributor, "not enrolled: {message}"),
                _ => return Err(FrameError::Unexpected("not an answer to an enrolment")),
            }
        }
        Ok(last)
    }

    fn order(&mut self, project: Id, order: Vec<u8>) -> Result<OrderOutcome, FrameError> {
        self.warden.send(&ToWarden::Order { project, order: Blob(order) }, &[])?;
        match self.warden.finish()? {
            (Outcome::Ordered { retired: None }, _) => Ok(OrderOutcome::Taken(Custody::Works)),
            (Outcome::Ordered { retired: Some(to) }, _) => Ok(OrderOutcome::Taken(Custody::HandedOver(to))),
            (Outcome::Refused { message }, _) => {
                warn!(%project, "the warden refuses an order: {message}");
                Ok(OrderOutcome::Refused)
            }
            _ => Err(FrameError::Unexpected("not an answer to an order")),
        }
    }

    /// Has a contributor enrolled; what the warden signed.
    pub(super) fn enrol(
        &mut self,
        project: Id,
        contributor: Id,
        enrolment: Vec<u8>,
    ) -> Result<Blob, LinkError> {
        let enrolment = Blob(enrolment);
        self.warden.send(&ToWarden::Enrol { project, contributor, enrolment }, &[])?;
        let (token, confirmation) = match self.warden.finish()? {
            (Outcome::Enrolled { token, confirmation }, _) => (token, confirmation),
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            _ => return Err(unexpected("not an answer to an enrolment")),
        };
        self.shared.store.enrol(&project, &contributor, &self.holder(), &token.0)?;
        self.shared.report(&project, Event::ContributorEnrolled(contributor));
        Ok(confirmation)
    }

    /// Hands a release over; the record of round 0 is stored.
    pub(super) fn release(&mut self, project: &Id, release: Vec<u8>) -> Result<Blob, LinkError> {
        let shared = self.shared;
        let found = shared.lock().projects.get(project).map(|p| (p.spec().clone(), p.newest().is_none()));
        let (spec, first) = found.ok_or_else(|| LinkError::Refused("no such project".into()))?;
        let model = shared.store.initial_model(project)?;
        let command = ToWarden::Release { spec: (*spec).clone(), release: Blob(release) };
        self.warden.send(&command, &[&model])?;
        let (holding, confirmation, body) = match self.warden.finish()? {
            (Outcome::Ready { holding, confirmation, .. }, body) => (holding, confirmation, body),
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            _ => return Err(unexpected("not an answer to a release")),
        };
        shared.store.hold(project, &self.holder(), &holding.0)?;
        let mut record: RoundRecord = from_cbor(&body)?;
        (record.summary.at, record.summary.asked) = (clock::unix(), true);
        if first {
            shared.store.save_round(project, &record, None)?;
            self.warden.send(&ToWarden::Stored { project: *project, round: 0 }, &[])?;
            shared.report(project, Event::RoundStored(&record));
        }
        shared.report(project, Event::Released);
        Ok(confirmation)
    }
}
