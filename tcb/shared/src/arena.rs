//! Allotment of ranges of a region: first fit, merged when given back.

/// A range of a region, in groups of eight residues. Whoever holds it may write there.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Range {
    /// Where it begins.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The free ranges of a region.
#[derive(Debug)]
pub struct Arena {
    /// (start, len), ascending, not adjacent.
    free: Vec<(usize, usize)>,
}

impl Arena {
    /// All of a region of `len` groups.
    pub fn new(len: usize) -> Self {
        Arena { free: vec![(0, len)] }
    }

    /// The first free range of `len`, if there is one.
    pub fn take(&mut self, len: usize) -> Option<Range> {
        let at = self.free.iter().position(|(_, free)| *free >= len)?;
        let (start, free) = self.free[at];
        match free == len {
            true => drop(self.free.remove(at)),
            false => self.free[at] = (start + len, free - len),
        }
        Some(Range { start, len })
    }

    /// Gives a range back.
    pub fn give(&mut self, range: Range) {
        let at = self.free.partition_point(|(start, _)| *start < range.start);
        self.free.insert(at, (range.start, range.len));
        if self.free.get(at + 1).is_some_and(|(next, _)| *next == range.start + range.len) {
            self.free[at].1 += self.free.remove(at + 1).1;
        }
        if at > 0 && self.free[at - 1].0 + self.free[at - 1].1 == self.free[at].0 {
            self.free[at - 1].1 += self.free.remove(at).1;
        }
    }
}
