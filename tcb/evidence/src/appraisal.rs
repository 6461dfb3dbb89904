//! What an appraisal of evidence says, whoever makes it: a client in its own process, or the appraiser of a warden.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// The kinds of environment that an appraisal names.
const KINDS: [&str; 5] = ["sgx", "tdx", "snp", "azure-vtpm", "simulated"];

/// The name of a kind. Spelt out in a field, it would be taken for text that is borrowed from the message.
type Kind = &'static str;

/// What an appraisal found. The fields but `refusals` are what the evidence claims: believe them only if it is
/// accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appraisal {
    /// Whether every check passed.
    pub accepted: bool,
    /// The kind of trusted execution environment: `sgx`, `tdx`, `snp`, `azure-vtpm` or `simulated`.
    #[serde(deserialize_with = "kind")]
    pub tee: Kind,
    /// The state of the platform's trusted firmware. Intel's name of it, such as `UpToDate`, once the quote is
    /// verified; of SNP the versions that the report states.
    pub tcb_status: Option<String>,
    /// Hexadecimal digits of MRENCLAVE, MRTD or the launch measurement.
    pub measurement: Option<String>,
    /// Hexadecimal digits of the 64 bytes that the attested software chose. Whoever appraises has to compare them with
    /// what this session needs: nothing here does.
    pub report_data: Option<String>,
    /// The checks that failed, in the order of the checks.
    pub refusals: Vec<Refusal>,
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = KINDS.into_iter().find(|kind| *kind == name);
    known.ok_or_else(|| serde::de::Error::custom("a kind of environment that there is not"))
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What was checked, such as `snp.policy.debug`. Names are stable.
    pub claim: String,
    /// What would have passed.
    pub expected: String,
    /// What came.
    pub found: String,
    /// What to do about it.
    pub advice: String,
}

impl Refusal {
    /// A check of this name that failed.
    pub fn new(claim: &str, expected: impl Into<String>, found: impl Into<String>, advice: &str) -> Self {
        Refusal { claim: claim.into(), expected: expected.into(), found: found.into(), advice: advice.into() }
    }
}

/// Why evidence is refused: the checks that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Refused {
    /// In the order of the checks; at least one.
    pub refusals: Vec<Refusal>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused { refusals: vec![refusal] }
    }
}

/// Most refusals that are printed, and most characters of each of their parts: some of it came from outside.
const PRINTED: (usize, usize) = (24, 400);

impl fmt::Display for Refused {
    /// All on one line, as logs need it; with `{:#}` a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, long) = PRINTED;
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let one = |refusal: &Refusal| {
            let parts = [&refusal.claim, &refusal.expected, &refusal.found, &refusal.advice];
            let [claim, expected, found, advice] =
                parts.map(|part| part.chars().take(long).map(plain).collect::<String>());
            format!("{claim}: expected {expected}, found {found}. {advice}")
        };
        let between = if f.alternate() { "\n  " } else { " | " };
        match self.refusals.as_slice() {
            [] => f.write_str("no check passed"),
            [only] => f.write_str(&one(only)),
            several => {
                write!(f, "{} checks failed:", several.len())?;
                let mut shown = several.iter().take(most);
                shown.try_for_each(|refusal| write!(f, "{between}{}", one(refusal)))?;
                if several.len() > most { write!(f, "{between}...") } else { Ok(()) }
            }
        }
    }
}
