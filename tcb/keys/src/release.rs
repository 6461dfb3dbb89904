//! Secrets sealed to a public key: HPKE (RFC 9180) with HKDF-SHA-256 and AES-256-GCM; the key encapsulation is X-Wing
//! (ML-KEM-768 and X25519, draft-connolly-cfrg-xwing-kem), or X25519 alone.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// Which key encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// X25519: 32 bytes a key. What is recorded today can be opened by a quantum computer later.
    X25519,
    /// X-Wing: 1216 bytes a key. It stands as long as X25519 or ML-KEM-768 does.
    #[default]
    XWing,
}

impl Suite {
    /// All of them.
    pub const ALL: [Suite; 2] = [Suite::X25519, Suite::XWing];

    /// Its number in HPKE's registry of key encapsulations.
    pub const fn number(self) -> u16 {
        match self {
            Suite::X25519 => X25519HkdfSha256::KEM_ID,
            Suite::XWing => XWing::KEM_ID,
        }
    }

    /// The suite of this number.
    pub fn numbered(number: u16) -> Option<Self> {
        Suite::ALL.into_iter().find(|suite| suite.number() == number)
    }

    /// Bytes of a public key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1216,
        }
    }

    /// Bytes of an encapsulated key.
    const fn encapsulated_bytes(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1120,
        }
    }
}

/// Who can open: a public key of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    suite: Suite,
    key: Vec<u8>,
}

/// The private keys of a [`Recipient`] of each suite, wiped when dropped.
pub struct RecipientKey {
    x25519: <X25519HkdfSha256 as Kem>::PrivateKey,
    xwing: <XWing as Kem>::PrivateKey,
    x25519_public: [u8; 32],
    xwing_public: [u8; 1216],
}

/// An encapsulated key followed by the ciphertext.
pub type SealedTo = Vec<u8>;

/// What both sides of a sealed message derive from it, and nobody else (RFC 9180, section 5.3): who shows it has opened
/// the message.
pub struct Confirmation(Zeroizing<[u8; 32]>);

impl Confirmation {
    /// The bytes that are shown.
    pub fn bytes(&self) -> [u8; 32] {
        *self.0
    }

    /// Whether these are them, in constant time.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.as_slice().ct_eq(shown).into()
    }
}

/// A release that does not open, or a public key that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReleaseError {
    /// Not for this key, not from a holder of the shared secret, altered, or truncated.
    #[error("the release does not open: it was sealed to another warden, or altered")]
    DoesNotOpen,
    /// The public key is none of its suite.
    #[error("the recipient's public key is invalid")]
    InvalidRecipient,
}

/// What is exported to confirm.
const CONFIRMATION: &[u8] = b"blindsmith confirmation v1";

impl Recipient {
    /// The recipient with this public key; [`ReleaseError::InvalidRecipient`] if it is none of the suite.
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, ReleaseError> {
        if key.len() != suite.key_bytes() {
            return Err(ReleaseError::InvalidRecipient);
        }
        Ok(Recipient { suite, key: key.to_vec() })
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Its public key.
    pub fn bytes(&self) -> &[u8] {
        &self.key
    }

    /// Seals `plaintext` to this recipient, bound to `info`.
    pub fn seal(&self, info: &[u8], plaintext: &[u8]) -> Result<(SealedTo, Confirmation), ReleaseError> {
        match self.suite {
            Suite::X25519 => seal::<X25519HkdfSha256>(&self.key, info, plaintext),
            Suite::XWing => seal::<XWing>(&self.key, info, plaintext),
        }
    }
}

impl RecipientKey {
    /// Fresh key pairs.
    pub fn generate() -> Self {
        let (x25519, x25519_public) = X25519HkdfSha256::gen_keypair();
        let (xwing, xwing_public) = XWing::gen_keypair();
        let (x25519_public, xwing_public) = (x25519_public.to_bytes().into(), xwing_public.to_bytes().into());
        RecipientKey { x25519, xwing, x25519_public, xwing_public }
    }

    /// The public half of a suite.
    pub fn recipient(&self, suite: Suite) -> Recipient {
        let key = match suite {
            Suite::X25519 => self.x25519_public.to_vec(),
            Suite::XWing => self.xwing_public.to_vec(),
        };
        Recipient { suite, key }
    }

