//! The loops of one task: a block of points times a block of rows times a block of columns.

use std::ops::Range;

use blindsmith_ring::{Lanes, modulus};
use bytemuck::{cast_slice, cast_slice_mut};

use super::Job;
use super::ahead::{Ahead, prefetch_write};
use super::deliver::CELLS_AT_ONCE;
use super::kernel::{Kernel, MAX_COLS, MAX_ROWS, Pair, Place, Start, Sum};
use super::plan::{Form, Step, part};
use super::side::Run;

const ZERO: Lanes = Lanes([0; 8]);

/// Columns whose sums are reduced together.
const COLS_AT_ONCE: usize = 4 * MAX_COLS;

/// Buffers of one thread, reused from task to task.
#[derive(Default)]
pub(super) struct Scratch {
    /// Packed columns of one pass, panel after panel.
    slab: Vec<Lanes>,
    /// Packed rows of one pass.
    panel: Vec<Lanes>,
    /// Packed masks of one pass.
    row_mask: Vec<Lanes>,
    col_mask: Vec<Lanes>,
    /// Unreduced cells between passes.
    sums: Vec<Sum>,
    row_norms: Vec<Sum>,
    col_norms: Vec<Sum>,
    /// q less the norms of the columns, as lanes or (one residue in each) as sums.
    col_terms: Vec<Lanes>,
    /// Body, `[unit][row][column]`: residues of a group, or sums.
    pub cells: Vec<Lanes>,
    pub folded: Vec<u64>,
    /// Products with the masks: rows times the columns' mask, the rows' mask times columns, both masks;
    /// `[row or column][group]`.
    pub border_rows: Vec<Lanes>,
    pub border_cols: Vec<Lanes>,
    pub corner: Vec<Lanes>,
    /// A few cells of all units, and room for their transforms.
    pub polynomials: Vec<Lanes>,
    pub room: [Vec<Lanes>; 2],
}

/// A block of points, rows and columns.
pub(super) struct Task<'a, K> {
    pub kernel: K,
    pub job: &'a Job<'a>,
    pub units: Range<usize>,
    pub rows: Range<usize>,
    pub cols: Range<usize>,
}

/// One pass of one unit of points.
#[derive(Clone, Copy)]
struct Pass {
    step: Step,
    run: Run,
    /// Steps with padding.
    depth: usize,
    /// The unit within the block.
    slot: usize,
}

fn grow<T: bytemuck::Zeroable + bytemuck::Pod>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        *buffer = bytemuck::zeroed_vec(len);
    }
}

fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

