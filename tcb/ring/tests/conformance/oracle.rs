//! Definitions written down as they are, with the remainder of the language.

use blindsmith_ring::{Q, modulus};

/// The residue of any 128-bit number.
pub fn residue(x: u128) -> u64 {
    (x % Q as u128) as u64
}

/// a b mod q.
pub fn mul(a: u64, b: u64) -> u64 {
    residue(a as u128 * b as u128)
}

/// a + b mod q.
pub fn add(a: u64, b: u64) -> u64 {
    residue(a as u128 + b as u128)
}

/// a - b mod q.
pub fn sub(a: u64, b: u64) -> u64 {
    residue(a as u128 + (Q - b) as u128)
}

/// base^exponent mod q.
pub fn pow(base: u64, exponent: u64) -> u64 {
    (0..64).rev().fold(1, |power, bit| {
        let square = mul(power, power);
        if exponent >> bit & 1 == 1 { mul(square, base) } else { square }
    })
}

/// The 2N-th root of unity of the transform of N points.
pub fn psi(points: usize) -> u64 {
    pow(modulus::GENERATOR, (Q - 1) / (2 * points as u64))
}

/// `i` with its low `bits` bits in reverse order.
pub fn bit_reversed(i: usize, bits: u32) -> usize {
    (0..bits).fold(0, |r, k| r | (i >> k & 1) << (bits - 1 - k))
}

/// The values at psi^(2 brv(i) + 1), each by Horner's rule.
pub fn transform(coefficients: &[u64]) -> Vec<u64> {
    let points = coefficients.len();
    let psi = psi(points);
    (0..points)
        .map(|i| {
            let at = pow(psi, 2 * bit_reversed(i, points.trailing_zeros()) as u64 + 1);
            coefficients.iter().rev().fold(0, |value, &c| residue(value as u128 * at as u128 + c as u128))
        })
        .collect()
}

/// The roots zeta_j of t^n = -1, in the order of the blocks of the mixed form.
pub fn block_roots(n: usize) -> Vec<u64> {
    let psi = psi(n);
    (0..n).map(|j| pow(psi, 2 * bit_reversed(j, n.trailing_zeros()) as u64 + 1)).collect()
}

/// The remainder modulo t^m - zeta_j for each block j, coefficient by coefficient by Horner's rule.
pub fn mixed(coefficients: &[u64], roots: usize) -> Vec<u64> {
    let m = coefficients.len() / roots;
    let remainder = |zeta: u64, b: usize| {
        let powers = coefficients.iter().skip(b).step_by(m);
        powers.rev().fold(0, |value, &c| residue(value as u128 * zeta as u128 + c as u128))
    };
    block_roots(roots).into_iter().flat_map(|zeta| (0..m).map(move |b| remainder(zeta, b))).collect()
}

/// The product in Z_q\[X\]/(X^N + 1), by its definition; up to 2^12 coefficients.
pub fn schoolbook(a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    (0..n)
        .map(|k| {
            let kept: u128 = (0..=k).map(|i| a[i] as u128 * b[k - i] as u128).sum();
            let wrapped: u128 = (k + 1..n).map(|i| a[i] as u128 * b[n + k - i] as u128).sum();
            sub(residue(kept), residue(wrapped))
        })
        .collect()
}

/// Residues from a fixed generator (xorshift), different for each seed.
pub fn residues(seed: u64, len: usize) -> Vec<u64> {
    words(seed, len).into_iter().map(|x| x % Q).collect()
}

/// 64-bit words from a fixed generator (xorshift*), different for each seed.
pub fn words(seed: u64, len: usize) -> Vec<u64> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            x.wrapping_mul(0x2545_f491_4f6c_dd1d)
        })
        .collect()
}

/// Bytes from the same generator.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    words(seed, len.div_ceil(8)).iter().flat_map(|w| w.to_le_bytes()).take(len).collect()
}

/// Residues at which reductions turn.
pub const EDGES: [u64; 10] =
    [0, 1, 2, 1 << 14, (1 << 49) - 1, Q / 2, Q / 2 + 1, (1 << 50) - (1 << 15), Q - 2, Q - 1];

/// Polynomials at which transforms overflow if they do.
pub fn edge_polynomials(points: usize) -> Vec<Vec<u64>> {
    let mut all: Vec<Vec<u64>> = [0, 1, Q / 2, Q / 2 + 1, Q - 1].map(|v| vec![v; points]).into();
    all.push((0..points).map(|i| if i % 2 == 0 { Q - 1 } else { 0 }).collect());
    all.push((0..points).map(|i| if i < points / 2 { 0 } else { Q - 1 }).collect());
    all.push((0..points).map(|i| EDGES[i % EDGES.len()]).collect());
    for place in [0, points / 3, points - 1] {
        all.push((0..points).map(|i| if i == place { Q - 1 } else { 0 }).collect());
    }
    all
}
