//! Fetching what is packed next while this is multiplied.

use std::ops::Range;

use super::side::{Run, Side};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Memory that will be wanted soon, asked for line by line and evenly over the steps of a loop: processors
/// drop requests that come all at once, or wait for them.
pub(crate) struct Ahead<'a> {
    rest: &'a [u8],
    lines: usize,
    steps: usize,
    due: usize,
    parts: [Part<'a>; 2],
    part: usize,
    piece: usize,
}

/// A run of some outer indices of one side.
pub(super) struct Part<'a> {
    pub side: Side<'a>,
    pub outer: Range<usize>,
    pub run: Run,
}

impl<'a> Ahead<'a> {
    /// The memory of `parts`, to be asked for in so many steps.
    pub(super) fn new(parts: [Part<'a>; 2], steps: usize) -> Self {
        let lines = |Part { side, outer, run }: &Part<'a>| {
            let pieces = side.pieces(*run, outer);
            (0..pieces.min(1)).map(|i| side.piece(*run, outer, i).len()).sum::<usize>() * pieces / LINE
                + pieces
        };
        let lines = parts.iter().map(lines).sum();
        Ahead { rest: &[], lines, steps, due: 0, parts, part: 0, piece: 0 }
    }

    /// One step.
    #[inline(always)]
    pub(super) fn step(&mut self) {
        self.due += self.lines;
        while self.due >= self.steps {
            self.due -= self.steps;
            match self.rest {
                [byte, ..] => {
                    prefetch(byte);
                    self.rest = self.rest.get(LINE..).unwrap_or_default();
                }
                [] => self.next_piece(),
            }
        }
    }

    #[cold]
    fn next_piece(&mut self) {
        while let (Some(Part { side, outer, run }), []) = (self.parts.get(self.part), self.rest) {
            if self.piece < side.pieces(*run, outer) {
                self.rest = side.piece(*run, outer, self.piece);
                self.piece += 1;
            } else {
                (self.part, self.piece) = (self.part + 1, 0);
            }
        }
        if let [byte, ..] = self.rest {
            prefetch(byte);
            // From here on line by line: packed pieces begin anywhere.
            let to_next = LINE - std::ptr::from_ref(byte).addr() % LINE;
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
