//! Shared memory on the warden's side: where its operands lie, and what may be used again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use blindsmith_shared::{Arena, Range, Region, SharedError};

use crate::lock::lock;

/// Groups of eight residues for operands: 64 GiB, of which only what is used is ever taken.
const OPERANDS: usize = 1 << 30;
/// Groups of eight residues for products.
const PRODUCTS: usize = 1 << 29;
/// Residues of a product from which on memory counts more than the time to take pages in and out.
const LARGE: usize = 1 << 22;

/// The two regions that a warden shares with its refinery.
pub(crate) struct Transport {
    operands: Region,
    products: Region,
    state: Mutex<State>,
}

struct State {
    arena: Arena,
    held: HashMap<u32, Arc<Range>>,
    /// Ranges that the refinery may still read until so many products were received.
    leaving: Vec<(u64, Vec<Range>)>,
}

impl Transport {
    /// New regions.
    pub fn new() -> Result<Self, SharedError> {
        let (operands, products) = (Region::create(OPERANDS)?, Region::create(PRODUCTS)?);
        let state = State { arena: Arena::new(OPERANDS), held: HashMap::new(), leaving: Vec::new() };
        Ok(Transport { operands, products, state: Mutex::new(state) })
    }

    /// What the refinery must map: operands, then products.
    pub fn descriptors(&self) -> [rustix::fd::BorrowedFd<'_>; 2] {
        [self.operands.descriptor(), self.products.descriptor()]
    }

    /// Room for an operand of so many groups of eight residues; the group in which it begins, if there is any.
    pub fn begin(&self, operand: u32, groups: usize) -> Option<u64> {
        let mut state = lock(&self.state);
        let range = state.arena.take(Some(groups).filter(|n| *n > 0)?)?;
        let at = range.start() as u64;
        state.held.insert(operand, Arc::new(range));
        Some(at)
    }

    /// Writes residues to their place in an operand, which begins at group `at` of it; false if the operand is not here.
    pub fn write(&self, operand: u32, at: usize, residues: &[u64]) -> Result<bool, SharedError> {
        let place = lock(&self.state).held.get(&operand).cloned();
        match place {
            None => Ok(false),
            Some(range) => self.operands.write(&range, at, residues).map(|()| true),
        }
    }

    /// Gives an operand's room up once `requested` products were received: until then the refinery may be
    /// reading it.
    pub fn free(&self, operand: u32, requested: u64) {
        let mut state = lock(&self.state);
        if let Some(operand) = state.held.remove(&operand) {
            // Whoever is writing is done before its operand is freed.
            let ranges = Arc::into_inner(operand).into_iter().collect();
            state.leaving.push((requested, ranges));
        }
    }

    /// So many products were received.
    pub fn received(&self, received: u64) {
        let mut state = lock(&self.state);
        let (gone, kept) = std::mem::take(&mut state.leaving).into_iter().partition(|(r, _)| *r <= received);
        state.leaving = kept;
        let gone: Vec<(u64, Vec<Range>)> = gone;
        gone.into_iter().flat_map(|(_, ranges)| ranges).for_each(|range| state.arena.give(range));
    }

    /// Forgets all operands: a command ended.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        state.held.clear();
        state.leaving.clear();
        state.arena = Arena::new(OPERANDS);
    }

    /// Lets go of the pages of a large product that was copied: they are the refinery's. Of a small one they stay, for the
    /// next one that comes there.
    pub fn release(&self, start: usize, count: usize) {
        if count >= LARGE {
            // Where it fails they stay as well.
            _ = self.products.release(start, count);
        }
    }

    /// Copies residues of products, from an index on.
    pub fn copy(&self, start: usize, out: &mut [u64]) -> Result<(), SharedError> {
        self.products.read(start, out)
    }
}
