//! The uploads that a round's record names, by their places in the order of arrival: a bit each instead of a name.

use std::collections::HashMap;

use blindsmith_protocol::{Blob, Id, from_cbor, to_cbor};

/// The uploads of a project under their places.
#[derive(Default)]
pub struct Places {
    names: HashMap<u64, Id>,
    places: HashMap<Id, u64>,
    ambiguous: bool,
}

impl Places {
    /// Adds an upload, in the order of arrival.
    pub fn add(&mut self, place: u64, name: Id) {
        self.ambiguous |= self.names.contains_key(&place);
        self.names.entry(place).or_insert(name);
        self.places.insert(name, place);
    }
}

/// The uploads that a round was given, and those that it used.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub given: Vec<Id>,
    pub used: Vec<Id>,
}

impl Named {
    /// CBOR of two strings of bits, those of the lowest places first; of two lists of names where that would lose something:
    /// an upload that has no place of its own, an order that is not that of arrival.
    pub fn encode(&self, places: &Places) -> Vec<u8> {
        let named = [&self.given, &self.used].map(|names| bits(names, places));
        match named {
            [Some(given), Some(used)] => to_cbor(&(Blob(given), Blob(used))),
            _ => to_cbor(&(&self.given, &self.used)),
        }
    }

    /// What [`Named::encode`] made of them, with at least the uploads that there were then.
    ///
    /// # Errors
    /// If it is neither, or names a place without an upload.
    pub fn decode(bytes: &[u8], places: &Places) -> Result<Self, String> {
        let Ok((given, used)) = from_cbor::<(Blob, Blob)>(bytes) else {
            let (given, used) = from_cbor(bytes).map_err(|e| e.to_string())?;
            return Ok(Named { given, used });
        };
        Ok(Named { given: names(&given.0, places)?, used: names(&used.0, places)? })
    }
}

fn bits(names: &[Id], places: &Places) -> Option<Vec<u8>> {
    if places.ambiguous {
        return None;
    }
    let found: Option<Vec<u64>> = names.iter().map(|name| places.places.get(name).copied()).collect();
    let found = found.filter(|places| places.is_sorted_by(|a, b| a < b))?;
    let mut bits = vec![0; found.last().map_or(0, |last| (*last / 8 + 1) as usize)];
    found.iter().for_each(|place| bits[(place / 8) as usize] |= 1 << (place % 8));
    Some(bits)
}

fn names(bits: &[u8], places: &Places) -> Result<Vec<Id>, String> {
    let set = (0..8 * bits.len() as u64).filter(|place| bits[(place / 8) as usize] & (1 << (place % 8)) != 0);
    set.map(|place| {
        places.names.get(&place).copied().ok_or_else(|| format!("there is no upload in place {place}"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(count: u8) -> Places {
        let mut places = Places::default();
        (0..count).for_each(|at| places.add(at.into(), Id([at; 32])));
        places
    }

    fn ids(at: &[u8]) -> Vec<Id> {
        at.iter().map(|at| Id([*at; 32])).collect()
    }

    proptest! {
        #[test]
        fn uploads_are_named_again_also_when_there_are_more(
            given in proptest::collection::vec(0..40_u8, 0..50), used in proptest::collection::btree_set(0..40_u8, 0..40),
        ) {
            let named = Named { given: ids(&given), used: ids(&used.into_iter().collect::<Vec<_>>()) };
            let encoded = named.encode(&places(40));
            prop_assert_eq!(Named::decode(&encoded, &places(90)).unwrap(), named);
        }
    }

    #[test]
    fn in_their_order_of_arrival_they_take_a_bit_each() {
        let all = Named { given: ids(&(0..200).collect::<Vec<_>>()), used: ids(&[199]) };
        assert_eq!(all.encode(&places(200)).len(), 1 + 2 * (2 + 25));
        // What bits cannot say is said by names.
        for other in [ids(&[3, 1]), ids(&[1, 1]), ids(&[201])] {
            let named = Named { given: other, used: vec![] };
            let encoded = named.encode(&places(200));
            assert_eq!(from_cbor::<(Vec<Id>, Vec<Id>)>(&encoded).unwrap().0, named.given);
            assert_eq!(Named::decode(&encoded, &places(0)).unwrap(), named);
        }
        let mut twice = places(2);
        twice.add(1, Id([7; 32]));
        assert!(all.encode(&twice).len() > 32 * 200);
    }

    #[test]
    fn damage_is_named() {
        let one = Named { given: ids(&[5]), used: vec![] }.encode(&places(6));
        assert_eq!(Named::decode(&one, &places(5)).unwrap_err(), "there is no upload in place 5");
        assert!(Named::decode(b"\xff", &places(5)).is_err());
    }
}
