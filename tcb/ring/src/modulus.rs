//! Scalar arithmetic modulo q = 2^50 - 2^14 + 1, free of secret-dependent branches and divisions.

/// The modulus, prime, q = 1 mod 2^14 (so it serves negacyclic transforms up to 8192 points).
pub const Q: u64 = (1 << 50) - (1 << 14) + 1;

/// Bits of a residue.
pub const Q_BITS: u32 = 50;

/// A generator of the multiplicative group, used to find roots of unity.
/// (q - 1 = 2^14 (2^36 - 1), checked in the tests against the factors of 2^36 - 1.)
pub const GENERATOR: u64 = generator();

/// Products of canonical residues that a pair of 64-bit (low 52, high 52) accumulators holds:
/// 4096 x (2^52 - 1) < 2^64.
pub const MAX_CHAIN: usize = 4096;

const fn generator() -> u64 {
    const FACTORS: [u64; 9] = [2, 3, 5, 7, 13, 19, 37, 73, 109];
    let mut g = 2;
    loop {
        let mut i = 0;
        let mut ok = true;
        while i < FACTORS.len() {
            if pow(g, (Q - 1) / FACTORS[i]) == 1 {
                ok = false;
            }
            i += 1;
        }
        if ok {
            return g;
        }
        g += 1;
    }
}

/// `x` if `x < q`, else `x - q`; for `x < 2q`.
#[inline]
pub const fn reduce_once(x: u64) -> u64 {
    let t = x.wrapping_sub(Q);
    // All ones if the subtraction borrowed.
    let mask = ((t as i64) >> 63) as u64;
    t.wrapping_add(Q & mask)
}

/// a + b for canonical operands.
#[inline]
pub const fn add(a: u64, b: u64) -> u64 {
    reduce_once(a + b)
}

/// a - b for canonical operands.
#[inline]
pub const fn sub(a: u64, b: u64) -> u64 {
    reduce_once(a + Q - b)
}

const MASK50: u64 = (1 << 50) - 1;
/// 2^50 mod q: what the part above bit 50 counts when it is folded down.
const FOLD: u64 = (1 << 14) - 1;

/// Any 128-bit number below 2^114 modulo q.
#[inline]
pub const fn reduce_wide(x: u128) -> u64 {
    // After one fold below 2^78 + 2^50, after two below 2^42 + 2^50.
    let x = (x & MASK50 as u128) + (x >> 50) * FOLD as u128;
    reduce_once((x as u64 & MASK50) + (x >> 50) as u64 * FOLD)
}

/// A number below 2^100 modulo q, such as a b + c of canonical residues.
#[inline]
pub const fn reduce_product(x: u128) -> u64 {
    // After one fold at most 2^64 - 2^14, after two below 2^28 + 2^50.
    let x = (x as u64 & MASK50) + (x >> 50) as u64 * FOLD;
    reduce_once((x & MASK50) + (x >> 50) * FOLD)
}

/// a b for canonical operands.
#[inline]
pub const fn mul(a: u64, b: u64) -> u64 {
    reduce_product(a as u128 * b as u128)
}

/// The residue of `lo + 2^52 hi`, the accumulators of up to [`MAX_CHAIN`] products; `hi < 2^61`.
#[inline]
pub const fn reduce_pair(lo: u64, hi: u64) -> u64 {
    reduce_wide(lo as u128 + ((hi as u128) << 52))
}

/// base^exponent; the exponent is public.
pub const fn pow(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul(result, base);
        }
        base = mul(base, base);
        exponent >>= 1;
    }
    result
}

/// 1/a for a public, non-zero a.
pub const fn inv(a: u64) -> u64 {
    pow(a, Q - 2)
}

/// The residue of a signed integer, |v| < q.
#[inline]
pub const fn from_signed(v: i64) -> u64 {
    (v + (Q as i64 & (v >> 63))) as u64
}

/// The representative in (-q/2, q/2] of a canonical residue.
#[inline]
pub const fn to_signed(x: u64) -> i64 {
    let above = ((Q / 2) as i64 - x as i64) >> 63;
    x as i64 - (Q as i64 & above)
}
