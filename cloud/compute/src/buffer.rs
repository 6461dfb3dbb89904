//! Memory for operands and results.

use std::io;
use std::ops::{Deref, DerefMut};

use blindsmith_ring::Lanes;
use memmap2::MmapMut;

/// Bytes of a huge page on x86-64.
const HUGE: usize = 2 << 20;

/// Zeroed groups of residues, in huge pages where the system grants them: a product visits each strip once
/// for each few points, and with small pages finding the page takes as long as reading from it.
pub struct Buffer {
    map: MmapMut,
    start: usize,
    bytes: usize,
}

impl Buffer {
    /// A zeroed buffer of `len` groups.
    ///
    /// # Errors
    /// When there is not so much memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let too_large = || io::Error::new(io::ErrorKind::OutOfMemory, format!("no buffer of {len} groups"));
        let bytes = len.checked_mul(size_of::<Lanes>()).ok_or_else(too_large)?;
        let map = MmapMut::map_anon(bytes.checked_add(HUGE).ok_or_else(too_large)?)?;
        // Without huge pages it is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_ptr().addr().wrapping_neg() % HUGE;
        Ok(Buffer { map, start, bytes })
    }
}

impl Deref for Buffer {
    type Target = [Lanes];

    fn deref(&self) -> &[Lanes] {
        bytemuck::cast_slice(&self.map[self.start..self.start + self.bytes])
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        bytemuck::cast_slice_mut(&mut self.map[self.start..self.start + self.bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_aligned_and_of_its_length() {
        for len in [0, 1, 40_000] {
            let mut buffer = Buffer::zeroed(len).unwrap();
            assert!(buffer.len() == len && buffer.iter().all(|x| x.0 == [0; 8]));
            assert_eq!(buffer.as_ptr().addr() % HUGE, 0);
            buffer.iter_mut().for_each(|x| x.0[7] = 1);
            assert_eq!(buffer.iter().map(|x| x.0[7]).sum::<u64>(), len as u64);
        }
        assert!(Buffer::zeroed(usize::MAX).is_err());
        assert!(Buffer::zeroed(usize::MAX / 64).is_err());
    }
}
