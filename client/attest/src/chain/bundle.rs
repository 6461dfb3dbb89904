//! The file that holds a project's receipts.

use std::fmt;

use blindsmith_evidence::{Claims, Tee};
use blindsmith_identity::{PublicKey, open_confirmed};
use blindsmith_protocol::{Blob, Evidence, Id, from_cbor, to_cbor};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest bundle, in bytes: a project has less whose every upload, of as many as it may have, started a round of its
/// own, with all of those before it in each receipt.
pub const MAX_BUNDLE: usize = 2 << 30;
/// Most receipts of a bundle, and most reports.
pub const MAX_SIGNEDS: usize = 1 << 17;
/// The one format of bundles.
pub const BUNDLE_FORMAT: u32 = 2;

/// What the refinery holds of a project's receipts: material to verify, trusted by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`BUNDLE_FORMAT`].
    pub format: u32,
    /// The warden that was given the secrets.
    pub trust: Trust,
    /// Signed receipts, from round 0 on.
    #[serde(deserialize_with = "limited")]
    pub receipts: Vec<Blob>,
    /// Signed reports of wrong answers, in any order.
    #[serde(deserialize_with = "limited")]
    pub faults: Vec<Blob>,
}

/// A warden that was given a project's secrets: its evidence, and what it signed when it had opened them. The evidence
/// names the key of that signature, and what was signed names the key of the project's receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The evidence.
    pub evidence: Evidence,
    /// What the warden signed, see `blindsmith-identity`.
    pub confirmation: Blob,
}

impl Trust {
    /// The kind of the warden, the project, and the key of its receipts.
    ///
    /// # Errors
    /// What is wrong: claims that are none, a signature that is not the warden's, another session.
    pub fn opened(&self) -> Result<(Tee, Id, PublicKey), String> {
        let claims = Claims::decode(&self.evidence.claims.0).map_err(|e| format!("the evidence: {e}"))?;
        let confirmed = open_confirmed(&self.confirmation.0, &claims.signing)
            .map_err(|e| format!("the warden's confirmation: {e}"))?;
        if confirmed.session != claims.session() {
            return Err("the warden's confirmation is of another session than the evidence".into());
        }
        Ok((claims.tee, confirmed.project, confirmed.receipts))
    }
}

/// A file that is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a bundle of receipts: {0}")]
pub struct BundleError(pub String);

impl Bundle {
    /// A bundle of the current format.
    pub fn new(trust: Trust, receipts: Vec<Blob>, faults: Vec<Blob>) -> Self {
        Bundle { format: BUNDLE_FORMAT, trust, receipts, faults }
    }

    /// Reads a bundle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(BundleError(format!("longer than {MAX_BUNDLE} bytes")));
        }
        // Messages may quote the file: it must not reach a terminal as it is.
        let quoted = |e: blindsmith_protocol::FrameError| {
            let text = e.to_string();
            BundleError(text.chars().take(300).flat_map(char::escape_debug).collect())
        };
        let bundle: Bundle = from_cbor(bytes).map_err(quoted)?;
        if bundle.format != BUNDLE_FORMAT {
            return Err(BundleError(format!(
                "format {}, where only {BUNDLE_FORMAT} is known",
                bundle.format
            )));
        }
        Ok(bundle)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }
}

/// A list of at most [`MAX_SIGNEDS`]: empty entries take a byte in the file, and far more in memory.
fn limited<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Blob>, D::Error> {
    struct Limited;

    impl<'de> Visitor<'de> for Limited {
        type Value = Vec<Blob>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_SIGNEDS} byte strings")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<Blob>, A::Error> {
            let mut all = Vec::new();
            while let Some(entry) = entries.next_element()? {
                if all.len() == MAX_SIGNEDS {
                    return Err(A::Error::custom(format_args!("more than {MAX_SIGNEDS} entries")));
                }
                all.push(entry);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_seq(Limited)
}
