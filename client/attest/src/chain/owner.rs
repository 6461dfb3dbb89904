//! The policy file: what the owner expects of a project's receipts.

use std::fmt;
use std::str::FromStr;

use crate::opening::MAX_MEASUREMENT;
use blindsmith_evidence::Tee;
use blindsmith_protocol::{Blob, Id};
use blindsmith_receipts::{PublicKey, Rules};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// Longest policy file, in bytes.
pub const MAX_POLICY: usize = 1 << 20;

/// A warden by what its environment measured: written as kind, colon and hexadecimal digits, such as `snp:3f0c...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The kind of trusted execution environment.
    pub tee: Tee,
    /// The measurement, 1 to 64 bytes.
    pub measurement: Blob,
}

/// Most wardens that a policy lists.
pub const MAX_WARDENS: usize = 256;

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tee.name(), hex::encode(&self.measurement.0))
    }
}

impl FromStr for Measured {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let parts = text.split_once(':').and_then(|(tee, digits)| {
            Some(Measured { tee: Tee::named(tee)?, measurement: Blob(hex::decode(digits).ok()?) })
        });
        let possible = |warden: &Measured| (1..=MAX_MEASUREMENT).contains(&warden.measurement.0.len());
        parts.filter(possible).ok_or_else(|| {
            let what = "give a kind (simulated, sgx, tdx or snp), a colon, and 2 to 128 hexadecimal digits";
            PolicyError(what.into())
        })
    }
}

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the owner expects. Nothing has a default that accepts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerPolicy {
    /// The project.
    #[serde(deserialize_with = "id")]
    pub project: Id,
    /// Whether receipts of simulated wardens are accepted.
    #[serde(default)]
    pub accept_simulated: bool,
    /// The wardens of hardware whose receipts are accepted: that of the release, and those that the owner approved of. None
    /// is accepted that is not among them.
    #[serde(default)]
    pub wardens: Vec<Measured>,
    /// The key that verifies the warden's receipts, as appraised when the secrets were released.
    pub receipts: PublicKey,
    /// The rules that the owner gave.
    pub rules: Rules,
    /// The commitment to the recipe that the owner gave.
    #[serde(deserialize_with = "id")]
    pub recipe: Id,
    /// The newest receipt that the owner has seen.
    #[serde(default)]
    pub newest: Option<Newest>,
    /// The owner's orders, from the first on.
    #[serde(default)]
    pub orders: Vec<KnownOrder>,
}

/// An order of the owner, as receipts must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownOrder {
    /// The digest of all orders up to it ([`blindsmith_identity::order_digest`]).
    #[serde(deserialize_with = "id")]
    pub digest: Id,
    /// The first round that began after it was given, and so must know it.
    pub due: u64,
}

/// A receipt that the owner has seen: a chain without it was rolled back, or forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// Its round.
    pub round: u64,
    /// Its digest, [`blindsmith_receipts::receipt_digest`].
    #[serde(deserialize_with = "id")]
    pub receipt: Id,
}

/// A policy file that cannot be used: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PolicyError(pub String);

