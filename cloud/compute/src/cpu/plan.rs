//! Blocking: which piece of a product is computed when, so that panels stay in the first-level cache, a
//! slab of columns in the second level, and everything else in bounded scratch memory.

use std::ops::Range;

use blindsmith_ring::{LANES, Lanes};

use super::kernel::{Kernel, MAX_PAIRS, Sum};
use super::side::Side;
use crate::Output;

/// Cache lines of the first-level cache that panels may fill (of 768 in 48 KiB).
const L1_LINES: usize = 640;
/// Cache lines of the second-level cache that the slab of columns may fill (of 16384 in 1 MiB).
const L2_LINES: usize = 7000;
/// Scratch memory of all threads together, in bytes; each has at least 1 MiB and at most a quarter.
const SCRATCH_BYTES: usize = 64 << 20;
/// Points of the smallest block that is transformed on its own.
const MIN_BLOCK: usize = 64;
/// Units of the longest block that is made of several.
const MAX_UNITS: usize = 64;
/// Tasks for each thread, so that all end at about the same time.
const TASKS_PER_THREAD: usize = 4;

/// What a block of points leaves behind in each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Residues at all points.
    Lanes,
    /// One residue for each unit of points, the sum over them.
    Sums,
}

/// One pass over panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The piece of the contraction.
    pub start: usize,
    pub len: usize,
    /// Sums begin at zero.
    pub fresh: bool,
    /// Sums are reduced.
    pub last: bool,
    /// Residues are added to those of the sums before.
    pub add: bool,
}

/// The blocking of one product.
#[derive(Debug)]
pub(super) struct Plan {
    pub form: Form,
    /// Groups of eight points whose products belong to one sum.
    pub groups_per_unit: usize,
    /// Units that one task computes.
    pub units_per_block: usize,
    pub blocks: usize,
    pub steps: Vec<Step>,
    /// Steps of the longest pass, even.
    pub depth: usize,
    pub row_blocks: usize,
    pub col_blocks: usize,
}

impl Plan {
    pub fn new<K: Kernel>(points: usize, output: Output, rows: &Side<'_>, cols: &Side<'_>) -> Self {
        let groups = points / LANES;
        let (form, groups_per_unit, least_units) = match output {
            Output::Full => (Form::Lanes, 1, LANES),
            Output::Fold(n) | Output::FoldEval(n) if n < LANES => (Form::Lanes, 1, LANES),
            Output::Fold(n) | Output::FoldEval(n) => (Form::Sums, n / LANES, LANES.min(points / n)),
            Output::Window(_) | Output::Comb { .. } => (Form::Lanes, 1, block(output) / LANES),
        };
        let steps = steps::<K>(rows.contraction() * groups_per_unit);
        let mut plan = Plan {
            form,
            groups_per_unit,
            units_per_block: least_units,
            blocks: groups / groups_per_unit / least_units,
            depth: steps[0].len.next_multiple_of(2),
            steps,
            row_blocks: 1,
            col_blocks: 1,
        };
        plan.divide(rows.outer(), cols.outer(), 4 * K::ROWS, rayon::current_num_threads());
        plan
    }

    /// Chooses blocks that fit scratch memory and keep all threads busy. A slab of columns is packed for at
    /// least `least_rows`, because packing it for fewer costs more than an idle thread.
    fn divide(&mut self, rows: usize, cols: usize, least_rows: usize, threads: usize) {
        let tasks = TASKS_PER_THREAD * threads;
        let budget = (SCRATCH_BYTES / threads).clamp(1 << 20, SCRATCH_BYTES / 4);
        // Longer blocks visit each cell of the result fewer times.
        while self.blocks >= 2 * tasks
            && self.units_per_block < MAX_UNITS
            && rows.saturating_mul(cols).saturating_mul(2 * self.cell_bytes()) <= budget
        {
            (self.units_per_block, self.blocks) = (2 * self.units_per_block, self.blocks / 2);
        }
        let cells = budget / self.cell_bytes();
        // Near a square where cells are scarce: each packed line then serves most.
        let block_cols = (L2_LINES / self.depth).min(cells.isqrt().max(cells / rows)).max(1);
        // Products with masks take a full polynomial for each row and column.
        let borders = budget / (self.units_per_block * self.groups_per_unit * size_of::<Lanes>());
        self.col_blocks = cols.div_ceil(block_cols.min(borders.max(1)));
        let block_rows = cells / cols.div_ceil(self.col_blocks);
        let fitting = rows.div_ceil(block_rows.min(borders).max(1));
        let busy = tasks.div_ceil(self.blocks * self.col_blocks).min(rows.div_ceil(least_rows));
        self.row_blocks = fitting.max(busy);
    }

    /// Scratch memory for a cell.
    fn cell_bytes(&self) -> usize {
        let sum = if self.steps.len() > 1 { size_of::<Sum>() } else { 0 };
        let unit = if self.form == Form::Sums { size_of::<u64>() } else { size_of::<Lanes>() };
        sum + unit * self.units_per_block
    }
}

/// Points that are transformed on their own for a window or a comb.
pub(super) fn block(output: Output) -> usize {
    match output {
        Output::Window(n) | Output::Comb { stride: n, .. } => n.max(MIN_BLOCK),
        _ => MIN_BLOCK,
    }
}

/// The `index`-th of `blocks` nearly equal parts of `0..len`.
pub(super) fn part(len: usize, blocks: usize, index: usize) -> Range<usize> {
    len * index / blocks..len * (index + 1) / blocks
}

/// Cuts a contraction into passes, so that a panel of rows stays in the first-level cache while panels of
/// columns stream past it.
fn steps<K: Kernel>(chain: usize) -> Vec<Step> {
    let longest = (L1_LINES / (K::ROWS + K::COLS)) & !1;
    let passes = chain.div_ceil(longest);
    let len = if passes == 1 { chain } else { chain.div_ceil(passes).next_multiple_of(2) };
    let per_sum = 2 * MAX_PAIRS / len.next_multiple_of(2);
    let count = chain.div_ceil(len);
    let step = |i: usize| Step {
        start: i * len,
        len: len.min(chain - i * len),
        fresh: i.is_multiple_of(per_sum),
        last: i % per_sum == per_sum - 1 || i + 1 == count,
        add: i >= per_sum,
    };
    (0..count).map(step).collect()
}
