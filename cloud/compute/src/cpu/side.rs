//! One operand of a product as the loops see it: outer indices and a contraction.

use std::ops::Range;

use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES};

use super::kernel::Kernel;
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

    /// Copies a run of `count` outer indices into a panel `[step][outer]`, zeros up to an even number of
    /// steps.
    pub fn pack<K: Kernel>(&self, kernel: K, run: Run, outer: usize, count: usize, panel: &mut [Lanes]) {
        let (used, rest) = panel.split_at_mut(run.len * count);
        rest.fill(Lanes::default());
        if self.across {
            for (step, panel) in (run.start..).zip(used.chunks_exact_mut(count)) {
                let (group, k) = (run.group + step / self.strips.len(), step % self.strips.len());
                copy(kernel, &self.strips[k], group * self.length + outer, count, panel, 1);
            }
        } else {
            for (i, strip) in self.strips[outer..outer + count].iter().enumerate() {
                copy(kernel, strip, run.group * self.length + run.start, run.len, &mut used[i..], count);
            }
        }
    }

    /// The pieces of memory in which a run of some outer indices lies.
    pub fn pieces(&self, run: Run, outer: &Range<usize>) -> usize {
        if self.across { run.len } else { outer.len() }
    }

    /// One of [`Side::pieces`].
    pub fn piece(&self, run: Run, outer: &Range<usize>, index: usize) -> &'a [u8] {
        let (strip, first, len) = if self.across {
            let step = run.start + index;
            let (group, k) = (run.group + step / self.strips.len(), step % self.strips.len());
            (k, group * self.length + outer.start, outer.len())
        } else {
            (outer.start + index, run.group * self.length + run.start, run.len)
        };
        match self.strips[strip] {
            Strip::Lanes(lanes) => bytemuck::cast_slice(&lanes[first..first + len]),
            Strip::Packed(bytes) => {
                &bytes[first * PACKED_BYTES_PER_LANES..(first + len) * PACKED_BYTES_PER_LANES]
            }
        }
    }

    /// [`Side::pack`] of the mask, if there is one.
    pub fn pack_mask<K: Kernel>(&self, kernel: K, run: Run, panel: &mut [Lanes]) {
        if let Some(mask) = &self.mask {
            let side = Side { strips: std::slice::from_ref(mask), mask: None, ..*self };
            side.pack(kernel, run, 0, 1, panel);
        }
    }
}

/// Copies `len` polynomials' groups, from the `first` on, to every `stride`-th place of `dst`.
fn copy<K: Kernel>(kernel: K, strip: &Strip<'_>, first: usize, len: usize, dst: &mut [Lanes], stride: usize) {
    match strip {
        Strip::Lanes(lanes) => kernel.load(dst, stride, &lanes[first..first + len]),
        Strip::Packed(bytes) => {
            let range = first * PACKED_BYTES_PER_LANES..(first + len) * PACKED_BYTES_PER_LANES;
            kernel.unpack(dst, stride, &bytes[range]);
        }
    }
}
