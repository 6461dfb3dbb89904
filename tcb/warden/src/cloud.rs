//! Whoever multiplies for the warden.

use blindsmith_protocol::{BlockRef, Instruction, Progress};
use blindsmith_ring::Lanes;
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

/// Carries out instructions. Strips may be sent from many threads at once, in any order.
pub trait Cloud: Sync {
    /// Makes room for an operand ([`Instruction::Begin`]) or forgets some ([`Instruction::Free`]).
    fn tell(&self, instruction: Instruction) -> Result<(), CloudError>;

    /// Has `fill` write one strip of `len` groups of eight residues, and takes it.
    fn strip(
        &self,
        operand: u32,
        strip: u32,
        len: usize,
        fill: &mut dyn FnMut(&mut [Lanes]),
    ) -> Result<(), CloudError>;

    /// Multiplies ([`Instruction::Multiply`]) and hands the product over as it arrives.
    fn multiply(&self, instruction: Instruction, to: &mut dyn Sink) -> Result<(), CloudError>;

    /// The sealed labels of row blocks, one after the other.
    fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, CloudError>;

    /// Tells how far a round is.
    fn progress(&self, progress: Progress) -> Result<(), CloudError>;
}

/// Takes a product as it arrives.
pub trait Sink {
    /// The extra polynomials, first.
    fn extras(&mut self, residues: &[u64]) -> Result<(), CloudError>;
    /// Consecutive rows of the grid, from row `first` on.
    fn rows(&mut self, first: usize, residues: &[u64]) -> Result<(), CloudError>;
}
