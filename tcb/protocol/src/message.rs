//! Messages between client and refinery, and between refinery and warden. Bulk data is the frame's body.

use blindsmith_matrix::{Form, MaskSeed, ProductKind};
use serde::{Deserialize, Serialize};

use crate::{AdmittedUpload, BlockRef, Decision, GroupRef, Id, ProjectSpec, Quarantined, Role, UploadHeader};

/// Bytes inside a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Blob(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a warden says of itself. A simulated warden proves nothing: it says so in `tee`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Kind of trusted execution environment; `simulated` is none.
    pub tee: String,
    /// The warden's version.
    pub version: String,
    /// The public key to which secrets are sealed, fresh for each start of the warden.
    #[serde(with = "serde_bytes")]
    pub recipient: [u8; 32],
    /// The nonce asked for.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
    /// The public key that verifies the warden's receipts; the same for each start of the warden.
    #[serde(with = "serde_bytes")]
    pub receipts: [u8; 32],
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
        /// 256 fresh bits.
        nonce: Blob,
    },
    /// Hands a sealed release to the warden. Body: the release.
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
    /// Sends [`Reply::Progress`] until no round is running or waiting, then [`Reply::Status`].
    Watch {
        /// The project.
        project: Id,
    },
    /// What there is.
    Status {
        /// The project.
        project: Id,
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
    /// A contributor hands its seed to the warden, see `blindsmith-identity`. Answered when the warden has it.
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
    /// The upload is durable under this identifier.
    Accepted {
        /// The upload.
        upload: Id,
        /// False if it was there already.
        new: bool,
    },
    /// How far a round is.
    Progress(Progress),
    /// What there is.
    Status(ProjectStatus),
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

/// What the refinery knows of a project.
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
    /// The uploads, in order of arrival.
    pub uploads: Vec<UploadSummary>,
    /// The rounds, in order.
    pub rounds: Vec<RoundSummary>,
}

/// An upload as the refinery sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSummary {
    /// The upload.
    pub upload: Id,
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

/// Refinery to warden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWarden {
    /// Asks for evidence.
    Attest {
        /// 256 fresh bits.
        nonce: Blob,
    },
    /// Secrets for a project. Body: its initial model, sealed under a key that the release holds.
    Release {
        /// The public specification.
        spec: ProjectSpec,
        /// Sealed to the warden.
        release: Blob,
    },
    /// A project to go on with. Body: the state that this or an earlier warden sealed.
    Restore {
        /// The public specification.
        spec: ProjectSpec,
    },
    /// Read an upload whose rows are upload 0, make sure that it is what its contributor authenticated and well
    /// formed, and take its projections.
    Admit {
        /// The project.
        project: Id,
        /// The upload's header.
        header: UploadHeader,
    },
    /// The record of this round is stored for good: the warden may hold whoever serves it to that.
    Stored {
        /// The project.
        project: Id,
        /// The round.
        round: u64,
    },
    /// A signed order of the owner, see `blindsmith-identity`: the next one.
    Order {
        /// The project.
        project: Id,
        /// The order.
        order: Blob,
    },
    /// A contributor hands over its seed under its terms; see `blindsmith-identity`.
    Enrol {
        /// The project.
        project: Id,
        /// Its public key.
        contributor: Id,
        /// What it signed.
        enrolment: Blob,
    },
    /// A contributor that this or an earlier warden enrolled.
    Enrolled {
        /// The project.
        project: Id,
        /// Its public key.
        contributor: Id,
        /// What the warden sealed for itself.
        token: Blob,
    },
    /// Make an earlier version the current one, as the owner ordered. Body: its sealed model.
    Rollback {
        /// The project.
        project: Id,
        /// The round's number.
        round: u64,
        /// Which version.
        version: u64,
    },
    /// Train.
    Round {
        /// The project.
        project: Id,
        /// The round's number.
        round: u64,
        /// Which attempt at it.
        attempt: u32,
        /// Epochs, if others than the recipe's.
        epochs: Option<u32>,
        /// Everything that was admitted, in order of arrival.
        uploads: Vec<AdmittedUpload>,
    },
    /// Answer a query whose rows are upload 0.
    Query {
        /// The project.
        project: Id,
        /// The query's header.
        header: UploadHeader,
        /// The querier's seed, sealed to the warden.
        envelope: Blob,
    },
    /// Answer to [`Instruction::Labels`]. Body: the sealed labels of the blocks, in order.
    Labels,
    /// Answer to [`Instruction::Multiply`]: the extra polynomials, in the body or in shared memory.
    Extras {
        /// Rows of the grid that follow.
        rows: u32,
        /// Where in shared memory, if not in the body.
        place: Option<Place>,
    },
    /// Answer to [`Instruction::Multiply`]: rows of the grid, in the body or in shared memory; repeated until
    /// all were sent.
    Rows {
        /// Index of the first row.
        first: u32,
        /// How many.
        count: u32,
        /// Where in shared memory, if not in the body.
        place: Option<Place>,
    },
    /// Answer to [`Instruction::Read`] and [`Instruction::Projections`]: bytes, in the body or in shared memory.
    Bytes {
        /// Where in shared memory, if not in the body: the last residue may be filled up with zeros.
        place: Option<Place>,
        /// How many.
        len: u64,
    },
    /// The instruction failed.
    Failed {
        /// Why.
        message: String,
    },
}

