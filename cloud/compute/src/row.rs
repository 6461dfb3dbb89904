//! Rows of residues as they lie in memory or in a file.

use std::ops::Range;

use blindsmith_ring::{LANES, PACKED_BYTES_PER_LANES, backend};

/// A row of residues, as stored or as made. It may be longer than what is used of it. Residues are never
/// checked here: a product takes them modulo 2^50, so a value from q to 2^50 counts as itself modulo q.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// 50 bits each, eight in 50 bytes, as the ring's `Backend::pack` writes them.
    Packed(&'a [u8]),
    /// 64 bits each.
    Plain(&'a [u64]),
}

impl<'a> Row<'a> {
    /// The number of residues, padding included.
    #[must_use]
    pub fn residues(&self) -> usize {
        match self {
            Row::Packed(bytes) => bytes.len() / PACKED_BYTES_PER_LANES * LANES,
            Row::Plain(residues) => residues.len(),
        }
    }

    /// False for packed bytes that are not a whole number of units.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Row::Packed(bytes) => bytes.len().is_multiple_of(PACKED_BYTES_PER_LANES),
            Row::Plain(_) => true,
        }
    }

    /// The residues in `range`, unpacked to `buffer` where that is needed. Panics if the row is shorter.
    pub(crate) fn get<'b>(self, range: Range<usize>, buffer: &'b mut Vec<u64>) -> &'b [u64]
    where
        'a: 'b,
    {
        match self {
            Row::Plain(residues) => &residues[range],
            Row::Packed(_) => {
                let first = range.start / LANES * LANES;
                let buffer = at_least(buffer, range.end.next_multiple_of(LANES) - first);
                self.copy_to(first, buffer);
                &buffer[range.start - first..range.end - first]
            }
        }
    }

    /// The memory of the residues in `range`.
    pub(crate) fn bytes(self, range: Range<usize>) -> &'a [u8] {
        match self {
            Row::Plain(residues) => bytemuck::cast_slice(&residues[range]),
            Row::Packed(bytes) => {
                let units = range.start / LANES..range.end.div_ceil(LANES);
                &bytes[units.start * PACKED_BYTES_PER_LANES..units.end * PACKED_BYTES_PER_LANES]
            }
        }
    }

    /// Copies residues from `first` on, until `out` is full or the row ends. `first` and the length of `out`
    /// are multiples of eight.
    pub(crate) fn copy_to(self, first: usize, out: &mut [u64]) {
        match self {
            Row::Plain(residues) => {
                let len = out.len().min(residues.len() - first);
                out[..len].copy_from_slice(&residues[first..first + len]);
            }
            Row::Packed(bytes) => {
                let bytes = &bytes[first / LANES * PACKED_BYTES_PER_LANES..];
                // Values that are not below q are taken as they come.
                let _ = backend::active().unpack(out, &bytes[..out.len() / LANES * PACKED_BYTES_PER_LANES]);
            }
        }
    }
}

/// The first `len` elements of a buffer, which grows where it is shorter. They hold anything.
pub(crate) fn at_least<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// True if `packed` is a whole number of units of eight residues and every residue is below q: the admission
/// of what comes from outside.
#[must_use]
pub fn check(packed: &[u8]) -> bool {
    let mut residues = [0; 64 * LANES];
    packed.chunks(64 * PACKED_BYTES_PER_LANES).all(|chunk| {
        let (units, rest) = chunk.as_chunks::<PACKED_BYTES_PER_LANES>();
        rest.is_empty() && backend::active().unpack(&mut residues[..units.len() * LANES], chunk)
    })
}
