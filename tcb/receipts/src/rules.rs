//! The owner's rules that a warden enforces.

use blindsmith_protocol::to_cbor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// What enters first, so that no other digest of ours is one of rules.
const TAG: &[u8] = b"blindsmith rules v3\0";
/// Most attempts at one round that rules may allow.
const MAX_ATTEMPTS: u32 = 1000;
/// Finest predictions that rules may allow, in bits.
const MAX_PRECISION: u8 = 16;
/// Largest ratios that rules may name, in thousandths.
const MAX_RATIO: u32 = 1_000_000;
/// Most trainings in a round.
const MAX_TRIALS: u32 = 64;
/// Most rows that rules may allow: what TOML can write.
const MAX_QUERIES: u64 = i64::MAX as u64;

/// When rounds take the same steps and give receipts of the same form whatever they achieve: what becomes of an upload
/// tells its sender of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FixedSchedule {
    /// From the owner's first invitation of a contributor on.
    #[default]
    WhenShared,
    /// From the first round on.
    Always,
    /// In no round.
    Never,
}

impl std::fmt::Display for FixedSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FixedSchedule::WhenShared => "when-shared",
            FixedSchedule::Always => "always",
            FixedSchedule::Never => "never",
        })
    }
}

impl FixedSchedule {
    /// Whether rounds are such, once somebody was invited to send rows, or before.
    pub fn holds(self, shared: bool) -> bool {
        self == FixedSchedule::Always || (self == FixedSchedule::WhenShared && shared)
    }
}

/// What the owner allows: handed over with the secrets, enforced by the warden, named in every receipt by their
/// digest. They are public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Wrong answers of the refinery that are survived between two receipts; after one more, or after the first
    /// if this is 0, its work is refused.
    pub faults: u32,
    /// Attempts at one round, 1 to 1000.
    pub attempts: u32,
    /// Whether rounds take the same steps and give receipts of the same form whatever they achieve.
    pub fixed_schedule: FixedSchedule,
    /// Predictions are multiples of 2^-precision, 1 to 16.
    pub precision: u8,
    /// Rows that may be predicted for one querier in the project's life.
    pub queries: u64,
    /// A round is promoted if the loss over the rows that judge is at most this, in thousandths of the loss of the
    /// current version, or above it by no more than chance explains (two standard errors): 1000 to 1,000,000.
    pub tolerance: u32,
    /// A new upload is set aside if its loss is above this, in thousandths of the loss over the rows that judge, by
    /// more than chance explains (two standard errors), and above that of a model that knows nothing: 1000 to
    /// 1,000,000, or 0 to set none aside.
    pub screening: u32,
    /// Most held-out rows of one contributor that judge: 1 or more.
    pub judging_rows: u64,
    /// Old rows that a round trains on, for 100 new ones; all, if none.
    pub replay: Option<u32>,
    /// Epochs without progress over the rows that judge after which a round stops, with the best model so far; 0 never
    /// stops early.
    pub patience: u32,
    /// Most trainings in one round, 1 to 64: where a round makes the model worse, its new uploads are tried apart.
    pub trials: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            faults: 3,
            attempts: 16,
            fixed_schedule: FixedSchedule::default(),
            precision: 10,
            queries: 1_000_000,
            tolerance: 1100,
            screening: 1500,
            judging_rows: 4096,
            replay: None,
            patience: 0,
            trials: 16,
        }
    }
}

/// Rules that are out of range.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the rules are not valid: {0}")]
pub struct RulesError(pub String);

impl Rules {
    /// Checks every range.
    pub fn validate(&self) -> Result<(), RulesError> {
        let fail = |why: String| Err(RulesError(why));
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return fail(format!("attempts = {}, where 1 to {MAX_ATTEMPTS} are possible", self.attempts));
        }
        if !(1..=MAX_PRECISION).contains(&self.precision) {
            return fail(format!("precision = {}, where 1 to {MAX_PRECISION} are possible", self.precision));
        }
        if self.queries > MAX_QUERIES {
            return fail(format!("queries = {}, where at most {MAX_QUERIES} are possible", self.queries));
        }
        if !(1000..=MAX_RATIO).contains(&self.tolerance) {
            return fail(format!("tolerance = {}, where 1000 to {MAX_RATIO} are possible", self.tolerance));
        }
        if self.screening != 0 && !(1000..=MAX_RATIO).contains(&self.screening) {
            return fail(format!(
                "screening = {}, where 0 and 1000 to {MAX_RATIO} are possible",
                self.screening
            ));
        }
        if self.judging_rows == 0 || self.judging_rows > MAX_QUERIES {
            return fail(format!("judging_rows = {}, where at least 1 must judge", self.judging_rows));
        }
        if !(1..=MAX_TRIALS).contains(&self.trials) {
            return fail(format!("trials = {}, where 1 to {MAX_TRIALS} are possible", self.trials));
        }
        Ok(())
    }

    /// SHA-256 of a tag and the rules' CBOR.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(TAG).chain_update(to_cbor(self)).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::from_cbor;

    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Rules::default().validate(), Ok(()));
    }

    #[test]
    fn ranges_are_checked() {
        let base = Rules::default;
        for rules in [
            Rules { attempts: 0, ..base() },
            Rules { attempts: 1001, ..base() },
            Rules { precision: 0, ..base() },
            Rules { precision: 17, ..base() },
            Rules { queries: u64::MAX, ..base() },
            Rules { tolerance: 999, ..base() },
            Rules { tolerance: 1_000_001, ..base() },
            Rules { screening: 999, ..base() },
            Rules { judging_rows: 0, ..base() },
            Rules { trials: 0, ..base() },
            Rules { trials: 65, ..base() },
        ] {
            assert!(rules.validate().is_err(), "{rules:?}");
        }
    }

    #[test]
    fn every_rule_enters_the_digest() {
        let base = Rules::default;
        let all = [
            base(),
            Rules { faults: 4, ..base() },
            Rules { attempts: 17, ..base() },
            Rules { fixed_schedule: FixedSchedule::Always, ..base() },
            Rules { fixed_schedule: FixedSchedule::Never, ..base() },
            Rules { precision: 11, ..base() },
            Rules { queries: 0, ..base() },
            Rules { tolerance: 1101, ..base() },
            Rules { screening: 0, ..base() },
            Rules { judging_rows: 1, ..base() },
            Rules { replay: Some(50), ..base() },
            Rules { patience: 1, ..base() },
            Rules { trials: 1, ..base() },
        ];
        let digests: std::collections::BTreeSet<_> = all.iter().map(Rules::digest).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn unknown_rules_are_refused() {
        #[derive(Serialize)]
        struct More {
            #[serde(flatten)]
            rules: Rules,
            more: bool,
        }
        let bytes = to_cbor(&More { rules: Rules::default(), more: true });
        assert!(from_cbor::<Rules>(&bytes).unwrap_err().to_string().contains("more"));
        assert_eq!(from_cbor::<Rules>(&to_cbor(&Rules::default())).unwrap(), Rules::default());
    }
}
