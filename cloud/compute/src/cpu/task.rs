//! One block of rows of one batch: what a thread computes at once.

use std::ops::Range;

use blindsmith_ring::{LANES, Lanes};

use super::batch::{Batch, Entries, Lines};
use super::kernel::{Kernel, MASK50, MAX_DEPTH, MAX_ROWS, Tile, prefetch};
use crate::row::{Row, at_least};

/// Depth indices that are packed and added up at once.
pub(super) const DEPTH: usize = 512;
const _: () = assert!(DEPTH <= MAX_DEPTH);
/// Columns of the right that are packed at once: with [`DEPTH`], 1 MiB.
const COLUMNS: usize = 256;

/// How many lines before it is packed a line is asked for.
const AHEAD: usize = 3;

/// A part of a batch and the pieces of the result that it writes, one for each row, `[root][column]`.
pub(super) struct Task<'a, 'o> {
    pub batch: Batch<'a>,
    pub rows: Range<usize>,
    pub roots: Range<usize>,
    pub columns: Range<usize>,
    pub out: Vec<&'o mut [u64]>,
}

/// Memory of a thread, reused from task to task.
#[derive(Default)]
pub(super) struct Scratch {
    /// One unpacked line.
    line: Vec<u64>,
    /// The left, `[root][tile of rows][depth][row]`, in the kernel's form.
    left: Vec<u64>,
    /// The right, `[tile of columns][depth][vector]`, in the kernel's form.
    right: Vec<Lanes>,
}

/// What is packed of the right.
struct Block {
    /// The root, counted from the task's first.
    index: usize,
    depths: Range<usize>,
    /// Columns, counted from the batch's first.
    columns: Range<usize>,
}

impl Task<'_, '_> {
    /// Writes the results, or adds them.
    pub fn compute<K: Kernel>(&mut self, kernel: K, add: bool, scratch: &mut Scratch) {
        let depth = self.batch.depth;
        let pass = depth.div_ceil(depth.div_ceil(DEPTH));
        for start in (0..depth).step_by(pass) {
            let depths = start..depth.min(start + pass);
            self.pack_left(kernel, &depths, scratch);
            for index in 0..self.roots.len() {
                for first in self.columns.clone().step_by(COLUMNS) {
                    let columns = first..self.columns.end.min(first + COLUMNS);
                    let block = Block { index, depths: depths.clone(), columns };
                    self.pack_right(kernel, &block, scratch);
                    self.multiply(kernel, &block, add || start > 0, scratch);
                }
            }
        }
    }

    /// Residues of a tile of rows of the left, and how many tiles there are.
    fn left_tiles<K: Kernel>(&self, depths: &Range<usize>) -> (usize, usize) {
        (depths.len() * K::ROWS, self.rows.len().div_ceil(K::ROWS))
    }

    fn pack_left<K: Kernel>(&self, kernel: K, depths: &Range<usize>, scratch: &mut Scratch) {
        let (len, tiles) = self.left_tiles::<K>(depths);
        at_least(&mut scratch.left, self.roots.len() * tiles * len);
        match self.batch.left {
            Entries::Rows { rows, step } => self.pack_rows(kernel, rows, step, depths, scratch),
            Entries::Lines(lines) => self.pack_lines(kernel, lines, depths, scratch),
        }
    }

