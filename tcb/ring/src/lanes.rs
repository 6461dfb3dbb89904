//! Eight residues in one aligned cache line: the unit in which matrices are stored and multiplied.

use bytemuck::{Pod, Zeroable};

/// Residues in one [`Lanes`].
pub const LANES: usize = 8;

/// Eight residues, aligned to 64 bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable, Default)]
pub struct Lanes(pub [u64; LANES]);

/// A zeroed, 64-byte aligned buffer of `len` groups of eight residues.
pub fn zeroed_lanes(len: usize) -> Vec<Lanes> {
    bytemuck::zeroed_vec(len)
}
