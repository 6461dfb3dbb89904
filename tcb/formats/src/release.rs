//! What an owner releases to a warden: 32-byte seeds and the recipe, in one sealed message.
//!
//! Before sealing (HPKE, see `blindsmith-keys`): `BSRELEA4`; the owner's key (models are sealed to it, metrics
//! to [`metrics_key`] of it),
//! the key of the initial model, the seed of the owner's own rows;
//! the CBOR of rules and recipe. Other contributors hand over their seeds themselves.

use blindsmith_keys::Key;
use blindsmith_learn::Recipe;
use blindsmith_protocol::{Id, from_cbor, to_cbor};
use blindsmith_receipts::{Rules, commit};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::codec::Reader;

const MAGIC: &[u8; 8] = b"BSRELEA4";

/// The secrets of a project.
pub struct Release {
    /// Models are sealed under it, metrics under [`metrics_key`] of it.
    pub owner: Key,
    /// The initial model is sealed under it.
    pub model: Key,
    /// The owner's own uploads are keyed from it.
    pub rows: Key,
    /// What the warden keeps to.
    pub rules: Rules,
    /// The training.
    pub recipe: Recipe,
}

/// Bytes that are no release.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the release is malformed: {0}")]
pub struct ReleaseFormatError(&'static str);

/// What is released in a session is bound to it: to the digest of the warden's claims, in which are its key, the relying
/// party's nonce and policy, the project and who asked.
pub fn session_info(what: &str, session: &[u8; 32]) -> Vec<u8> {
    let mut info = format!("blindsmith {what} v2 ").into_bytes();
    info.extend(session);
    info
}

/// What an enrolment's sealed seed is bound to: the session, and the terms.
pub fn enrolment_info(session: &[u8; 32], terms: &[u8; 32]) -> Vec<u8> {
    let mut info = session_info("enrolment", session);
    info.extend(terms);
    info
}

/// How an answer to a query begins that holds no predictions, as u32; others begin with zero.
pub const REFUSED: u32 = 1;

/// What a query's envelope is bound to: the project, the query's identifier, and who asks.
pub fn query_info(project: &Id, query: &Id, querier: &Id) -> Vec<u8> {
    let mut info = b"blindsmith query v2 ".to_vec();
    [project, query, querier].iter().for_each(|id| info.extend(id.0));
    info
}

/// What opens a project's metrics and nothing else, of what the warden seals to the owner: a page that shows figures
/// needs no more.
pub fn metrics_key(owner: &Key) -> Key {
    owner.derive("metrics", &[])
}

/// The commitment to a project's recipe: its owner opens it, by [`recipe_opening`], to contributors, who accept it by
/// their terms.
pub fn recipe_commitment(opening: &[u8; 32], recipe: &Recipe) -> Id {
    Id(commit(opening, &to_cbor(recipe)))
}

/// What opens the commitment to a project's recipe.
pub fn recipe_opening(owner: &Key, project: &Id) -> Key {
    owner.derive("recipe", &[&project.0])
}

/// The context under which a round's model or metrics are sealed.
pub fn model_context(what: &str, project: &Id, round: u64) -> String {
    format!("{what} {project} {round}")
}

impl Release {
    /// The bytes to be sealed; they are wiped when dropped.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let recipe = to_cbor(&(&self.rules, &self.recipe));
        // Reserved in full: a growing buffer would leave copies of secrets behind.
        let mut out = Zeroizing::new(Vec::with_capacity(104 + recipe.len()));
        out.extend_from_slice(MAGIC);
        for key in [&self.owner, &self.model, &self.rows] {
            out.extend_from_slice(key.expose());
        }
        out.extend_from_slice(&recipe);
        out
    }

    /// The commitment to its recipe, of this project.
    pub fn committed(&self, project: &Id) -> Id {
        recipe_commitment(recipe_opening(&self.owner, project).expose(), &self.recipe)
    }

    /// The release in these bytes, its recipe validated.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReleaseFormatError> {
        let mut rest = Reader::after(MAGIC, bytes).ok_or(ReleaseFormatError("it does not begin as one"))?;
        let mut key = || rest.key().ok_or(ReleaseFormatError("it is truncated"));
        let [owner, model, rows] = [key()?, key()?, key()?];
        let (rules, recipe): (Rules, Recipe) =
            from_cbor(rest.0).map_err(|_| ReleaseFormatError("its rules and recipe do not decode"))?;
        rules.validate().map_err(|_| ReleaseFormatError("its rules are out of range"))?;
        recipe.validate().map_err(|_| ReleaseFormatError("its recipe is out of range"))?;
        Ok(Release { owner, model, rows, rules, recipe })
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_learn::Loss;

    use super::*;

    #[test]
    fn releases_survive_and_damage_is_refused() {
        let release = Release {
            owner: Key::random(),
            model: Key::random(),
            rows: Key::random(),
            rules: Rules { faults: 7, ..Rules::default() },
            recipe: Recipe::new(&[4, 3, 2], Loss::SoftmaxCrossEntropy),
        };
        let bytes = release.encode();
        let again = Release::decode(&bytes).unwrap();
        assert_eq!(again.encode().as_slice(), bytes.as_slice());
        for len in 0..bytes.len() {
            assert!(Release::decode(&bytes[..len]).is_err(), "truncated to {len}");
        }
    }
}
