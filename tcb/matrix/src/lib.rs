//! Masked matrices as public material: how a matrix is encoded, which masks hide it, what its products look
//! like, and the scales and noise that they carry. Nothing here holds or needs a secret.
//!
//! Every entry of an encrypted matrix is one residue. `docs/arithmetic.md` has the formulas.

mod encoding;
mod mask;
mod operand;
mod parameters;
mod product;
mod scale;

pub use encoding::{Encoding, EncodingError, MAX_RANK, MAX_ROOTS, MIN_DEGREE, MIN_STRIP};
pub use mask::{MaskSeed, Masks};
pub use operand::{OperandShape, Side, View};
pub use parameters::{Security, SecurityError};
pub use product::{ProductShape, Section};
pub use scale::{
    ADMITTED_ENTRY, ADMITTED_NORM, NoiseModel, Overflow, SIGMA, Scale, entry_scale, feature_scale,
    largest_scale,
};
