//! What happens to a project. An event is reported after it is durable.

use blindsmith_identity::Order;
use blindsmith_protocol::{Id, Progress, RoundRecord, UploadHeader};

use crate::upload::Verdict;

/// What happened.
#[derive(Debug)]
pub enum Event<'e> {
    /// An upload is stored. When a refinery starts, it reports what an earlier one stored, with its verdict.
    UploadStored {
        /// Its header.
        header: UploadHeader,
        /// What a warden found, if one read it.
        verdict: Option<Verdict>,
    },
    /// The warden read an upload.
    UploadJudged {
        /// The upload.
        upload: Id,
        /// What it found.
        verdict: Verdict,
    },
    /// An upload could not be read, which may pass by itself.
    UploadUnreadable {
        /// The upload.
        upload: Id,
        /// Why.
        why: String,
    },
    /// Its contributor withdrew an upload.
    UploadWithdrawn {
        /// The upload.
        upload: Id,
    },
    /// The store knows which rounds used a withdrawn upload.
    UsesFound {
        /// The upload.
        upload: Id,
        /// Ranges of rounds, first and last, in order.
        rounds: Vec<(u64, u64)>,
    },
    /// The warden enrolled a contributor.
    ContributorEnrolled(Id),
    /// An order of the owner is stored, which [`crate::Project::check_order`] opened.
    OrderStored {
        /// The order.
        order: &'e Order,
        /// The order, as it was signed.
        signed: Vec<u8>,
    },
    /// The owner released the secrets to the connected warden.
    Released,
    /// The connected warden holds the secrets: it opened the stored state.
    WardenReady,
    /// The connected warden cannot work for the project.
    WardenUnable {
        /// Why.
        why: String,
    },
    /// The warden is gone.
    WardenGone,
    /// A client asks for a round, whose job is about to be stored: it counts from here on.
    RoundReserved,
    /// The job of a reserved round could not be stored.
    ReservationDropped,
    /// The job of a reserved round is stored.
    RoundAsked {
        /// How often it goes over the rows.
        epochs: Option<u32>,
        /// The key of its job.
        key: Vec<u8>,
    },
    /// The connected warden has time for this project.
    Turn,
    /// The warden says how far the running round is.
    RoundProgressed(Progress),
    /// A round is stored: one that ran, or one that made an earlier version current.
    RoundStored(&'e RoundRecord),
    /// The running round is over; its record is stored, if it has one.
    RoundEnded(Result<(), Failure>),
    /// The warden was lost in the running round.
    RoundLost {
        /// How, for operators.
        why: String,
    },
    /// The warden made an earlier version the current one, or did not.
    RollbackEnded(Result<(), Failure>),
}

/// Why an upload was not read, or a round not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Something at the refinery was in the way, which may pass by itself.
    InTheWay(String),
    /// The warden refused, and would again.
    Refused(String),
}
