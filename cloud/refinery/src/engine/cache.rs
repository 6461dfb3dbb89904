//! Packed rows of blocks that were read last.

use std::collections::{HashMap, HashSet, VecDeque};

use blindsmith_protocol::BlockRef;
use blindsmith_shared::{Arena, Range};
use memmap2::MmapMut;
use rayon::prelude::*;

use super::error::EngineError::{self, Unfit};

/// Bytes of eight packed residues: forms of blocks are whole numbers of them, and allotted by them.
const UNIT: usize = 50;

/// In which form rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Row by row.
    Rows,
    /// Contraction row by contraction row of a weight gradient.
    Columns,
}

/// A form of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub block: BlockRef,
    pub form: Form,
}

/// Forms of blocks in a mapping of its own: unlike what an allocator frees, it goes back to the system with the session,
/// and of what is not used yet nothing is resident.
pub(super) struct Cache {
    memory: Option<MmapMut>,
    arena: Arena,
    held: HashMap<Key, Range>,
    /// In the order in which they came.
    order: VecDeque<Key>,
}

impl Default for Cache {
    fn default() -> Self {
        Cache { memory: None, arena: Arena::new(0), held: HashMap::new(), order: VecDeque::new() }
    }
}

impl Cache {
    /// Reads those of the forms, given with their bytes, that are not there; others make room for them, within `limit`
    /// bytes or what these take.
    ///
    /// # Errors
    /// What `read` says; then nothing is held.
    pub fn hold(
        &mut self,
        limit: usize,
        wanted: &[(Key, usize)],
        read: impl Fn(&Key, &mut [u8]) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let sizes: HashMap<Key, usize> = wanted.iter().copied().collect();
        if sizes.values().any(|size| *size == 0 || !size.is_multiple_of(UNIT)) {
            return Err(Unfit("rows that are not packed"));
        }
        let total: usize = sizes.values().sum();
        if total > self.memory.as_deref().map_or(0, <[u8]>::len) {
            // The old one is gone before the new one comes.
            *self = Cache::default();
            let units = limit.max(total).div_ceil(UNIT);
            self.memory = Some(MmapMut::map_anon(units * UNIT)?);
            self.clear();
        }
        let mut seen = HashSet::new();
        let distinct: Vec<Key> = wanted.iter().map(|(key, _)| *key).filter(|key| seen.insert(*key)).collect();
        let mut missing: Vec<Key> =
            distinct.iter().copied().filter(|key| !self.held.contains_key(key)).collect();
        if !self.make_room(&missing, &sizes) {
            // The free ranges are too small, though together they would do: all of it is read anew.
            self.clear();
            missing = distinct;
            if !self.make_room(&missing, &sizes) {
                return Err(Unfit("more rows than there is room for"));
            }
        }
        let done = self.fill(&missing, read);
        if done.is_err() {
            // What was written is not known.
            self.clear();
        }
        done
    }

    /// Allots ranges to the missing forms; the oldest that are not wanted give way. False if that is not enough.
    fn make_room(&mut self, missing: &[Key], wanted: &HashMap<Key, usize>) -> bool {
        let mut kept = VecDeque::new();
        let room = missing.iter().all(|key| {
            loop {
                if let Some(range) = self.arena.take(wanted[key] / UNIT) {
                    self.held.insert(*key, range);
                    return true;
                }
                let Some(oldest) = self.order.pop_front() else { return false };
                if wanted.contains_key(&oldest) {
                    kept.push_back(oldest);
                } else if let Some(range) = self.held.remove(&oldest) {
                    self.arena.give(range);
                }
            }
        });
        kept.append(&mut self.order);
        self.order = kept;
        room
    }

    /// Reads forms into their ranges.
    fn fill(
        &mut self,
        missing: &[Key],
        read: impl Fn(&Key, &mut [u8]) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let mut places: Vec<(&Key, &Range)> = missing.iter().map(|key| (key, &self.held[key])).collect();
        places.sort_unstable_by_key(|(_, range)| range.start());
        let (mut rest, mut at) = (self.memory.as_deref_mut().unwrap_or_default(), 0);
        let mut reads = Vec::with_capacity(places.len());
        for (key, range) in places {
            let (_, from) = rest.split_at_mut((range.start() - at) * UNIT);
            let (buffer, behind) = from.split_at_mut(range.len() * UNIT);
            reads.push((key, buffer));
            (rest, at) = (behind, range.start() + range.len());
        }
        reads.into_par_iter().try_for_each(|(key, buffer)| read(key, buffer))?;
        self.order.extend(missing);
        Ok(())
    }

    /// Forgets everything; the memory stays.
    fn clear(&mut self) {
        self.held.clear();
        self.order.clear();
        self.arena = Arena::new(self.memory.as_deref().map_or(0, <[u8]>::len) / UNIT);
    }

    /// A form that was read.
    pub fn get(&self, key: &Key) -> Option<&[u8]> {
        let range = self.held.get(key)?;
        self.memory.as_deref()?.get(range.start() * UNIT..(range.start() + range.len()) * UNIT)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u32) -> Key {
        let form = if number.is_multiple_of(2) { Form::Rows } else { Form::Columns };
        Key { block: BlockRef { upload: number / 10, block: number % 10 }, form }
    }

    /// Content that tells forms from each other.
    fn bytes_of(key: &Key, size: usize) -> Vec<u8> {
        let tag = [key.block.upload as u8, key.block.block as u8, key.form as u8];
        tag.into_iter().cycle().take(size).collect()
    }

    fn holds(cache: &Cache, key: &Key, size: usize) -> bool {
        cache.get(key).is_some_and(|bytes| bytes == bytes_of(key, size))
    }

