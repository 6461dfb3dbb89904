//! Why an instruction is not carried out.

use thiserror::Error;

/// An instruction that cannot be carried out.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It names something that is not there, or of another shape.
    #[error("the instruction does not fit: {0}")]
    Unfit(&'static str),
    /// The stored rows cannot be read.
    #[error("stored rows cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The product was refused.
    #[error(transparent)]
    Compute(#[from] blindsmith_compute::Error),
}
