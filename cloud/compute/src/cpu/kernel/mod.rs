//! The seam between the loops and the instructions.
//!
//! A panel holds a few rows (or columns) of a group of eight points, `[pair of k][k in pair][row]`. Each
//! kernel chooses how a panel holds eight residues in 64 bytes and what an accumulator means; both are
//! opaque outside. Residues are taken modulo 2^50, so nothing that an operand holds can break a bound:
//! sums of two are below 2^51, their products below 2^102.

use blindsmith_ring::Lanes;
use bytemuck::{Pod, Zeroable};

use super::ahead::Ahead;

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
/// Products that a sum takes before it must be reduced; its eight lanes can then still be added up.
pub(crate) const MAX_PAIRS: usize = 511;

/// Pairs after which a tile asks for memory.
const PACE: usize = 4;

/// Eight unreduced sums.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Sum(pub [Lanes; 2]);

impl Sum {
    pub(crate) const ZERO: Sum = Sum([Lanes([0; 8]); 2]);
}

/// Two consecutive k of `M` rows.
pub(crate) type Pair<const M: usize> = [[Lanes; M]; 2];

/// Where [`Kernel::finish`] writes: cell (i, j) goes to `out[i * row_stride + j]`.
pub(crate) struct Place<'a> {
    pub out: &'a mut [Lanes],
    pub row_stride: usize,
    /// Add to what is there.
    pub add: bool,
}

/// What a tile's sums begin with: what is there, or zero, and a term of the row and one of the column, both at
/// most q in each lane.
pub(crate) struct Start<'a, const M: usize, const N: usize> {
    pub fresh: bool,
    pub rows: &'a [Lanes; M],
    pub cols: &'a [Lanes; N],
}

/// The instructions of one kind of processor. `M` is at most [`Kernel::ROWS`], `N` at most
/// [`Kernel::COLS`]; a value of the type is proof that the processor has them.
pub(crate) trait Kernel: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Rows of the largest tile.
    const ROWS: usize;
    /// Columns of the largest tile.
    const COLS: usize;

    /// Brings residues into the form of a panel: `width` of them at the start of every `stride` places.
    fn load(self, dst: &mut [Lanes], width: usize, stride: usize, src: &[Lanes]);
    /// The same from eight residues in 50 bytes.
    fn unpack(self, dst: &mut [Lanes], width: usize, stride: usize, src: &[u8]);

    /// `sum[i][j]` = start + sum over pairs of (a\[0\]\[i\] + b\[1\]\[j\]) (a\[1\]\[i\] + b\[0\]\[j\]); steps
    /// `ahead` with each pair.
    fn tile<const M: usize, const N: usize>(
        self,
        a: &[Pair<M>],
        b: &[Pair<N>],
        start: Start<'_, M, N>,
        sum: &mut [[Sum; N]; M],
        ahead: &mut Ahead<'_>,
    );
    /// `sum[i]` (+)= sum over pairs of a\[0\]\[i\] a\[1\]\[i\], what a row contributes to each of its tiles.
    fn norms<const M: usize>(self, a: &[Pair<M>], sum: &mut [Sum; M], fresh: bool);
    /// `sum[i]` = sum over k of a\[k\]\[i\] b\[k\].
    fn dot<const M: usize>(self, a: &[[Lanes; M]], b: &[Lanes], sum: &mut [Sum; M]);

    /// The canonical residues of sums.
    fn finish<const M: usize, const N: usize>(self, sum: &[[Sum; N]; M], place: Place<'_>);
    /// The canonical residues of the eight lanes of each sum added up.
    fn fold(self, sum: &[Sum], out: &mut [u64]);
}

/// Copies `width` elements to the start of every `stride` places.
#[inline(always)]
fn spread<T>(dst: &mut [Lanes], width: usize, stride: usize, src: &[T], put: impl Fn(&mut Lanes, &T)) {
    if width == 1 {
        dst.iter_mut().step_by(stride).zip(src).for_each(|(dst, src)| put(dst, src));
    } else {
        for (dst, src) in dst.chunks_mut(stride).zip(src.chunks(width)) {
            dst.iter_mut().zip(src).for_each(|(dst, src)| put(dst, src));
        }
    }
}
