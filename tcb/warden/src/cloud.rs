//! Whoever multiplies for the warden.

use blindsmith_matrix::{MaskSeed, OperandShape, Section};
use blindsmith_protocol::{BlockRef, Left, Progress, Projection};
use thiserror::Error;

/// The cloud failed, or answered something else.
#[derive(Debug, Error)]
pub enum CloudError {
    /// The connection.
    #[error(transparent)]
    Frame(#[from] blindsmith_protocol::FrameError),
    /// It refused an instruction.
    #[error("the refinery could not carry out an instruction: {0}")]
    Refused(String),
}

/// A product to be computed, see [`blindsmith_protocol::Instruction::Multiply`].
#[derive(Debug, Clone, PartialEq)]
pub struct ProductRequest {
    /// The left operand.
    pub left: Left,
    /// The right operand.
    pub right: u32,
    /// Which section of the product.
    pub section: Section,
    /// The accumulation that is added, and ends.
    pub sum: Option<u32>,
    /// Residues of the product.
    pub residues: usize,
}

/// Carries out instructions, in the order in which they are given. Contraction rows of an operand may be written
/// from many threads at once.
pub trait Cloud: Sync {
    /// Makes room for an operand.
    fn begin(&self, operand: u32, shape: &OperandShape, masks: MaskSeed) -> Result<(), CloudError>;

    /// Writes whole contraction rows, from row `first` on.
    fn rows(&self, operand: u32, first: usize, residues: &[u64]) -> Result<(), CloudError>;

    /// Forgets operands, once the products that were asked for before are computed.
    fn free(&self, operands: &[u32]) -> Result<(), CloudError>;

    /// Asks for a product without waiting for it.
    fn request(&self, product: ProductRequest) -> Result<Ticket, CloudError>;

    /// Has a section of a product added to what is accumulated under a number.
    fn accumulate(&self, slot: u32, left: Left, right: u32, section: Section) -> Result<(), CloudError>;

    /// Waits for a product and hands it over as it arrives. Every ticket is collected once, in any order.
    fn collect(&self, ticket: Ticket, to: &mut dyn Sink) -> Result<(), CloudError>;

    /// Asks for consecutive blocks of an upload, as they were uploaded, so many bytes, without waiting for them.
    fn read(&self, upload: u32, first: u32, count: u32, bytes: usize) -> Result<Ticket, CloudError>;

    /// Has the sealed projections of a block kept with its upload.
    fn keep(&self, block: BlockRef, sealed: &[u8]) -> Result<(), CloudError>;

    /// Asks for kept projections, at most so many bytes, without waiting for them.
    fn projections(&self, blocks: &[BlockRef], which: Projection, bytes: usize)
    -> Result<Ticket, CloudError>;

    /// Waits for bytes that were asked for. Every ticket is collected once, in any order.
    fn bytes(&self, ticket: Ticket) -> Result<Bytes, CloudError>;

    /// The sealed labels of blocks, one after the other.
    fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, CloudError>;

    /// Tells how far a round is.
    fn progress(&self, progress: Progress) -> Result<(), CloudError>;
}

/// Bytes as they came; what they were opened to is wiped.
pub enum Bytes {
    /// In a frame.
    Body(Vec<u8>),
    /// In shared memory, copied: so many of the bytes of these words.
    Words(Vec<u64>, usize),
}

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Body(bytes) => bytes,
            Bytes::Words(words, len) => &bytemuck::cast_slice(words)[..*len],
        }
    }

    /// The bytes, to be opened where they lie.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Bytes::Body(bytes) => bytes,
            Bytes::Words(words, len) => &mut bytemuck::cast_slice_mut(words)[..*len],
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        match self {
            Bytes::Body(bytes) => bytes.zeroize(),
            Bytes::Words(words, _) => words.zeroize(),
        }
    }
}

/// Names something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Copies residues of a product, from an index on, to where nobody else writes; from many threads at once.
pub type Copier<'a> = &'a (dyn Fn(usize, &mut [u64]) -> Result<(), CloudError> + Sync);

/// Takes a product as it arrives.
pub trait Sink {
    /// So many residues that come next, to be copied.
    fn copied(&mut self, count: usize, copy: Copier<'_>) -> Result<(), CloudError>;

    /// The residues that come next.
    fn residues(&mut self, residues: &[u64]) -> Result<(), CloudError> {
        let copy = |at: usize, out: &mut [u64]| {
            out.copy_from_slice(&residues[at..][..out.len()]);
            Ok(())
        };
        self.copied(residues.len(), &copy)
    }
}
