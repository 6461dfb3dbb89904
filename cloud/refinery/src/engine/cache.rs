//! Packed row blocks that were read last.

use std::collections::{HashMap, HashSet, VecDeque};

use blindsmith_compute::Strip;
use blindsmith_protocol::BlockRef;
use memmap2::MmapMut;
use rayon::prelude::*;

use super::EngineError::{self, Unfit};

/// Row blocks of one size, in slots of a mapping of its own: unlike what an allocator frees, it goes back to the system with
/// the session, and of what is not used yet nothing is resident.
#[derive(Default)]
pub(super) struct Cache {
    slots: Option<MmapMut>,
    /// Where each block is; the slots in use are the first ones.
    held: HashMap<BlockRef, usize>,
    /// In the order in which they came.
    order: VecDeque<BlockRef>,
}

impl Cache {
    /// Reads those of the blocks, of `size` bytes each, that are not there; others make room for them, within `limit` bytes
    /// or what these take. Both are the same throughout a session.
    pub fn hold(
        &mut self,
        limit: usize,
        blocks: &[BlockRef],
        size: usize,
        read: impl Fn(&BlockRef, &mut [u8]) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let wanted: HashSet<BlockRef> = blocks.iter().copied().collect();
        if wanted.len() * size > self.slots().len() {
            // The old one is gone before the new one comes.
            *self = Cache::default();
            let capacity = (limit / size).max(wanted.len());
            self.slots = Some(MmapMut::map_anon(capacity * size)?);
        }
        let missing: Vec<BlockRef> =
            wanted.iter().copied().filter(|block| !self.held.contains_key(block)).collect();
        let used = self.held.len();
        let unused = self.slots().len() / size - used;
        let mut free = self.evict(missing.len().saturating_sub(unused), &wanted);
        free.extend(used..used + missing.len() - free.len());
        free.sort_unstable();
        let places: Vec<(BlockRef, usize)> = missing.into_iter().zip(free).collect();
        let mut reads = Vec::with_capacity(places.len());
        let (mut rest, mut at) = (self.slots.as_deref_mut().unwrap_or_default(), 0);
        for (block, slot) in &places {
            let (buffer, behind) = rest.split_at_mut((slot - at) * size).1.split_at_mut(size);
            reads.push((block, buffer));
            (rest, at) = (behind, slot + 1);
        }
        if let Err(e) = reads.into_par_iter().try_for_each(|(block, buffer)| read(block, buffer)) {
            // Which slots were written is not known.
            self.held.clear();
            self.order.clear();
            return Err(e);
        }
        self.order.extend(places.iter().map(|(block, _)| block));
        self.held.extend(places);
        Ok(())
    }

    fn slots(&self) -> &[u8] {
        self.slots.as_deref().unwrap_or_default()
    }

    /// Forgets the oldest blocks, of those that are not wanted; their slots.
    fn evict(&mut self, count: usize, wanted: &HashSet<BlockRef>) -> Vec<usize> {
        let (mut free, mut kept) = (Vec::with_capacity(count), VecDeque::new());
        while free.len() < count {
            let Some(oldest) = self.order.pop_front() else { break };
            if wanted.contains(&oldest) {
                kept.push_back(oldest);
            } else {
                free.extend(self.held.remove(&oldest));
            }
        }
        kept.append(&mut self.order);
        self.order = kept;
        free
    }

    /// Those blocks, of `size` bytes each, which must have been read.
    pub fn strips(&self, blocks: &[BlockRef], size: usize) -> Result<Vec<Strip<'_>>, EngineError> {
        let strip = |block| {
            let start = self.held.get(block)? * size;
            self.slots().get(start..start + size).map(Strip::Packed)
        };
        blocks.iter().map(strip).collect::<Option<_>>().ok_or(Unfit("a row block that was not read"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 3;

    fn block(number: u32) -> BlockRef {
        BlockRef { upload: number / 10, block: number % 10 }
    }

    fn bytes_of(block: &BlockRef) -> [u8; SIZE] {
        [block.upload as u8, block.block as u8, 7]
    }

    fn holds(cache: &Cache, block: &BlockRef) -> bool {
        match cache.strips(&[*block], SIZE).as_deref() {
            Ok([Strip::Packed(bytes)]) => *bytes == bytes_of(block),
            _ => false,
        }
    }

    proptest! {
        /// Beside a plain list of the blocks, the newest last.
        #[test]
        fn what_is_wanted_is_there_and_the_oldest_goes_first(
            requests in prop::collection::vec(prop::collection::vec(0..30_u32, 0..12), 1..20),
        ) {
            const SLOTS: usize = 8;
            let (mut cache, mut list, mut capacity) = (Cache::default(), Vec::<BlockRef>::new(), 0);
            for request in requests {
                let wanted: Vec<BlockRef> = request.into_iter().map(block).collect();
                let read = Mutex::new(HashSet::new());
                cache
                    .hold(SLOTS * SIZE, &wanted, SIZE, |block, out| {
                        out.copy_from_slice(&bytes_of(block));
                        assert!(read.lock().unwrap().insert(*block), "read twice");
                        Ok(())
                    })
                    .unwrap();
                let distinct: HashSet<BlockRef> = wanted.iter().copied().collect();
                if distinct.len() > capacity {
                    (list, capacity) = (Vec::new(), distinct.len().max(SLOTS));
                }
                let read = read.into_inner().unwrap();
                let expected: HashSet<BlockRef> =
                    distinct.iter().copied().filter(|b| !list.contains(b)).collect();
                prop_assert_eq!(&read, &expected);
                while list.len() + read.len() > capacity {
                    let oldest = list.iter().position(|b| !distinct.contains(b)).unwrap();
                    list.remove(oldest);
                }
                // In whichever order they were read: what came at once is of one age.
                list.extend(cache.order.iter().filter(|b| read.contains(*b)));
                prop_assert_eq!(&list, &cache.order.iter().copied().collect::<Vec<_>>());
                for block in (0..30).map(block) {
                    prop_assert_eq!(holds(&cache, &block), list.contains(&block));
                }
                prop_assert!(cache.strips(&wanted, SIZE).unwrap().len() == wanted.len());
            }
        }
    }

    #[test]
    fn nothing_of_a_read_that_failed_is_taken_for_rows() {
        let mut cache = Cache::default();
        let good = |block: &BlockRef, out: &mut [u8]| {
            out.copy_from_slice(&bytes_of(block));
            Ok(())
        };
        let all: Vec<BlockRef> = (0..4).map(block).collect();
        cache.hold(4 * SIZE, &all, SIZE, good).unwrap();
        let half_read = |block: &BlockRef, out: &mut [u8]| match block.block {
            6 => {
                out[0] = 99;
                Err(Unfit("a damaged disk"))
            }
            _ => good(block, out),
        };
        let next: Vec<BlockRef> = (2..6).chain([6]).map(block).collect();
        assert!(cache.hold(4 * SIZE, &next[1..], SIZE, half_read).is_err());
        assert!((0..7).map(block).all(|b| !holds(&cache, &b)));
        cache.hold(4 * SIZE, &next[1..], SIZE, good).unwrap();
        assert!(next[1..].iter().all(|b| holds(&cache, b)));
    }
}
