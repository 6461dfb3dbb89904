//! Messages between refinery and warden. Bulk data is the frame's body, or lies in shared memory.

use blindsmith_matrix::{MaskSeed, OperandShape, Section};
use serde::{Deserialize, Serialize};

use crate::MAX_CONTRACTION;
use crate::id::Id;
use crate::message::{Blob, Evidence, Progress};
use crate::project::ProjectSpec;
use crate::upload::{AdmittedUpload, BlockRef, UploadHeader};

/// Refinery to warden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWarden {
    /// Asks for evidence.
    Attest {
        /// The public key of who asks.
        asker: Id,
        /// What it signed, see `blindsmith-identity`.
        request: Blob,
    },
    /// Secrets for a project. Body: its initial model, sealed under a key that the release holds.
    Release {
        /// The public specification.
        spec: ProjectSpec,
        /// Sealed to the warden, and signed by the owner.
        release: Blob,
    },
    /// A project to go on with. Body: the state that this or an earlier warden sealed.
    Restore {
        /// The public specification.
        spec: ProjectSpec,
        /// What this warden sealed for itself when it was given the project.
        holding: Blob,
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
    /// Ask the warden that will take a project over for evidence. Answered by [`Outcome::Challenge`].
    Challenge {
        /// The project.
        project: Id,
    },
    /// Hand the project over to the warden whose evidence this is. Answered by [`Outcome::Handed`]. Body: the collateral
    /// that verifies the evidence, in parts, each after its length in four bytes, little-endian.
    HandOver {
        /// The project.
        project: Id,
        /// What the other answered to the challenge.
        evidence: Evidence,
    },
    /// Take a project over from another warden. Body: what that sealed ([`Outcome::Handed`]), after its length in four
    /// bytes, little-endian; then the sealed state.
    TakeOver {
        /// The specification.
        spec: ProjectSpec,
        /// The key of the warden that hands it over.
        from: Id,
        /// The session in which it did.
        session: Id,
        /// The owner's order that approves of this warden.
        order: Blob,
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
    /// Answer to [`Instruction::Multiply`]: the parts of a product one after the other, see
    /// [`blindsmith_matrix::ProductShape`]. Without shared memory [`ToWarden::Residues`] follow until all came.
    Product {
        /// Residues of all parts.
        residues: u64,
        /// Where in shared memory.
        place: Option<Place>,
    },
    /// The next residues of a product. Body: eight bytes each, little-endian, at most [`crate::MAX_PIECE`] bytes.
    Residues {
        /// How many.
        count: u64,
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
        /// What tells it from others, over all its starts: what it sealed for itself is kept under this name.
        holder: Id,
        /// What tells this start of it from others: both links of a start have the same.
        start: Id,
        /// What this link is for.
        lane: Lane,
        /// Whether it wants to take projects over from the warden that is served.
        take_over: bool,
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
    /// The project's secrets are held. Body, after a release: the [`crate::RoundRecord`] of round 0; after a hand-over:
    /// the CBOR of a list of contributors with the tokens of [`Outcome::Enrolled`].
    Ready {
        /// What lets this warden go on with the project after a start, sealed by it for itself; empty if it was told by such.
        holding: Blob,
        /// What it signed for the owner, after a release.
        confirmation: Blob,
        /// The warden to which it handed the project over, if it did: it can do no more than repeat that.
        retired: Option<Id>,
    },
    /// What to ask the other warden by ([`ToWarden::Attest`]).
    Challenge {
        /// The key of who asks.
        asker: Id,
        /// What it signed.
        request: Blob,
    },
    /// This warden is done with the project. Body: its secrets, sealed to the other warden.
    Handed {
        /// The session.
        session: Id,
        /// The owner's order that approves of the other.
        order: Blob,
    },
    /// The order is carried out as far as it concerns the warden.
    Ordered {
        /// The warden to which this one handed the project over: it does nothing for it then.
        retired: Option<Id>,
    },
    /// The contributor is enrolled.
    Enrolled {
        /// What tells the warden so, sealed for wardens of the project; empty if it was told by such a token.
        token: Blob,
        /// What it signed for the contributor; empty as well.
        confirmation: Blob,
    },
    /// The round is complete. Body: its [`crate::RoundRecord`].
    Round,
    /// Body: the answer, sealed to the querier.
    Answer,
    /// The upload stands in rounds from now on.
    Admitted {
        /// What tells the warden so, sealed by it for itself.
        admission: Blob,
    },
    /// The upload is none: it is not what its contributor authenticated, or some of its blocks are not well
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
    /// No round, or an upload that was not read: the warden cannot write down what it must remember of it. After a round it
    /// holds the project no more until it is given the newest state again ([`ToWarden::Restore`]); an upload is given again.
    Unable {
        /// Why.
        message: String,
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
    /// Makes room for an operand: contraction rows one after the other, each of [`OperandShape::stride`] residues. No
    /// answer.
    Begin {
        /// The warden's name for it.
        operand: u32,
        /// Its shape, see [`operand_residues`].
        shape: OperandShape,
        /// The seed of its masks.
        masks: MaskSeed,
        /// Index of its first residue in shared memory, a multiple of eight; if none, its rows come as
        /// [`Instruction::Rows`].
        at: Option<u64>,
    },
    /// Contraction rows of an operand. Body: whole rows, eight bytes a residue, little-endian. No answer.
    Rows {
        /// The operand.
        operand: u32,
        /// The first of them.
        first: u32,
    },
    /// A product. Answered by [`ToWarden::Product`].
    Multiply {
        /// The left operand.
        left: Left,
        /// The right operand.
        right: u32,
        /// The part of the product that is asked for.
        section: Section,
        /// A sum of [`Instruction::Accumulate`] that is added and ends.
        sum: Option<u32>,
        /// Products received so far: their shared memory may be used again.
        received: u64,
    },
    /// Adds a product to a sum of products of one shape, which begins with the first of them. No answer: errors are
    /// told when the sum is asked for.
    Accumulate {
        /// The sum: below [`crate::MAX_SUMS`].
        slot: u32,
        /// The left operand.
        left: Left,
        /// The right operand.
        right: u32,
        /// The part of the product that is added up.
        section: Section,
    },
    /// Operands that are not needed any more. No answer.
    Free {
        /// The operands.
        operands: Vec<u32>,
    },
    /// The sealed labels of blocks. Answered by [`ToWarden::Labels`].
    Labels {
        /// The blocks.
        blocks: Vec<BlockRef>,
    },
    /// Consecutive blocks as they were uploaded. Answered by [`ToWarden::Bytes`].
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
    /// The projections of a block, to be kept with the upload. Body: that of the row form, then that of the column form,
    /// each sealed, see [`ProjectSpec::kept_bytes`]. No answer.
    Keep {
        /// The block.
        block: BlockRef,
    },
    /// Kept projections, one after the other. Answered by [`ToWarden::Bytes`].
    Projections {
        /// Of these blocks.
        blocks: Vec<BlockRef>,
        /// Which.
        which: Projection,
        /// Answers received so far: their shared memory may be used again.
        received: u64,
    },
}

/// Which projection of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// That of the row form.
    Rows,
    /// That of the column form.
    Columns,
}

/// Residues in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the first.
    pub start: u64,
    /// How many.
    pub len: u64,
}

/// A left operand, and the sets of its masks in the parts P and R of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// The row form of stored blocks, one below the other. One set of masks for each distinct era of their uploads, in
    /// order of first appearance; each stands at all places.
    Rows(Vec<BlockRef>),
    /// The column form of stored blocks, one after the other along the contraction, each filled up to whole places. One
    /// set of masks for each distinct contributor and era of their uploads, in order of first appearance; each stands at
    /// the places of its own blocks.
    Columns(Vec<BlockRef>),
    /// An operand that the warden sent. One set of masks, at all places.
    Operand(u32),
}

/// Residues of a sent operand: [`OperandShape::residues`], if contraction and width are within limits.
///
/// The contraction is at least 1, and at most [`MAX_CONTRACTION`] with its padding; so is the width.
pub fn operand_residues(shape: &OperandShape) -> Option<usize> {
    let possible = 1..=MAX_CONTRACTION;
    let within = possible.contains(&shape.contraction) && possible.contains(&shape.width);
    (within && shape.padded() <= MAX_CONTRACTION).then(|| shape.residues())
}
