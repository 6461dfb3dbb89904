//! What a warden claims, in one encoding, and its digest.

use std::fmt;
use std::str::FromStr;

use blindsmith_identity::PublicKey;
use blindsmith_protocol::{from_cbor, to_cbor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha512};
use thiserror::Error;

/// The version of the claims' format.
pub const CLAIMS_VERSION: u32 = 1;
/// Longest encoded claims, in bytes.
pub const MAX_CLAIMS: usize = 2048;
/// Longest build version, in bytes.
pub const MAX_BUILD: usize = 64;
/// Bytes that a report binds.
pub const REPORT_DATA: usize = 64;
/// Enters the digest of claims, so that it is one of nothing else.
const DOMAIN: &[u8] = b"blindsmith claims v1";

/// A kind of trusted execution environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TeeKind {
    /// None at all: an ordinary process, whose evidence proves nothing.
    Simulated,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
    /// Intel SGX.
    Sgx,
}

impl TeeKind {
    /// All of them.
    pub const ALL: [TeeKind; 4] = [TeeKind::Simulated, TeeKind::Tdx, TeeKind::Snp, TeeKind::Sgx];

    /// The name in claims, evidence and policies.
    pub fn name(self) -> &'static str {
        match self {
            TeeKind::Simulated => "simulated",
            TeeKind::Tdx => "tdx",
            TeeKind::Snp => "snp",
            TeeKind::Sgx => "sgx",
        }
    }
}

impl fmt::Display for TeeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TeeKind {
    type Err = ClaimsError;

    fn from_str(name: &str) -> Result<Self, ClaimsError> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(ClaimsError::Tee)
    }
}

impl Serialize for TeeKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TeeKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How secrets are sealed to the warden (HPKE, RFC 9180). The key derivation is HKDF-SHA-256 and the cipher AES-256-GCM
/// in each; the key encapsulation differs, and its number in the registry of HPKE stands for all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// DHKEM(X25519, HKDF-SHA-256), number 0x0020. Quantum computers break it.
    X25519,
    /// X-Wing, number 0x647a: X25519 and ML-KEM-768, as strong as the stronger one.
    XWing,
}

impl Suite {
    /// Its number in claims.
    pub fn number(self) -> u16 {
        match self {
            Suite::X25519 => 0x0020,
            Suite::XWing => 0x647a,
        }
    }

    /// The suite of this number.
    pub fn from_number(number: u16) -> Option<Self> {
        [Suite::X25519, Suite::XWing].into_iter().find(|suite| suite.number() == number)
    }

    /// Bytes of a public key.
    pub fn key_len(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1216,
        }
    }
}

/// What a warden claims. All of it is public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The environment that it says it runs in.
    pub tee: TeeKind,
    /// How secrets are sealed to `key`.
    pub suite: Suite,
    /// The public key that secrets are sealed to, fresh for each start: [`Suite::key_len`] bytes.
    pub key: Vec<u8>,
    /// The key that verifies the warden's receipts.
    pub receipts: PublicKey,
    /// What the relying party asked with: evidence for another nonce is no answer to it.
    pub nonce: [u8; 32],
    /// The digest of the policy that the warden works under.
    pub policy: [u8; 32],
    /// The digest of what the session is about.
    pub parameters: [u8; 32],
    /// The version of the warden's build, at most [`MAX_BUILD`] bytes. It is a name; the measurement is the proof.
    pub build: String,
}

/// Claims that are none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimsError {
    /// Longer than [`MAX_CLAIMS`].
    #[error("claims of {0} bytes: at most {MAX_CLAIMS} are possible")]
    Long(usize),
    /// Not the structure.
    #[error("not claims of a warden: {0}")]
    Malformed(String),
    /// Another format.
    #[error(
        "claims of format {0}: this program knows {CLAIMS_VERSION}; use the program of the warden's version"
    )]
    Version(u32),
    /// An unknown environment.
    #[error("an unknown kind of trusted execution environment: known are simulated, tdx, snp and sgx")]
    Tee,
    /// An unknown suite.
    #[error("an unknown HPKE suite, {0:#06x}: known are 0x0020 (X25519) and 0x647a (X-Wing)")]
    Suite(u16),
    /// A key of another suite.
    #[error("a public key of {found} bytes: one of this suite has {expected}")]
    Key {
        /// What the suite says.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A long build version.
    #[error("a build version of {0} bytes: at most {MAX_BUILD} are possible")]
    Build(usize),
    /// Encoded in another way than [`Claims::encode`] does.
    #[error("claims that are not encoded in the one way that counts")]
    NotCanonical,
}

/// The array that is encoded: fixed order, definite lengths, shortest numbers.
#[derive(Serialize, Deserialize)]
struct Wire(
    u32,
    String,
    u16,
    #[serde(with = "serde_bytes")] Vec<u8>,
    PublicKey,
    #[serde(with = "serde_bytes")] [u8; 32],
    #[serde(with = "serde_bytes")] [u8; 32],
    #[serde(with = "serde_bytes")] [u8; 32],
    String,
);

impl Claims {
    /// The encoding: what is signed, by its digest, and what travels.
    ///
    /// # Errors
    /// If the key has another length than the suite's keys, or the build version is too long.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimsError> {
        self.check()?;
        Ok(to_cbor(&Wire(
            CLAIMS_VERSION,
            self.tee.name().to_owned(),
            self.suite.number(),
            self.key.clone(),
            self.receipts,
            self.nonce,
            self.policy,
            self.parameters,
            self.build.clone(),
        )))
    }

    /// Reads claims from outside.
    ///
    /// # Errors
    /// [`ClaimsError`], also for bytes that [`Claims::encode`] would not have made: claims are named by the digest of
    /// their bytes, and a second encoding would be a second name.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClaimsError> {
        if bytes.len() > MAX_CLAIMS {
            return Err(ClaimsError::Long(bytes.len()));
        }
        // The version comes first, so that newer claims are called that and not malformed.
        if let Some(version) = version(bytes).filter(|version| *version != CLAIMS_VERSION) {
            return Err(ClaimsError::Version(version));
        }
        let wire: Wire = from_cbor(bytes).map_err(|e| ClaimsError::Malformed(e.to_string()))?;
        let Wire(_, tee, suite, key, receipts, nonce, policy, parameters, build) = wire;
        let suite = Suite::from_number(suite).ok_or(ClaimsError::Suite(suite))?;
        let claims = Claims { tee: tee.parse()?, suite, key, receipts, nonce, policy, parameters, build };
        if claims.encode()? != bytes {
            return Err(ClaimsError::NotCanonical);
        }
        Ok(claims)
    }

    fn check(&self) -> Result<(), ClaimsError> {
        let (expected, found) = (self.suite.key_len(), self.key.len());
        if found != expected {
            return Err(ClaimsError::Key { expected, found });
        }
        if self.build.len() > MAX_BUILD {
            return Err(ClaimsError::Build(self.build.len()));
        }
        Ok(())
    }
}

/// The version that an array of at most 23 items begins with, if it is a small one.
fn version(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [array, version, ..] if (0x81..=0x97).contains(array) && *version <= 23 => Some((*version).into()),
        _ => None,
    }
}

/// What the environment signs for encoded claims: SHA-512 of a domain tag and their bytes.
pub fn report_data(claims: &[u8]) -> [u8; REPORT_DATA] {
    Sha512::new().chain_update(DOMAIN).chain_update(claims).finalize().into()
}
