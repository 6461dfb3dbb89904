//! The memory that a warden shares: operands come in one region, products go in the other.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use blindsmith_protocol::FrameError;
use blindsmith_shared::{Arena, Range, Region};

/// Both regions.
pub(super) struct Memory {
    pub operands: Arc<Region>,
    pub products: Region,
    arena: Arena,
    /// Products that the warden has not said it received, by their tickets, and where they are.
    sent: VecDeque<(u64, Range)>,
}

impl Memory {
    pub fn map(descriptors: Vec<OwnedFd>) -> Result<Self, FrameError> {
        let refused = |_| FrameError::Unexpected("shared memory that cannot be used");
        let [operands, products] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| FrameError::Unexpected("two regions are due"))?;
        let operands = Arc::new(Region::map(operands).map_err(refused)?);
        let products = Region::map(products).map_err(refused)?;
        let arena = Arena::new(products.len());
        Ok(Memory { operands, products, arena, sent: VecDeque::new() })
    }

    /// Room for a product, after what the warden received is free again.
    pub fn room(&mut self, received: u64, len: usize) -> Option<Range> {
        while let Some((_, range)) = self.sent.pop_front_if(|(ticket, _)| *ticket < received) {
            self.arena.give(range);
        }
        self.arena.take(len)
    }

    /// The product of this ticket is there.
    pub fn keep(&mut self, ticket: u64, range: Range) {
        self.sent.push_back((ticket, range));
    }
}
