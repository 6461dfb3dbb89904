//! A project as the warden holds it, and whether it may go on with it.

use blindsmith_formats::Release;
use blindsmith_identity::Origin;
use blindsmith_keys::Key;
use blindsmith_learn::Trainer;
use blindsmith_protocol::{Blob, Id, ProjectSpec};

use crate::counters::Counter;
use crate::error::{Refusal, RoundError};
use crate::identity::Identity;
use crate::members::{Host, Members};
use crate::standing::Standing;

/// A project's secrets, its model and how far it is.
pub struct Project {
    pub(crate) spec: ProjectSpec,
    pub(crate) id: Id,
    pub(crate) release: Release,
    /// Everything that the warden encrypts is keyed from it; it never leaves this project.
    pub(crate) encryption: Key,
    /// Its state and its members' tokens are sealed under it, its receipts signed under a key derived from it: whichever
    /// warden holds it goes on with the project.
    pub(crate) vault: Key,
    pub(crate) trainer: Trainer,
    pub(crate) round: u64,
    /// The newest receipt's digest and the one before it; zero where there is none.
    pub(crate) receipts: Receipts,
    /// The newest commitment to the model.
    pub(crate) commitment: [u8; 32],
    /// What it began with, as contributors accept it.
    pub(crate) origin: Origin,
    /// Who contributes.
    pub(crate) members: Members,
    /// What became of uploads, and which version is current.
    pub(crate) standing: Standing,
    /// A version that the owner ordered to be made current, and that is not yet.
    pub(crate) rollback: Option<u64>,
}

/// Digests of receipts; zero where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Receipts {
    pub newest: [u8; 32],
    pub before: [u8; 32],
}

fn rules(words: impl Into<String>) -> RoundError {
    RoundError::Rules(Refusal::new(words))
}

impl Project {
    /// Its members, and to whom they hand their seeds.
    pub(crate) fn host<'a>(&'a mut self, identity: &'a Identity) -> (&'a mut Members, Host<'a>) {
        let Project { members, spec, vault, origin, .. } = self;
        (members, Host { spec, identity, vault, origin: *origin })
    }

    /// Whether rounds must show nothing of what they decide.
    pub(crate) fn fixed_schedule(&self) -> bool {
        self.release.rules.fixed_schedule.holds(self.members.roster.shared())
    }

    /// What lets this warden go on with the project after a start, sealed by it for itself.
    pub(crate) fn holding(&self, identity: &Identity) -> Blob {
        Blob(identity.sealing.seal(&format!("holding {}", self.id), self.vault.expose()).0)
    }

    /// The digest of the newest receipt.
    pub(crate) fn newest(&self) -> [u8; 32] {
        self.receipts.newest
    }

    /// The project's counter, which must speak of this history.
    pub(crate) fn counter(&self, identity: &Identity) -> Result<Counter, RoundError> {
        let newest = self.receipts.newest;
        match identity.counters.load(&self.id)? {
            None => Ok(Counter::at(self.round, newest)),
            Some(c) if c.round == self.round && c.receipt == newest => Ok(c),
            Some(c) if c.round + 1 == self.round && c.produced == newest => Ok(c),
            Some(_) => Err(rules("this warden has gone on with another history")),
        }
    }

    /// Whether the owner's rules let this warden go on with the project.
    pub(crate) fn allowed(&self, counter: &Counter) -> Result<(), RoundError> {
        let most = &self.release.rules;
        if let Some(why) = counter.handed_over() {
            return Err(rules(why));
        }
        self.heard_all(counter).map_err(RoundError::Rules)?;
        if counter.faults > most.faults {
            return Err(rules(format!(
                "this refinery answered wrongly {} times since the last round, {} are survived",
                counter.faults, most.faults
            )));
        }
        if counter.attempts >= most.attempts {
            return Err(rules(format!(
                "{} attempts were made at this round, and {} are allowed",
                counter.attempts, most.attempts
            )));
        }
        Ok(())
    }

    /// That the refinery passed on all orders of which this warden or the project's state knows.
    pub(crate) fn heard_all(&self, counter: &Counter) -> Result<(), Refusal> {
        let withheld = self.members.roster.sequence() < counter.orders.max(self.standing.orders);
        match withheld {
            true => Err(Refusal::new("the refinery withholds orders of the owner that it gave before")),
            false => Ok(()),
        }
    }

    /// The record of a round is stored for good: from now on no state before it is taken.
    pub(crate) fn settle(&self, identity: &Identity, round: u64) -> std::io::Result<()> {
        let _counting = identity.counting();
        let newest = self.receipts.newest;
        let counter = match identity.counters.load(&self.id)? {
            _ if round != self.round => return Ok(()),
            None => Counter::at(round, newest),
            Some(c) if c.round + 1 == round && c.produced == newest => c.advanced(),
            // It is known already, or of another history.
            Some(_) => return Ok(()),
        };
        identity.counters.store(&self.id, &counter)
    }

    /// The warden to which it was handed over; counters that cannot be read refuse what is asked later.
    pub(crate) fn successor(&self, identity: &Identity) -> Option<Id> {
        let counter = identity.counters.load(&self.id).ok().flatten()?;
        (counter.successor != [0; 32]).then_some(Id(counter.successor))
    }

    /// Whether it was not handed over to another warden.
    pub(crate) fn active(&self, identity: &Identity) -> Result<(), Refusal> {
        let counter = identity.counters.load(&self.id)?;
        counter.and_then(|counter| counter.handed_over()).map_or(Ok(()), |why| Err(Refusal::new(why)))
    }

    /// Whether the refinery may still be worked with.
    pub(crate) fn trusted(&self, identity: &Identity) -> Result<(), RoundError> {
        let counter = self.counter(identity)?;
        self.allowed(&Counter { attempts: 0, ..counter })
    }
}
