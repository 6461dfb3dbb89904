//! The reference: plain Rust. A panel holds residues as they are, a sum eight 128-bit integers.

use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES, modulus};

use super::super::ahead::Ahead;
use super::{Kernel, Pair, Place, Start, Sum, spread};

/// The portable kernel.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const MASK50: u64 = (1 << 50) - 1;

fn get(sum: &Sum, lane: usize) -> u128 {
    sum.0[0].0[lane] as u128 | (sum.0[1].0[lane] as u128) << 64
}

fn set(sum: &mut Sum, lane: usize, value: u128) {
    (sum.0[0].0[lane], sum.0[1].0[lane]) = (value as u64, (value >> 64) as u64);
}

impl Kernel for Portable {
    const NAME: &'static str = "portable";
    const ROWS: usize = 2;
    const COLS: usize = 1;

    fn load(self, dst: &mut [Lanes], width: usize, stride: usize, src: &[Lanes]) {
        spread(dst, width, stride, src, |dst, src| *dst = Lanes(src.0.map(|x| x & MASK50)));
    }

    fn unpack(self, dst: &mut [Lanes], width: usize, stride: usize, src: &[u8]) {
        let (units, _) = src.as_chunks::<PACKED_BYTES_PER_LANES>();
        spread(dst, width, stride, units, |dst, unit| {
            // Four residues are 25 bytes; each begins 6.25 bytes after the one before.
            for (lane, x) in dst.0.iter_mut().enumerate() {
                let first = 25 * lane / 4;
                let mut window = [0; 8];
                window[..7].copy_from_slice(&unit[first..first + 7]);
                *x = (u64::from_le_bytes(window) >> (2 * (lane % 4))) & MASK50;
            }
        });
    }

    fn tile<const M: usize, const N: usize>(
        self,
        a: &[Pair<M>],
        b: &[Pair<N>],
        start: Start<'_, M, N>,
        sum: &mut [[Sum; N]; M],
        _ahead: &mut Ahead<'_>,
    ) {
        for (i, sum) in sum.iter_mut().enumerate() {
            for (j, sum) in sum.iter_mut().enumerate() {
                for lane in 0..8 {
                    let terms = start.rows[i].0[lane] + start.cols[j].0[lane];
                    let mut total = terms as u128 + if start.fresh { 0 } else { get(sum, lane) };
                    for (a, b) in a.iter().zip(b) {
                        let left = a[0][i].0[lane] + b[1][j].0[lane];
                        let right = a[1][i].0[lane] + b[0][j].0[lane];
                        total += left as u128 * right as u128;
                    }
                    set(sum, lane, total);
                }
            }
        }
    }

    fn norms<const M: usize>(self, a: &[Pair<M>], sum: &mut [Sum; M], fresh: bool) {
        for (i, sum) in sum.iter_mut().enumerate() {
            for lane in 0..8 {
                let start = if fresh { 0 } else { get(sum, lane) };
                let terms = a.iter().map(|a| a[0][i].0[lane] as u128 * a[1][i].0[lane] as u128);
                set(sum, lane, start + terms.sum::<u128>());
            }
        }
    }

    fn dot<const M: usize>(self, a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]) {
        for (i, sum) in sum.iter_mut().enumerate() {
            for lane in 0..8 {
                let terms = a.iter().zip(b).map(|(a, b)| a[i].0[lane] as u128 * b.0[lane] as u128);
                set(sum, lane, terms.sum());
            }
        }
    }

    fn finish<const M: usize, const N: usize>(self, sum: &[[Sum; N]; M], place: Place<'_>) {
        for (i, sum) in sum.iter().enumerate() {
            for (j, sum) in sum.iter().enumerate() {
                let out = &mut place.out[i * place.row_stride + j].0;
                for (lane, out) in out.iter_mut().enumerate() {
                    let start = if place.add { *out } else { 0 };
                    *out = modulus::reduce_wide(get(sum, lane) + start as u128);
                }
            }
        }
    }

    fn fold(self, sum: &[Sum], out: &mut [u64]) {
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = modulus::reduce_wide((0..8).map(|lane| get(sum, lane)).sum());
        }
    }
}
