//! The key that signs receipts, and the one that verifies them.

use std::fmt;
use std::str::FromStr;

use blindsmith_keys::Key;
use blindsmith_protocol::{Id, SpecError};
use ed25519_dalek::Signer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Signs receipts. Its seed is derived from the warden's sealing key, so it outlives restarts; it is wiped on
/// drop.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl From<&Key> for SigningKey {
    fn from(key: &Key) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(key.derive("receipts", &[]).expose()))
    }
}

impl SigningKey {
    /// The key that verifies what this one signs.
    pub fn verifying(&self) -> ReceiptKey {
        ReceiptKey(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// The public key that verifies a warden's receipts: 64 hexadecimal digits in text, bytes in CBOR.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptKey(pub [u8; 32]);

impl fmt::Display for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Id(self.0).fmt(f)
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ReceiptKey {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        text.parse::<Id>().map(|Id(bytes)| ReceiptKey(bytes))
    }
}

impl Serialize for ReceiptKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            Id(self.0).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ReceiptKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(|_| serde::de::Error::custom("a receipt key has 64 hexadecimal digits"))
        } else {
            Id::deserialize(deserializer).map(|Id(bytes)| ReceiptKey(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::{from_cbor, to_cbor};

    use super::*;

    #[test]
    fn the_key_follows_from_the_sealing_key() {
        let key = |byte| SigningKey::from(&Key::from_bytes([byte; 32])).verifying();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }

    #[test]
    fn the_public_key_travels_as_text_and_as_bytes() {
        let key = ReceiptKey([0xab; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("ab".parse::<ReceiptKey>().is_err());
        assert_eq!(to_cbor(&key).len(), 34);
        assert_eq!(from_cbor::<ReceiptKey>(&to_cbor(&key)).unwrap(), key);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<ReceiptKey>(&text).unwrap(), key);
        assert!(serde_json::from_str::<ReceiptKey>("\"xy\"").is_err());
    }
}
