//! The numbers behind the product on byte matrices: 14 moduli, the residues of an entry by them, and the way
//! back.
//!
//! An entry x counts as the integer x - q \[x >= 2^49\], of magnitude at most 2^49. A sum of K products of such
//! integers is smaller than M / 2, where M is the product of the moduli, so its residues by the moduli
//! determine it (Chinese remainders).
//!
//! With s_i the sum of products of residues by m_i, and the factor (M / m_i)^-1 already in the residues of the
//! right, the sum wanted is X = sum of s_i M / m_i - k M, where k is the integer nearest to the sum of
//! s_i / m_i. A sum s_i has four bytes: byte j counts 2^(8 j), and the last one, which is 0 or 255, counts
//! -2^24 / 255. So X is also a sum over 56 bytes, each times a constant, less k M. The constants modulo q, and
//! what they count for k, are cut into digits of 8 bits. So one more product of byte matrices makes, of the
//! sums, the digits of X modulo q and those of k.

use blindsmith_ring::{Q, modulus};

/// Pairwise coprime. Among such sets below 256 this one has a large product M with -M mod q below 2^36.
pub(super) const MODULI: [u64; PLANES] =
    [254, 253, 251, 249, 247, 245, 241, 239, 233, 229, 223, 211, 193, 191];

/// How many moduli there are: an operand is as many matrices of bytes.
pub(crate) const PLANES: usize = 14;

/// Products that a sum may have: each is at most 2^14, so the last byte of a sum is 0 or 255.
pub(crate) const MAX_DEPTH: usize = 512;
const _: () = assert!(MAX_DEPTH << 14 < 1 << 24);

const M: u128 = {
    let (mut product, mut i) = (1, 0);
    while i < PLANES {
        product *= MODULI[i] as u128;
        i += 1;
    }
    product
};

/// |X / M| is at most 1/2 less 1 part in this many.
const MARGIN: u128 = 8;
const _: () = assert!((MAX_DEPTH as u128) << 98 <= M / 2 - M / MARGIN);

/// -M modulo q: what k counts.
pub(super) const MINUS_M: u64 = Q - (M % Q as u128) as u64;
const _: () = assert!(MINUS_M < 1 << 36);

/// The representative of x nearest to zero.
const fn centred(x: u64, m: u64) -> i64 {
    let x = x % m;
    if x > (m - 1) / 2 { x as i64 - m as i64 } else { x as i64 }
}

const fn inverse(x: u64, m: u64) -> u64 {
    let mut y = 1;
    while x % m * y % m != 1 {
        y += 1;
    }
    y
}

/// Four signed bytes as an instruction takes them, the first one lowest.
const fn bytes(x: [i64; 4]) -> i32 {
    let mut all = [0; 4];
    let mut i = 0;
    while i < 4 {
        assert!(x[i] >= -128 && x[i] <= 127);
        all[i] = x[i] as u8;
        i += 1;
    }
    i32::from_le_bytes(all)
}

/// How an entry becomes its residue by one modulus m. Its digits are seven of 7 bits and bit 49.
pub(super) struct Residue {
    /// What the digits count modulo m, and the start of the sum of digits times this, which makes it positive.
    pub digits: [i32; 2],
    pub start: i32,
    /// What the bytes of that sum count, and a start which puts their sum around zero.
    pub fold: i32,
    pub centre: i32,
    /// 2^15 / m, rounded, which gives the quotient; and m.
    pub reciprocal: i16,
    pub modulus: i16,
}

/// The residues of the left operand, and those of the right, which have the factor (M / m)^-1.
pub(super) static RESIDUES: [[Residue; PLANES]; 2] = [residues(false), residues(true)];

const fn residues(right: bool) -> [Residue; PLANES] {
    let mut all = [const { residue(2, 1) }; PLANES];
    let mut i = 0;
    while i < PLANES {
        let m = MODULI[i];
        let part = (M / m as u128 % m as u128) as u64;
        all[i] = residue(m, if right { inverse(part, m) } else { 1 });
        i += 1;
    }
    all
}

