//! The 50-bit packing: lane i starts at bit 50 i, which is bit 2i % 8 of byte 6i + i / 4.

use std::arch::x86_64::*;

use super::vector::*;
use crate::PACKED_BYTES_PER_LANES as PACKED;
use crate::modulus::Q;

const PACKED_MASK: u64 = (1 << PACKED) - 1;
const PLACES: Places = Places::new();

/// Which byte of eight shifted lanes goes to each of the 50 bytes, and back.
struct Places {
    /// From the lane that starts last in or before the byte.
    starts: [u8; 64],
    /// From the lane that ends in the byte, where another one starts.
    ends: [u8; 64],
    shared: u64,
    /// To eight bytes for each lane.
    gather: [u8; 64],
}

impl Places {
    const fn new() -> Self {
        let mut places = Places { starts: [0; 64], ends: [0; 64], shared: 0, gather: [0; 64] };
        let mut from = 0;
        while from < 64 {
            let (lane, byte) = (from / 8, from % 8);
            let at = first_byte(lane) + byte;
            places.gather[from] = at as u8;
            if byte == 6 && lane < 7 && first_byte(lane + 1) == at {
                places.ends[at] = from as u8;
                places.shared |= 1 << at;
            } else if byte < 7 {
                places.starts[at] = from as u8;
            }
            from += 1;
        }
        places
    }
}

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
    let (starts, ends) = (load_bytes(&PLACES.starts), load_bytes(&PLACES.ends));
    for (o, x) in out.as_chunks_mut::<PACKED>().0.iter_mut().zip(x.as_chunks::<8>().0) {
        let shifted = _mm512_sllv_epi64(load(x), first_bits());
        let started = _mm512_permutexvar_epi8(starts, shifted);
        let ended = _mm512_maskz_permutexvar_epi8(PLACES.shared, ends, shifted);
        store_packed(o, _mm512_or_si512(started, ended));
    }
}

/// `out.len()` must be a multiple of eight; false if a value is not below q.
#[target_feature(enable = "avx512vbmi")]
pub(super) fn unpack(out: &mut [u64], bytes: &[u8]) -> bool {
    let gather = load_bytes(&PLACES.gather);
    let mut too_large = 0;
    for (o, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<PACKED>().0) {
        let lanes = _mm512_permutexvar_epi8(gather, load_packed(b));
        let value = _mm512_and_si512(_mm512_srlv_epi64(lanes, first_bits()), splat((1 << 50) - 1));
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
#[target_feature(enable = "avx512bw")]
fn load_packed(b: &[u8; PACKED]) -> __m512i {
    // SAFETY: the mask selects the bytes that the reference covers; the others are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(PACKED_MASK, b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn store_packed(b: &mut [u8; PACKED], v: __m512i) {
    // SAFETY: the mask selects the bytes that the reference covers; the others are not accessed.
    unsafe { _mm512_mask_storeu_epi8(b.as_mut_ptr().cast(), PACKED_MASK, v) }
}
