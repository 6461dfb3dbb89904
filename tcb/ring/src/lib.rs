//! Arithmetic of R_q = Z_q\[X\]/(X^N + 1) with q = 2^50 - 2^14 + 1 and N = 2048 or 4096:
//! residues, negacyclic number-theoretic transforms, samplers and the 50-bit packing.
//!
//! Representation is a type: [`Poly<Coeff>`], [`Poly<Mixed>`] (the transform stopped after its first stages)
//! and [`Poly<Eval>`] do not mix, and a transform consumes.
//! Work on slices goes through [`backend::Backend`], the one seam behind which the portable reference
//! and the vector implementations stand; all of them give the same bits.
//!
//! Residues are canonical (`0 <= x < q`) at every seam.

pub mod backend;
mod lanes;
pub mod modulus;
mod poly;
pub mod sample;
mod table;

pub use lanes::{LANES, Lanes, zeroed_lanes};
pub use modulus::Q;
pub use poly::{Coeff, Domain, Eval, Mixed, Poly};
pub use table::{MAX_POINTS, Table};

/// Bytes that eight packed residues take (8 x 50 bits).
pub const PACKED_BYTES_PER_LANES: usize = 50;
