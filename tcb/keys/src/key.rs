//! 256-bit keys and their derivation (HKDF-SHA-256, RFC 5869).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 256-bit secret. The one way to its bytes is [`Key::expose`].
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

/// Bytes from the operating system's generator.
///
/// # Panics
/// If the operating system has none: there is nothing safe to do without.
pub fn random_bytes<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).expect("the operating system's random generator");
    bytes
}

impl Key {
    /// A fresh key from the operating system's generator.
    pub fn random() -> Self {
        Key(random_bytes())
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// The secret bytes, for storage that is itself protected.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for `label` and `context`: HKDF-Expand with this key as pseudorandom key; every part of the
    /// context enters with its length, so different contexts never give equal inputs.
    pub fn derive(&self, label: &str, context: &[&[u8]]) -> Key {
        let mut info = Vec::with_capacity(64 + context.iter().map(|c| 8 + c.len()).sum::<usize>());
        for part in
            std::iter::once(b"blindsmith".as_slice()).chain([label.as_bytes()]).chain(context.iter().copied())
        {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part);
        }
        let mut out = [0; 32];
        // Unwrap safety: the pseudorandom key has the hash's length, and so has the output.
        let hkdf = Hkdf::<Sha256>::from_prk(&self.0).expect("32 bytes");
        hkdf.expand(&info, &mut out).expect("32 bytes");
        info.zeroize();
        Key(out)
    }

    /// A copy for another holder of the same secret: explicit, and wiped on its own.
    pub fn duplicate(&self) -> Key {
        Key(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_separated() {
        let key = Key::from_bytes([7; 32]);
        let base = key.derive("a", &[b"bc", b"d"]);
        for (label, context) in [
            ("b", [b"bc".as_slice(), b"d"]),
            ("a", [b"b", b"cd"]),
            ("ab", [b"c", b"d"]),
            ("a", [b"bcd", b""]),
        ] {
            assert_ne!(base.expose(), key.derive(label, &context).expose());
        }
        assert_eq!(base.expose(), key.derive("a", &[b"bc", b"d"]).expose());
    }

    #[test]
    fn derivation_is_hkdf_expand() {
        use hkdf::hmac::{Hmac, KeyInit, Mac};
        let key = Key::from_bytes([9; 32]);
        // HKDF-Expand's first block is HMAC(PRK, info || 0x01).
        let mut mac = Hmac::<Sha256>::new_from_slice(&[9; 32]).unwrap();
        for part in [b"blindsmith".as_slice(), b"label", b"context"] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.update(&[1]);
        assert_eq!(
            key.derive("label", &[b"context"]).expose().as_slice(),
            mac.finalize().into_bytes().as_slice()
        );
    }
}