    fn pack_rows<K: Kernel>(
        &self,
        kernel: K,
        rows: &[Row<'_>],
        step: usize,
        depths: &Range<usize>,
        scratch: &mut Scratch,
    ) {
        let (len, tiles) = self.left_tiles::<K>(depths);
        let Scratch { line: lines, left, .. } = scratch;
        let wanted = depths.start * step + self.roots.start..(depths.end - 1) * step + self.roots.end;
        let first = wanted.start / LANES * LANES;
        let stride = wanted.end.next_multiple_of(LANES) - first;
        let lines = at_least(lines, K::ROWS * stride);
        for (tile, rows) in rows[self.rows.clone()].chunks(K::ROWS).enumerate() {
            for (row, line) in rows.iter().zip(lines.chunks_exact_mut(stride)) {
                row.copy_to(first, line);
            }
            // Of missing rows, what is there is taken, and never used.
            let sources: [&[u64]; MAX_ROWS] =
                std::array::from_fn(|i| &lines[i % K::ROWS * stride..][..stride]);
            for index in 0..self.roots.len() {
                let start = wanted.start - first + index;
                let panel = &mut left[(index * tiles + tile) * len..][..len];
                for (at, places) in panel.chunks_exact_mut(K::ROWS).enumerate() {
                    for (place, line) in places.iter_mut().zip(&sources) {
                        *place = kernel.entry(line[start + at * step] & MASK50);
                    }
                }
            }
        }
    }

    fn pack_lines<K: Kernel>(
        &self,
        kernel: K,
        lines: Lines<'_>,
        depths: &Range<usize>,
        scratch: &mut Scratch,
    ) {
        let (len, tiles) = self.left_tiles::<K>(depths);
        let Scratch { line: buffer, left, .. } = scratch;
        for (index, root) in self.roots.clone().enumerate() {
            let left = &mut left[index * tiles * len..];
            for (at, depth) in depths.clone().enumerate() {
                let line = self.line(lines, [depth, root], &self.rows, buffer);
                let mut put = |tile: usize, entries: &[u64]| {
                    let places = &mut left[tile * len + at * K::ROWS..][..entries.len()];
                    places.iter_mut().zip(entries).for_each(|(place, &x)| *place = kernel.entry(x & MASK50));
                };
                let whole = line.chunks_exact(K::ROWS);
                put(tiles - 1, whole.remainder());
                whole.enumerate().for_each(|(tile, entries)| put(tile, entries));
            }
        }
    }

    fn pack_right<K: Kernel>(&self, kernel: K, block: &Block, scratch: &mut Scratch) {
        let Scratch { line: buffer, right, .. } = scratch;
        let vectors = K::COLUMNS / LANES;
        let stride = block.depths.len() * vectors;
        let tiles = block.columns.len().div_ceil(K::COLUMNS);
        let right = at_least(right, tiles * stride);
        let root = self.roots.start + block.index;
        for (at, depth) in block.depths.clone().enumerate() {
            if depth + AHEAD < block.depths.end {
                let (row, first) = self.batch.right.line(depth + AHEAD, root);
                let wanted = first + block.columns.start..first + block.columns.end;
                prefetch::read(row.bytes(wanted));
            }
            let line = self.line(self.batch.right, [depth, root], &block.columns, buffer);
            kernel.load(&mut right[at * vectors..], stride, line);
        }
    }

    /// Residues `wanted` of the line for a depth index and a root.
    fn line<'b>(
        &'b self,
        lines: Lines<'b>,
        [depth, root]: [usize; 2],
        wanted: &Range<usize>,
        buffer: &'b mut Vec<u64>,
    ) -> &'b [u64] {
        let (row, first) = lines.line(depth, root);
        row.get(first + wanted.start..first + wanted.end, buffer)
    }

    fn multiply<K: Kernel>(&mut self, kernel: K, block: &Block, add: bool, scratch: &Scratch) {
        let (len, tiles) = self.left_tiles::<K>(&block.depths);
        let right_len = block.depths.len() * K::COLUMNS / LANES;
        let start = block.index * self.columns.len() + block.columns.start - self.columns.start;
        let left = &scratch.left[block.index * tiles * len..];
        let mut row = 0;
        for left in left.chunks_exact(len).take(tiles) {
            let end = self.out.len().min(row + K::ROWS);
            let next = self.out.len().min(end + K::ROWS);
            let columns = (0..block.columns.len()).step_by(K::COLUMNS);
            for (column, right) in columns.zip(scratch.right.chunks_exact(right_len)) {
                let width = K::COLUMNS.min(block.columns.len() - column);
                // The next tile's results come from memory meanwhile.
                for row in &mut self.out[end..next] {
                    prefetch::write(&mut row[start + column..][..width]);
                }
                let rows = &mut self.out[row..end];
                kernel.tile(left, right, Tile { rows, at: start + column, width, add });
            }
            row = end;
        }
    }
}
