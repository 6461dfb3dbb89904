//! Authenticated encryption of small things: AES-256-GCM (NIST SP 800-38D) under a key used once.

use aes_gcm::aead::{Aead, AeadInOut, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use thiserror::Error;

use crate::key::{Key, random_bytes};

/// Salt, then ciphertext and tag. Each sealing derives a key of its own from a fresh 256-bit salt, so the
/// fixed nonce is used once per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// A sealed message that does not open: wrong key, wrong context, altered or truncated. Which one cannot be
/// told, and is not.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the sealed message does not open: wrong key, wrong context, or altered data")]
pub struct SealError;

const SALT: usize = 32;
const TAG: usize = 16;
const NONCE: [u8; 12] = [0; 12];

impl Key {
    /// Seals `plaintext`, bound to `context`.
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Sealed {
        let salt = random_bytes::<SALT>();
        let mut out = Vec::with_capacity(SALT + plaintext.len() + TAG);
        out.extend(salt);
        out.extend_from_slice(plaintext);
        let key = self.derive("seal", &[&salt]);
        // Unwrap safety: AES-GCM refuses only messages above 64 GiB.
        let tag = Aes256Gcm::new(key.expose().into())
            .encrypt_inout_detached(&Nonce::from(NONCE), context.as_bytes(), (&mut out[SALT..]).into())
            .expect("a message below 64 GiB");
        out.extend(tag);
        Sealed(out)
    }

    /// Opens what [`Key::seal`] made under the same key and context.
    pub fn unseal(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (salt, ciphertext) = sealed.split_at_checked(SALT).ok_or(SealError)?;
        self.derive("seal", &[salt]).decrypt_once(context.as_bytes(), ciphertext)
    }

    /// Ciphertext and tag of the only message that this key ever encrypts: the caller derives it so.
    pub fn encrypt_once(&self, associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        // Unwrap safety: AES-GCM refuses only messages above 64 GiB.
        Aes256Gcm::new(self.expose().into())
            .encrypt(&Nonce::from(NONCE), Payload { msg: plaintext, aad: associated })
            .expect("a message below 64 GiB")
    }

    /// Opens what [`Key::encrypt_once`] made where it lies; the plaintext.
    pub fn decrypt_once_in_place<'b>(
        &self,
        associated: &[u8],
        sealed: &'b mut [u8],
    ) -> Result<&'b [u8], SealError> {
        let len = sealed.len().checked_sub(TAG).ok_or(SealError)?;
        let (text, tag) = sealed.split_at_mut(len);
        let tag: [u8; TAG] = (&*tag).try_into().map_err(|_| SealError)?;
        Aes256Gcm::new(self.expose().into())
            .decrypt_inout_detached(&Nonce::from(NONCE), associated, (&mut *text).into(), &tag.into())
            .map_err(|_| SealError)?;
        Ok(text)
    }

    /// Opens what [`Key::encrypt_once`] made.
    pub fn decrypt_once(&self, associated: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, SealError> {
        Aes256Gcm::new(self.expose().into())
            .decrypt(&Nonce::from(NONCE), Payload { msg: ciphertext, aad: associated })
            .map_err(|_| SealError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_under_the_same_key_and_context_only() {
        let key = Key::random();
        let sealed = key.seal("state", b"secret");
        assert_eq!(key.unseal("state", &sealed.0).unwrap(), b"secret");
        assert_eq!(key.unseal("model", &sealed.0), Err(SealError));
        assert_eq!(Key::random().unseal("state", &sealed.0), Err(SealError));
        let once = key.encrypt_once(b"a", b"secret");
        assert_eq!(key.decrypt_once_in_place(b"a", &mut once.clone()).unwrap(), b"secret");
        assert_eq!(key.decrypt_once_in_place(b"b", &mut once.clone()), Err(SealError));
        for len in [0, 15, 16, once.len() - 1] {
            assert_eq!(key.decrypt_once_in_place(b"a", &mut once[..len].to_vec()), Err(SealError));
        }
        for len in [0, 31, 32, 40, sealed.0.len() - 1] {
            assert_eq!(key.unseal("state", &sealed.0[..len]), Err(SealError));
        }
        for at in 0..sealed.0.len() {
            let mut altered = sealed.0.clone();
            altered[at] ^= 1;
            assert_eq!(key.unseal("state", &altered), Err(SealError));
        }
    }
}