const fn residue(m: u64, factor: u64) -> Residue {
    let mut counts = [0; 8];
    let (mut low, mut high) = (0, 0);
    let mut j = 0;
    while j < 8 {
        // Bit 49 counts 2^49 - q.
        let weight = if j < 7 { 1 << (7 * j) } else { (1 << 49) + m * (Q / m + 1) - Q };
        counts[j] = centred(weight % m * factor, m);
        let reach = counts[j] * if j < 7 { 127 } else { 1 };
        if reach < 0 {
            low += reach
        } else {
            high += reach
        }
        j += 1;
    }
    let fold = [1, centred(1 << 8, m), centred(1 << 16, m), 0];
    // The least and the largest sum of bytes.
    let top = (high - low + m as i64) >> 16;
    let range = [
        if fold[1] < 0 { 255 * fold[1] } else { 0 } + if fold[2] < 0 { top * fold[2] } else { 0 },
        255 + if fold[1] > 0 { 255 * fold[1] } else { 0 } + if fold[2] > 0 { top * fold[2] } else { 0 },
    ];
    let centre = -(range[0] + range[1]) / 2;
    // -low, and then as much as makes both starts together a multiple of m.
    let start = -low + (low - centre).rem_euclid(m as i64);
    Residue {
        digits: [
            bytes([counts[0], counts[1], counts[2], counts[3]]),
            bytes([counts[4], counts[5], counts[6], counts[7]]),
        ],
        start: start as i32,
        fold: bytes(fold),
        centre: centre as i32,
        reciprocal: ((32768 + m / 2) / m) as i16,
        modulus: m as i16,
    }
}

/// Digits of X, and after them those of k.
const X_DIGITS: usize = 7;
/// Digits of both.
pub(super) const DIGITS: usize = X_DIGITS + 2;
/// Bits of k after the point.
pub(super) const K_BITS: u32 = 16;
/// What k has too much, so that it is positive; and more bits than k has.
const K_OFFSET: u128 = 1 << 13;
/// A sum of all bytes, each times at most 1/2, stays below it.
const _: () = assert!((4 * PLANES as u128 * 255).div_ceil(2) < K_OFFSET);

/// The way back from sums to X.
#[repr(C, align(64))]
pub(super) struct Back {
    /// Digits that a byte of a sum counts, `[digit][plane][byte]`; 16 planes of which the last are not there.
    pub counts: [[i8; 64]; 16],
    /// What the sums of digits start with, the same for all 16 columns.
    pub starts: [[i32; 16]; 16],
}

pub(super) static BACK: Back = back();

const fn back() -> Back {
    let mut all = Back { counts: [[0; 64]; 16], starts: [[0; 16]; 16] };
    let (mut magnitude, mut error) = (0u128, 0u128);
    let mut at = 0;
    while at < 4 * PLANES {
        let (m, byte) = (MODULI[at / 4], at % 4);
        // The byte counts weight M / m, over 255 if it is the last.
        let (weight, divisor) = (centred(1 << (8 * byte), m), if byte == 3 { -255 } else { 1 });
        let part = (M / m as u128 % Q as u128) as u64;
        let quotient = modulus::inv(modulus::from_signed(divisor));
        let x = modulus::to_signed(modulus::mul(modulus::mul(part, modulus::from_signed(weight)), quotient));
        let (over, under) = (weight * divisor.signum(), m as i64 * divisor.abs());
        let k = nearest(over << K_BITS, under);
        put(&mut all.counts, at, 0, X_DIGITS, x);
        put(&mut all.counts, at, X_DIGITS, DIGITS, k);
        magnitude += 255 * x.unsigned_abs() as u128;
        // In units of M / 2^(K_BITS + 40).
        let exact = ((over as i128) << (K_BITS + 40)) / under as i128;
        error += 255 * (((k as i128) << 40) - exact).unsigned_abs();
        at += 1;
    }
    // With an offset of its magnitude X stays positive, and there is room for k times `MINUS_M` and a residue.
    assert!(magnitude * 2 < (1 << 64) - (1 << 53));
    // k is rounded right: its error stays within the margin.
    assert!(error < (1 << (K_BITS + 40)) / MARGIN);

    let k_start = (1 << (K_BITS - 1)) + (K_OFFSET << K_BITS);
    let x_start = magnitude / Q as u128 * Q as u128 + Q as u128 + K_OFFSET * (M % Q as u128) % Q as u128;
    // The halves of the digits are positive by themselves.
    const HALF: u128 = 1 << 29;
    let rest = x_start - HALF - (HALF << 16);
    fill(&mut all.starts[0], HALF as i32 + (rest & 0xffff) as i32);
    fill(&mut all.starts[2], HALF as i32 + (rest >> 16 & 0xffff) as i32);
    fill(&mut all.starts[4], (rest >> 32) as u32 as i32);
    fill(&mut all.starts[X_DIGITS], k_start as i32);
    all
}

