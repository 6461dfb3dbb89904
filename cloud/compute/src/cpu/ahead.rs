//! Fetching what is packed next while this is multiplied.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Memory that will be wanted soon, asked for evenly over the steps of a loop: processors drop requests that
/// come all at once, or wait for them.
pub(crate) struct Ahead<'a> {
    pieces: std::slice::Iter<'a, &'a [u8]>,
    rest: &'a [u8],
    /// Cache lines for each step and those due, in units of 2^-16.
    rate: usize,
    due: usize,
}

impl<'a> Ahead<'a> {
    /// The memory of `pieces`, to be asked for in so many steps.
    pub(super) fn new(pieces: &'a [&'a [u8]], steps: usize) -> Self {
        let lines: usize = pieces.iter().map(|piece| piece.len() / LINE + 1).sum();
        Ahead { pieces: pieces.iter(), rest: &[], rate: (lines << 16).div_ceil(steps), due: 0 }
    }

    /// So many steps. Nothing is called here, for a call would spill the registers of the loop around it.
    #[inline(always)]
    pub(super) fn advance(&mut self, steps: usize) {
        self.due += steps * self.rate;
        while self.due >= 1 << 16 {
            if self.rest.is_empty() {
                match self.pieces.next() {
                    Some(piece) => self.rest = piece,
                    None => return,
                }
            }
            if let Some(byte) = self.rest.first() {
                prefetch(byte);
                // From here on line by line: packed pieces begin anywhere.
                let to_next = LINE - std::ptr::from_ref(byte).addr() % LINE;
                self.rest = self.rest.get(to_next..).unwrap_or_default();
            }
            self.due -= 1 << 16;
        }
    }
}

/// Asks for the cache line of a value that will be overwritten.
#[inline(always)]
pub(super) fn prefetch_write<T>(value: &mut T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch writes nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_mut(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
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
