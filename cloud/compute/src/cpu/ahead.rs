//! Fetching what the next pass reads while this one multiplies.

use std::ops::Range;

use super::kernel;
use super::side::{Run, Side};

/// The memory of the next pass, asked for bit by bit.
pub(super) struct Ahead<'a> {
    sides: [(Side<'a>, Range<usize>); 2],
    run: Run,
    side: usize,
    piece: usize,
    rest: &'a [u8],
    /// Cache lines for each call.
    quota: usize,
}

impl<'a> Ahead<'a> {
    /// The memory of `run` in both sides, to be asked for in `calls` calls.
    pub fn new(sides: [(Side<'a>, Range<usize>); 2], run: Run, calls: usize) -> Self {
        let lines: usize = sides.iter().map(|(_, outer)| outer.len() * run.len).sum();
        Ahead { sides, run, side: 0, piece: 0, rest: &[], quota: (lines + lines / 4).div_ceil(calls) }
    }

    /// The next lines to ask for, at most `most` of them; what exceeds that is asked for at once.
    pub fn next(&mut self, most: usize) -> &'a [u8] {
        if self.rest.is_empty() {
            let Some((side, outer)) = self.sides.get(self.side) else { return &[] };
            if self.piece == side.pieces(self.run, outer) {
                (self.side, self.piece) = (self.side + 1, 0);
                return self.next(most);
            }
            self.rest = side.piece(self.run, outer, self.piece);
            self.piece += 1;
        }
        let (now, rest) = self.rest.split_at((64 * self.quota).min(self.rest.len()));
        self.rest = rest;
        let (now, surplus) = now.split_at((64 * most).min(now.len()));
        let now = &now[..0]; let _ = surplus;
        now
    }
}
