//! The reference: plain Rust, residues as they are.

use blindsmith_ring::{Lanes, modulus};

use super::{Kernel, MASK50, MAX_DEPTH, Tile, spread};

/// The portable kernel.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

// Sums stay below 2^110, and may be reduced below 2^114.
const _: () = assert!(MAX_DEPTH <= 1 << 10);

impl Kernel for Portable {
    const NAME: &'static str = "portable";
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;

    fn entry(self, x: u64) -> u64 {
        x
    }

    fn load(self, places: &mut [Lanes], stride: usize, residues: &[u64]) {
        spread::<1>(places, stride, residues, |x| Lanes(x.map(|x| x & MASK50)));
    }

    fn tile(self, a: &[u64], b: &[Lanes], tile: Tile<'_, '_>) {
        let (a, _) = a.as_chunks::<{ Self::ROWS }>();
        for (i, row) in tile.rows.iter_mut().enumerate() {
            let mut sums = [0u128; 8];
            for (a, b) in a.iter().zip(b) {
                for (sum, &y) in sums.iter_mut().zip(&b.0) {
                    *sum += a[i] as u128 * y as u128;
                }
            }
            for (out, sum) in row[tile.at..][..tile.width].iter_mut().zip(sums) {
                *out = modulus::reduce_wide(sum + if tile.add { *out as u128 } else { 0 });
            }
        }
    }
}
