//! From blocks of points to the result: sums, inverse transforms, windows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use blindsmith_ring::{LANES, Lanes, Table, backend, modulus};
use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::ahead::prefetch;
use super::kernel::Kernel;
use super::plan::{self, Form};
use super::task::{Scratch, Task};
use super::transform;
use crate::{Layout, Output, Product};

/// Cells of a row that one lock guards.
const SPAN: usize = 16;
/// Cells that are gathered together, from memory that lies together.
pub(super) const CELLS_AT_ONCE: usize = 4;

/// The result on its way into the caller's buffer. Tasks of different points write to the same cells, under
/// locks; sums modulo q come out the same in any order.
pub(super) struct Delivery<'a> {
    points: usize,
    output: Output,
    layout: &'a Layout,
    accumulate: bool,
    /// The body, row after row, each in spans of cells.
    body: Vec<Locked<'a>>,
    /// Products with masks, polynomial by polynomial.
    column: Vec<Locked<'a>>,
    row: Vec<Locked<'a>>,
    corner: Vec<Locked<'a>>,
}

type Locked<'a> = Mutex<&'a mut [u64]>;

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
        let spans = body.chunks_exact_mut(layout.columns * layout.cell);
        let mut body: Vec<_> = spans.flat_map(|row| row.chunks_mut(SPAN * layout.cell)).collect();
        body.par_iter_mut().for_each(|span| {
            span.chunks_exact_mut(layout.cell).for_each(|cell| prepare(points, output, accumulate, cell));
        });
        let body = body.into_iter().map(Mutex::new).collect();
        let [column, row, corner] =
            [column, row, corner].map(|part| part.chunks_exact_mut(points).map(Mutex::new).collect());
        Delivery { points, output, layout, accumulate, body, column, row, corner }
    }

    /// Takes over what a task computed.
    pub fn take<K: Kernel>(&self, task: &Task<'_, K>, s: &mut Scratch) {
        let swapped = task.job.swapped;
        let (rows, cols) = if swapped { (&task.cols, &task.rows) } else { (&task.rows, &task.cols) };
        let (inner, spans) = (task.cols.len(), self.layout.columns.div_ceil(SPAN));
        let block = task.units.start / task.job.plan.units_per_block;
        // Tasks of different points start at different rows, lest they wait for one another.
        for index in 0..rows.len() {
            let r = (index + 7 * block) % rows.len();
            for span in cols.start / SPAN..cols.end.div_ceil(SPAN) {
                let mut out = lock(&self.body[(rows.start + r) * spans + span]);
                let range = cols.start.max(span * SPAN)..cols.end.min((span + 1) * SPAN);
                let out = &mut out[range.start % SPAN * self.layout.cell..][..range.len() * self.layout.cell];
                let c = range.start - cols.start;
                let (first, stride) = if swapped { (c * inner + r, inner) } else { (r * inner + c, 1) };
                for (i, out) in out.chunks_mut(CELLS_AT_ONCE * self.layout.cell).enumerate() {
                    self.take_cells(task, first + i * CELLS_AT_ONCE * stride, stride, s, out);
                }
            }
        }
        self.take_borders(task, s);
    }

    /// `out` is a few cells of the result, `first` and `stride` say which they are in the task.
    fn take_cells<K: Kernel>(
        &self,
        task: &Task<'_, K>,
        first: usize,
        stride: usize,
        s: &mut Scratch,
        out: &mut [u64],
    ) {
        if let Output::Window(_) = self.output {
            out.iter().step_by(LANES).for_each(prefetch);
        }
        let cells = out.chunks_exact_mut(self.layout.cell);
        match task.job.plan.form {
            Form::Sums => {
                let polynomials: &mut [u64] = cast_slice_mut(&mut s.polynomials);
                gather(&s.folded, task.cells(), task.units.len(), first, stride, cells.len(), polynomials);
                for (out, values) in cells.zip(polynomials.chunks_exact(task.units.len())) {
                    merge(&mut out[task.units.start..][..values.len()], values, self.accumulate);
                }
            }
            Form::Lanes => {
                let polynomials = &mut s.polynomials;
                gather(&s.cells, task.cells(), task.units.len(), first, stride, cells.len(), polynomials);
                for (out, values) in cells.zip(polynomials.chunks_exact_mut(task.units.len())) {
                    self.take_cell(task.units.start * LANES, cast_slice_mut(values), &mut s.room, out);
                }
            }
        }
    }

    /// Takes over the values of a cell from point `first` on.
    fn take_cell(&self, first: usize, values: &mut [u64], room: &mut [Vec<Lanes>; 2], out: &mut [u64]) {
        let room = room.each_mut().map(|x| cast_slice_mut(x));
        match self.output {
            Output::Full => merge(&mut out[first..][..values.len()], values, self.accumulate),
            Output::Fold(n) | Output::FoldEval(n) => {
                let sums = values.len() / n;
                for i in 0..sums {
                    values[i] = values[i * n..(i + 1) * n].iter().fold(0, |sum, &v| modulus::add(sum, v));
                }
                merge(&mut out[first / n..][..sums], &values[..sums], self.accumulate);
            }
            Output::Window(width) => {
                let block = plan::block(self.output);
                transform::window_of_blocks(self.points, block, first / block, values, room);
                merge(out, &values[..width], true);
            }
            Output::Comb { stride, width } => {
                let block = plan::block(self.output);
                let (from, blocks) = (first / block, self.points / block);
                transform::invert_blocks(self.points, block, from, values, room[0]);
                for (i, out) in out.chunks_exact_mut(blocks).enumerate() {
                    let values = values[i / width * stride + i % width..].iter().step_by(block);
                    for (out, &value) in out[from..].iter_mut().zip(values) {
                        *out = if self.accumulate { modulus::add(*out, value) } else { value };
                    }
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
        let rows = task.has_column_border().then_some((&s.border_rows, &task.rows));
        let cols = task.has_row_border().then_some((&s.border_cols, &task.cols));
        let (column, row) = if task.job.swapped { (cols, rows) } else { (rows, cols) };
        for (polynomials, border) in [(&self.column, column), (&self.row, row)] {
            let Some((border, range)) = border else { continue };
            for (index, polynomial) in polynomials[range.clone()].iter().enumerate() {
                write(&mut lock(polynomial), border, index);
            }
        }
        if let (Some(_), Some(_), [corner]) = (rows, cols, &self.corner[..]) {
            write(&mut lock(corner), &s.corner, 0);
        }
    }

    /// The transforms over blocks, once all tasks are done.
    pub fn complete(self) {
        let (points, output, cell) = (self.points, self.output, self.layout.cell);
        if let Output::Fold(_) | Output::Comb { .. } = output {
            self.body.into_par_iter().for_each(|span| {
                let span = span.into_inner().unwrap_or_else(PoisonError::into_inner);
                span.chunks_exact_mut(cell).for_each(|cell| complete(points, output, cell));
            });
        }
    }
}

/// From `[unit][cell]` to `[cell][unit]`, for `count` cells of which the task has `cells`.
fn gather<T: Copy>(
    from: &[T],
    cells: usize,
    units: usize,
    first: usize,
    stride: usize,
    count: usize,
    out: &mut [T],
) {
    for (unit, from) in from.chunks_exact(cells).take(units).enumerate() {
        let from = &from[first..];
        let soon = from.iter().skip(CELLS_AT_ONCE).take(CELLS_AT_ONCE);
        soon.step_by(size_of::<Lanes>() / size_of::<T>()).for_each(prefetch);
        if let (1, Some(from)) = (stride, from.first_chunk::<CELLS_AT_ONCE>()) {
            // Of the last cells, some may be others'.
            (0..CELLS_AT_ONCE).for_each(|i| out[i * units + unit] = from[i]);
        } else {
            (0..count).for_each(|i| out[i * units + unit] = from[i * stride]);
        }
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
