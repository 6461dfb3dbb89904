//! One part of a result: for each root a matrix product of one shape, side by side in rows of the result.

use std::ops::Range;

use super::kernel::Kernel;
use super::task::{DEPTH, Task};
use crate::row::Row;

/// Entries of the left that a task packs at once, 2 MiB of them.
const LEFT_ENTRIES: usize = 1 << 18;
/// Most rows of a task, and the fewest to which rows are cut to occupy threads.
const MOST_ROWS: usize = 384;
const FEWEST_ROWS: usize = 48;
/// The fewest columns to which a task is cut to occupy threads.
const FEWEST_COLUMNS: usize = 64;
/// Tasks for each thread, so that all end at about the same time.
const TASKS_PER_THREAD: usize = 2;

/// Rows along the contraction, one for each depth index and root.
#[derive(Clone, Copy)]
pub(super) enum Lines<'a> {
    /// An operand from position `first` on. With `places`, depth index k stands for `places[k]`.
    Operand { rows: &'a [Row<'a>], places: Option<&'a [u32]>, roots: usize, first: usize },
    /// Masks, `width` residues for each root.
    Masks { rows: &'a [&'a [u64]], places: Option<&'a [u32]>, width: usize },
}

impl<'a> Lines<'a> {
    /// The row for a depth index and a root, and the position at which it begins.
    pub fn line(&self, depth: usize, root: usize) -> (Row<'a>, usize) {
        let place = |places: Option<&[u32]>| places.map_or(depth, |places| places[depth] as usize);
        match *self {
            Lines::Operand { rows, places, roots, first } => (rows[place(places) * roots + root], first),
            Lines::Masks { rows, places, width } => (Row::Plain(rows[place(places)]), root * width),
        }
    }
}

/// Where the left's entries are.
#[derive(Clone, Copy)]
pub(super) enum Entries<'a> {
    /// Entry (i, k) of root j is residue k `step` + j of row i.
    Rows { rows: &'a [Row<'a>], step: usize },
    /// Entry (i, k) of root j is residue i of line (k, j).
    Lines(Lines<'a>),
}

/// For each root j a product of `rows` x `depth` by `depth` x `width`. Row i of the results of all roots is
/// consecutive.
#[derive(Clone)]
pub(super) struct Batch<'a> {
    pub left: Entries<'a>,
    pub right: Lines<'a>,
    pub rows: usize,
    pub width: usize,
    pub roots: Range<usize>,
    pub depth: usize,
}

impl<'a> Batch<'a> {
    /// Residues of the results.
    pub fn residues(&self) -> usize {
        self.rows * self.width * self.roots.len()
    }

    /// Appends the tasks that write the results to `out`.
    pub fn cut<'o, K: Kernel>(&self, out: &'o mut [u64], tasks: &mut Vec<Task<'a, 'o>>) {
        let (block_rows, block_roots, block_columns) = self.blocks::<K>();
        let mut lines = out.chunks_exact_mut(self.width * self.roots.len());
        for start in (0..self.rows).step_by(block_rows) {
            let rows = start..self.rows.min(start + block_rows);
            let first = tasks.len();
            for root in self.roots.clone().step_by(block_roots) {
                for column in (0..self.width).step_by(block_columns) {
                    tasks.push(Task {
                        batch: self.clone(),
                        rows: rows.clone(),
                        roots: root..self.roots.end.min(root + block_roots),
                        columns: column..self.width.min(column + block_columns),
                        out: Vec::with_capacity(rows.len()),
                    });
                }
            }
            for _ in rows {
                let mut line = lines.next().expect("a line of the results for each row");
                for task in &mut tasks[first..] {
                    let piece = line.split_off_mut(..task.roots.len() * task.columns.len());
                    task.out.push(piece.expect("pieces fill the line"));
                }
            }
        }
    }

    /// Rows, roots and columns of a task. Where tasks have several roots, they have all columns.
    fn blocks<K: Kernel>(&self) -> (usize, usize, usize) {
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { TASKS_PER_THREAD * threads };
        let fitting = LEFT_ENTRIES / (self.depth.min(DEPTH) * self.roots.len());
        let rows = fitting.min(MOST_ROWS).min((self.rows / wanted).max(FEWEST_ROWS)).max(K::ROWS);
        let even = self.rows.div_ceil(self.rows.div_ceil(rows)).next_multiple_of(K::ROWS);
        let groups = wanted.div_ceil(self.rows.div_ceil(even));
        let roots = self.roots.len().div_ceil(groups);
        if roots > 1 {
            return (even, roots, self.width);
        }
        let columns = self.width.div_ceil(groups.div_ceil(self.roots.len()));
        (even, 1, columns.max(FEWEST_COLUMNS).next_multiple_of(K::COLUMNS))
    }
}