    /// Opens what [`Recipient::seal`] made with the same `info`.
    pub fn open(
        &self,
        suite: Suite,
        info: &[u8],
        sealed: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, Confirmation), ReleaseError> {
        let parts = sealed.split_at_checked(suite.encapsulated_bytes()).ok_or(ReleaseError::DoesNotOpen)?;
        match suite {
            Suite::X25519 => open::<X25519HkdfSha256>(&self.x25519, info, parts),
            Suite::XWing => open::<XWing>(&self.xwing, info, parts),
        }
    }
}

fn seal<K: Kem>(key: &[u8], info: &[u8], plaintext: &[u8]) -> Result<(SealedTo, Confirmation), ReleaseError> {
    let public = K::PublicKey::from_bytes(key).map_err(|_| ReleaseError::InvalidRecipient)?;
    let invalid = |_| ReleaseError::InvalidRecipient;
    let (encapsulated, mut context) =
        setup_sender::<AesGcm256, HkdfSha256, K>(&OpModeS::Base, &public, info).map_err(invalid)?;
    let mut out = encapsulated.to_bytes().to_vec();
    out.extend(context.seal(plaintext, b"").map_err(invalid)?);
    let mut confirmation = Zeroizing::new([0; 32]);
    context.export(CONFIRMATION, confirmation.as_mut_slice()).map_err(invalid)?;
    Ok((out, Confirmation(confirmation)))
}

fn open<K: Kem>(
    private: &K::PrivateKey,
    info: &[u8],
    (encapsulated, ciphertext): (&[u8], &[u8]),
) -> Result<(Zeroizing<Vec<u8>>, Confirmation), ReleaseError> {
    let wrong = |_| ReleaseError::DoesNotOpen;
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(wrong)?;
    let mut context =
        setup_receiver::<AesGcm256, HkdfSha256, K>(&OpModeR::Base, private, &encapsulated, info)
            .map_err(wrong)?;
    let opened = Zeroizing::new(context.open(ciphertext, b"").map_err(wrong)?);
    let mut confirmation = Zeroizing::new([0; 32]);
    context.export(CONFIRMATION, confirmation.as_mut_slice()).map_err(wrong)?;
    Ok((opened, Confirmation(confirmation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What opens, without its confirmation.
    fn opened(key: &RecipientKey, suite: Suite, info: &[u8], sealed: &[u8]) -> Result<Vec<u8>, ReleaseError> {
        key.open(suite, info, sealed).map(|(opened, _)| opened.to_vec())
    }

    #[test]
    fn opens_for_the_recipient_only() {
        for suite in Suite::ALL {
            let (warden, other) = (RecipientKey::generate(), RecipientKey::generate());
            let recipient = warden.recipient(suite);
            assert_eq!(recipient.bytes().len(), suite.key_bytes());
            let (sealed, expected) = recipient.seal(b"info", b"seed").unwrap();
            let (seed, confirmation) = warden.open(suite, b"info", &sealed).unwrap();
            assert_eq!(seed.as_slice(), b"seed");
            assert!(expected.is(&confirmation.bytes()));
            let (_, another) = recipient.seal(b"info", b"seed").unwrap();
            assert!(!another.is(&confirmation.bytes()), "each message has a confirmation of its own");
            let wrong = Err(ReleaseError::DoesNotOpen);
            assert_eq!(opened(&other, suite, b"info", &sealed), wrong);
            assert_eq!(opened(&warden, suite, b"other info", &sealed), wrong);
            for len in [0, 10, 32, suite.encapsulated_bytes(), sealed.len() - 1] {
                assert_eq!(opened(&warden, suite, b"info", &sealed[..len]), wrong);
            }
        }
    }

    #[test]
    fn a_key_of_another_suite_is_none() {
        for (suite, other) in [(Suite::X25519, Suite::XWing), (Suite::XWing, Suite::X25519)] {
            let key = RecipientKey::generate();
            let public = key.recipient(other);
            assert_eq!(Recipient::new(suite, public.bytes()), Err(ReleaseError::InvalidRecipient));
            let (sealed, _) = key.recipient(suite).seal(b"", b"seed").unwrap();
            assert!(key.open(other, b"", &sealed).is_err());
        }
        // X-Wing refuses keys that no key generation gives.
        let none = Recipient::new(Suite::XWing, &[0xff; 1216]).unwrap();
        assert!(matches!(none.seal(b"", b""), Err(ReleaseError::InvalidRecipient)));
    }
}
