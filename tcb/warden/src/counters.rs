//! What must not be rolled back with a sealed state: how far each project is, and what was tried.
//!
//! A sealed state is as old as whoever keeps it likes. A [`Counters`] store remembers, for each project, the
//! newest round that its refinery acknowledged, and counts attempts, wrong answers and answered rows. Where
//! hardware or a witness service keeps monotonic counters, they stand behind the same trait. [`FileCounters`] is
//! for development: whoever can put an old file in its place rolls it back, and only the owner's chain of
//! receipts shows it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use blindsmith_keys::Key;
use blindsmith_protocol::{Id, from_cbor, to_cbor};
use serde::{Deserialize, Serialize};

use crate::keep::replace_file;
use crate::lock::lock;

/// How far a project is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counter {
    /// The newest round that is stored for good.
    pub round: u64,
    /// The digest of its receipt.
    #[serde(with = "serde_bytes")]
    pub receipt: [u8; 32],
    /// Attempts begun at the next round.
    pub attempts: u32,
    /// The digest of the next round's receipt, if the last attempt ended in one that was not acknowledged yet; zero
    /// otherwise.
    #[serde(with = "serde_bytes")]
    pub produced: [u8; 32],
    /// The wrong answers that it names.
    pub reported: u32,
    /// Wrong answers of the refinery since that receipt.
    pub faults: u32,
    /// What each querier asked.
    #[serde(default)]
    pub queriers: BTreeMap<Id, Asked>,
    /// The number of the owner's newest order.
    pub orders: u64,
    /// The digest of all orders up to that one.
    #[serde(default, with = "serde_bytes")]
    pub orders_digest: [u8; 32],
    /// How often the project was handed over in its life.
    #[serde(default)]
    pub transfers: u64,
    /// The key of the warden to which the project was handed over; zero if to none.
    #[serde(default, with = "serde_bytes")]
    pub successor: [u8; 32],
}

impl Counter {
    /// Of a project of which the newest receipt is this, without anything tried since.
    pub fn at(round: u64, receipt: [u8; 32]) -> Self {
        Counter { round, receipt, ..Counter::default() }
    }

    /// Why a warden does nothing for a project that it handed over; none if it did not.
    pub fn handed_over(&self) -> Option<String> {
        (self.successor != [0; 32]).then(|| {
            format!(
                "this warden handed the project over to warden {0}: start that one; if it is lost, and never began, the \
                 owner may let this one go on with blindsmith forgive --lost {0}",
                Id(self.successor)
            )
        })
    }

    /// The same, handed over to this warden; the other one begins with it without a successor. Repeated, it is the same
    /// hand-over.
    pub(crate) fn handed_to(&self, successor: [u8; 32]) -> Self {
        let first = self.successor == [0; 32];
        Counter { successor, transfers: self.transfers + u64::from(first), ..self.clone() }
    }

    /// Why a warden that stood here does not take the project over with that counter; none if it does. Whoever keeps what
    /// was handed over gives it as often as it likes: it counts once.
    pub(crate) fn not_followed_by(&self, next: &Counter) -> Option<&'static str> {
        let same = Counter { orders: self.orders, orders_digest: self.orders_digest, ..next.clone() };
        match self {
            _ if next.orders < self.orders => {
                Some("this warden knows later orders of the owner than the other")
            }
            _ if next.orders == self.orders && next.orders_digest != self.orders_digest => {
                Some("this warden knows other orders of the owner than the other")
            }
            _ if next.round < self.round => {
                Some("this warden saw a newer round of the project than the other")
            }
            _ if next.transfers > self.transfers || *self == same => None,
            _ => Some("this warden took the project over before, and went on with it"),
        }
    }

    /// Once the round that was produced is acknowledged.
    pub fn advanced(&self) -> Self {
        let faults = self.faults.saturating_sub(self.reported);
        Counter {
            faults,
            queriers: self.queriers.clone(),
            orders: self.orders,
            orders_digest: self.orders_digest,
            transfers: self.transfers,
            successor: self.successor,
            ..Counter::at(self.round + 1, self.produced)
        }
    }
}

