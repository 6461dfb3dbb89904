//! The 50-bit packing: lane i starts at bit 50 i, which is bit 2i % 8 of byte 6i + i / 4.

use std::arch::x86_64::*;

use super::vector::*;
use crate::PACKED_BYTES_PER_LANES as PACKED;
use crate::modulus::Q;

const PACKED_MASK: u64 = (1 << PACKED) - 1;

const fn first_byte(lane: usize) -> usize {
    6 * lane + lane / 4
}

#[inline]
#[target_feature(enable = "avx512f")]
fn first_bits() -> __m512i {
    _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6)
}

/// `x.len()` must be a multiple of eight.
#[target_feature(enable = "avx512vbmi")]
pub(super) fn pack(out: &mut [u8], x: &[u64]) {
    // Where each byte comes from: the lane that starts last in or before it, and the one that ends in it.
    let mut starts = [0; 64];
    let mut ends = [0; 64];
    let mut both = 0;
    for lane in 0..8 {
        for byte in 0..7 {
            let at = first_byte(lane) + byte;
            if byte == 6 && lane < 7 && first_byte(lane + 1) == at {
                ends[at] = (8 * lane + byte) as u8;
                both |= 1 << at;
            } else {
                starts[at] = (8 * lane + byte) as u8;
            }
        }
    }
    let (starts, ends, shifts) = (load_bytes(&starts), load_bytes(&ends), first_bits());
    for (o, x) in out.chunks_exact_mut(PACKED).zip(x.as_chunks::<8>().0) {
        let shifted = _mm512_sllv_epi64(load(x), shifts);
        let started = _mm512_permutexvar_epi8(starts, shifted);
        let ended = _mm512_maskz_permutexvar_epi8(both, ends, shifted);
        store_packed(o, _mm512_or_si512(started, ended));
    }
}

/// `out.len()` must be a multiple of eight; false if a value is not below q.
#[target_feature(enable = "avx512vbmi")]
pub(super) fn unpack(out: &mut [u64], bytes: &[u8]) -> bool {
    let gather = load_bytes(&std::array::from_fn(|at| (first_byte(at / 8) + at % 8) as u8));
    let (mask50, shifts) = (splat((1 << 50) - 1), first_bits());
    let mut too_large = 0;
    for (o, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes.chunks_exact(PACKED)) {
        let lanes = _mm512_permutexvar_epi8(gather, load_packed(b));
        let value = _mm512_and_si512(_mm512_srlv_epi64(lanes, shifts), mask50);
        too_large |= _mm512_cmpge_epu64_mask(value, splat(Q));
        store(o, value);
    }
    too_large == 0
}

/// `x.len()` must be a multiple of eight.
#[target_feature(enable = "avx512f")]
pub(super) fn is_canonical(x: &[u64]) -> bool {
    let mut too_large = 0;
    for x in x.as_chunks::<8>().0 {
        too_large |= _mm512_cmpge_epu64_mask(load(x), splat(Q));
    }
    too_large == 0
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_bytes(b: &[u8; 64]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn load_packed(b: &[u8]) -> __m512i {
    assert_eq!(b.len(), PACKED);
    // SAFETY: the mask selects the bytes that the slice covers; the others are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(PACKED_MASK, b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn store_packed(b: &mut [u8], v: __m512i) {
    assert_eq!(b.len(), PACKED);
    // SAFETY: the mask selects the bytes that the slice covers; the others are not accessed.
    unsafe { _mm512_mask_storeu_epi8(b.as_mut_ptr().cast(), PACKED_MASK, v) }
}
