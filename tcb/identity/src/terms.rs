//! What a contributor accepted when it joined. Each upload names the digest; the warden keeps to the terms.

use blindsmith_protocol::{Blob, Id, to_cbor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::key::PublicKey;

/// What enters first, so that no other digest of ours is one of terms.
const TAG: &[u8] = b"blindsmith terms v2\0";
/// Most entries of each list.
const MAX_ENTRIES: usize = 64;
/// Longest kind and longest measurement, in bytes.
const MAX_BYTES: usize = 64;
/// Longest policy of terms, in bytes.
pub const MAX_TERMS_POLICY: usize = 16 << 10;
/// The kind that proves nothing.
const SIMULATED: &str = "simulated";

/// What a project began with: commitments, as the receipt of round 0 has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// To the recipe.
    pub recipe: Id,
    /// To the initial model.
    pub model: Id,
}

/// A contributor's terms. Only its own signature replaces them, and only for uploads made afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What the project began with: a warden takes the rows' keys for this recipe and this initial model, or not at all. How
    /// many epochs a round has is no part of it: who asks for a round may say so.
    pub origin: Origin,
    /// Kinds of trusted execution environment that may hold the rows' keys; `simulated` must be named like any other.
    pub tees: Vec<String>,
    /// Measurements of wardens that may hold them; those of simulated wardens are empty and need no entry.
    pub measurements: Vec<Blob>,
    /// Who may receive models that were trained on the rows.
    pub recipients: Vec<PublicKey>,
    /// Least rows in a step that uses the rows. Here and below rows and contributors are others' than the owner's: among
    /// its own rows nothing hides from it. Minima say how many rows' gradients a step adds up; they do not keep an owner
    /// that chooses model, recipe and steps from learning of single rows.
    pub step_rows: u64,
    /// Least contributors in such a step. Here and below members count that were invited before the newest round, so that
    /// nobody is invited to fill a minimum of the next one.
    pub step_contributors: u32,
    /// Least rows in a version that uses them.
    pub version_rows: u64,
    /// Least contributors in such a version.
    pub version_contributors: u32,
    /// Most versions that use them, in the project's life.
    pub versions: u64,
    /// Validation figures of this contributor are shown to the owner from so many judged rows on.
    pub metrics_rows: u64,
    /// Reserved for a bound on what versions may tell of a row (differential privacy). 0, and refused otherwise: no warden
    /// keeps to one.
    pub privacy: u64,
    /// The policy (see `blindsmith-appraisal`) by which a warden's evidence is appraised before another one passes the
    /// rows' keys on to it; where it is empty, kind and measurement above are all that is asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// Terms that are out of range.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the terms are not valid: {0}")]
pub struct TermsError(pub String);

impl Terms {
    /// Terms that name one kind and measurement of warden and one recipient, of a project that began with nothing, and ask
    /// for nothing else.
    pub fn without_minima(recipient: PublicKey, tee: &str, measurement: &[u8]) -> Self {
        let measurements = if tee == SIMULATED { vec![] } else { vec![Blob(measurement.to_vec())] };
        Terms {
            origin: Origin::default(),
            tees: vec![tee.to_owned()],
            measurements,
            recipients: vec![recipient],
            step_rows: 0,
            step_contributors: 0,
            version_rows: 0,
            version_contributors: 0,
            versions: u64::MAX,
            metrics_rows: 0,
            privacy: 0,
            policy: String::new(),
        }
    }

    /// Checks every range.
    pub fn validate(&self) -> Result<(), TermsError> {
        let fail = |why: &str| Err(TermsError(why.into()));
        let longest = [self.tees.len(), self.measurements.len(), self.recipients.len()];
        if longest.iter().any(|n| *n > MAX_ENTRIES) {
            return fail("a list of more than 64 entries");
        }
        if self.tees.is_empty() || self.recipients.is_empty() {
            return fail("no kind of warden, or no recipient: nothing could ever be trained");
        }
        let good = |tee: &String| (1..=MAX_BYTES).contains(&tee.len()) && !tee.chars().any(char::is_control);
        if !self.tees.iter().all(good) {
            return fail("a kind of warden has 1 to 64 bytes and no control characters");
        }
        if !self.measurements.iter().all(|m| (1..=MAX_BYTES).contains(&m.0.len())) {
            return fail("a measurement has 1 to 64 bytes");
        }
        if self.privacy != 0 {
            return fail("a bound on what versions tell of a row, which no warden keeps to");
        }
        if self.policy.len() > MAX_TERMS_POLICY {
            return fail("a policy of more than 16384 bytes");
        }
        Ok(())
    }

    /// SHA-256 of a tag and the terms' CBOR.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(TAG).chain_update(to_cbor(self)).finalize().into()
    }

    /// Whether a warden of this kind and measurement may hold the rows' keys.
    pub fn allow_warden(&self, tee: &str, measurement: &[u8]) -> bool {
        self.tees.iter().any(|t| t == tee)
            && (tee == SIMULATED || self.measurements.iter().any(|m| m.0 == measurement))
    }

    /// Whether this recipient may have models that use the rows.
    pub fn allow_recipient(&self, recipient: &PublicKey) -> bool {
        self.recipients.contains(recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulation_and_measurements_count_only_by_name() {
        let owner = PublicKey([1; 32]);
        let snp = Terms::without_minima(owner, "snp", &[7; 48]);
        assert_eq!(snp.validate(), Ok(()));
        assert!(snp.allow_warden("snp", &[7; 48]));
        assert!(!snp.allow_warden("snp", &[8; 48]), "another measurement");
        assert!(!snp.allow_warden("simulated", &[]), "simulation was not named");
        assert!(Terms::without_minima(owner, "simulated", &[]).allow_warden("simulated", &[]));
        assert!(!snp.allow_recipient(&PublicKey([2; 32])));
    }

    #[test]
    fn every_term_enters_the_digest() {
        let base = || Terms::without_minima(PublicKey([1; 32]), "snp", &[7; 48]);
        let all = [
            base(),
            Terms { origin: Origin { recipe: Id([1; 32]), ..Origin::default() }, ..base() },
            Terms { origin: Origin { model: Id([1; 32]), ..Origin::default() }, ..base() },
            Terms { tees: vec!["snp".into(), "simulated".into()], ..base() },
            Terms { measurements: vec![], ..base() },
            Terms { recipients: vec![PublicKey([2; 32])], ..base() },
            Terms { step_rows: 1, ..base() },
            Terms { step_contributors: 1, ..base() },
            Terms { version_rows: 1, ..base() },
            Terms { version_contributors: 1, ..base() },
            Terms { versions: 1, ..base() },
            Terms { metrics_rows: 1, ..base() },
            Terms { privacy: 1, ..base() },
            Terms { policy: "[snp]".into(), ..base() },
        ];
        let digests: std::collections::BTreeSet<_> = all.iter().map(Terms::digest).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn terms_out_of_range_are_refused() {
        let base = || Terms::without_minima(PublicKey([1; 32]), "snp", &[7; 48]);
        for terms in [
            Terms { tees: vec![], ..base() },
            Terms { tees: vec!["a\nb".into()], ..base() },
            Terms { recipients: vec![], ..base() },
            Terms { recipients: vec![PublicKey([0; 32]); 65], ..base() },
            Terms { measurements: vec![Blob(vec![0; 65])], ..base() },
            Terms { privacy: 1, ..base() },
        ] {
            assert!(terms.validate().is_err(), "{terms:?}");
        }
    }
}
