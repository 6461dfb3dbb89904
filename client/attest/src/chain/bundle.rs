//! The file that holds a project's receipts.

use std::fmt;

use blindsmith_protocol::{Blob, Evidence, from_cbor, to_cbor};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest bundle, in bytes.
pub const MAX_BUNDLE: usize = 64 << 20;
/// Most receipts of a bundle, and most reports.
pub const MAX_SIGNEDS: usize = 1 << 17;
/// The one format of bundles.
pub const BUNDLE_FORMAT: u32 = 1;

/// What the refinery holds of a project's receipts: material to verify, trusted by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`BUNDLE_FORMAT`].
    pub format: u32,
    /// The warden's evidence.
    pub evidence: Evidence,
    /// Signed receipts, from round 0 on.
    #[serde(deserialize_with = "limited")]
    pub receipts: Vec<Blob>,
    /// Signed reports of wrong answers, in any order.
    #[serde(deserialize_with = "limited")]
    pub faults: Vec<Blob>,
}

/// A file that is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a bundle of receipts: {0}")]
pub struct BundleError(pub String);

impl Bundle {
    /// A bundle of the current format.
    pub fn new(evidence: Evidence, receipts: Vec<Blob>, faults: Vec<Blob>) -> Self {
        Bundle { format: BUNDLE_FORMAT, evidence, receipts, faults }
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
