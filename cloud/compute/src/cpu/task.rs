//! The loops of one task: a block of points times a block of rows times a block of columns.

use std::ops::Range;

use blindsmith_ring::{Lanes, modulus};
use bytemuck::{cast_slice, cast_slice_mut};

use super::Job;
use super::ahead::Ahead;
use super::kernel::{Kernel, MAX_COLS, MAX_ROWS, Pair, Place, Sum};
use super::plan::{Form, Step};
use super::side::Run;

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
    /// Body, `[row][column][unit]`.
    pub cells: Vec<Lanes>,
    /// Products with the masks: rows times the columns' mask, the rows' mask times columns, both masks;
    /// `[row or column][group]`.
    pub border_rows: Vec<Lanes>,
    pub border_cols: Vec<Lanes>,
    pub corner: Vec<Lanes>,
    /// For transforms.
    pub polynomial: Vec<Lanes>,
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

impl Scratch {
    pub fn reserve_polynomial(&mut self, lines: usize) {
        grow(&mut self.polynomial, lines);
    }
}

fn grow<T: bytemuck::Zeroable + bytemuck::Pod>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        *buffer = bytemuck::zeroed_vec(len);
    }
}

impl<K: Kernel> Task<'_, K> {
    /// Lines of a cell of the block.
    pub fn cell_lines(&self) -> usize {
        if self.job.plan.form == Form::Sums { 1 } else { self.units.len() }
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
                let mut ahead = self.ahead(unit, index);
                self.columns(&pass, s);
                self.rows(&pass, s, &mut ahead);
            }
        }
    }

    /// What comes after step `index` of a unit: the next step, or the first one of the next unit, which another
    /// thread may take if it belongs to the next block.
    fn ahead(&self, unit: usize, index: usize) -> Ahead<'_> {
        let plan = &self.job.plan;
        let (unit, step) = match plan.steps.get(index + 1) {
            Some(step) => (unit, step),
            None => ((unit + 1) % (plan.blocks * plan.units_per_block), &plan.steps[0]),
        };
        let run = Run { group: unit * plan.groups_per_unit, start: step.start, len: step.len };
        let calls = self.rows.len().div_ceil(plan.panel_rows) * self.cols.len().div_ceil(K::COLS);
        Ahead::new([(self.job.cols, self.cols.clone()), (self.job.rows, self.rows.clone())], run, calls)
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
        grow(&mut s.cells, rows * cols * self.cell_lines());
        grow(&mut s.border_rows, if self.has_column_border() { rows * self.groups() } else { 0 });
        grow(&mut s.border_cols, if self.has_row_border() { cols * self.groups() } else { 0 });
        grow(&mut s.corner, self.groups());
    }

    /// Packs the columns, with their norms and the products with the rows' mask.
    fn columns(&self, pass: &Pass, s: &mut Scratch) {
        let (rows, cols) = (&self.job.rows, &self.job.cols);
        rows.pack_mask(self.kernel, pass.run, &mut s.row_mask[..pass.depth]);
        cols.pack_mask(self.kernel, pass.run, &mut s.col_mask[..pass.depth]);
        for first in (0..self.cols.len()).step_by(K::COLS) {
            let count = K::COLS.min(self.cols.len() - first);
            let panel = &mut s.slab[first * pass.depth..][..count * pass.depth];
            cols.pack(self.kernel, pass.run, self.cols.start + first, count, panel);
            match count {
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

    /// q less each norm; of sums, in the first lane.
    fn terms<const M: usize>(&self, norms: &[Sum; M]) -> [Lanes; M] {
        let mut terms = [Lanes::default(); M];
        match self.job.plan.form {
            Form::Lanes => {
                let sums: [[Sum; 1]; M] = norms.map(|sum| [sum]);
                let place = Place { out: &mut terms, row_stride: 1, col_stride: 0, add: false };
                self.kernel.finish(&sums, &[Lanes::default(); M], &[Lanes::default()], place);
                terms.map(|term| Lanes(term.0.map(modulus::neg)))
            }
            Form::Sums => {
                let mut sums = [0; M];
                self.kernel.fold(norms, &mut sums);
                sums.map(|sum| Lanes([modulus::neg(sum), 0, 0, 0, 0, 0, 0, 0]))
            }
        }
    }

    /// Packs the rows panel by panel and multiplies each with all columns.
    fn rows(&self, pass: &Pass, s: &mut Scratch, ahead: &mut Ahead<'_>) {
        let panels = self.rows.len().div_ceil(self.job.plan.panel_rows);
        for index in 0..panels {
            let Range { start, end } = super::plan::part(self.rows.len(), panels, index);
            let panel = &mut s.panel[..(end - start) * pass.depth];
            self.job.rows.pack(self.kernel, pass.run, self.rows.start + start, end - start, panel);
            match end - start {
                1 => self.row_panel::<1>(pass, start, s, ahead),
                2 => self.row_panel::<2>(pass, start, s, ahead),
                3 => self.row_panel::<3>(pass, start, s, ahead),
                4 => self.row_panel::<4>(pass, start, s, ahead),
                5 => self.row_panel::<5>(pass, start, s, ahead),
                _ => self.row_panel::<MAX_ROWS>(pass, start, s, ahead),
            }
        }
    }

    fn row_panel<const M: usize>(
        &self,
        pass: &Pass,
        first: usize,
        s: &mut Scratch,
        ahead: &mut Ahead<'_>,
    ) {
        let panel = &s.panel[..M * pass.depth];
        let norms = s.row_norms[first..].first_chunk_mut::<M>().expect("reserved");
        let a: &[Pair<M>] = cast_slice(panel);
        self.kernel.norms(a, norms, pass.step.fresh);
        let terms = if pass.step.last { self.terms(norms) } else { [Lanes::default(); M] };
        if self.has_column_border() {
            let border = &mut s.border_rows[first * self.groups()..];
            self.border::<M>(pass, cast_slice(&panel[..M * pass.run.len]), &s.col_mask, border);
        }
        let cols = self.cols.len();
        let mut single = [Sum::ZERO; MAX_ROWS * MAX_COLS];
        for col in (0..cols).step_by(K::COLS) {
            let count = K::COLS.min(cols - col);
            let ahead = ahead.next(pass.depth / 2);
            let slab = &s.slab[col * pass.depth..][..count * pass.depth];
            let sums = match self.job.plan.steps.len() {
                1 => &mut single[..M * count],
                _ => &mut s.sums[first * cols + M * col..][..M * count],
            };
            let at = (first * cols + col) * self.cell_lines();
            let out = &mut s.cells[at..];
            match count {
                1 => self.tile::<M, 1>(pass, a, slab, sums, &terms, &s.col_terms[col..], out, ahead),
                _ => self.tile::<M, MAX_COLS>(pass, a, slab, sums, &terms, &s.col_terms[col..], out, ahead),
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn tile<const M: usize, const N: usize>(
        &self,
        pass: &Pass,
        a: &[Pair<M>],
        slab: &[Lanes],
        sums: &mut [Sum],
        row_terms: &[Lanes; M],
        col_terms: &[Lanes],
        out: &mut [Lanes],
        ahead: &[u8],
    ) {
        let [sum] = cast_slice_mut::<Sum, [[Sum; N]; M]>(sums) else { unreachable!("M x N sums") };
        self.kernel.tile(a, cast_slice::<Lanes, Pair<N>>(slab), sum, pass.step.fresh, ahead);
        if !pass.step.last {
            return;
        }
        let col_terms = col_terms.first_chunk::<N>().expect("reserved");
        let (lines, cols) = (self.cell_lines(), self.cols.len());
        match self.job.plan.form {
            Form::Lanes => {
                let out = &mut out[pass.slot..];
                let place = Place { out, row_stride: cols * lines, col_stride: lines, add: pass.step.add };
                self.kernel.finish(sum, row_terms, col_terms, place);
            }
            Form::Sums => {
                let mut folded = [[0; N]; M];
                self.kernel.fold(sum.as_flattened(), folded.as_flattened_mut());
                for i in 0..M {
                    for j in 0..N {
                        let term = modulus::add(row_terms[i].0[0], col_terms[j].0[0]);
                        let cell = &mut out[i * cols + j].0[pass.slot];
                        let start = if pass.step.add { *cell } else { 0 };
                        *cell = modulus::add(modulus::add(folded[i][j], term), start);
                    }
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
            let place = Place { out, row_stride: self.groups(), col_stride: 0, add };
            let zero = Lanes::default();
            self.kernel.finish(&sums.map(|sum| [sum]), &[zero; M], &[zero], place);
            at = end;
        }
    }
}