/// What a link between warden and refinery is for: queries are answered while a round goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Everything; queries only where no link is for them.
    Rounds,
    /// Queries alone.
    Queries,
}

/// Warden to refinery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromWarden {
    /// The first message: who is there.
    Hello {
        /// Kind of trusted execution environment.
        tee: String,
        /// The warden's version.
        version: String,
        /// What this link is for.
        lane: Lane,
        /// Whether two sealed memory regions came along with this frame's first bytes (SCM_RIGHTS): the
        /// first for operands, written by the warden; the second for products, written by the refinery.
        shared: bool,
    },
    /// Answer to [`ToWarden::Attest`].
    Evidence(Evidence),
    /// An instruction of a round or query.
    Do(Instruction),
    /// How far the round is.
    Progress(Progress),
    /// The end of what was asked.
    Finished(Outcome),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The project's secrets are held. Body, after a release: the [`RoundRecord`] of round 0.
    Ready,
    /// The order is carried out as far as it concerns the warden.
    Ordered,
    /// The contributor is enrolled.
    Enrolled {
        /// What tells the warden so, sealed by it for itself; empty if it was told by such a token.
        token: Blob,
    },
    /// The round is complete. Body: its [`RoundRecord`].
    Round,
    /// Body: the answer, sealed to the querier.
    Answer,
    /// The upload stands in rounds from now on.
    Admitted {
        /// What tells the warden so, sealed by it for itself.
        admission: Blob,
    },
    /// The upload is none: it is not what its contributor authenticated, or some of its row blocks are not well
    /// formed. Rounds do without all of it.
    Malformed {
        /// Why.
        reason: String,
    },
    /// No round and no answer: what the refinery returned is wrong. Nothing changed.
    Fault {
        /// Which instruction was answered wrongly.
        instruction: String,
        /// The warden's signed report of it (see `blindsmith-receipts`).
        report: Blob,
    },
    /// No round: these uploads are not authentic. Nothing changed; ask again without them.
    Forged {
        /// The uploads.
        uploads: Vec<Id>,
    },
    /// Refused; nothing changed.
    Refused {
        /// Why. Never a value derived from secrets.
        message: String,
    },
}

/// What the refinery's accelerator is told to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Instruction {
    /// Makes room for an operand. No answer.
    Begin {
        /// The warden's name for it.
        operand: u32,
        /// The layer whose tile it has.
        layer: u32,
        /// How its tiles lie.
        form: Form,
        /// Rows of the plain matrix.
        rows: u32,
        /// Columns of the plain matrix.
        cols: u32,
        /// The seed of its masks.
        masks: MaskSeed,
        /// Where its strips will lie in shared memory, one after the other, in groups of eight residues; if
        /// nowhere, they come as [`Instruction::Strip`].
        at: Option<u64>,
    },
    /// A piece of a strip of an operand. Body: its residues, eight bytes each, little-endian. No answer.
    Strip {
        /// The operand.
        operand: u32,
        /// Which strip.
        strip: u32,
        /// Where in the strip, in groups of eight residues.
        at: u32,
    },
    /// A product. Answered by [`ToWarden::Extras`] and [`ToWarden::Rows`].
    Multiply {
        /// Which.
        kind: ProductKind,
        /// The layer.
        layer: u32,
        /// The left operand.
        left: Left,
        /// The right operand.
        right: u32,
        /// Products received so far: their shared memory may be used again.
        received: u64,
        /// Whether what was added up for this layer by [`Instruction::Accumulate`] is added, which ends the sum.
        sum: bool,
    },
    /// Adds the weight gradient of these operands to what was added up for the layer. No answer: what goes wrong
    /// is told when the sum is asked for.
    Accumulate {
        /// The layer.
        layer: u32,
        /// The left operand.
        left: Left,
        /// The right operand.
        right: u32,
    },
    /// Operands that are not needed any more. No answer.
    Free {
        /// The operands.
        operands: Vec<u32>,
    },
    /// The sealed labels of row blocks. Answered by [`ToWarden::Labels`].
    Labels {
        /// The blocks.
        blocks: Vec<BlockRef>,
    },
    /// Consecutive row blocks as they were uploaded. Answered by [`ToWarden::Bytes`].
    Read {
        /// Index into the command's list of uploads.
        upload: u32,
        /// The first.
        first: u32,
        /// How many.
        count: u32,
        /// Answers received so far: their shared memory may be used again.
        received: u64,
    },
    /// Projections of a sampling group, to be kept with the upload. Body: those of the group, then those of its row
    /// blocks, each sealed. No answer.
    Keep {
        /// The group.
        group: GroupRef,
    },
    /// Kept projections, one after the other. Answered by [`ToWarden::Bytes`].
    Projections {
        /// Of these groups.
        groups: Vec<GroupRef>,
        /// Which.
        which: Projection,
        /// Answers received so far: their shared memory may be used again.
        received: u64,
    },
}

/// Which projections of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// One polynomial for each place of a row block, over all row blocks of the group.
    Group,
    /// One polynomial for each row block of the group, over all its places.
    Rows,
}

/// Residues in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the first.
    pub start: u64,
    /// How many.
    pub len: u64,
}

/// A left operand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// Stored row blocks, under the project's masks.
    Blocks(Vec<BlockRef>),
    /// An operand that the warden sent.
    Operand(u32),
    /// Several of them, one below the other, for a weight gradient.
    Operands(Vec<u32>),
}
