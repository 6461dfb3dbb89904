//! Keys that sign, and those that verify.

use std::fmt;
use std::str::FromStr;

use blindsmith_protocol::{Id, SpecError};
use ed25519_dalek::Signer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Signs messages; it is wiped on drop.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of this seed: 256 random bits, or derived from such.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The key that verifies what this one signs.
    pub fn verifying(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// An Ed25519 signature (RFC 8032) of bytes that name their purpose.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// The public key that verifies what somebody signs: 64 hexadecimal digits in text, bytes in CBOR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether this is a signature of these bytes. Strict (RFC 8032, 5.1.7, without cofactor): verifiers agree.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
        })
    }
}

impl From<Id> for PublicKey {
    fn from(id: Id) -> Self {
        PublicKey(id.0)
    }
}

impl From<PublicKey> for Id {
    fn from(key: PublicKey) -> Self {
        Id(key.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Id(self.0).fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        text.parse::<Id>().map(|Id(bytes)| PublicKey(bytes))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            Id(self.0).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(|_| serde::de::Error::custom("a public key has 64 hexadecimal digits"))
        } else {
            Id::deserialize(deserializer).map(|Id(bytes)| PublicKey(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::{from_cbor, to_cbor};

    use super::*;

    #[test]
    fn the_key_follows_from_its_seed() {
        let key = |byte| SigningKey::from_seed(&[byte; 32]).verifying();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }

    #[test]
    fn the_public_key_travels_as_text_and_as_bytes() {
        let key = PublicKey([0xab; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("ab".parse::<PublicKey>().is_err());
        assert_eq!(to_cbor(&key).len(), 34);
        assert_eq!(from_cbor::<PublicKey>(&to_cbor(&key)).unwrap(), key);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<PublicKey>(&text).unwrap(), key);
        assert!(serde_json::from_str::<PublicKey>("\"xy\"").is_err());
    }
}
