//! One operand of a product as the loops see it: outer indices and a contraction.

use std::ops::Range;

use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES};

use super::kernel::Kernel;
use super::plan::part;
use crate::{Operand, Strip};

/// An operand whose outer index runs over strips or, `across` them, over positions in a strip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub strips: &'a [Strip<'a>],
    pub mask: Option<Strip<'a>>,
    pub length: usize,
    pub across: bool,
}

/// A piece of the contraction: `len` steps from `start` on, counted from the first polynomial of group
/// `group` through this and the following groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub group: usize,
    pub start: usize,
    pub len: usize,
}

impl<'a> Side<'a> {
    pub fn new(x: &Operand<'a>, across: bool) -> Self {
        Side { strips: x.strips, mask: x.mask, length: x.length, across }
    }

    /// Outer indices, the mask not counted.
    pub fn outer(&self) -> usize {
        if self.across { self.length } else { self.strips.len() }
    }

    /// The length of the contraction at one point.
    pub fn contraction(&self) -> usize {
        if self.across { self.strips.len() } else { self.length }
    }

    /// Copies a run of `outer` indices into panels of `width` of them (the last may have fewer), panel after
    /// panel, each `[step][outer]` with zeros up to `depth` steps.
    pub fn pack<K: Kernel>(
        &self,
        kernel: K,
        run: Run,
        outer: &Range<usize>,
        width: usize,
        depth: usize,
        out: &mut [Lanes],
    ) {
        let (whole, last) = (outer.len() / width, outer.len() % width);
        let (panels, last_panel) = out[..outer.len() * depth].split_at_mut(whole * width * depth);
        self.pack_panels(kernel, run, outer.start, whole * width, width, depth, panels);
        self.pack_panels(kernel, run, outer.start + whole * width, last, last, depth, last_panel);
    }

    #[allow(clippy::too_many_arguments)]
    fn pack_panels<K: Kernel>(
        &self,
        kernel: K,
        run: Run,
        first: usize,
        count: usize,
        width: usize,
        depth: usize,
        out: &mut [Lanes],
    ) {
        if count == 0 {
            return;
        }
        let panel = width * depth;
        if self.across {
            for step in 0..run.len {
                let (strip, group) = self.at(run, step);
                copy(
                    kernel,
                    strip,
                    group * self.length + first,
                    count,
                    &mut out[step * width..],
                    width,
                    panel,
                );
            }
        } else {
            for (i, strip) in self.strips[first..first + count].iter().enumerate() {
                let from = run.group * self.length + run.start;
                let out = &mut out[i / width * panel + i % width..];
                copy(kernel, strip, from, run.len, out, 1, width);
            }
        }
        out.chunks_exact_mut(panel).for_each(|panel| panel[run.len * width..].fill(Lanes::default()));
    }

    /// Across strips, the strip and the group of a step.
    fn at(&self, run: Run, step: usize) -> (&Strip<'a>, usize) {
        let step = run.start + step;
        (&self.strips[step % self.strips.len()], run.group + step / self.strips.len())
    }

    /// [`Side::pack`] of the mask, if there is one.
    pub fn pack_mask<K: Kernel>(&self, kernel: K, run: Run, depth: usize, panel: &mut [Lanes]) {
        if let Some(mask) = &self.mask {
            let side = Side { strips: std::slice::from_ref(mask), mask: None, ..*self };
            side.pack(kernel, run, &(0..1), 1, depth, panel);
        }
    }

    /// The `index`-th of `shares` parts of a run of outer indices, each in few pieces of memory.
    pub fn share(&self, run: Run, outer: &Range<usize>, index: usize, shares: usize) -> (Run, Range<usize>) {
        if self.across {
            let steps = part(run.len, shares, index);
            (Run { start: run.start + steps.start, len: steps.len(), ..run }, outer.clone())
        } else {
            let part = part(outer.len(), shares, index);
            (run, outer.start + part.start..outer.start + part.end)
        }
    }

    /// The pieces of memory in which a run of some outer indices lies.
    pub fn pieces(&self, run: Run, outer: &Range<usize>) -> usize {
        if self.across { run.len } else { outer.len() }
    }

    /// One of [`Side::pieces`].
    pub fn piece(&self, run: Run, outer: &Range<usize>, index: usize) -> &'a [u8] {
        let (strip, first, len) = if self.across {
            let (strip, group) = self.at(run, index);
            (strip, group * self.length + outer.start, outer.len())
        } else {
            (&self.strips[outer.start + index], run.group * self.length + run.start, run.len)
        };
        match strip {
            Strip::Lanes(lanes) => bytemuck::cast_slice(&lanes[first..first + len]),
            Strip::Packed(bytes) => {
                &bytes[first * PACKED_BYTES_PER_LANES..(first + len) * PACKED_BYTES_PER_LANES]
            }
        }
    }
}

/// Copies `len` polynomials' groups, from the `first` on, as [`Kernel::load`] spreads them.
fn copy<K: Kernel>(
    kernel: K,
    strip: &Strip<'_>,
    first: usize,
    len: usize,
    dst: &mut [Lanes],
    width: usize,
    stride: usize,
) {
    match strip {
        Strip::Lanes(lanes) => kernel.load(dst, width, stride, &lanes[first..first + len]),
        Strip::Packed(bytes) => {
            let range = first * PACKED_BYTES_PER_LANES..(first + len) * PACKED_BYTES_PER_LANES;
            kernel.unpack(dst, width, stride, &bytes[range]);
        }
    }
}
