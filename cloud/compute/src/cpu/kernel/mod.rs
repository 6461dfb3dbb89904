//! The seam between the loops and the instructions.
//!
//! A panel holds a few rows (or columns) of a group of eight points, `[pair of k][k in pair][row]`. Each
//! kernel chooses how a panel holds eight residues in 64 bytes and what an accumulator means; both are
//! opaque outside. Residues are taken modulo 2^50, so nothing that an operand holds can break a bound:
//! sums of two are below 2^51, their products below 2^102.

use blindsmith_ring::Lanes;
use bytemuck::{Pod, Zeroable};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// Rows of the largest tile of any kernel.
pub(crate) const MAX_ROWS: usize = 6;
/// Columns of the largest tile of any kernel.
pub(crate) const MAX_COLS: usize = 2;
/// Products that an accumulator takes before it must be reduced; eight lanes of it can still be added up.
pub(crate) const MAX_PAIRS: usize = 512;

/// Eight unreduced sums.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Sum(pub [Lanes; 2]);

impl Sum {
    pub(crate) const ZERO: Sum = Sum([Lanes([0; 8]); 2]);
}

/// Two consecutive k of `M` rows.
pub(crate) type Pair<const M: usize> = [[Lanes; M]; 2];

/// Where [`Kernel::finish`] writes: cell (i, j) goes to `out[i * row_stride + j * col_stride]`.
pub(crate) struct Place<'a> {
    pub out: &'a mut [Lanes],
    pub row_stride: usize,
    pub col_stride: usize,
    /// Add to what is there.
    pub add: bool,
}

/// The instructions of one kind of processor. `M` is at most [`Kernel::ROWS`], `N` at most
/// [`Kernel::COLS`]; a value of the type is proof that the processor has them.
pub(crate) trait Kernel: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Rows of the largest tile.
    const ROWS: usize;
    /// Columns of the largest tile.
    const COLS: usize;

    /// Brings residues into the form of a panel, one at every `stride`.
    fn load(self, dst: &mut [Lanes], stride: usize, src: &[Lanes]);
    /// The same from eight residues in 50 bytes.
    fn unpack(self, dst: &mut [Lanes], stride: usize, src: &[u8]);

    /// `sum[i][j]` (+)= sum over pairs of (a\[0\]\[i\] + b\[1\]\[j\]) (a\[1\]\[i\] + b\[0\]\[j\]).
    fn tile<const M: usize, const N: usize>(
        self,
        a: &[Pair<M>],
        b: &[Pair<N>],
        sum: &mut [[Sum; N]; M],
        fresh: bool,
        ahead: &[u8],
    );
    /// `sum[i]` (+)= sum over pairs of a\[0\]\[i\] a\[1\]\[i\], what a row contributes to each of its tiles.
    fn norms<const M: usize>(self, a: &[Pair<M>], sum: &mut [Sum; M], fresh: bool);
    /// `sum[i]` = sum over k of a\[k\]\[i\] b\[k\].
    fn dot<const M: usize>(self, a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]);

    /// The canonical residues of `sum[i][j] + row[i] + col[j]`; row and col are at most q.
    fn finish<const M: usize, const N: usize>(
        self,
        sum: &[[Sum; N]; M],
        row: &[Lanes; M],
        col: &[Lanes; N],
        place: Place<'_>,
    );
    /// The canonical residues of the eight lanes of each sum added up.
    fn fold(self, sum: &[Sum], out: &mut [u64]);
}

/// Asks for the cache lines of `bytes`, which will be wanted soon.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    bytes.iter().step_by(64).for_each(prefetch_one);
}

/// Asks for the cache line of a byte.
#[inline(always)]
fn prefetch_one(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}