const fn nearest(x: i64, m: i64) -> i64 {
    (2 * x + m).div_euclid(2 * m)
}

const fn fill(row: &mut [i32; 16], value: i32) {
    let mut i = 0;
    while i < 16 {
        row[i] = value;
        i += 1;
    }
}

/// Writes x as signed digits of 8 bits to rows from `first` to `end` of column `at`.
const fn put(rows: &mut [[i8; 64]; 16], at: usize, first: usize, end: usize, mut x: i64) {
    let mut row = first;
    while row < end {
        rows[row][at] = x as i8;
        x = (x - rows[row][at] as i64) >> 8;
        row += 1;
    }
    assert!(x == 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arithmetic of `convert`, one entry at a time.
    fn fold(residue: &Residue, x: u64) -> i64 {
        let byte = |word: i32, i: usize| word.to_le_bytes()[i] as i8 as i64;
        let digit = |j: usize| (x >> (7 * j) & if j < 7 { 127 } else { 1 }) as i64;
        let terms = (0..8).map(|j| digit(j) * byte(residue.digits[j / 4], j % 4));
        let sum = residue.start as i64 + terms.sum::<i64>();
        assert!((0..1 << 24).contains(&sum));
        (0..4).map(|i| (sum >> (8 * i) & 255) * byte(residue.fold, i)).sum::<i64>() + residue.centre as i64
    }

    fn round(residue: &Residue, x: i64) -> i64 {
        let quotient = (x * residue.reciprocal as i64 + (1 << 14)) >> 15;
        x - quotient * residue.modulus as i64
    }

    #[test]
    fn every_folded_sum_becomes_a_byte() {
        for (side, residues) in RESIDUES.iter().enumerate() {
            for residue in residues {
                let m = residue.modulus as i64;
                let bytes = |word: i32| word.to_le_bytes().map(|x| x as i8 as i64);
                let [low, high] = residue.digits.map(bytes);
                let reach = |x: i64| 127 * x.max(0);
                let most = low.into_iter().chain(high).map(reach).sum::<i64>() + residue.start as i64;
                let [one, next, top, _] = bytes(residue.fold);
                let ends = [i64::min, i64::max].map(|end| {
                    255 * (end(one, 0) + end(next, 0)) + (most >> 16) * end(top, 0) + residue.centre as i64
                });
                assert!((ends[0]..=ends[1]).all(|x| (-128..128).contains(&round(residue, x))), "{side} {m}");
            }
        }
    }

    #[test]
    fn residues_are_those_of_the_centred_entry() {
        let mut x = 1u64;
        let random = (0..2000).map(|_| {
            x = x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            x >> 14
        });
        let edges = [0, 1, (1 << 49) - 1, 1 << 49, Q - 1, Q, (1 << 50) - 1, 127, 128, (1 << 43) - 1];
        for x in random.chain(edges) {
            let centred = x as i128 - if x >> 49 == 1 { Q as i128 } else { 0 };
            for (i, &m) in MODULI.iter().enumerate() {
                let part = (M / m as u128 % m as u128) as i128;
                let [left, right] = [0, 1].map(|side: usize| {
                    let residue = &RESIDUES[side][i];
                    round(residue, fold(residue, x)) as i128
                });
                assert_eq!((left - centred).rem_euclid(m as i128), 0, "{x} {m}");
                assert_eq!((right * part - centred).rem_euclid(m as i128), 0, "{x} {m}");
            }
        }
    }

    #[test]
    fn moduli_are_pairwise_coprime() {
        let divides = |d: u64, m: u64| m.is_multiple_of(d);
        for (i, &a) in MODULI.iter().enumerate() {
            for &b in &MODULI[..i] {
                assert!((2..256).all(|d| !divides(d, a) || !divides(d, b)), "{a} {b}");
            }
        }
    }
}