/// Newest queries of a querier that are told from replays; as many of them may be asked at a time.
const KEPT: usize = 16;
/// Times that one query is answered: the refinery asks again where a warden was stopped.
const MOST_TIMES: u8 = 3;

/// What a querier asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// Rows of its queries that were answered, in the project's life.
    pub rows: u64,
    /// Its newest queries, by their numbers.
    newest: BTreeMap<u64, Query>,
}

/// A query that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Digest of its header.
    pub query: Id,
    /// The round whose version answered it.
    pub round: u64,
    /// How often.
    times: u8,
}

impl Query {
    /// A query, before it is answered.
    pub fn new(query: Id, round: u64) -> Self {
        Query { query, round, times: 0 }
    }
}

impl Asked {
    /// Counts a query of so many rows. One that was counted costs nothing, and is answered a few times from the same
    /// version alone: else its querier and the refinery would learn of versions, or of what rounding hides, for nothing.
    ///
    /// None if it is not to be answered: its querier has asked for more than `most` rows, or the number was used by another
    /// query, or is older than the newest ones.
    pub fn count(&self, number: u64, query: Query, rows: u64, most: u64) -> Option<Self> {
        let mut asked = self.clone();
        let known = asked.newest.get(&number).copied();
        if known.is_none() {
            let oldest = asked.newest.first_key_value().map_or(0, |(number, _)| *number);
            asked.rows = asked.rows.checked_add(rows).filter(|rows| *rows <= most)?;
            if asked.newest.len() >= KEPT {
                (number > oldest).then(|| asked.newest.pop_first())?;
            }
        }
        let known = known.unwrap_or(query);
        let again = (known.query, known.round) == (query.query, query.round) && known.times < MOST_TIMES;
        asked.newest.insert(number, Query { times: known.times + 1, ..known });
        again.then_some(asked)
    }
}

/// Remembers counters for good: what was stored is what is loaded after any crash.
pub trait Counters: Send + Sync {
    /// The counter of a project, if there is one.
    fn load(&self, project: &Id) -> io::Result<Option<Counter>>;
    /// Replaces it; durable when this returns.
    fn store(&self, project: &Id, counter: &Counter) -> io::Result<()>;
}

/// Counters in files, one a project, sealed: for development.
pub struct FileCounters {
    dir: PathBuf,
    key: Key,
}

impl FileCounters {
    /// Counters in a directory, which is made if it is not there.
    pub fn open(dir: &Path, sealing: &Key) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(FileCounters { dir: dir.to_owned(), key: sealing.derive("counters", &[]) })
    }

    fn path(&self, project: &Id) -> PathBuf {
        self.dir.join(project.to_string())
    }
}

impl Counters for FileCounters {
    fn load(&self, project: &Id) -> io::Result<Option<Counter>> {
        let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let sealed = match fs::read(self.path(project)) {
            Ok(sealed) => sealed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let opened = self.key.unseal(&project.to_string(), &sealed).map_err(|e| damaged(e.to_string()))?;
        from_cbor(&opened).map(Some).map_err(|e| damaged(e.to_string()))
    }

    fn store(&self, project: &Id, counter: &Counter) -> io::Result<()> {
        let sealed = self.key.seal(&project.to_string(), &to_cbor(counter)).0;
        replace_file(&self.dir, &project.to_string(), &sealed)
    }
}

/// Counters that end with the process: where what is sealed ends with it too, for tests and for measurements.
#[derive(Default)]
pub struct MemoryCounters(Mutex<BTreeMap<Id, Counter>>);

impl Counters for MemoryCounters {
    fn load(&self, project: &Id) -> io::Result<Option<Counter>> {
        Ok(lock(&self.0).get(project).cloned())
    }

