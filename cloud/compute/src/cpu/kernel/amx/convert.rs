//! Entries to bytes: 64 at a time, by all moduli.

use std::arch::x86_64::*;

use blindsmith_ring::Lanes;
use bytemuck::cast;

use super::Amx;
use super::residues::{PLANES, RESIDUES, Residue};

/// Which operand entries belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// 64 entries are 4 times 16 depths of one row. They become row by row what a tile of the left holds.
    Left,
    /// 64 entries are 4 depths of 16 columns. They become what a tile of the right holds in a row: four
    /// depths of each column, the columns in the order 0, 8, 1, 9 and so on.
    Right,
}

/// Where byte i of 64 comes from, after both packings.
const ORDER: [[u8; 64]; 2] = {
    let mut order = [[0; 64]; 2];
    let mut entry = 0;
    while entry < 64 {
        let (piece, at) = (entry / 16, entry % 16);
        let source = (16 * (at / 4) + 4 * piece + at % 4) as u8;
        order[0][entry] = source;
        let column = if at < 8 { 2 * at } else { 2 * (at - 8) + 1 };
        order[1][4 * column + piece] = source;
        entry += 1;
    }
    order
};

impl Amx {
    /// Writes the residues of 64 entries by modulus p to `out[p stride]`.
    #[inline]
    pub fn convert(self, side: Side, entries: [&[u64; 16]; 4], out: &mut [Lanes], stride: usize) {
        // SAFETY: `self` is proof of the features.
        unsafe { convert(side, entries, out, stride) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn convert(side: Side, entries: [&[u64; 16]; 4], out: &mut [Lanes], stride: usize) {
    let side = side as usize;
    let order: __m512i = cast(ORDER[side]);
    let [a, b, c, d] = entries;
    let pieces = [digits(a), digits(b), digits(c), digits(d)];
    for (plane, residue) in RESIDUES[side].iter().enumerate() {
        let mut folded = [set1(residue.centre); 4];
        for (folded, [low, high]) in folded.iter_mut().zip(pieces) {
            let sum = _mm512_dpbusd_epi32(set1(residue.start), low, set1(residue.digits[0]));
            let sum = _mm512_dpbusd_epi32(sum, high, set1(residue.digits[1]));
            *folded = _mm512_dpbusd_epi32(*folded, sum, set1(residue.fold));
        }
        let first = round(_mm512_packs_epi32(folded[0], folded[1]), residue);
        let second = round(_mm512_packs_epi32(folded[2], folded[3]), residue);
        let bytes = _mm512_permutexvar_epi8(order, _mm512_packs_epi16(first, second));
        out[plane * stride] = Lanes(cast(bytes));
    }
    const { assert!(PLANES == RESIDUES[0].len()) };
}

#[inline]
#[target_feature(enable = "avx512f")]
fn set1(x: i32) -> __m512i {
    _mm512_set1_epi32(x)
}

/// What is left of folded sums after division by the modulus.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn round(x: __m512i, residue: &Residue) -> __m512i {
    let quotient = _mm512_mulhrs_epi16(x, _mm512_set1_epi16(residue.reciprocal));
    _mm512_sub_epi16(x, _mm512_mullo_epi16(quotient, _mm512_set1_epi16(residue.modulus)))
}

/// The digits of 16 entries: the low four of each in 32 bits, and the high four.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
fn digits(entries: &[u64; 16]) -> [__m512i; 2] {
    const EVEN: [u32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
    const STARTS: u64 = u64::from_le_bytes([0, 7, 14, 21, 28, 35, 42, 49]);
    const MASK: u64 = u64::from_le_bytes([127, 127, 127, 127, 127, 127, 127, 1]);
    let [mut a, mut b]: [__m512i; 2] = cast(*entries);
    for x in [&mut a, &mut b] {
        let bits = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(STARTS as i64), *x);
        *x = _mm512_and_si512(bits, _mm512_set1_epi64(MASK as i64));
    }
    let even: __m512i = cast(EVEN);
    let odd = _mm512_add_epi32(even, set1(1));
    [_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b)]
}

#[cfg(test)]
mod tests {
    use blindsmith_ring::Q;

    use super::*;
    use crate::cpu::kernel::amx::residues::MODULI;

    /// Both forms against the definition: the residue of the centred entry, times the factor of the right.
    #[test]
    fn bytes_are_the_residues_of_entries_in_their_places() {
        let Some(amx) = Amx::detect() else { return };
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state >> 14
        };
        let mut out = vec![Lanes::default(); PLANES * 3];
        for _ in 0..500 {
            let entries: [[u64; 16]; 4] = std::array::from_fn(|_| std::array::from_fn(|_| next()));
            for side in [Side::Left, Side::Right] {
                amx.convert(side, entries.each_ref(), &mut out, 3);
                for (plane, &m) in MODULI.iter().enumerate() {
                    let bytes: [i8; 64] = cast(out[3 * plane].0);
                    let others = MODULI.iter().filter(|&&other| other != m);
                    let part = others.fold(1, |part, other| part * (other % m) % m) as i64;
                    let factor = if side == Side::Left { 1 } else { part };
                    for i in 0..64 {
                        let (piece, at) = (i / 16, i % 16);
                        let place = match side {
                            Side::Left => i,
                            Side::Right => 4 * (at % 8 * 2 + at / 8) + piece,
                        };
                        let x = entries[piece][at];
                        let centred = x as i64 - if x >> 49 == 1 { Q as i64 } else { 0 };
                        let wrong = (bytes[place] as i64 * factor - centred).rem_euclid(m as i64);
                        assert_eq!(wrong, 0, "{x} modulo {m}");
                    }
                }
            }
        }
    }
}
