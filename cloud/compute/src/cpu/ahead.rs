//! Fetching what is packed next while this is multiplied.

use super::side::Pieces;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Memory that will be wanted soon, asked for evenly over the steps of a loop: processors drop requests that
/// come all at once, or wait for them.
pub(crate) struct Ahead<'a> {
    pieces: [Pieces<'a>; 2],
    rest: &'a [u8],
    /// Cache lines for each step and those due, in units of 2^-16.
    rate: usize,
    due: usize,
}

impl<'a> Ahead<'a> {
    /// The memory of `pieces`, to be asked for in so many steps.
    pub(super) fn new(pieces: [Pieces<'a>; 2], steps: usize) -> Self {
        let lines: usize = pieces.iter().map(Pieces::lines).sum();
        Ahead { pieces, rest: &[], rate: (lines << 16).div_ceil(steps), due: 0 }
    }

    /// So many steps.
    #[inline]
    pub(super) fn advance(&mut self, steps: usize) {
        self.due += steps * self.rate;
        while self.due >= 1 << 16 {
            let [first, ..] = self.rest else {
                let [rows, cols] = &mut self.pieces;
                match rows.next().or_else(|| cols.next()) {
                    Some(piece) => self.rest = piece,
                    None => return,
                }
                continue;
            };
            prefetch(first);
            self.due -= 1 << 16;
            // From here on line by line: packed pieces begin anywhere.
            let to_next = LINE - std::ptr::from_ref(first).addr() % LINE;
            self.rest = self.rest.get(to_next..).unwrap_or_default();
        }
    }
}

/// Asks for the cache line of a value.
#[inline(always)]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
