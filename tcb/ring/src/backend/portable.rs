//! The reference: plain Rust, no instructions beyond the baseline.

use super::{Backend, NOISE_BYTES, TERNARY_BYTES, assert_transposable, block_len};
use crate::PACKED_BYTES_PER_LANES;
use crate::modulus::{self, MAX_CHAIN, Q};
use crate::table::Table;

/// The portable backend.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

/// x w mod q in \[0, 2q) for any x < 4q, by Shoup's quotient (w_shoup = floor(2^52 w / q)).
#[inline]
fn mul_shoup(x: u64, w: u64, w_shoup: u64) -> u64 {
    let quotient = ((x as u128 * w_shoup as u128) >> 52) as u64;
    x.wrapping_mul(w).wrapping_sub(quotient.wrapping_mul(Q))
}

/// `x` if `x < 2q`, else `x - 2q`; for `x < 4q`.
#[inline]
fn reduce_twice_q(x: u64) -> u64 {
    let t = x.wrapping_sub(2 * Q);
    t.wrapping_add((2 * Q) & ((t as i64) >> 63) as u64)
}

impl Backend for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn forward_mixed(&self, table: &Table, x: &mut [u64], roots: usize) {
        block_len(table, x, roots);
        forward_stages(table, x, 1, roots);
    }

    fn inverse_mixed(&self, table: &Table, x: &mut [u64], roots: usize) {
        block_len(table, x, roots);
        inverse_stages(table, x, roots, 1);
        scale(table, x, roots);
    }

    fn mixed_to_eval(&self, table: &Table, x: &mut [u64], roots: usize) {
        block_len(table, x, roots);
        forward_stages(table, x, roots, table.points());
    }

    fn eval_to_mixed(&self, table: &Table, x: &mut [u64], roots: usize) {
        let block = block_len(table, x, roots);
        inverse_stages(table, x, table.points(), roots);
        scale(table, x, block);
    }

    fn add_assign(&self, out: &mut [u64], a: &[u64]) {
        assert_eq!(out.len(), a.len());
        out.iter_mut().zip(a).for_each(|(o, &a)| *o = modulus::add(*o, a));
    }

    fn sub_assign(&self, out: &mut [u64], a: &[u64]) {
        assert_eq!(out.len(), a.len());
        out.iter_mut().zip(a).for_each(|(o, &a)| *o = modulus::sub(*o, a));
    }

    fn mul(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        assert!(out.len() == a.len() && a.len() == b.len());
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = modulus::mul(a, b);
        }
    }

    fn mul_add(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        assert!(out.len() == a.len() && a.len() == b.len());
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = modulus::reduce_product(a as u128 * b as u128 + *o as u128);
        }
    }

    fn scale_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]) {
        assert!(lo.len() == hi.len() && a.len() == lo.len() * scalars.len());
        const MASK52: u64 = (1 << 52) - 1;
        for (a, &scalar) in a.chunks_exact(lo.len().max(1)).zip(scalars) {
            for ((lo, hi), &a) in lo.iter_mut().zip(&mut *hi).zip(a) {
                let product = a as u128 * scalar as u128;
                *lo = lo.wrapping_add(product as u64 & MASK52);
                *hi = hi.wrapping_add((product >> 52) as u64);
            }
        }
    }

    fn reduce_pairs(&self, out: &mut [u64], lo: &[u64], hi: &[u64]) {
        assert!(out.len() == lo.len() && lo.len() == hi.len());
        for i in 0..out.len() {
            out[i] = modulus::reduce_pair(lo[i], hi[i]);
        }
    }

    fn dot(&self, a: &[u64], b: &[u64]) -> u64 {
        assert_eq!(a.len(), b.len());
        a.chunks(MAX_CHAIN).zip(b.chunks(MAX_CHAIN)).fold(0, |sum, (a, b)| {
            // 2^12 products below 2^100.
            let chain: u128 = a.iter().zip(b).map(|(&a, &b)| a as u128 * b as u128).sum();
            modulus::add(sum, modulus::reduce_wide(chain))
        })
    }

    fn transpose(&self, out: &mut [u64], out_stride: usize, x: &[u64], rows: usize, cols: usize) {
        assert_transposable(out, out_stride, x, rows, cols);
        for c in 0..cols {
            for r in 0..rows {
                out[c * out_stride + r] = x[r * cols + c];
            }
        }
    }

    fn add_noise(&self, out: &mut [u64], bytes: &[u8]) {
        assert_eq!(bytes.len(), NOISE_BYTES * out.len());
        const ETA_MASK: u64 = (1 << 21) - 1;
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<NOISE_BYTES>().0) {
            let r = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0]);
            // The ones of 21 bits less those of 21 others are the ones of 21 bits and zeros of 21 others,
            // less 21.
            let flipped = (r ^ ETA_MASK << 21) & ((1 << 42) - 1);
            *o = modulus::add(*o, modulus::from_signed(flipped.count_ones() as i64 - 21));
        }
    }

    fn ternary(&self, out: &mut [u64], bytes: &[u8]) {
        assert_eq!(bytes.len(), TERNARY_BYTES * out.len());
        for (o, b) in out.iter_mut().zip(bytes.as_chunks::<TERNARY_BYTES>().0) {
            let third = (u64::from_le_bytes(*b) as u128 * 3) >> 64;
            *o = modulus::from_signed(third as i64 - 1);
        }
    }

    fn pack(&self, out: &mut [u8], x: &[u64]) {
        assert!(x.len().is_multiple_of(8) && out.len() == x.len() / 8 * PACKED_BYTES_PER_LANES);
        for (out, x) in out.as_chunks_mut::<PACKED_BYTES_PER_LANES>().0.iter_mut().zip(x.as_chunks::<8>().0) {
            let mut words = [0; 7];
            for (i, &v) in x.iter().enumerate() {
                let (word, shift) = (50 * i / 64, 50 * i % 64);
                words[word] |= v << shift;
                words[word + 1] |= (v as u128 >> (64 - shift)) as u64;
            }
            let bytes = words.map(u64::to_le_bytes);
            out.copy_from_slice(&bytes.as_flattened()[..PACKED_BYTES_PER_LANES]);
        }
    }

    fn unpack(&self, out: &mut [u64], bytes: &[u8]) -> bool {
        assert!(out.len().is_multiple_of(8) && bytes.len() == out.len() / 8 * PACKED_BYTES_PER_LANES);
        for (x, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<PACKED_BYTES_PER_LANES>().0)
        {
            for (i, v) in x.iter_mut().enumerate() {
                // Eight bytes around the value that lie within the fifty.
                let first = (50 * i / 8).min(PACKED_BYTES_PER_LANES - 8);
                let word = b[first..].first_chunk().expect("eight bytes remain");
                *v = u64::from_le_bytes(*word) >> (50 * i - 8 * first) & ((1 << 50) - 1);
            }
        }
        self.is_canonical(out)
    }

    fn is_canonical(&self, x: &[u64]) -> bool {
        x.iter().fold(true, |ok, &v| ok & (v < Q))
    }
}