impl OwnerPolicy {
    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY {
            return Err(PolicyError(format!("longer than {MAX_POLICY} bytes")));
        }
        let policy: OwnerPolicy =
            toml::from_str(text).map_err(|e| PolicyError(e.to_string().trim_end().into()))?;
        if policy.wardens.len() > MAX_WARDENS {
            return Err(PolicyError(format!("wardens: more than {MAX_WARDENS}")));
        }
        if policy.wardens.iter().any(|warden| warden.tee == Tee::Simulated) {
            let what =
                "wardens: simulated ones have no measurement in receipts; accept_simulated accepts them";
            return Err(PolicyError(what.into()));
        }
        policy.rules.validate().map_err(|e| PolicyError(format!("[rules]: {e}")))?;
        Ok(policy)
    }

    /// Writes a policy file that explains itself. Rules out of range are written, but not read.
    pub fn to_toml(&self) -> String {
        let OwnerPolicy { project, accept_simulated, wardens, receipts, rules, recipe, newest, orders } =
            self;
        let line =
            |order: &KnownOrder| format!("    {{ digest = \"{}\", due = {} }},\n", order.digest, order.due);
        let orders: String = orders.iter().map(line).collect();
        let wardens = match wardens.as_slice() {
            [] => "[]".into(),
            all => {
                format!("[\n{}]", all.iter().map(|warden| format!("    \"{warden}\",\n")).collect::<String>())
            }
        };
        let Rules { faults, attempts, fixed_schedule, precision, queries, .. } = rules;
        let Rules { tolerance, screening, judging_rows, patience, trials, .. } = rules;
        let replay = match rules.replay {
            Some(replay) => format!("replay = {replay}"),
            None => "# replay = 100".into(),
        };
        let newest = match newest {
            Some(Newest { round, receipt }) => {
                format!("newest = {{ round = {round}, receipt = \"{receipt}\" }}")
            }
            None => "# newest = { round = 1, receipt = \"64 hexadecimal digits\" }".into(),
        };
        format!(
            r#"# What the owner expects of the project's receipts: blindsmith verify --policy FILE.
# Keep it where the refinery cannot write.

# The project's identifier.
project = "{project}"

# Whether receipts of a simulated warden are accepted. They prove nothing about hardware: whoever runs
# the warden can read its key and sign anything.
accept_simulated = {accept_simulated}

# The wardens in hardware whose receipts are accepted: kind and measurement (sgx: MRENCLAVE, tdx: MRTD, snp: launch
# measurement). That of the release, and what blindsmith approve added. Receipts of any other are refused.
wardens = {wardens}

# The public key that verifies the receipts, from the evidence that was appraised when the secrets were
# released.
receipts = "{receipts}"

# The newest receipt that the owner has seen: a chain that does not contain it was rolled back, or
# forked. Without it, an older state of the chain passes.
{newest}

# The commitment to the recipe that the owner gave with the secrets; every receipt names it.
recipe = "{recipe}"

# The owner's orders: the digest of all orders up to each, and the first round that must know it. Receipts name the last order
# that the warden knew, and its digest: one that was withheld or replaced shows.
orders = [
{orders}]

# The rules that the owner gave with the secrets; every receipt names their digest.
[rules]
# Most wrong answers of the refinery between two receipts. After one more the warden works no further for
# this refinery; with 0 already after the first.
faults = {faults}
# Attempts at one round, 1 to 1000.
attempts = {attempts}
# When rounds take the same steps whatever they achieve, and seal their decisions to the owner: "always", "when-shared"
# (from the first invitation of a contributor on) or "never".
fixed_schedule = "{fixed_schedule}"
# Predictions are multiples of 2^-precision, 1 to 16.
precision = {precision}
# Most rows that the warden predicts for one querier in the project's life.
queries = {queries}
# A round is promoted if its validation loss is at most this, in thousandths of that of the version
# before it.
tolerance = {tolerance}
# An upload is quarantined if its loss is above this, in thousandths of the validation loss, and above
# the loss of a model that knows nothing. 0 quarantines none.
screening = {screening}
# Most held-out rows of one contributor in the validation set.
judging_rows = {judging_rows}
# Old rows that a round trains on, for 100 new ones; without it, all.
{replay}
# Epochs without progress on the validation set after which a round stops early; 0 never stops early.
patience = {patience}
# Most trainings in one round, 1 to 64. If a round makes the model worse, the warden tries parts of its
# uploads to find the one responsible.
trials = {trials}
"#
        )
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("must have 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(tee: Tee, byte: u8, len: usize) -> Measured {
        Measured { tee, measurement: Blob(vec![byte; len]) }
    }

    fn policy() -> OwnerPolicy {
        OwnerPolicy {
            project: Id([1; 32]),
            accept_simulated: true,
            wardens: vec![measured(Tee::Snp, 0xab, 48), measured(Tee::Sgx, 0xcd, 32)],
            receipts: PublicKey([2; 32]),
            rules: Rules { queries: 5, replay: Some(50), ..Rules::default() },
            recipe: Id([4; 32]),
            newest: Some(Newest { round: 4, receipt: Id([3; 32]) }),
            orders: vec![
                KnownOrder { digest: Id([5; 32]), due: 2 },
                KnownOrder { digest: Id([6; 32]), due: 7 },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for policy in [
            policy(),
            OwnerPolicy { newest: None, ..policy() },
            OwnerPolicy { orders: vec![], ..policy() },
            OwnerPolicy { accept_simulated: false, wardens: vec![], ..policy() },
        ] {
            assert_eq!(OwnerPolicy::parse(&policy.to_toml()), Ok(policy));
        }
    }

    #[test]
    fn the_documents_example_is_read() {
        let document = include_str!("../../../../docs/receipts.md");
        let example = document.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let policy = OwnerPolicy::parse(example).unwrap();
        assert_eq!((policy.rules, policy.newest.unwrap().round), (Rules::default(), 4));
    }

    #[test]
    fn simulation_is_refused_by_default() {
        let text = policy().to_toml().replace("accept_simulated = true", "");
        assert!(!OwnerPolicy::parse(&text).unwrap().accept_simulated);
    }

    #[test]
    fn defects_are_named_with_their_place() {
        let (good, project) = (policy().to_toml(), Id([1; 32]).to_string());
        for (from, to, what) in [
            (project.as_str(), "11", "64 hexadecimal digits"),
            ("receipts = ", "receipt = ", "receipt"),
            ("project = ", "# ", "project"),
            ("faults = 3", "", "faults"),
            ("faults = 3", "faults = -1", "-1"),
            ("faults = 3", "faults = 3\nmore = 1", "more"),
            ("attempts = 16", "attempts = 0", "[rules]: the rules are not valid: attempts = 0"),
            ("precision = 10", "precision = 17", "precision = 17"),
            ("round = 4,", "", "round"),
            ("accept_simulated = true", "accept_simulated = \"yes\"", "line 9"),
            ("\"snp:ab", "\"sev:ab", "a kind (simulated, sgx, tdx or snp)"),
            ("\"snp:ab", "\"snp:xy", "hexadecimal digits"),
            ("\"snp:ab", &format!("\"snp:{}", "ab".repeat(64)), "2 to 128"),
            ("\"snp:ab", "\"simulated:ab", "accept_simulated accepts them"),
            (
                "wardens = [\n",
                &format!("wardens = [\n{}", "\"sgx:01\",\n".repeat(MAX_WARDENS)),
                "more than 256",
            ),
            ("[rules]", "[rules", "line"),
        ] {
            assert!(good.contains(from), "{from}");
            let refused = OwnerPolicy::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(refused.contains(what), "{to}: {refused}");
        }
        assert!(OwnerPolicy::parse(&" ".repeat(MAX_POLICY + 1)).is_err());
    }
}
