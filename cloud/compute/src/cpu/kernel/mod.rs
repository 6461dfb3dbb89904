//! The seam between the loops and the instructions.
//!
//! Each kernel chooses how packed blocks hold a residue in 64 bits; it is opaque outside. Residues are taken
//! modulo 2^50, so nothing that an operand holds can break a bound.

use blindsmith_ring::Lanes;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod huge_pages;
mod portable;
pub(crate) mod prefetch;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::Amx;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// Products of numbers below 2^50 that every kernel adds up before it reduces.
pub(crate) const MAX_DEPTH: usize = 1024;

/// Rows of the largest tile of any kernel.
pub(crate) const MAX_ROWS: usize = 6;

/// The bits of a residue that count.
pub(crate) const MASK50: u64 = (1 << 50) - 1;

/// Where [`Kernel::tile`] writes: row i goes to `rows[i][at..at + width]`.
pub(crate) struct Tile<'t, 'o> {
    /// At least one row, at most [`Kernel::ROWS`].
    pub rows: &'t mut [&'o mut [u64]],
    pub at: usize,
    /// From 1 to [`Kernel::COLUMNS`].
    pub width: usize,
    /// Add to the canonical residues that are there.
    pub add: bool,
}

/// The instructions of one kind of processor; a value of the type is proof that the processor has them.
pub(crate) trait Kernel: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Rows of the largest tile.
    const ROWS: usize;
    /// Columns of the largest tile, a multiple of eight.
    const COLUMNS: usize;

    /// An entry of the left, below 2^50, in the kernel's form.
    fn entry(self, x: u64) -> u64;

    /// Brings residues of the right into the kernel's form: each [`Kernel::COLUMNS`] of them, the last ones
    /// filled up with zeros, to the start of every `stride` places.
    fn load(self, places: &mut [Lanes], stride: usize, residues: &[u64]);

    /// Row i, column j of the tile (+)= sum over k of a\[k `ROWS` + i\] b\[k `COLUMNS` + j\], canonical; at
    /// most [`MAX_DEPTH`] terms.
    fn tile(self, a: &[u64], b: &[Lanes], tile: Tile<'_, '_>);
}

/// [`Kernel::load`] by a function that brings eight residues into the kernel's form.
#[inline(always)]
fn spread<const N: usize>(
    places: &mut [Lanes],
    stride: usize,
    residues: &[u64],
    put: impl Fn(&[u64; 8]) -> Lanes,
) {
    let (whole, rest) = residues.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let place = |vector: usize| vector / N * stride + vector % N;
    for (vector, eight) in whole.iter().enumerate() {
        places[place(vector)] = put(eight);
    }
    let mut vector = whole.len();
    if !rest.is_empty() {
        places[place(vector)] = put(&last);
        vector += 1;
    }
    for vector in vector..vector.next_multiple_of(N) {
        places[place(vector)] = put(&[0; 8]);
    }
}

/// Calls `tile::<M, N>` for the rows and vectors that a tile has.
#[cfg(target_arch = "x86_64")]
macro_rules! by_size {
    ($tile:expr, $call:ident $args:tt, $n:literal, $($m:literal)*) => {
        match $tile.rows.len() {
            $($m => $call::<$m, $n> $args,)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
#[cfg(target_arch = "x86_64")]
use by_size;
