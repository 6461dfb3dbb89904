//! Large buffers in large pages: the tables of pages of usual size do not fit in a processor's memory for
//! them, least of all below a hypervisor.

use blindsmith_ring::Lanes;

/// The size of a large page.
const PAGE_BYTES: usize = 2 << 20;

/// The first `len` elements of a buffer, which grows where it is shorter. They hold anything.
pub(crate) fn at_least(buffer: &mut Vec<Lanes>, len: usize) -> &mut [Lanes] {
    if buffer.len() < len {
        // What was there is not wanted.
        *buffer = Vec::new();
        buffer.reserve_exact((len * size_of::<Lanes>()).next_multiple_of(PAGE_BYTES) / size_of::<Lanes>());
        advise(buffer.spare_capacity_mut());
        buffer.resize(len, Lanes::default());
    }
    &mut buffer[..len]
}

/// Asks for large pages. If there are none, usual ones serve.
fn advise<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const USUAL: usize = 4096;
        let skip = memory.as_ptr().align_offset(USUAL);
        let len = size_of_val(memory).saturating_sub(skip * size_of::<T>());
        if len >= PAGE_BYTES {
            // SAFETY: the range lies within `memory`, and the advice changes no value.
            unsafe { libc::madvise(memory.as_mut_ptr().add(skip).cast(), len, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
