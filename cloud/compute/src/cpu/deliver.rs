//! From blocks of points to the result: sums, inverse transforms, windows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use blindsmith_ring::{LANES, Lanes, Table, backend, modulus};
use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::kernel::Kernel;
use super::plan;
use super::task::{Scratch, Task};
use super::transform;
use crate::{Layout, Output, Product};

/// A block row of the result.
struct Row<'a> {
    body: &'a mut [u64],
    /// Its product with the right operand's mask.
    column: &'a mut [u64],
}

/// The result on its way into the caller's buffer. Tasks of different points write to the same rows, each
/// under the row's lock; sums modulo q come out the same in any order.
pub(super) struct Delivery<'a> {
    points: usize,
    output: Output,
    layout: &'a Layout,
    accumulate: bool,
    rows: Vec<Mutex<Row<'a>>>,
    /// The left operand's mask times each block column.
    mask_row: Vec<Mutex<&'a mut [u64]>>,
    corner: Mutex<&'a mut [u64]>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A task that panicked fails the product as a whole; what it left behind is never read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes or adds residues.
fn merge(out: &mut [u64], values: &[u64], add: bool) {
    if !add {
        out.copy_from_slice(values);
    } else if out.len().is_multiple_of(LANES) {
        backend::active().add_assign(out, values);
    } else {
        out.iter_mut().zip(values).for_each(|(o, &v)| *o = modulus::add(*o, v));
    }
}

impl<'a> Delivery<'a> {
    pub fn new(product: &'a Product<'_>, accumulate: bool, out: &'a mut [u64]) -> Self {
        let (layout, points, output) = (&product.layout, product.a.points, product.output);
        let (body, rest) = out.split_at_mut(layout.body.len());
        let (column, rest) = rest.split_at_mut(layout.column.len());
        let (row, corner) = rest.split_at_mut(layout.row.len());
        body.par_chunks_exact_mut(layout.cell).for_each(|cell| prepare(points, output, accumulate, cell));
        let mut columns = column.chunks_exact_mut(points);
        let rows = body
            .chunks_exact_mut(layout.columns * layout.cell)
            .map(|body| Mutex::new(Row { body, column: columns.next().unwrap_or_default() }))
            .collect();
        let mask_row = row.chunks_exact_mut(points).map(Mutex::new).collect();
        Delivery { points, output, layout, accumulate, rows, mask_row, corner: Mutex::new(corner) }
    }

    /// Takes over what a task computed.
    pub fn take<K: Kernel>(&self, task: &Task<'_, K>, s: &mut Scratch) {
        let swapped = task.job.swapped;
        let (rows, cols) = if swapped { (&task.cols, &task.rows) } else { (&task.rows, &task.cols) };
        let (lines, inner) = (task.cell_lines(), task.cols.len());
        let first_unit = task.units.start;
        let block = first_unit / task.job.plan.units_per_block;
        s.reserve_polynomial(lines);
        // Tasks of different points start at different rows, lest they wait for one another.
        for index in 0..rows.len() {
            let r = (index + 7 * block) % rows.len();
            let mut row = None;
            for c in 0..cols.len() {
                let cell = if swapped { c * inner + r } else { r * inner + c };
                let values = cast_slice_mut(&mut s.cells[cell * lines..][..lines]);
                let scratch = cast_slice_mut(&mut s.polynomial[..lines]);
                if let Output::Comb { .. } = self.output {
                    transform::invert_block(self.points, block, values, scratch);
                }
                let row = row.get_or_insert_with(|| lock(&self.rows[rows.start + r]));
                let cell = self.layout.cell;
                let out = &mut row.body[(cols.start + c) * cell..][..cell];
                self.take_cell(first_unit, block, values, task.units.len(), out);
            }
        }
        self.take_borders(task, s);
    }

