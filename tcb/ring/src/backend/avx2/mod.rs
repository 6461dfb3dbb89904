//! AVX2 and FMA: four lanes, 50-bit products in pairs of doubles.

mod ntt;
mod pointwise;
mod roots;
mod sample;
mod vector;

use super::{Backend, MAX_FOLD, NOISE_BYTES, Portable, TERNARY_BYTES, detected, eights};
use crate::Table;

/// The AVX2 backend; a value proves that the processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub struct Avx2 {
    _detected: (),
}

impl Avx2 {
    /// The backend, if the processor has AVX2 and FMA.
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        all.then_some(Avx2 { _detected: () })
    }
}

impl Backend for Avx2 {
    fn name(&self) -> &'static str {
        "avx2"
    }

    fn forward(&self, table: &Table, x: &mut [u64]) {
        assert_eq!(x.len(), table.points());
        if x.len() < ntt::MIN_POINTS {
            return Portable.forward(table, x);
        }
        detected!(ntt::forward(table, x))
    }

    fn inverse(&self, table: &Table, x: &mut [u64]) {
        assert_eq!(x.len(), table.points());
        if x.len() < ntt::MIN_POINTS {
            return Portable.inverse(table, x);
        }
        detected!(ntt::inverse(table, x))
    }

    fn inverse_window(&self, table: &Table, x: &mut [u64], window: usize) {
        assert_eq!(x.len(), table.points());
        assert!(window.is_power_of_two() && window <= x.len());
        if x.len() < ntt::MIN_POINTS {
            return Portable.inverse_window(table, x, window);
        }
        detected!(ntt::inverse_window(table, x, window))
    }

    fn add_assign(&self, out: &mut [u64], a: &[u64]) {
        if !eights([out.len(), a.len()]) {
            return Portable.add_assign(out, a);
        }
        detected!(pointwise::add_assign(out, a))
    }

    fn sub_assign(&self, out: &mut [u64], a: &[u64]) {
        if !eights([out.len(), a.len()]) {
            return Portable.sub_assign(out, a);
        }
        detected!(pointwise::sub_assign(out, a))
    }

    fn mul(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        if !eights([out.len(), a.len(), b.len()]) {
            return Portable.mul(out, a, b);
        }
        detected!(pointwise::mul(out, a, b))
    }

    fn mul_add(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        if !eights([out.len(), a.len(), b.len()]) {
            return Portable.mul_add(out, a, b);
        }
        detected!(pointwise::mul_add(out, a, b))
    }

    fn mul_sub(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        if !eights([out.len(), a.len(), b.len()]) {
            return Portable.mul_sub(out, a, b);
        }
        detected!(pointwise::mul_sub(out, a, b))
    }

    fn dot2(&self, out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64]) {
        if !eights([out.len(), a.len(), b.len(), c.len(), d.len()]) {
            return Portable.dot2(out, a, b, c, d);
        }
        detected!(pointwise::dot2(out, a, b, c, d))
    }

    fn dot2_fold(&self, out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64], fold: usize) {
        assert!(fold.is_power_of_two() && fold <= MAX_FOLD);
        if !eights([out.len() * fold, a.len(), b.len(), c.len(), d.len()]) || !eights([out.len()]) {
            return Portable.dot2_fold(out, a, b, c, d, fold);
        }
        detected!(pointwise::dot2_fold(out, [a, b, c, d], fold))
    }

    fn mul_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]) {
        if !eights([lo.len(), hi.len(), a.len(), b.len()]) {
            return Portable.mul_accumulate(lo, hi, a, b);
        }
        detected!(pointwise::mul_accumulate(lo, hi, a, b))
    }

    fn scale_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]) {
        if !eights([lo.len(), hi.len()]) || a.len() != lo.len() * scalars.len() {
            return Portable.scale_accumulate(lo, hi, a, scalars);
        }
        detected!(pointwise::scale_accumulate(lo, hi, a, scalars))
    }

    fn reduce_pairs(&self, out: &mut [u64], lo: &[u64], hi: &[u64]) {
        if !eights([out.len(), lo.len(), hi.len()]) {
            return Portable.reduce_pairs(out, lo, hi);
        }
        detected!(pointwise::reduce_pairs(out, lo, hi))
    }

    fn add_noise(&self, out: &mut [u64], bytes: &[u8]) {
        if !eights([NOISE_BYTES * out.len(), bytes.len()]) || !eights([out.len()]) {
            return Portable.add_noise(out, bytes);
        }
        detected!(sample::add_noise(out, bytes))
    }

    fn ternary(&self, out: &mut [u64], bytes: &[u8]) {
        if !eights([TERNARY_BYTES * out.len(), bytes.len()]) || !eights([out.len()]) {
            return Portable.ternary(out, bytes);
        }
        detected!(sample::ternary(out, bytes))
    }

    fn encode_signed(&self, out: &mut [u64], v: &[i64]) {
        if !eights([out.len(), v.len()]) {
            return Portable.encode_signed(out, v);
        }
        detected!(pointwise::encode_signed(out, bytemuck::cast_slice(v)))
    }

    fn pack(&self, out: &mut [u8], x: &[u64]) {
        // 50-bit values straddle the halves of a register, which AVX2 shuffles apart: words do well.
        Portable.pack(out, x);
    }

    fn unpack(&self, out: &mut [u64], bytes: &[u8]) -> bool {
        Portable.unpack(out, bytes)
    }

    fn is_canonical(&self, x: &[u64]) -> bool {
        if !eights([x.len()]) {
            return Portable.is_canonical(x);
        }
        detected!(sample::is_canonical(x))
    }
}
