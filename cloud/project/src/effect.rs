//! What the refinery does about an event.

use blindsmith_identity::PublicKey;
use blindsmith_protocol::Id;

/// What the caller carries out, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell the connected warden of an order. A warden that comes later is told of all orders.
    Tell {
        /// The order, as the owner signed it.
        order: Vec<u8>,
        /// The member that it invites.
        invited: Option<PublicKey>,
    },
    /// The warden does this now.
    Start(Task),
    /// Remove the round's job from the store's queue, if its record did not.
    EndJob,
    /// Put the round's job back into the store's queue, for the next warden.
    ReturnJob {
        /// Why, for operators.
        why: String,
    },
}

/// Work of the warden for a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Make an earlier version the current one.
    Rollback {
        /// The version.
        version: u64,
    },
    /// Read an upload.
    Admit {
        /// The upload.
        upload: Id,
    },
    /// Run a round.
    Round(Round),
}

/// A round to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// How often it goes over the rows; the project's own number if none is given.
    pub epochs: Option<u32>,
    /// How many wardens were lost in it.
    pub attempt: u32,
    /// The key of its job in the store's queue; empty if a trigger started it.
    pub key: Vec<u8>,
    /// Whether a client asked for it. Otherwise new rows did, and it does not run without any.
    pub asked: bool,
}
