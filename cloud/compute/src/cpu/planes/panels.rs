//! Operands as panels of bytes.

use std::ops::Range;

use blindsmith_ring::{LANES, Lanes, backend};
use rayon::prelude::*;

use super::{SCRATCH, Scratch};
use crate::cpu::batch::{Batch, Entries, Lines};
use crate::cpu::kernel::amx::{Amx, MAX_DEPTH, PANEL, PLANES, STEP, STEP_LINES, Side};
use crate::cpu::kernel::{huge_pages, prefetch};
use crate::row::{Row, at_least};

/// Panels that a thread converts at once, so that it reads long pieces of lines.
const STRIP: usize = 4;
/// How many lines before it is copied a line is asked for.
const AHEAD: usize = 4;

const _: () = assert!(STEP.is_multiple_of(LANES) && MAX_DEPTH.is_multiple_of(STEP));

/// Panels of some depth indices of a batch, at most [`MAX_DEPTH`]. A panel has 32 rows or columns of one root,
/// `[plane][step][half][16 lines]`; an operand is `[panel][root]`.
pub(super) struct Panels<'a> {
    pub amx: Amx,
    pub batch: &'a Batch<'a>,
    pub depths: Range<usize>,
}

impl Panels<'_> {
    fn steps(&self) -> usize {
        self.depths.len().div_ceil(STEP)
    }

    /// Lines of a plane of a panel.
    fn plane(&self) -> usize {
        self.steps() * STEP_LINES
    }

    /// Lines of a panel.
    pub fn len(&self) -> usize {
        PLANES * self.plane()
    }

    /// Lines of panels of all roots.
    pub fn stride(&self) -> usize {
        self.batch.roots.len() * self.len()
    }

    /// The panels of one root that hold `len` rows or columns from `first` on.
    pub fn of_root<'o>(
        &self,
        operand: &'o [Lanes],
        root: usize,
        first: usize,
        len: usize,
    ) -> Vec<&'o [Lanes]> {
        let panels = operand.chunks_exact(self.stride()).skip(first / PANEL).take(len.div_ceil(PANEL));
        panels.map(|roots| &roots[root * self.len()..][..self.len()]).collect()
    }

    /// Converts rows of the left or columns of the right.
    pub fn convert<'b>(&self, side: Side, wanted: &Range<usize>, buffer: &'b mut Vec<Lanes>) -> &'b [Lanes] {
        let panels = huge_pages::at_least(buffer, wanted.len().div_ceil(PANEL) * self.stride());
        panels.par_chunks_mut(STRIP * self.stride()).enumerate().for_each(|(strip, panels)| {
            let first = wanted.start + strip * STRIP * PANEL;
            let wanted = first..wanted.end.min(first + STRIP * PANEL);
            SCRATCH.with_borrow_mut(|scratch| match (side, self.batch.left) {
                (Side::Left, Entries::Rows { rows, step }) => {
                    for (rows, panels) in rows[wanted].chunks(PANEL).zip(panels.chunks_mut(self.stride())) {
                        self.convert_rows(rows, step, panels, scratch);
                    }
                }
                (Side::Left, Entries::Lines(lines)) => {
                    self.convert_lines(side, lines, &wanted, panels, scratch);
                }
                (Side::Right, _) => {
                    self.convert_lines(side, self.batch.right, &wanted, panels, scratch);
                }
            });
        });
        panels
    }

    /// One panel of each root from rows in which entries of one root are `step` from one another.
    fn convert_rows(&self, rows: &[Row<'_>], step: usize, panels: &mut [Lanes], scratch: &mut Scratch) {
        let wanted = self.depths.start * step..self.depths.end * step;
        let stride = self.steps() * STEP;
        let entries = at_least(&mut scratch.entries, step * stride);
        entries.fill(0);
        for row in 0..PANEL {
            if let Some(next) = rows.get(row + 1) {
                prefetch::read(next.bytes(wanted.clone()));
            }
            if let Some(row) = rows.get(row) {
                turn(row.get(wanted.clone(), &mut scratch.line), step, entries, stride);
            } else {
                entries.fill(0);
            }
            for (entries, panel) in entries.chunks_exact(stride).zip(panels.chunks_exact_mut(self.len())) {
                for (index, entries) in entries.chunks_exact(STEP).enumerate() {
                    let place = &mut panel[index * STEP_LINES + row..];
                    self.amx.convert(Side::Left, four(entries, 16), place, self.plane());
                }
            }
        }
    }

    /// Panels of all roots from lines along the contraction.
    fn convert_lines(
        &self,
        side: Side,
        lines: Lines<'_>,
        wanted: &Range<usize>,
        panels: &mut [Lanes],
        scratch: &mut Scratch,
    ) {
        let width = wanted.len().next_multiple_of(PANEL);
        let (gathered, turned) = at_least(&mut scratch.entries, 2 * STEP * width).split_at_mut(STEP * width);
        for (index, root) in self.batch.roots.clone().enumerate() {
            for step in 0..self.steps() {
                let first = self.depths.start + step * STEP;
                for (depth, place) in (first..).zip(gathered.chunks_exact_mut(width)) {
                    self.copy_line(lines, [depth, root], wanted, place, &mut scratch.line);
                }
                if side == Side::Left {
                    backend::active().transpose(turned, STEP, gathered, STEP, width);
                }
                for (at, panels) in panels.chunks_exact_mut(self.stride()).enumerate() {
                    let panel = &mut panels[index * self.len() + step * STEP_LINES..];
                    match side {
                        Side::Left => self.convert_left(&turned[at * PANEL * STEP..], panel),
                        Side::Right => self.convert_right(&gathered[at * PANEL..], width, panel),
                    }
                }
            }
        }
    }

    /// One step of a panel of the left from its rows.
    fn convert_left(&self, rows: &[u64], panel: &mut [Lanes]) {
        for (row, entries) in rows.chunks_exact(STEP).take(PANEL).enumerate() {
            self.amx.convert(Side::Left, four(entries, 16), &mut panel[row..], self.plane());
        }
    }

    /// One step of a panel of the right from 64 lines, `width` from one another.
    fn convert_right(&self, lines: &[u64], width: usize, panel: &mut [Lanes]) {
        for group in 0..STEP / 4 {
            for half in 0..2 {
                let entries = four(&lines[4 * group * width + half * 16..], width);
                self.amx.convert(Side::Right, entries, &mut panel[half * 16 + group..], self.plane());
            }
        }
    }

    /// Copies what is wanted of a line, and zeros after it; zeros where there is no such line.
    fn copy_line(
        &self,
        lines: Lines<'_>,
        [depth, root]: [usize; 2],
        wanted: &Range<usize>,
        place: &mut [u64],
        buffer: &mut Vec<u64>,
    ) {
        let ahead = depth + AHEAD;
        if ahead < self.depths.end {
            let (row, first) = lines.line(ahead, root);
            prefetch::read(row.bytes(first + wanted.start..first + wanted.end));
        }
        let mut len = 0;
        if depth < self.depths.end {
            let (row, first) = lines.line(depth, root);
            let line = row.get(first + wanted.start..first + wanted.end, buffer);
            len = line.len();
            place[..len].copy_from_slice(line);
        }
        place[len..].fill(0);
    }
}

/// Entries `step` from one another to one another's side: those of root j from j `stride` on.
fn turn(line: &[u64], step: usize, entries: &mut [u64], stride: usize) {
    if step >= LANES {
        return backend::active().transpose(entries, stride, line, line.len() / step, step);
    }
    for (root, entries) in entries.chunks_exact_mut(stride).enumerate() {
        entries.iter_mut().zip(line[root..].iter().step_by(step)).for_each(|(entry, &x)| *entry = x);
    }
}

/// Four times 16 entries, `stride` from one another.
fn four(entries: &[u64], stride: usize) -> [&[u64; 16]; 4] {
    std::array::from_fn(|i| entries[i * stride..].first_chunk().expect("16 entries"))
}