    /// What was read to hold these.
    fn hold(cache: &mut Cache, limit: usize, wanted: &[(Key, usize)]) -> HashSet<Key> {
        let read = Mutex::new(HashSet::new());
        cache
            .hold(limit, wanted, |key, out| {
                out.copy_from_slice(&bytes_of(key, out.len()));
                assert!(read.lock().unwrap().insert(*key), "read twice");
                Ok(())
            })
            .unwrap();
        read.into_inner().unwrap()
    }

    proptest! {
        /// Of one size, beside a plain list of the forms, the newest last.
        #[test]
        fn what_is_wanted_is_there_and_the_oldest_goes_first(
            requests in prop::collection::vec(prop::collection::vec(0..30_u32, 0..12), 1..20),
        ) {
            const SLOTS: usize = 8;
            let (mut cache, mut list, mut capacity) = (Cache::default(), Vec::<Key>::new(), 0);
            for request in requests {
                let wanted: Vec<(Key, usize)> = request.into_iter().map(|n| (key(n), UNIT)).collect();
                let read = hold(&mut cache, SLOTS * UNIT, &wanted);
                let distinct: HashSet<Key> = wanted.iter().map(|(key, _)| *key).collect();
                if distinct.len() > capacity {
                    (list, capacity) = (Vec::new(), distinct.len().max(SLOTS));
                }
                let expected: HashSet<Key> = distinct.iter().copied().filter(|k| !list.contains(k)).collect();
                prop_assert_eq!(&read, &expected);
                while list.len() + read.len() > capacity {
                    let oldest = list.iter().position(|k| !distinct.contains(k)).unwrap();
                    list.remove(oldest);
                }
                list.extend(cache.order.iter().filter(|k| read.contains(*k)));
                prop_assert_eq!(&list, &cache.order.iter().copied().collect::<Vec<_>>());
                for key in (0..30).map(key) {
                    prop_assert_eq!(holds(&cache, &key, UNIT), list.contains(&key));
                }
            }
        }

        /// Of many sizes: what is wanted is there and right, nothing overlaps, the memory stays within what is needed, and of
        /// what is not wanted the newest stay, unless all was read anew.
        #[test]
        fn forms_of_many_sizes_share_the_memory(
            requests in prop::collection::vec(prop::collection::vec(0..30_u32, 1..12), 1..20),
        ) {
            const LIMIT: usize = 40 * UNIT;
            let size = |number: u32| (1 + number as usize * 7 % 13) * UNIT;
            let (mut cache, mut most) = (Cache::default(), LIMIT);
            for request in requests {
                let wanted: Vec<(Key, usize)> = request.iter().map(|&n| (key(n), size(n))).collect();
                let distinct: HashMap<Key, usize> = wanted.iter().copied().collect();
                let before: Vec<Key> = cache.order.iter().copied().collect();
                let read = hold(&mut cache, LIMIT, &wanted);
                most = most.max(distinct.values().sum());
                prop_assert!(wanted.iter().all(|(key, size)| holds(&cache, key, *size)));
                let all: Vec<u32> = (0..30).filter(|&n| cache.get(&key(n)).is_some()).collect();
                prop_assert!(all.iter().all(|&n| holds(&cache, &key(n), size(n))));
                prop_assert!(all.iter().map(|&n| size(n)).sum::<usize>() <= most);
                prop_assert_eq!(all.len(), cache.order.len());
                if read.len() < distinct.len() || before.iter().all(|key| !distinct.contains_key(key)) {
                    let others: Vec<Key> = before.into_iter().filter(|k| !distinct.contains_key(k)).collect();
                    let left: Vec<Key> =
                        cache.order.iter().copied().filter(|k| !distinct.contains_key(k)).collect();
                    prop_assert!(others.ends_with(&left));
                }
            }
        }
    }

    #[test]
    fn ranges_that_are_too_small_are_made_anew() {
        let mut cache = Cache::default();
        let sized = |numbers: &[u32], size: usize| -> Vec<(Key, usize)> {
            numbers.iter().map(|&n| (key(n), size)).collect()
        };
        hold(&mut cache, 4 * UNIT, &sized(&[0, 1, 2, 3], UNIT));
        // Two units are free, but not side by side.
        let wanted = [sized(&[1, 3], UNIT), sized(&[4], 2 * UNIT)].concat();
        assert_eq!(hold(&mut cache, 4 * UNIT, &wanted).len(), 3);
        assert!(wanted.iter().all(|(key, size)| holds(&cache, key, *size)));
    }

    #[test]
    fn what_is_not_packed_is_refused() {
        let mut cache = Cache::default();
        for size in [0, 1, UNIT + 1] {
            assert!(cache.hold(1 << 20, &[(key(0), size)], |_, _| Ok(())).is_err());
        }
    }

    #[test]
    fn nothing_of_a_read_that_failed_is_taken_for_rows() {
        let mut cache = Cache::default();
        let all: Vec<(Key, usize)> = (0..4).map(|n| (key(n), UNIT)).collect();
        hold(&mut cache, 4 * UNIT, &all);
        let half_read = |key: &Key, out: &mut [u8]| match key.block.block {
            6 => {
                out[0] = 99;
                Err(Unfit("a damaged disk"))
            }
            _ => {
                out.copy_from_slice(&bytes_of(key, UNIT));
                Ok(())
            }
        };
        let next: Vec<(Key, usize)> = (3..7).map(|n| (key(n), UNIT)).collect();
        assert!(cache.hold(4 * UNIT, &next, half_read).is_err());
        assert!((0..7).all(|n| cache.get(&key(n)).is_none()));
        hold(&mut cache, 4 * UNIT, &next);
        assert!(next.iter().all(|(key, _)| holds(&cache, key, UNIT)));
    }
}
