//! The reference: plain Rust, no instructions beyond the baseline.

use super::{Backend, MAX_FOLD, NOISE_BYTES, TERNARY_BYTES};
use crate::modulus::{self, Q};
use crate::{PACKED_BYTES_PER_LANES, Table};

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

    fn forward(&self, table: &Table, x: &mut [u64]) {
        let n = table.points();
        assert_eq!(x.len(), n);
        let mut len = n / 2;
        let mut first = 1;
        while len >= 1 {
            for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
                let (w, ws) = (table.roots[first + block], table.roots_shoup[first + block]);
                let (upper, lower) = chunk.split_at_mut(len);
                for (u, v) in upper.iter_mut().zip(lower) {
                    // Values below 4q in and out (Harvey).
                    let (a, t) = (reduce_twice_q(*u), mul_shoup(*v, w, ws));
                    *u = a + t;
                    *v = a + 2 * Q - t;
                }
            }
            first *= 2;
            len /= 2;
        }
        for v in x {
            *v = modulus::reduce_once(reduce_twice_q(*v));
        }
    }

    fn inverse(&self, table: &Table, x: &mut [u64]) {
        assert_eq!(x.len(), table.points());
        self.inverse_stages(table, x, table.points());
        for v in x {
            *v = modulus::reduce_once(mul_shoup(*v, table.scale, table.scale_shoup));
        }
    }

    fn inverse_window(&self, table: &Table, x: &mut [u64], window: usize) {
        assert_eq!(x.len(), table.points());
        assert!(window.is_power_of_two() && window <= x.len());
        // After the stages up to blocks of `window` points, the remaining ones only ever add for the
        // outputs of the lowest block.
        self.inverse_stages(table, x, window);
        let (head, tail) = x.split_at_mut(window);
        for chunk in tail.chunks_exact(window) {
            head.iter_mut().zip(chunk).for_each(|(sum, &v)| *sum = reduce_twice_q(*sum + v));
        }
        for v in head {
            *v = modulus::reduce_once(mul_shoup(*v, table.scale, table.scale_shoup));
        }
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

    fn mul_sub(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        assert!(out.len() == a.len() && a.len() == b.len());
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = modulus::sub(*o, modulus::mul(a, b));
        }
    }

    fn dot2(&self, out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64]) {
        self.dot2_fold(out, a, b, c, d, 1);
    }

    fn dot2_fold(&self, out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64], fold: usize) {
        assert!(out.len() * fold == a.len() && a.len() == b.len());
        assert!(a.len() == c.len() && a.len() == d.len() && fold.is_power_of_two() && fold <= MAX_FOLD);
        for (i, o) in out.iter_mut().enumerate() {
            let range = i * fold..(i + 1) * fold;
            // Twice 4096 products below 2^100 stay below 2^113.
            let sum: u128 = range.map(|k| a[k] as u128 * b[k] as u128 + c[k] as u128 * d[k] as u128).sum();
            *o = modulus::reduce_wide(sum);
        }
    }

    fn mul_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
        assert!(lo.len() == a.len() && hi.len() == a.len() && a.len() == b.len());
        const MASK52: u64 = (1 << 52) - 1;
        for i in 0..a.len() {
            let product = a[i] as u128 * b[i] as u128;
            lo[i] = lo[i].wrapping_add(product as u64 & MASK52);
            hi[i] = hi[i].wrapping_add((product >> 52) as u64);
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

    fn encode_signed(&self, out: &mut [u64], v: &[i64]) {
        assert_eq!(out.len(), v.len());
        out.iter_mut().zip(v).for_each(|(o, &v)| *o = modulus::from_signed(v));
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

impl Portable {
    /// Gentleman-Sande stages up to blocks of `size` points, without the factor 1/N: canonical in, below
    /// 2q out.
    fn inverse_stages(&self, table: &Table, x: &mut [u64], size: usize) {
        let mut len = 1;
        while 2 * len <= size {
            let first = table.points() / (2 * len);
            for (block, chunk) in x.chunks_exact_mut(2 * len).enumerate() {
                let (w, ws) = (table.inverse[first + block], table.inverse_shoup[first + block]);
                let (upper, lower) = chunk.split_at_mut(len);
                for (u, v) in upper.iter_mut().zip(lower) {
                    let difference = *u + 2 * Q - *v;
                    *u = reduce_twice_q(*u + *v);
                    *v = mul_shoup(difference, w, ws);
                }
            }
            len *= 2;
        }
    }
}