/// Cooley-Tukey stages from `blocks` blocks to `end` blocks: canonical in and out.
fn forward_stages(table: &Table, x: &mut [u64], mut blocks: usize, end: usize) {
    while blocks < end {
        let len = x.len() / blocks / 2;
        for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
            let (w, ws) = (table.roots[blocks + block], table.roots_shoup[blocks + block]);
            let (upper, lower) = chunk.split_at_mut(len);
            for (u, v) in upper.iter_mut().zip(lower) {
                // Values below 4q in and out (Harvey).
                let (a, t) = (reduce_twice_q(*u), mul_shoup(*v, w, ws));
                *u = a + t;
                *v = a + 2 * Q - t;
            }
        }
        blocks *= 2;
    }
    for v in x {
        *v = modulus::reduce_once(reduce_twice_q(*v));
    }
}

/// Gentleman-Sande stages from `blocks` blocks to `end` blocks, without the factor: canonical in, below 2q
/// out.
fn inverse_stages(table: &Table, x: &mut [u64], mut blocks: usize, end: usize) {
    while blocks > end {
        blocks /= 2;
        let len = x.len() / blocks / 2;
        for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
            let (w, ws) = (table.inverse[blocks + block], table.inverse_shoup[blocks + block]);
            let (upper, lower) = chunk.split_at_mut(len);
            for (u, v) in upper.iter_mut().zip(lower) {
                let difference = *u + 2 * Q - *v;
                *u = reduce_twice_q(*u + *v);
                *v = mul_shoup(difference, w, ws);
            }
        }
    }
}

/// x / divisor for a power of two up to N: below 2q in, canonical out.
fn scale(table: &Table, x: &mut [u64], divisor: usize) {
    let k = divisor.trailing_zeros() as usize;
    let (w, ws) = (table.scales[k], table.scales_shoup[k]);
    for v in x {
        *v = modulus::reduce_once(mul_shoup(*v, w, ws));
    }
}
