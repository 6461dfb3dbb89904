//! What opens the commitments to models in receipts.

use blindsmith_keys::Key;
use sha2::{Digest, Sha256};

/// What opens the commitment to a round's model. It follows from the vault, which no owner has: it also proves that the model is
/// the warden's.
pub(crate) fn opening(vault: &Key, round: u64, model: &[u8]) -> [u8; 32] {
    *vault.derive("model opening", &[&round.to_be_bytes(), &Sha256::digest(model)]).expose()
}
