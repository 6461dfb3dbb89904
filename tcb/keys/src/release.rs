//! Secrets sealed to a public key: HPKE (RFC 9180), X25519, HKDF-SHA-256, AES-256-GCM.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable, single_shot_open, single_shot_seal,
};
use thiserror::Error;

use crate::Key;

/// Who can open: an X25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient(pub [u8; 32]);

/// The private key of a [`Recipient`], wiped when dropped.
pub struct RecipientKey {
    private: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; 32],
}

/// An encapsulated key (32 bytes) followed by the ciphertext.
pub type SealedTo = Vec<u8>;

/// A release that does not open, or a public key that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReleaseError {
    /// Not for this key, not from a holder of the shared secret, altered, or truncated.
    #[error("the release does not open: it was sealed to another warden, or altered")]
    DoesNotOpen,
    /// The public key is not a valid X25519 point.
    #[error("the recipient's public key is invalid")]
    InvalidRecipient,
}

impl Recipient {
    /// Seals `plaintext` to this recipient, bound to `info`; with `member`, a secret that both sides hold
    /// authenticates the sender (RFC 9180, mode psk).
    pub fn seal(
        &self,
        info: &[u8],
        member: Option<&Key>,
        plaintext: &[u8],
    ) -> Result<SealedTo, ReleaseError> {
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.0)
            .map_err(|_| ReleaseError::InvalidRecipient)?;
        let mode = match member {
            None => OpModeS::Base,
            Some(key) => OpModeS::Psk(bundle(key)?),
        };
        let (encapsulated, ciphertext) =
            single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&mode, &public, info, plaintext, b"")
                .map_err(|_| ReleaseError::InvalidRecipient)?;
        let mut out = encapsulated.to_bytes().to_vec();
        out.extend(ciphertext);
        Ok(out)
    }
}

impl RecipientKey {
    /// A fresh key pair.
    pub fn generate() -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        RecipientKey { private, public: public.to_bytes().into() }
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.public)
    }

    /// Opens what [`Recipient::seal`] made with the same `info` and `member`.
    pub fn open(&self, info: &[u8], member: Option<&Key>, sealed: &[u8]) -> Result<Vec<u8>, ReleaseError> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(32).ok_or(ReleaseError::DoesNotOpen)?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(|_| ReleaseError::DoesNotOpen)?;
        let mode = match member {
            None => OpModeR::Base,
            Some(key) => OpModeR::Psk(bundle(key)?),
        };
        single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &self.private,
            &encapsulated,
            info,
            ciphertext,
            b"",
        )
        .map_err(|_| ReleaseError::DoesNotOpen)
    }
}

fn bundle(key: &Key) -> Result<PskBundle<'_>, ReleaseError> {
    PskBundle::new(key.expose(), b"blindsmith member").map_err(|_| ReleaseError::DoesNotOpen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_the_recipient_only() {
        let (warden, other) = (RecipientKey::generate(), RecipientKey::generate());
        let sealed = warden.recipient().seal(b"info", None, b"seed").unwrap();
        assert_eq!(warden.open(b"info", None, &sealed).unwrap(), b"seed");
        assert_eq!(other.open(b"info", None, &sealed), Err(ReleaseError::DoesNotOpen));
        assert_eq!(warden.open(b"other info", None, &sealed), Err(ReleaseError::DoesNotOpen));
        for len in [0, 10, 32, sealed.len() - 1] {
            assert_eq!(warden.open(b"info", None, &sealed[..len]), Err(ReleaseError::DoesNotOpen));
        }
    }

    #[test]
    fn strangers_are_no_members() {
        let (warden, member) = (RecipientKey::generate(), Key::random());
        let sealed = warden.recipient().seal(b"query", Some(&member), b"seed").unwrap();
        assert_eq!(warden.open(b"query", Some(&member), &sealed).unwrap(), b"seed");
        assert!(warden.open(b"query", Some(&Key::random()), &sealed).is_err());
        assert!(warden.open(b"query", None, &sealed).is_err());
    }
}
