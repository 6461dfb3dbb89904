//! One operand of a product as the loops see it: outer indices and a contraction.

use std::ops::Range;

use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES};

use super::kernel::Kernel;
use super::plan::part;
use crate::operand::in_pieces;
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
        let whole = outer.end - outer.len() % width;
        let (panels, last) = out[..outer.len() * depth].split_at_mut((whole - outer.start) * depth);
        for (outer, width, out) in
            [(outer.start..whole, width, panels), (whole..outer.end, outer.end - whole, last)]
        {
            if !outer.is_empty() {
                self.pack_panels(kernel, run, outer, width, depth, out);
            }
        }
    }

    fn pack_panels<K: Kernel>(
        &self,
        kernel: K,
        run: Run,
        outer: Range<usize>,
        width: usize,
        depth: usize,
        out: &mut [Lanes],
    ) {
        let panel = width * depth;
        if self.across {
            for (step, (strip, group)) in self.steps(run).enumerate() {
                let (from, out) = (group * self.length + outer.start, &mut out[step * width..]);
                copy(kernel, (strip, self.length), from, outer.len(), out, width, panel);
            }
        } else {
            for (i, strip) in self.strips[outer].iter().enumerate() {
                let from = run.group * self.length + run.start;
                let out = &mut out[i / width * panel + i % width..];
                copy(kernel, (strip, self.length), from, run.len, out, 1, width);
            }
        }
        out.chunks_exact_mut(panel).for_each(|panel| panel[run.len * width..].fill(Lanes::default()));
    }

    /// Across strips, the strip and the group of each step.
    fn steps(&self, run: Run) -> impl Iterator<Item = (&'a Strip<'a>, usize)> {
        let (strips, group) = (self.strips, run.group + run.start / self.strips.len());
        let later = (group + 1..).flat_map(move |group| strips.iter().map(move |strip| (strip, group)));
        let first = strips[run.start % strips.len()..].iter().map(move |strip| (strip, group));
        first.chain(later).take(run.len)
    }

    /// [`Side::pack`] of the mask, if there is one.
    pub fn pack_mask<K: Kernel>(&self, kernel: K, run: Run, depth: usize, panel: &mut [Lanes]) {
        if let Some(mask) = &self.mask {
            let side = Side { strips: std::slice::from_ref(mask), mask: None, ..*self };
            side.pack(kernel, run, &(0..1), 1, depth, panel);
        }
    }

    /// The memory of the `index`-th of `shares` parts of a run of outer indices.
    pub fn share(&self, run: Run, outer: &Range<usize>, index: usize, shares: usize) -> Pieces<'a> {
        if self.across {
            let steps = part(run.len, shares, index);
            self.pieces(Run { start: run.start + steps.start, len: steps.len(), ..run }, outer.clone())
        } else {
            let part = part(outer.len(), shares, index);
            self.pieces(run, outer.start + part.start..outer.start + part.end)
        }
    }

    /// The memory of a run of outer indices.
    pub fn pieces(&self, run: Run, outer: Range<usize>) -> Pieces<'a> {
        let (strip, group, left) = if self.across {
            (run.start % self.strips.len(), run.group + run.start / self.strips.len(), run.len)
        } else {
            (outer.start, run.group, outer.len())
        };
        Pieces { side: *self, run, outer, strip, group, left, rest: 0..0, last: 0 }
    }
}

/// The pieces of memory in which a run of some outer indices lies.
pub(super) struct Pieces<'a> {
    side: Side<'a>,
    run: Run,
    outer: Range<usize>,
    /// The next piece, and how many are left.
    strip: usize,
    group: usize,
    left: usize,
    /// What is left of a piece that lies in several places, and its strip.
    rest: Range<usize>,
    last: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if let (false, Strip::Pieces(lanes)) = (self.rest.is_empty(), &self.side.strips[self.last]) {
            return Some(self.next_place(lanes));
        }
        self.left = self.left.checked_sub(1)?;
        self.last = self.strip;
        let (strip, first) = (&self.side.strips[self.strip], self.group * self.side.length);
        self.strip += 1;
        let (first, len) = if self.side.across {
            if self.strip == self.side.strips.len() {
                (self.strip, self.group) = (0, self.group + 1);
            }
            (first + self.outer.start, self.outer.len())
        } else {
            (first + self.run.start, self.run.len)
        };
        Some(match strip {
            Strip::Lanes(lanes) => bytemuck::cast_slice(&lanes[first..first + len]),
            Strip::Pieces(lanes) => {
                self.rest = first..first + len;
                self.next_place(lanes)
            }
            Strip::Packed(bytes) => {
                &bytes[first * PACKED_BYTES_PER_LANES..(first + len) * PACKED_BYTES_PER_LANES]
            }
        })
    }
}

impl<'a> Pieces<'a> {
    /// The next stretch of `rest` that lies in one place.
    fn next_place(&mut self, lanes: &'a [Lanes]) -> &'a [u8] {
        let length = self.side.length;
        let (k, group) = (self.rest.start % length, self.rest.start / length);
        let (at, count) = in_pieces(k, length, group, lanes.len() / length);
        let count = count.min(self.rest.len());
        self.rest.start += count;
        bytemuck::cast_slice(&lanes[at..at + count])
    }
}

/// Copies `len` polynomials' groups, from the `first` on, as [`Kernel::load`] spreads them.
fn copy<K: Kernel>(
    kernel: K,
    (strip, length): (&Strip<'_>, usize),
    first: usize,
    len: usize,
    dst: &mut [Lanes],
    width: usize,
    stride: usize,
) {
    match strip {
        Strip::Pieces(lanes) => {
            let groups = lanes.len() / length;
            let mut done = 0;
            while done < len {
                let (k, group) = ((first + done) % length, (first + done) / length);
                let (at, count) = in_pieces(k, length, group, groups);
                // Panels begin at multiples of their width.
                let to_panel = width - done % width;
                let count = count.min(len - done);
                let count = if to_panel == width { count } else { count.min(to_panel) };
                let to = &mut dst[done / width * stride + done % width..];
                kernel.load(
                    to,
                    if to_panel == width { width } else { count },
                    stride,
                    &lanes[at..at + count],
                );
                done += count;
            }
        }
        Strip::Lanes(lanes) => kernel.load(dst, width, stride, &lanes[first..first + len]),
        Strip::Packed(bytes) => {
            let range = first * PACKED_BYTES_PER_LANES..(first + len) * PACKED_BYTES_PER_LANES;
            kernel.unpack(dst, width, stride, &bytes[range]);
        }
    }
}
