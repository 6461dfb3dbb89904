//! Messages between client and refinery, and what a round leaves. Bulk data is the frame's body.

use serde::{Deserialize, Serialize};

use crate::{Decision, Id, ProjectSpec, Quarantined, Role, UploadHeader};

/// Bytes inside a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Blob(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a warden says of itself, and a report in which its environment vouches for that; see `blindsmith-evidence`. A
/// simulated warden proves nothing: its claims say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The encoded claims.
    pub claims: Blob,
    /// The quote or report.
    pub report: Blob,
    /// What the host adds; nobody vouches for it.
    pub auxiliary: Blob,
}

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
    /// Starts an upload; frames of [`Request::Blocks`] follow, then [`Request::Commit`].
    Push {
        /// The project.
        project: Id,
    },
    /// Consecutive row blocks. Body: the blocks.
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
    /// The receipts of all rounds and the warden's reports of wrong answers.
    Receipts {
        /// The project.
        project: Id,
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
    /// Body: a [`Ledger`].
    Receipts,
    /// The owner's orders, signed, from the first on.
    Orders(Vec<Blob>),
    /// Refused or failed; nothing was changed.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}

/// What wardens signed for a project, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// A receipt for each round, from round 0 on.
    pub receipts: Vec<Blob>,
    /// Reports of wrong answers.
    pub faults: Vec<Blob>,
}

/// How far a round is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The round.
    pub round: u64,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
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

/// A round as the refinery sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RoundSummary {
    /// The round; 0 is the initial model.
    pub round: u64,
    /// Uploads used.
    pub uploads: u32,
    /// Rows trained on.
    pub rows: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Wall-clock time in which the refinery multiplied.
    pub cloud_seconds: f64,
    /// Core time of the refinery's process in the round.
    pub cloud_cpu_seconds: f64,
    /// Wall-clock time in which the warden did not wait for the refinery.
    pub warden_seconds: f64,
    /// Core time of the warden's process in the round.
    pub warden_cpu_seconds: f64,
    /// Core time of the warden that went into checking what the refinery returned.
    pub check_cpu_seconds: f64,
    /// Bytes between refinery and warden.
    pub traffic_bytes: u64,
    /// Largest resident memory of the warden's process so far.
    pub warden_peak_bytes: u64,
    /// Metrics, sealed to the owner.
    pub metrics: Blob,
    /// What became of it.
    pub decision: Decision,
    /// The version that is current after it: its own number if it was promoted.
    pub current: u64,
    /// Uploads that it set aside; none under a fixed schedule, where the owner alone learns of them.
    pub quarantined: Vec<Quarantined>,
    /// Trainings that it took: more than one where uploads were tried apart.
    pub trials: u32,
    /// The number of the last order of the owner that it knew.
    pub orders: u64,
    /// When the refinery stored it, in seconds since 1970.
    pub at: u64,
    /// Whether somebody asked for it; else a trigger started it.
    pub asked: bool,
}

/// What a finished round leaves, stored in one piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// The public part.
    pub summary: RoundSummary,
    /// The uploads that it was given.
    pub given: Vec<Id>,
    /// Those of them that its model was trained on or that it was judged with.
    pub used: Vec<Id>,
    /// The warden's sealed state.
    pub state: Blob,
    /// The model and what opens the receipt's commitment to it, sealed to the owner.
    pub model: Blob,
    /// The warden's signed receipt.
    pub receipt: Blob,
}
