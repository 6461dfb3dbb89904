//! Products of matrices in plain `f32`, for accelerators that multiply hidden layers in the clear.
//!
//! Each entry of a product is a sum over the contraction index, from its first term to its last, starting at
//! zero; a term is rounded before it is added. The order is the same for every processor, shape of a block and
//! number of threads, and so are all bits of the result. No branch and no index depends on a value. Where the
//! operands are zero or as large as [`crate::elementary::flush`] leaves them, no sum is subnormal, and the
//! time does not depend on them either.
//!
//! The right operand is copied into panels of sixteen columns, filled up with zeros. A tile of a few rows then
//! meets one panel at a time, with its sums in registers. (Goto and van de Geijn, *Anatomy of High-Performance
//! Matrix Multiplication*, 2008.) Narrow results waste part of a vector, which costs little: a tile is
//! then bound by how fast the left operand arrives from memory.

use std::ops::Range;

use rayon::prelude::*;

use crate::matrix::Matrix;

/// Columns of a panel.
const PANEL: usize = 16;
/// Sums of a block, about: they stay in a cache next to a core, and so does what is gathered for them.
const BLOCK_SUMS: usize = 1 << 16;
/// Rows of a block at least, where there are enough, and at most.
const BLOCK_ROWS: [usize; 2] = [32, 1024];
/// Terms of the contraction that all panels of a block meet before the next ones: at least and at most.
const STRETCH: [usize; 2] = [64, 4096];
/// Terms between two tiles that are gathered: without them all would compete for a few places of the cache.
const GAP: usize = 2;
/// What the rows of a block are a multiple of, as they are of those of each kernel's tile.
const STEP: usize = 8;
/// Products of entries in a block, at least: fewer are not worth a thread.
const BLOCK_TERMS: usize = 1 << 16;

/// Writes the rows `rows` of `left` x `right` to the same rows of `out`. Shapes: `left` is rows x inner,
/// `right` inner x columns, `out` rows x columns.
///
/// # Panics
/// If the shapes do not fit, or there are no such rows.
pub fn multiply(left: &Matrix, right: &Matrix, rows: Range<usize>, out: &mut Matrix) {
    assert_eq!(left.cols(), right.rows(), "inner dimensions");
    assert_eq!(out.shape(), (left.rows(), right.cols()), "shape of the product");
    let product = Product { left: Left::Rows(left.values_of(rows.clone())), right: Panels::of(right) };
    product.compute(Kernel::fastest(), out.values_mut(rows), Into::Replace);
}

/// Writes the rows `rows` of `left` x `right`^T to the same rows of `out`. Shapes: `left` is rows x inner,
/// `right` columns x inner, `out` rows x columns.
///
/// # Panics
/// If the shapes do not fit, or there are no such rows.
pub fn transposed_right(left: &Matrix, right: &Matrix, rows: Range<usize>, out: &mut Matrix) {
    assert_eq!(left.cols(), right.cols(), "inner dimensions");
    assert_eq!(out.shape(), (left.rows(), right.rows()), "shape of the product");
    let right = Panels::of_transposed(right);
    let product = Product { left: Left::Rows(left.values_of(rows.clone())), right };
    product.compute(Kernel::fastest(), out.values_mut(rows), Into::Replace);
}

/// Adds `left`^T x `right` to `out`. Shapes: `left` is inner x rows, `right` inner x columns, `out` rows x
/// columns. The product is summed up on its own before it is added.
///
/// # Panics
/// If the shapes do not fit.
pub fn add_transposed_left(left: &Matrix, right: &Matrix, out: &mut Matrix) {
    assert_eq!(left.rows(), right.rows(), "inner dimensions");
    assert_eq!(out.shape(), (left.cols(), right.cols()), "shape of the product");
    let product = Product { left: Left::Columns(left.as_slice(), left.cols()), right: Panels::of(right) };
    product.compute(Kernel::fastest(), out.as_mut_slice(), Into::Add);
}

/// What becomes of the old values of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Replace,
    Add,
}

