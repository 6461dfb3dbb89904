//! Messages between client and refinery, in frames. Bulk data is the frame's body. `docs/protocol.md` has them in words.

use blindsmith_protocol::{Blob, Evidence, Id, Progress, ProjectSpec, Role, RoundSummary, UploadHeader};
use serde::{Deserialize, Serialize};

use crate::Projects;

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

/// Bytes of what wardens signed after which a page has no more of it.
pub const PAGE: usize = 4 << 20;

/// A page of what wardens signed for a project, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// A receipt for each round, from the one on that was asked for.
    pub receipts: Vec<Blob>,
    /// Reports of wrong answers, after the last receipt.
    pub faults: Vec<Blob>,
    /// Whether there is another page.
    pub more: bool,
}

/// How much of a project's status a client has; zeros for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Tells one run of the refinery from another; below 2^53, which any program can count to.
    pub run: u64,
    /// The number, within that run, of the last change of an upload.
    pub change: u64,
    /// Rounds, from round 0 on.
    pub rounds: u64,
}

/// What the refinery knows of a project, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// The project.
    pub project: Id,
    /// Its name.
    pub name: String,
    /// Whether a warden holds the project's secrets.
    pub ready: bool,
    /// Which kind of warden is connected.
    pub warden: Option<String>,
    /// Whether a round is running or waiting.
    pub busy: bool,
    /// Rounds that wait, without the one that is running.
    pub queued: u32,
    /// Why the last round failed, if it did.
    pub failure: Option<String>,
    /// Uploads that are new or have changed, in the order in which they did.
    pub uploads: Vec<UploadSummary>,
    /// The rounds that follow those seen, in order.
    pub rounds: Vec<RoundSummary>,
    /// What has been seen with this part.
    pub seen: Seen,
    /// Whether there is another part.
    pub more: bool,
}

/// An upload as the refinery sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSummary {
    /// The upload.
    pub upload: Id,
    /// Uploads of the project that arrived before it.
    pub place: u32,
    /// What it is for.
    pub role: Role,
    /// Its rows.
    pub rows: u32,
    /// Its bytes.
    pub bytes: u64,
    /// Who contributed it.
    pub contributor: Id,
    /// What became of it.
    pub state: UploadState,
    /// Why it was refused or set aside.
    pub reason: Option<String>,
    /// If it was withdrawn, the rounds that used it: from and to, in order.
    pub used_in: Vec<(u64, u64)>,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadState {
    /// Stored; no warden has read it yet.
    Stored,
    /// A warden read it: it stands in the next round.
    Admitted,
    /// A round used it.
    Used,
    /// It is not what its contributor authenticated, or not well formed, or its contributor is no member: rounds leave
    /// it out.
    Refused,
    /// A round set it aside.
    Quarantined,
    /// Its contributor took it back: its rows are gone.
    Withdrawn,
}