    fn store(&self, project: &Id, counter: &Counter) -> io::Result<()> {
        lock(&self.0).insert(*project, counter.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_and_altered_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (sealing, project, other) = (Key::random(), Id([1; 32]), Id([2; 32]));
        let asked = Asked::default().count(5, Query::new(Id([4; 32]), 6), 99, 99).unwrap();
        let queriers = [(Id([8; 32]), asked)].into();
        let counter = Counter { attempts: 2, faults: 1, queriers, ..Counter::at(7, [3; 32]) };
        let counters = FileCounters::open(dir.path(), &sealing).unwrap();
        assert_eq!(counters.load(&project).unwrap(), None);
        counters.store(&project, &counter).unwrap();
        let again = FileCounters::open(dir.path(), &sealing).unwrap();
        assert_eq!(again.load(&project).unwrap(), Some(counter.clone()));
        // Another project's in its place, another warden's, an altered one.
        fs::copy(dir.path().join(project.to_string()), dir.path().join(other.to_string())).unwrap();
        assert!(again.load(&other).is_err());
        assert!(FileCounters::open(dir.path(), &Key::random()).unwrap().load(&project).is_err());
        let path = dir.path().join(project.to_string());
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(again.load(&project).is_err());
    }

    #[test]
    fn queries_count_once_and_old_ones_are_not_answered() {
        let query = |byte: u8| Query::new(Id([byte; 32]), 7);
        let ask = |asked: &Asked, number, byte| asked.count(number, query(byte), 10, 200);
        let one = ask(&Asked::default(), 100, 1).unwrap();
        assert_eq!(one.rows, 10);
        // Given again it costs nothing, and is answered a few times.
        let twice = ask(&one, 100, 1).unwrap();
        let thrice = ask(&twice, 100, 1).unwrap();
        assert_eq!((twice.rows, thrice.rows), (10, 10));
        assert_eq!(ask(&thrice, 100, 1), None, "too often");
        assert_eq!(one.count(100, Query::new(Id([1; 32]), 8), 10, 200), None, "from another version");
        assert_eq!(ask(&one, 100, 2), None, "another query under its number");
        // A few at a time come in any order; those before them are replays.
        let mut asked = one;
        for number in (101..116).rev() {
            asked = ask(&asked, number, number as u8).unwrap();
        }
        assert_eq!(asked.rows, 160);
        asked = ask(&asked, 200, 3).unwrap();
        assert_eq!(ask(&asked, 100, 1), None, "before the newest ones");
        assert_eq!(ask(&asked, 99, 9), None);
        for number in [201, 202, 203] {
            asked = ask(&asked, number, 4).unwrap();
        }
        assert_eq!((asked.rows, ask(&asked, 204, 4)), (200, None), "no rows are left");
        assert!(ask(&asked, 203, 4).is_some(), "but those that were paid for");
    }

    #[test]
    fn a_hand_over_counts_once_and_never_leads_back() {
        let first = Counter { orders: 5, faults: 1, ..Counter::at(7, [3; 32]) };
        let marked = first.handed_to([1; 32]);
        assert_eq!((marked.successor, marked.transfers, marked.faults), ([1; 32], 1, 1));
        assert_eq!(marked.handed_to([1; 32]), marked, "repeated, it is the same");
        let handed = Counter { successor: [0; 32], ..marked.clone() };
        assert_eq!(handed.not_followed_by(&handed), None, "it failed at its last step");
        let later = Counter { orders: 6, orders_digest: [9; 32], ..handed.clone() };
        assert_eq!(handed.not_followed_by(&later), None, "an order was given in between");
        assert_eq!(later.not_followed_by(&handed).map(|why| why.contains("later orders")), Some(true));
        let other = Counter { orders_digest: [8; 32], ..handed.clone() };
        assert_eq!(handed.not_followed_by(&other).map(|why| why.contains("other orders")), Some(true));
        // Gone on with, in every way.
        for own in [
            Counter { attempts: 1, ..handed.clone() },
            Counter { faults: 2, ..handed.clone() },
            Counter { queriers: [(Id([1; 32]), Asked::default())].into(), ..handed.clone() },
            Counter { produced: [4; 32], ..handed.clone() },
            handed.handed_to([2; 32]),
        ] {
            assert!(own.not_followed_by(&handed).is_some(), "{own:?}");
        }
        let newer = Counter { round: 8, ..handed.clone() };
        let next = Counter { successor: [0; 32], ..handed.handed_to([2; 32]) };
        assert!(newer.not_followed_by(&next).is_some_and(|why| why.contains("newer round")));
        assert_eq!(handed.not_followed_by(&next), None);
    }
}