/// The left operand.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// Row by row, each as long as the contraction.
    Rows(&'a [f32]),
    /// The transpose row by row, each as long as the given number of rows.
    Columns(&'a [f32], usize),
}

/// The right operand in panels: for each sixteen columns, for each term of the contraction, their values.
struct Panels {
    values: Vec<[f32; PANEL]>,
    depth: usize,
    cols: usize,
}

impl Panels {
    /// A matrix of depth x columns.
    fn of(right: &Matrix) -> Self {
        let (depth, cols) = right.shape();
        Panels::fill(depth, cols, |first, panel| {
            let width = PANEL.min(cols - first);
            for (to, row) in panel.iter_mut().zip(right.iter_rows()) {
                to[..width].copy_from_slice(&row[first..first + width]);
            }
        })
    }

    /// The transpose of a matrix of columns x depth.
    fn of_transposed(right: &Matrix) -> Self {
        let (cols, depth) = right.shape();
        Panels::fill(depth, cols, |first, panel| {
            for column in 0..PANEL.min(cols - first) {
                for (to, value) in panel.iter_mut().zip(right.row(first + column)) {
                    to[column] = *value;
                }
            }
        })
    }

    /// Panels of zeros, each of which `fill` is given with the number of its first column.
    fn fill(depth: usize, cols: usize, fill: impl Fn(usize, &mut [[f32; PANEL]]) + Sync) -> Self {
        let mut values = vec![[0.0; PANEL]; depth * cols.div_ceil(PANEL)];
        let panels = values.par_chunks_mut(depth.max(1)).enumerate();
        panels.for_each(|(panel, values)| fill(panel * PANEL, values));
        Panels { values, depth, cols }
    }

    fn count(&self) -> usize {
        self.cols.div_ceil(PANEL)
    }

    /// Some terms of a panel.
    fn stretch(&self, panel: usize, terms: Range<usize>) -> &[[f32; PANEL]] {
        &self.values[panel * self.depth..][terms]
    }
}

/// The operands of a product.
struct Product<'a> {
    left: Left<'a>,
    right: Panels,
}

impl Product<'_> {
    /// The product, row by row, into `out`, on the threads of the pool that this is called in.
    fn compute(&self, kernel: Kernel, out: &mut [f32], into: Into) {
        let cols = self.right.cols;
        if out.is_empty() {
            return;
        }
        let share = (out.len() / cols).div_ceil(rayon::current_num_threads());
        let least = BLOCK_TERMS / (cols * self.right.depth.max(1));
        let most = (BLOCK_SUMS / cols.next_multiple_of(PANEL)).clamp(BLOCK_ROWS[0], BLOCK_ROWS[1]);
        let rows = share.max(least).min(most).next_multiple_of(STEP);
        out.par_chunks_mut(rows * cols).enumerate().for_each(|(block, out)| {
            kernel.run(self, block * rows, out, into);
        });
    }

    /// The rows from `first`, as many as `out` holds, in tiles of `TILE` rows.
    #[inline(always)]
    fn block<const TILE: usize>(&self, first: usize, out: &mut [f32], into: Into) {
        let (depth, cols, panels) = (self.right.depth, self.right.cols, self.right.count());
        let rows = first..first + out.len() / cols;
        let tiles = rows.len().div_ceil(TILE);
        let mut sums = vec![[[0.0; PANEL]; TILE]; tiles * panels];
        let mut columns = Vec::new();
        let stretch = match self.left {
            Left::Rows(_) => STRETCH[1],
            Left::Columns(..) => (BLOCK_SUMS / rows.len()).clamp(STRETCH[0], STRETCH[1]),
        };
        for start in (0..depth).step_by(stretch) {
            let terms = start..depth.min(start + stretch);
            if let Left::Columns(left, height) = self.left {
                gather(left, height, terms.clone(), rows.clone(), &mut columns);
            }
            for (panel, sums) in sums.chunks_exact_mut(tiles).enumerate() {
                let right = self.right.stretch(panel, terms.clone());
                for (tile, sums) in sums.iter_mut().enumerate() {
                    match self.left {
                        Left::Rows(left) => {
                            // A tile beyond the last row repeats it.
                            let left: [&[f32]; TILE] = std::array::from_fn(|i| {
                                let row = (rows.start + tile * TILE + i).min(rows.end - 1);
                                &left[row * depth..][terms.clone()]
                            });
                            add_rows(sums, left, right);
                        }
                        Left::Columns(..) => add_columns(sums, &columns[tile * (terms.len() + GAP)..], right),
                    }
                }
            }
        }
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            for (panel, out) in out.chunks_mut(PANEL).enumerate() {
                let sums = &sums[panel * tiles + row / TILE][row % TILE];
                match into {
                    Into::Replace => out.copy_from_slice(&sums[..out.len()]),
                    Into::Add => out.iter_mut().zip(sums).for_each(|(o, s)| *o += s),
                }
            }
        }
    }
}

/// Copies some rows and terms of an operand that lies transposed, rows of `height` values, into tiles: for each
/// tile, for each term, its rows' values, with zeros beyond the last row.
#[inline(always)]
fn gather<const TILE: usize>(
    left: &[f32],
    height: usize,
    terms: Range<usize>,
    rows: Range<usize>,
    tiles: &mut Vec<[f32; TILE]>,
) {
    let count = terms.len() + GAP;
    tiles.clear();
    tiles.resize(rows.len().div_ceil(TILE) * count, [0.0; TILE]);
    for (term, values) in left[terms.start * height..terms.end * height].chunks_exact(height).enumerate() {
        let (whole, rest) = values[rows.clone()].as_chunks::<TILE>();
        for (tile, values) in whole.iter().enumerate() {
            tiles[tile * count + term] = *values;
        }
        if !rest.is_empty() {
            tiles[whole.len() * count + term][..rest.len()].copy_from_slice(rest);
        }
    }
}

