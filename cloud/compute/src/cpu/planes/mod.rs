//! The product on matrices of bytes, where the processor multiplies those much faster than residues.
//!
//! Both operands are first converted, panel by panel, to as many matrices of bytes as there are moduli
//! ([`panels`]); then blocks of the result are multiplied and brought back. That costs something for each
//! entry and each result, so small or thin products are left to vectors of residues ([`gains`]).

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use blindsmith_ring::Lanes;
use rayon::prelude::*;

use super::batch::Batch;
use super::kernel::amx::{Amx, MAX_DEPTH, Operands, PANEL, STEP, Side, Sums};

mod panels;

use panels::Panels;

/// Lines of 64 bytes that a converted operand has at most, unless a single panel has more: 64 MiB.
const OPERAND_LINES: usize = 1 << 20;
/// Bytes of the right that a task multiplies with all panels of the left in turn, so that they stay in a
/// core's own cache.
const TASK_BYTES: usize = 1 << 19;
/// Tasks for each thread, so that all end at about the same time.
const TASKS_PER_THREAD: usize = 4;

/// The smallest product of one root that gains: rows or columns, depth, and multiply-adds. Smaller ones take
/// from the caches more than they gain. Where there are several roots, whose results lie further apart,
/// columns and depth must be larger. Measured on a Xeon of the fifth generation.
const FEWEST_ROWS: usize = 256;
const FEWEST_DEPTHS: usize = 128;
const FEWEST_PRODUCTS: usize = 1 << 25;
const FEWEST_COLUMNS_OF_ROOTS: usize = 512;
const FEWEST_DEPTHS_OF_ROOTS: usize = 192;

/// True for a product that is faster here than on vectors of residues.
pub(super) fn gains(batch: &Batch<'_>) -> bool {
    let Batch { rows, width, depth, ref roots, .. } = *batch;
    let (columns, depths) = match roots.len() {
        1 => (FEWEST_ROWS, FEWEST_DEPTHS),
        _ => (FEWEST_COLUMNS_OF_ROOTS, FEWEST_DEPTHS_OF_ROOTS),
    };
    let products = rows.saturating_mul(width).saturating_mul(depth);
    rows >= FEWEST_ROWS && width >= columns && depth >= depths && products >= FEWEST_PRODUCTS
}

/// Memory for converted operands, kept from product to product. Two products at once have each its own.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Vec<[Vec<Lanes>; 2]>>);

/// Memory of a thread, reused from task to task.
#[derive(Default)]
struct Scratch {
    /// One unpacked line.
    line: Vec<u64>,
    /// Entries as they were stored, and those of one contraction side by side.
    entries: Vec<u64>,
    sums: Sums,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes the results of a batch to `out`, or adds them.
pub(super) fn multiply(amx: Amx, batch: &Batch<'_>, add: bool, out: &mut [u64], memory: &Memory) {
    let free = || memory.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let [mut left, mut right] = free().pop().unwrap_or_default();
    let chunk = batch.depth.div_ceil(batch.depth.div_ceil(MAX_DEPTH)).next_multiple_of(STEP);
    for start in (0..batch.depth).step_by(chunk) {
        let panels = Panels { amx, batch, depths: start..batch.depth.min(start + chunk) };
        let most = (OPERAND_LINES / panels.stride()).max(1) * PANEL;
        for first in (0..batch.width).step_by(most) {
            let columns = first..batch.width.min(first + most);
            let right = panels.convert(Side::Right, &columns, &mut right);
            for (block, out) in out.chunks_mut(most * batch.width * batch.roots.len()).enumerate() {
                let rows = block * most..batch.rows.min((block + 1) * most);
                let left = panels.convert(Side::Left, &rows, &mut left);
                let product = Block { panels: &panels, left, right, columns: &columns };
                product.multiply(add || start > 0, out);
            }
        }
    }
    free().push([left, right]);
}

/// Converted operands for a block of the result.
struct Block<'b, 'a> {
    panels: &'b Panels<'a>,
    left: &'b [Lanes],
    right: &'b [Lanes],
    /// Columns of the result, counted from the batch's first.
    columns: &'b Range<usize>,
}

/// Results that one thread computes, of one root.
struct Task<'o> {
    /// The first row, counted from the block's first.
    first: usize,
    root: usize,
    /// Columns, counted from the block's first.
    columns: Range<usize>,
    out: Vec<&'o mut [u64]>,
}

impl Block<'_, '_> {
    /// Writes the block's columns of some rows of the result, or adds to them.
    fn multiply(&self, add: bool, out: &mut [u64]) {
        self.tasks(out).into_par_iter().with_max_len(1).for_each(|mut task| {
            SCRATCH.with_borrow_mut(|scratch| self.compute(&mut task, add, &mut scratch.sums));
        });
    }

    fn compute(&self, task: &mut Task<'_>, add: bool, sums: &mut Sums) {
        let Task { first, root, columns, out } = task;
        let left = self.panels.of_root(self.left, *root, *first, out.len());
        let right = self.panels.of_root(self.right, *root, columns.start, columns.len());
        self.panels.amx.multiply(&Operands { left, right }, add, out, sums);
    }

    fn tasks<'o>(&self, out: &'o mut [u64]) -> Vec<Task<'o>> {
        let (roots, width) = (self.panels.batch.roots.len(), self.panels.batch.width);
        let (block_rows, block_columns) = self.task_sizes(out.len() / (roots * width));
        let mut tasks = Vec::new();
        for (block, out) in out.chunks_mut(block_rows * roots * width).enumerate() {
            let new = tasks.len();
            for root in 0..roots {
                for start in (0..self.columns.len()).step_by(block_columns) {
                    let columns = start..self.columns.len().min(start + block_columns);
                    let out = Vec::with_capacity(block_rows);
                    tasks.push(Task { first: block * block_rows, root, columns, out });
                }
            }
            for line in out.chunks_exact_mut(roots * width) {
                let mut lines: Vec<_> =
                    line.chunks_exact_mut(width).map(|line| &mut line[self.columns.clone()]).collect();
                for task in &mut tasks[new..] {
                    let piece = lines[task.root].split_off_mut(..task.columns.len());
                    task.out.push(piece.expect("pieces fill the line"));
                }
            }
        }
        tasks
    }

    /// Rows and columns of a task, whole panels.
    fn task_sizes(&self, rows: usize) -> (usize, usize) {
        let fitting = (TASK_BYTES / (self.panels.len() * size_of::<Lanes>())).max(1) * PANEL;
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { TASKS_PER_THREAD * threads };
        let blocks = self.columns.len().div_ceil(fitting);
        let pieces = wanted.div_ceil(blocks * self.panels.batch.roots.len());
        let even = |len: usize, pieces: usize| len.div_ceil(pieces).next_multiple_of(PANEL);
        (even(rows, pieces), even(self.columns.len(), blocks))
    }
}
