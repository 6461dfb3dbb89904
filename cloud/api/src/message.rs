//! Messages between client and refinery, in frames. Bulk data is the frame's body. `docs/protocol.md` has them in words.

use blindsmith_protocol::{Blob, Evidence, Id, Progress, ProjectSpec, Role, UploadHeader};
use serde::{Deserialize, Serialize};

use crate::answer::Projects;
pub use crate::status::{Ledger, PAGE, ProjectStatus, Seen, UploadState, UploadSummary};

/// Client to refinery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Creates a project. Body: the sealed initial model.
    Create {
        /// The public specification.
        spec: ProjectSpec,
    },
    /// Asks the warden for evidence.
    Attest {
        /// The public key of who asks.
        asker: Id,
        /// What it signed, see `blindsmith-identity`.
        request: Blob,
    },
    /// Hands a release to the warden. Body: the release, sealed and signed. Answered by [`Reply::Confirmed`].
    Release {
        /// The project.
        project: Id,
    },
    /// The project's specification.
    Spec {
        /// The project.
        project: Id,
    },
    /// Starts an upload or a query; frames of [`Request::Blocks`] follow, then [`Request::Commit`] or [`Request::Ask`].
    Push {
        /// The project.
        project: Id,
        /// What it is for.
        role: Role,
        /// Its rows.
        rows: u32,
    },
    /// Consecutive blocks. Body: the blocks.
    Blocks {
        /// Index of the first.
        first: u32,
    },
    /// Ends an upload: the header that authenticates what was sent. Answered when it is durable.
    Commit {
        /// The header.
        header: UploadHeader,
    },
    /// Ends a query: header, and in the body the querier's seed, sealed to the warden.
    Ask {
        /// The header; role [`Role::Query`].
        header: UploadHeader,
    },
    /// Starts a round now.
    Refine {
        /// The project.
        project: Id,
        /// Epochs, if others than the recipe's.
        epochs: Option<u32>,
    },
    /// Sends [`Reply::Progress`] until no round is running or waiting, then [`Reply::Done`].
    Watch {
        /// The project.
        project: Id,
    },
    /// What there is that the client has not seen, or the first part of it.
    Status {
        /// The project.
        project: Id,
        /// What it has seen.
        seen: Seen,
    },
    /// The sealed model of a version; the newest if none is named.
    Pull {
        /// The project.
        project: Id,
        /// Which version.
        version: Option<u64>,
    },
    /// Receipts of rounds, and after the last of them the warden's reports of wrong answers, as many as a page has.
    Receipts {
        /// The project.
        project: Id,
        /// The round of the first receipt: how many the client has.
        from: u64,
        /// How many reports the client has.
        faults: u64,
    },
    /// A signed order of the owner, see `blindsmith-identity`. Answered when it is durable.
    Order {
        /// The project.
        project: Id,
        /// The order.
        order: Blob,
    },
    /// A contributor hands its seed to the warden, see `blindsmith-identity`. Answered by [`Reply::Confirmed`].
    Enrol {
        /// The project.
        project: Id,
        /// Its public key.
        contributor: Id,
        /// What it signed.
        enrolment: Blob,
    },
    /// A contributor takes an upload of its own back, see `blindsmith-identity`. Answered when its rows are gone.
    Withdraw {
        /// The project.
        project: Id,
        /// Its public key.
        contributor: Id,
        /// What it signed.
        withdrawal: Blob,
    },
    /// The orders of the owner. Answered by [`Reply::Orders`].
    Orders {
        /// The project.
        project: Id,
    },
    /// The projects that a key may see, or all. Answered by [`Reply::Projects`].
    Projects {
        /// The key; it is not proven.
        key: Option<Id>,
    },
    /// Whether the refinery is there.
    Ping,
}

/// Refinery to client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// The project's specification.
    Spec(ProjectSpec),
    /// The warden's evidence.
    Evidence(Evidence),
    /// The warden has the secrets: what it signed, see `blindsmith-identity`.
    Confirmed {
        /// The confirmation.
        confirmation: Blob,
    },
    /// The upload is durable under this identifier.
    Accepted {
        /// The upload.
        upload: Id,
        /// False if it was there already.
        new: bool,
    },
    /// How far a round is.
    Progress(Progress),
    /// What there is. Body: a [`ProjectStatus`].
    StatusFollows,
    /// Body: a sealed model.
    Model {
        /// Its version.
        version: u64,
    },
    /// Body: a sealed answer.
    Answer,
    /// Body: a page of the [`Ledger`].
    Receipts,
    /// The owner's orders, signed, from the first on.
    Orders(Vec<Blob>),
    /// The projects.
    Projects(Projects),
    /// Refused or failed; nothing was changed.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}