/// sums += left x right, with the left operand's rows each as long as the right one.
#[inline(always)]
fn add_rows<const TILE: usize>(
    sums: &mut [[f32; PANEL]; TILE],
    left: [&[f32]; TILE],
    right: &[[f32; PANEL]],
) {
    let left = left.map(|row| &row[..right.len()]);
    let mut own = *sums;
    for (k, right) in right.iter().enumerate() {
        for (sums, row) in own.iter_mut().zip(left) {
            add_scaled(sums, row[k], right);
        }
    }
    *sums = own;
}

/// sums += left x right, with the left operand's values of all rows side by side.
#[inline(always)]
fn add_columns<const TILE: usize>(
    sums: &mut [[f32; PANEL]; TILE],
    left: &[[f32; TILE]],
    right: &[[f32; PANEL]],
) {
    let mut own = *sums;
    for (left, right) in left.iter().zip(right) {
        for (i, sums) in own.iter_mut().enumerate() {
            add_scaled(sums, left[i], right);
        }
    }
    *sums = own;
}

#[inline(always)]
fn add_scaled(sums: &mut [f32; PANEL], factor: f32, values: &[f32; PANEL]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// A function that computes a block of a product, as [`Product::block`] does.
///
/// # Safety
/// A value exists only where the processor has the instructions that its function is compiled for.
#[derive(Clone, Copy)]
struct Kernel(unsafe fn(&Product<'_>, usize, &mut [f32], Into));

impl Kernel {
    /// All that this processor has, the fastest first. They give the same bits.
    fn available() -> impl Iterator<Item = Kernel> {
        #[cfg(target_arch = "x86_64")]
        let vector = [
            is_x86_feature_detected!("avx512f").then_some(Kernel(avx512)),
            is_x86_feature_detected!("avx2").then_some(Kernel(avx2)),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let vector = [None];
        vector.into_iter().flatten().chain(std::iter::once(Kernel(portable)))
    }

    fn fastest() -> Kernel {
        Kernel::available().next().unwrap_or(Kernel(portable))
    }

    #[expect(unsafe_code, reason = "calls what was detected")]
    fn run(self, product: &Product<'_>, first: usize, out: &mut [f32], into: Into) {
        // SAFETY: `available` and `fastest` alone make kernels of functions that need an instruction set, after
        // they found it; the functions ask for nothing else.
        unsafe { (self.0)(product, first, out, into) }
    }
}

/// Eight rows fill eight of 32 registers with sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(product: &Product<'_>, first: usize, out: &mut [f32], into: Into) {
    product.block::<8>(first, out, into);
}

/// Four rows fill eight of 16 registers with sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(product: &Product<'_>, first: usize, out: &mut [f32], into: Into) {
    product.block::<4>(first, out, into);
}

/// Two rows fill eight of 16 registers with sums.
fn portable(product: &Product<'_>, first: usize, out: &mut [f32], into: Into) {
    product.block::<2>(first, out, into);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [-1, 1) without a pattern, some of them zero.
    fn numbers(rows: usize, cols: usize, seed: u32) -> Matrix {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 29 == 0 { 0.0 } else { (state >> 8) as f32 / 8_388_608.0 - 1.0 }
        };
        Matrix::from_rows(rows, cols, (0..rows * cols).map(next).collect()).expect("shape")
    }

    #[test]
    fn every_kernel_gives_the_bits_of_the_portable_one() {
        for (rows, depth, cols) in [(1, 1, 1), (9, 300, 10), (70, 513, 33), (64, 16, 16), (5, 7, 100)] {
            let (left, right) = (numbers(rows, depth, 1), numbers(depth, cols, 2));
            let bits = |kernel: Kernel, left: Left<'_>, into| {
                let mut out = numbers(rows, cols, 3).into_vec();
                Product { left, right: Panels::of(&right) }.compute(kernel, &mut out, into);
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            for into in [Into::Replace, Into::Add] {
                let columns: Vec<f32> =
                    (0..depth).flat_map(|k| left.iter_rows().map(move |row| row[k])).collect();
                let expected = bits(Kernel(portable), Left::Rows(left.as_slice()), into);
                for kernel in Kernel::available() {
                    assert_eq!(bits(kernel, Left::Rows(left.as_slice()), into), expected);
                    assert_eq!(bits(kernel, Left::Columns(&columns, rows), into), expected);
                }
            }
        }
    }
}
