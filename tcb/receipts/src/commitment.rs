//! Commitments to a model.

use sha2::{Digest, Sha256};

/// What enters first, so that no other digest of ours is a commitment.
const TAG: &[u8] = b"blindsmith model commitment v1\0";

/// Commits to `model`: SHA-256 of the tag, the opening, the model's length (64 bits, big-endian) and the model.
///
/// Binding, since a collision of SHA-256 would be needed to open it otherwise. Hiding, if `opening` is 32 random
/// bytes that are used once and kept secret: who guesses the model cannot confirm the guess, and equal models
/// have unlinkable commitments.
pub fn commit(opening: &[u8; 32], model: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(TAG);
    hash.update(opening);
    hash.update((model.len() as u64).to_be_bytes());
    hash.update(model);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_and_model_are_bound() {
        let base = commit(&[1; 32], b"model");
        assert_eq!(base, commit(&[1; 32], b"model"));
        assert_ne!(base, commit(&[2; 32], b"model"));
        assert_ne!(base, commit(&[1; 32], b"model\0"));
        assert_ne!(base, commit(&[1; 32], b""));
    }
}
