//! What clients are told of a project: its status in parts, and what its wardens signed in pages.

use blindsmith_protocol::{Blob, Id, Role, RoundSummary};
use serde::{Deserialize, Serialize};

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
