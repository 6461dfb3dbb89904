//! How a project stands: what became of its uploads, and which version is current.

use std::collections::BTreeMap;

use blindsmith_formats::Reader;
use blindsmith_protocol::{Id, Reason};

/// Most uploads that a project's rounds are given in its life.
pub(crate) const MAX_LISTED: usize = 1 << 16;

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was given to a round that did not use it.
    Waiting,
    /// A version was trained on it, or judged with it.
    Accepted,
    /// It was set aside.
    Quarantined(Reason),
}

impl Place {
    const ALL: [Place; 6] = [
        Place::Waiting,
        Place::Accepted,
        Place::Quarantined(Reason::Screened),
        Place::Quarantined(Reason::ScreenedAfter),
        Place::Quarantined(Reason::Worse),
        Place::Quarantined(Reason::OutOfRange),
    ];
}

/// How a project stands after a round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Uploads that were given to a round; those of which a round was never told are new.
    pub uploads: BTreeMap<Id, Place>,
    /// Versions that used a contributor's rows.
    pub versions: BTreeMap<Id, u64>,
    /// The version that is current.
    pub current: u64,
    /// The number of the last order that the round knew.
    pub orders: u64,
    /// The number of the newest order that the last training round knew: going back to an earlier version is none.
    pub known: u64,
}

impl Standing {
    pub(crate) fn accepted(&self, upload: &Id) -> bool {
        self.uploads.get(upload) == Some(&Place::Accepted)
    }

    pub(crate) fn quarantined(&self, upload: &Id) -> Option<Reason> {
        match self.uploads.get(upload) {
            Some(Place::Quarantined(reason)) => Some(*reason),
            _ => None,
        }
    }

    /// Whether it has room for these uploads: all that were ever given to a round stay listed.
    pub(crate) fn has_room(&self, given: &[Id]) -> bool {
        let new = given.iter().filter(|id| !self.uploads.contains_key(id)).count();
        self.uploads.len() + new <= MAX_LISTED
    }

    /// Its bytes: their number follows from those of uploads and contributors alone.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 33 * self.uploads.len() + 40 * self.versions.len());
        out.extend(self.current.to_le_bytes());
        out.extend(self.orders.to_le_bytes());
        out.extend(self.known.to_le_bytes());
        out.extend((self.uploads.len() as u32).to_le_bytes());
        for (id, place) in &self.uploads {
            out.extend(id.0);
            // All places are listed.
            out.extend(Place::ALL.iter().position(|p| p == place).map(|at| at as u8));
        }
        out.extend((self.versions.len() as u32).to_le_bytes());
        for (id, count) in &self.versions {
            out.extend(id.0);
            out.extend(count.to_le_bytes());
        }
        out
    }

    /// What [`Standing::encode`] wrote.
    pub(crate) fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let mut standing = Standing {
            current: bytes.count()?,
            orders: bytes.count()?,
            known: bytes.count()?,
            ..Standing::default()
        };
        let listed = |bytes: &mut Reader<'_>| bytes.number().filter(|count| *count <= MAX_LISTED);
        for _ in 0..listed(bytes)? {
            let (id, place) = (Id(bytes.digest()?), *bytes.take(1)?.first()?);
            standing.uploads.insert(id, *Place::ALL.get(usize::from(place))?);
        }
        for _ in 0..listed(bytes)? {
            standing.versions.insert(Id(bytes.digest()?), bytes.count()?);
        }
        Some(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_survives_and_its_length_does_not_tell_places() {
        let uploads = Place::ALL.iter().enumerate().map(|(i, p)| (Id([i as u8; 32]), *p)).collect();
        let standing =
            Standing { uploads, versions: [(Id([9; 32]), 7)].into(), current: 3, orders: 5, known: 4 };
        let mut bytes = standing.encode();
        let same = Standing {
            uploads: standing.uploads.keys().map(|id| (*id, Place::Accepted)).collect(),
            ..standing.clone()
        };
        assert_eq!(same.encode().len(), bytes.len());
        bytes.extend(b"rest");
        let mut rest = Reader(&bytes);
        assert_eq!(Standing::decode(&mut rest), Some(standing));
        assert_eq!(rest.0, b"rest");
        for len in 0..bytes.len() - 4 {
            assert_eq!(Standing::decode(&mut Reader(&bytes[..len])), None, "{len}");
        }
    }

    #[test]
    fn attack_a_state_with_more_uploads_than_can_be_restored() {
        let id = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            Id(id)
        };
        let uploads = (0..MAX_LISTED).map(|n| (id(n), Place::Accepted)).collect();
        let full = Standing { uploads, ..Standing::default() };
        assert!(full.has_room(&[id(0), id(MAX_LISTED - 1)]), "those that are listed");
        assert!(!full.has_room(&[id(MAX_LISTED)]), "the round is refused before it begins");
        assert!(Standing::decode(&mut Reader(&full.encode())).is_some());
    }
}
