//! Memory that is asked for before it is used. Other processors than x86-64 do without.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

/// Asks for the cache lines of bytes that will be read.
#[inline(always)]
pub(crate) fn read(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch changes no value; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Asks for the cache lines of residues that will be overwritten.
#[inline(always)]
pub(crate) fn write(residues: &mut [u64]) {
    #[cfg(target_arch = "x86_64")]
    for line in residues.chunks_mut(8) {
        // SAFETY: a prefetch changes no value; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = residues;
}

/// Asks for the cache lines of residues that will be used a while later, so not into the nearest cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn later(residues: &[u64]) {
    for line in residues.chunks(8) {
        // SAFETY: as before.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
}
