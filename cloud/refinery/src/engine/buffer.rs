//! Memory for residues, as much as there is.

use super::error::EngineError::{self, Unfit};

/// Most residues (16 GiB) that a product may have, and each of: the operands of a session with their masks, the masks
/// of stored rows.
pub(super) const MOST_RESIDUES: usize = 1 << 31;

/// As many zeros, if there is memory for them.
pub(super) fn zeroed(len: usize) -> Result<Vec<u64>, EngineError> {
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| Unfit("more than the memory holds"))
}

/// A buffer of this length with any content, in the given memory if that is enough.
pub(super) fn resized(mut buffer: Vec<u64>, len: usize) -> Result<Vec<u64>, EngineError> {
    if buffer.capacity() < len {
        return zeroed(len);
    }
    buffer.resize(len, 0);
    Ok(buffer)
}