    fn take_cell(&self, unit: usize, block: usize, values: &mut [u64], units: usize, out: &mut [u64]) {
        match self.output {
            Output::Full => merge(&mut out[unit * LANES..][..values.len()], values, self.accumulate),
            Output::Fold(n) | Output::FoldEval(n) if n < LANES => {
                let sums = values.len() / n;
                for i in 0..sums {
                    values[i] = values[i * n..(i + 1) * n].iter().fold(0, |sum, &v| modulus::add(sum, v));
                }
                merge(&mut out[unit * LANES / n..][..sums], &values[..sums], self.accumulate);
            }
            Output::Fold(_) | Output::FoldEval(_) => {
                merge(&mut out[unit..][..units], &values[..units], self.accumulate);
            }
            Output::Window(_) => transform::add_window(self.points, block, values, out),
            Output::Comb { stride, width } => {
                let blocks = self.points / values.len();
                for (i, out) in out.chunks_exact_mut(blocks).enumerate() {
                    let value = values[i / width * stride + i % width];
                    let start = if self.accumulate { out[block] } else { 0 };
                    out[block] = modulus::add(start, value);
                }
            }
        }
    }

    fn take_borders<K: Kernel>(&self, task: &Task<'_, K>, s: &Scratch) {
        let groups = task.groups();
        let at = task.units.start * task.job.plan.groups_per_unit * LANES;
        let write = |out: &mut [u64], border: &[Lanes], index: usize| {
            let values = &border[index * groups..][..groups];
            merge(&mut out[at..][..groups * LANES], cast_slice(values), self.accumulate);
        };
        let (by_column_mask, by_row_mask) = (task.has_column_border(), task.has_row_border());
        let (column, row) = if task.job.swapped {
            (by_row_mask.then_some((&s.border_cols, &task.cols)), by_column_mask.then_some((&s.border_rows, &task.rows)))
        } else {
            (by_column_mask.then_some((&s.border_rows, &task.rows)), by_row_mask.then_some((&s.border_cols, &task.cols)))
        };
        if let Some((border, range)) = column {
            for (index, r) in range.clone().enumerate() {
                write(lock(&self.rows[r]).column, border, index);
            }
        }
        if let Some((border, range)) = row {
            for (index, c) in range.clone().enumerate() {
                write(&mut lock(&self.mask_row[c]), border, index);
            }
        }
        if by_column_mask && by_row_mask {
            write(&mut lock(&self.corner), &s.corner, 0);
        }
    }

    /// The transforms over blocks, once all tasks are done.
    pub fn complete(self) {
        let (points, output, cell) = (self.points, self.output, self.layout.cell);
        self.rows.into_par_iter().for_each(|row| {
            let row = row.into_inner().unwrap_or_else(PoisonError::into_inner);
            row.body.chunks_exact_mut(cell).for_each(|cell| complete(points, output, cell));
        });
    }
}

/// The result of earlier products as [`Delivery::take`] adds to it.
fn prepare(points: usize, output: Output, accumulate: bool, cell: &mut [u64]) {
    let ring = backend::active();
    match output {
        Output::Window(_) if !accumulate => cell.fill(0),
        Output::Fold(_) if accumulate => ring.forward(Table::of(cell.len()), cell),
        Output::Comb { .. } if accumulate => {
            let blocks = points / plan::block(output);
            transpose(cell, blocks);
            cell.chunks_exact_mut(blocks).for_each(|x| ring.forward(Table::of(blocks), x));
        }
        _ => {}
    }
}

/// From what the blocks of points left to coefficients.
fn complete(points: usize, output: Output, cell: &mut [u64]) {
    let ring = backend::active();
    match output {
        Output::Fold(_) => ring.inverse(Table::of(cell.len()), cell),
        Output::Comb { .. } => {
            let blocks = points / plan::block(output);
            let each = cell.len() / blocks;
            cell.chunks_exact_mut(blocks).for_each(|x| ring.inverse(Table::of(blocks), x));
            transpose(cell, each);
        }
        _ => {}
    }
}

/// A matrix of `rows` rows becomes its transpose.
fn transpose(x: &mut [u64], rows: usize) {
    let columns = x.len() / rows;
    let old = x.to_vec();
    for (c, column) in x.chunks_exact_mut(rows).enumerate() {
        for (r, x) in column.iter_mut().enumerate() {
            *x = old[r * columns + c];
        }
    }
}
