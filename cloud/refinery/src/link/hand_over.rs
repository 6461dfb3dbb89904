//! Projects that one warden passes on to another.

use blindsmith_protocol::{Blob, FrameError, FromWarden, Id, Outcome, ToWarden, from_cbor};
use tracing::{info, warn};

use super::collateral::collateral;
use super::connection::Connection;
use super::error::{LinkError, unexpected};
use super::released::{Released, holds_all, released};
use super::session::Session;
use crate::scheduler::Successor;
use crate::state::Shared;

impl Session<'_> {
    /// Hands over to another warden. That one goes on, and this link ends, unless nothing could be handed over and this
    /// one has work.
    pub(super) fn make_way(&mut self, mut successor: Successor) -> Result<(), FrameError> {
        if !self.hand_over(&mut successor.warden)? && !superseded(self.shared, &successor.warden) {
            // An order of an owner may change that.
            self.successor = Some(successor);
        } else if successor.back.send(successor.warden).is_ok() {
            info!("another warden goes on");
            return Err(FrameError::Closed);
        }
        Ok(())
    }

    /// Hands over what this warden has to the other one; whether that has a project now.
    fn hand_over(&mut self, other: &mut Connection) -> Result<bool, FrameError> {
        let mut any = false;
        for found in released(self.shared) {
            let project = found.project;
            match self.hand_over_one(other, found) {
                Ok(()) => {
                    info!(%project, "handed over to another warden");
                    any = true;
                }
                Err(LinkError::Broken(e)) => return Err(e),
                Err(e) => warn!(%project, "not handed over: {e}"),
            }
        }
        Ok(any)
    }

    /// A refusal by either warden leaves everything as it is.
    fn hand_over_one(&mut self, other: &mut Connection, found: Released) -> Result<(), LinkError> {
        let Released { project, spec, round } = found;
        let shared = self.shared;
        let state = shared.store.round(&project, round)?.state.0;
        self.warden.send(&ToWarden::Challenge { project }, &[])?;
        let (asker, request) = match self.warden.finish()?.0 {
            Outcome::Challenge { asker, request } => (asker, request),
            Outcome::Refused { message } => return Err(LinkError::Refused(message)),
            _ => return Err(unexpected("not a challenge")),
        };
        let asked = other.send(&ToWarden::Attest { asker, request }, &[]).and_then(|()| other.receive());
        let evidence = match asked.map_err(lost)? {
            (FromWarden::Evidence(evidence), 0) => evidence,
            (FromWarden::Finished(Outcome::Refused { message }), 0) => {
                return Err(LinkError::Refused(message));
            }
            _ => return Err(strange("the other warden answered something else than evidence")),
        };
        let collateral = collateral(&shared.collateral).map_err(|e| {
            LinkError::InTheWay(format!("the collateral in {}: {e}", shared.collateral.display()))
        })?;
        self.warden.send(&ToWarden::HandOver { project, evidence }, &[&collateral])?;
        let (session, order, sealed) = match self.warden.finish()? {
            (Outcome::Handed { session, order }, sealed) => (session, order, sealed),
            (Outcome::Refused { message }, _) => return Err(LinkError::Refused(message)),
            _ => return Err(unexpected("not a hand-over")),
        };
        let command = ToWarden::TakeOver { spec: (*spec).clone(), from: asker, session, order };
        let body = [&(sealed.len() as u32).to_le_bytes(), sealed.as_slice(), &state];
        let result = other.send(&command, &body).and_then(|()| other.finish());
        // From here on the first warden is done with the project: what fails is tried again with this other one.
        match result.map_err(lost)? {
            (Outcome::Ready { holding, .. }, tokens) => {
                let tokens: Vec<(Id, Blob)> =
                    from_cbor(&tokens).map_err(|e| LinkError::Refused(e.to_string()))?;
                let holder = other.origin.holder;
                Ok(shared.store.taken_over(&project, &holder, &holding.0, &tokens)?)
            }
            (Outcome::Refused { message }, _) => Err(LinkError::Refused(message)),
            _ => Err(strange("the other warden answered something else than to a hand-over")),
        }
    }
}

/// The link to the other warden broke, which is not this one's end.
fn lost(e: FrameError) -> LinkError {
    LinkError::InTheWay(format!("the other warden: {e}"))
}

fn strange(what: &str) -> LinkError {
    LinkError::Refused(what.to_owned())
}

/// Whether the warden that is served can work for no project, and the other one holds all of them.
fn superseded(shared: &Shared, other: &Connection) -> bool {
    let (released, ready) = {
        let state = shared.lock();
        (state.released(), state.projects.values().any(|p| p.newest().is_some() && p.ready()))
    };
    !released.is_empty() && !ready && holds_all(shared, &other.origin.holder, &released)
}