impl<K: Kernel> Task<'_, K> {
    /// Cells of one unit.
    pub fn cells(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// Groups of the block.
    pub fn groups(&self) -> usize {
        self.units.len() * self.job.plan.groups_per_unit
    }

    /// Computes the block into `cells` and the borders; those belong to the first blocks of columns and rows.
    pub fn compute(&self, s: &mut Scratch) {
        self.reserve(s);
        let plan = &self.job.plan;
        for (slot, unit) in self.units.clone().enumerate() {
            for (index, &step) in plan.steps.iter().enumerate() {
                let group = unit * plan.groups_per_unit;
                let run = Run { group, start: step.start, len: step.len };
                let pass = Pass { step, run, depth: step.len.next_multiple_of(2), slot };
                self.columns(&pass, s);
                self.rows(&pass, self.next(unit, index), s);
            }
        }
    }

    /// The run after step `index` of a unit: the next step, or the first one of the next unit, which another
    /// thread may take if it belongs to the next block.
    fn next(&self, unit: usize, index: usize) -> Run {
        let plan = &self.job.plan;
        let (unit, step) = match plan.steps.get(index + 1) {
            Some(step) => (unit, step),
            None => ((unit + 1) % (plan.blocks * plan.units_per_block), &plan.steps[0]),
        };
        Run { group: unit * plan.groups_per_unit, start: step.start, len: step.len }
    }

    pub fn has_column_border(&self) -> bool {
        self.job.cols.mask.is_some() && self.cols.start == 0
    }

    pub fn has_row_border(&self) -> bool {
        self.job.rows.mask.is_some() && self.rows.start == 0
    }

    fn reserve(&self, s: &mut Scratch) {
        let plan = &self.job.plan;
        let (rows, cols, depth) = (self.rows.len(), self.cols.len(), plan.depth);
        grow(&mut s.slab, cols * depth);
        grow(&mut s.panel, MAX_ROWS * depth);
        grow(&mut s.row_mask, depth);
        grow(&mut s.col_mask, depth);
        grow(&mut s.sums, if plan.steps.len() > 1 { rows * cols } else { 0 });
        grow(&mut s.row_norms, rows);
        grow(&mut s.col_norms, cols);
        grow(&mut s.col_terms, cols);
        match plan.form {
            Form::Lanes => grow(&mut s.cells, self.units.len() * self.cells()),
            Form::Sums => grow(&mut s.folded, self.units.len() * self.cells()),
        }
        grow(&mut s.polynomials, CELLS_AT_ONCE * self.units.len());
        s.room.iter_mut().for_each(|x| grow(x, self.units.len()));
        grow(&mut s.border_rows, if self.has_column_border() { rows * self.groups() } else { 0 });
        grow(&mut s.border_cols, if self.has_row_border() { cols * self.groups() } else { 0 });
        grow(&mut s.corner, self.groups());
    }

    /// Packs the columns, with their norms and the products with the rows' mask.
    fn columns(&self, pass: &Pass, s: &mut Scratch) {
        let (rows, cols) = (&self.job.rows, &self.job.cols);
        rows.pack_mask(self.kernel, pass.run, pass.depth, &mut s.row_mask);
        cols.pack_mask(self.kernel, pass.run, pass.depth, &mut s.col_mask);
        cols.pack(self.kernel, pass.run, &self.cols, K::COLS, pass.depth, &mut s.slab);
        for first in (0..self.cols.len()).step_by(K::COLS) {
            match K::COLS.min(self.cols.len() - first) {
                1 => self.column_panel::<1>(pass, first, s),
                _ => self.column_panel::<MAX_COLS>(pass, first, s),
            }
        }
        if self.has_row_border() && self.has_column_border() {
            let Scratch { row_mask, col_mask, corner, .. } = s;
            self.border::<1>(pass, cast_slice(&row_mask[..pass.run.len]), col_mask, corner);
        }
    }

    fn column_panel<const N: usize>(&self, pass: &Pass, first: usize, s: &mut Scratch) {
        let panel = &s.slab[first * pass.depth..][..N * pass.depth];
        let sums = s.col_norms[first..].first_chunk_mut::<N>().expect("reserved");
        self.kernel.norms(cast_slice::<_, Pair<N>>(panel), sums, pass.step.fresh);
        if pass.step.last {
            let terms = self.terms(sums);
            s.col_terms[first..first + N].copy_from_slice(&terms);
        }
        if self.has_row_border() {
            let border = &mut s.border_cols[first * self.groups()..];
            self.border::<N>(pass, cast_slice(&panel[..N * pass.run.len]), &s.row_mask, border);
        }
    }

    /// What makes up for the norms: q less each, in every lane or, where lanes are added up, in the first.
    fn terms<const M: usize>(&self, norms: &[Sum; M]) -> [Lanes; M] {
        let mut terms = [Lanes::default(); M];
        match self.job.plan.form {
            Form::Lanes => {
                let place = Place { out: &mut terms, row_stride: 1, add: false };
                self.kernel.finish(&norms.map(|norm| [norm]), place);
                terms.map(|term| Lanes(term.0.map(modulus::neg)))
            }
            Form::Sums => {
                let mut sums = [0; M];
                self.kernel.fold(norms, &mut sums);
                sums.map(|sum| Lanes([modulus::neg(sum), 0, 0, 0, 0, 0, 0, 0]))
            }
        }
    }

    /// Packs the rows panel by panel and multiplies each with all columns, while the next panel and a part of
    /// the columns of the next pass are fetched.
    fn rows(&self, pass: &Pass, next: Run, s: &mut Scratch) {
        let panels = self.rows.len().div_ceil(K::ROWS);
        let mut pieces = Vec::new();
        let rows = |index| shifted(part(self.rows.len(), panels, index), self.rows.start);
        for index in 0..panels {
            let range = rows(index);
            let (start, count) = (range.start - self.rows.start, range.len());
            self.job.rows.pack(self.kernel, pass.run, &range, count, pass.depth, &mut s.panel);
            let next_rows = if index + 1 < panels { pass.run } else { next };
            pieces.clear();
            pieces.extend(self.job.rows.pieces(next_rows, rows((index + 1) % panels)));
            pieces.extend(self.job.cols.share(next, &self.cols, index, panels));
            let ahead = Ahead::new(&pieces, self.cols.len().div_ceil(K::COLS) * pass.depth / 2);
            match count {
                1 => self.row_panel::<1>(pass, start, s, ahead),
                2 => self.row_panel::<2>(pass, start, s, ahead),
                3 => self.row_panel::<3>(pass, start, s, ahead),
                4 => self.row_panel::<4>(pass, start, s, ahead),
                5 => self.row_panel::<5>(pass, start, s, ahead),
                _ => self.row_panel::<MAX_ROWS>(pass, start, s, ahead),
            }
        }
    }

    fn row_panel<const M: usize>(&self, pass: &Pass, first: usize, s: &mut Scratch, mut ahead: Ahead<'_>) {
        let panel = &s.panel[..M * pass.depth];
        let norms = s.row_norms[first..].first_chunk_mut::<M>().expect("reserved");
        let a: &[Pair<M>] = cast_slice(panel);
        self.kernel.norms(a, norms, pass.step.fresh);
        let terms = if pass.step.last { self.terms(norms) } else { [ZERO; M] };
        if self.has_column_border() {
            let border = &mut s.border_rows[first * self.groups()..];
            self.border::<M>(pass, cast_slice(&panel[..M * pass.run.len]), &s.col_mask, border);
        }
        let cols = self.cols.len();
        let mut few = [Sum::ZERO; MAX_ROWS * COLS_AT_ONCE];
        for start in (0..cols).step_by(COLS_AT_ONCE) {
            let end = cols.min(start + COLS_AT_ONCE);
            if pass.step.last && self.job.plan.form == Form::Lanes {
                let at = pass.slot * self.cells() + first * cols;
                for row in s.cells[at..at + M * cols].chunks_exact_mut(cols) {
                    row[start..end].iter_mut().for_each(prefetch_write);
                }
            }
            let sums = match self.job.plan.steps.len() {
                1 => &mut few[..M * (end - start)],
                _ => &mut s.sums[first * cols + M * start..][..M * (end - start)],
            };
            for (col, sums) in (start..end).step_by(K::COLS).zip(sums.chunks_mut(M * K::COLS)) {
                let slab = &s.slab[col * pass.depth..][..sums.len() / M * pass.depth];
                let terms = (&terms, &s.col_terms[col..]);
                match sums.len() / M {
                    1 => self.tile::<M, 1>(pass, a, slab, terms, sums, &mut ahead),
                    _ => self.tile::<M, MAX_COLS>(pass, a, slab, terms, sums, &mut ahead),
                }
            }
            if pass.step.last {
                let at = pass.slot * self.cells() + first * cols + start;
                match self.job.plan.form {
                    Form::Lanes => self.finish::<M>(pass, sums, &mut s.cells[at..]),
                    Form::Sums => self.fold::<M>(pass, sums, &mut s.folded[at..]),
                }
            }
        }
    }

    fn tile<const M: usize, const N: usize>(
        &self,
        pass: &Pass,
        a: &[Pair<M>],
        slab: &[Lanes],
        (rows, cols): (&[Lanes; M], &[Lanes]),
        sums: &mut [Sum],
        ahead: &mut Ahead<'_>,
    ) {
        let [sum] = cast_slice_mut::<Sum, [[Sum; N]; M]>(sums) else { unreachable!("M x N sums") };
        let cols =
            if pass.step.last { cols.first_chunk().expect("a term for each column") } else { &[ZERO; N] };
        let start = Start { fresh: pass.step.fresh, rows, cols };
        self.kernel.tile(a, cast_slice::<Lanes, Pair<N>>(slab), start, sum, ahead);
    }

    /// Reduces the sums of a few tiles of one panel; `out` begins at the first cell.
    fn finish<const M: usize>(&self, pass: &Pass, sums: &[Sum], out: &mut [Lanes]) {
        for (col, sums) in (0..).step_by(K::COLS).zip(sums.chunks(M * K::COLS)) {
            let place = Place { out: &mut out[col..], row_stride: self.cols.len(), add: pass.step.add };
            match sums.len() / M {
                1 => self.kernel.finish::<M, 1>(&cast_slice(sums)[0], place),
                _ => self.kernel.finish::<M, MAX_COLS>(&cast_slice(sums)[0], place),
            }
        }
    }

    /// The same where each cell is one residue.
    fn fold<const M: usize>(&self, pass: &Pass, sums: &[Sum], out: &mut [u64]) {
        let mut folded = [0; MAX_ROWS * COLS_AT_ONCE];
        let folded = &mut folded[..sums.len()];
        self.kernel.fold(sums, folded);
        for (col, values) in (0..).step_by(K::COLS).zip(folded.chunks(M * K::COLS)) {
            for (i, values) in values.chunks(values.len() / M).enumerate() {
                let out = &mut out[i * self.cols.len() + col..];
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = if pass.step.add { modulus::add(*out, value) } else { value };
                }
            }
        }
    }

    /// Products of a panel with a mask, group by group.
    fn border<const M: usize>(&self, pass: &Pass, panel: &[[Lanes; M]], mask: &[Lanes], out: &mut [Lanes]) {
        let contraction = self.job.rows.contraction();
        let Run { start, len, .. } = pass.run;
        let mut at = start;
        while at < start + len {
            let group = at / contraction;
            let end = ((group + 1) * contraction).min(start + len);
            let mut sums = [Sum::ZERO; M];
            let piece = at - start..end - start;
            self.kernel.dot(&panel[piece.clone()], &mask[piece], &mut sums);
            let out = &mut out[pass.slot * self.job.plan.groups_per_unit + group..];
            let add = at > group * contraction;
            let place = Place { out, row_stride: self.groups(), add };
            self.kernel.finish(&sums.map(|sum| [sum]), place);
            at = end;
        }
    }
}
