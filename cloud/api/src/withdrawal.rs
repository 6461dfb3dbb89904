//! What a contributor signs to take an upload back: the refinery acts on it, and no warden sees it.

use blindsmith_identity::{Kind, PublicKey, SignedError, SigningKey, open, sign};
use blindsmith_protocol::Id;
use serde::{Deserialize, Serialize};

const WITHDRAWAL: Kind =
    Kind { content: "application/vnd.blindsmith.withdrawal+cbor", aad: b"blindsmith withdrawal v1" };

/// A contributor takes an upload of its own back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The project.
    pub project: Id,
    /// The upload.
    pub upload: Id,
}

/// Signs a withdrawal.
pub fn sign_withdrawal(withdrawal: &Withdrawal, contributor: &SigningKey) -> Vec<u8> {
    sign(withdrawal, &WITHDRAWAL, contributor)
}

/// Opens a withdrawal that should be signed by this contributor.
///
/// # Errors
/// [`SignedError`] if it is another's or malformed.
pub fn open_withdrawal(bytes: &[u8], contributor: &PublicKey) -> Result<Withdrawal, SignedError> {
    open(bytes, &WITHDRAWAL, contributor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_is_of_who_signed_it() {
        let (one, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let withdrawal = Withdrawal { project: Id([1; 32]), upload: Id([2; 32]) };
        let signed = sign_withdrawal(&withdrawal, &one);
        assert_eq!(open_withdrawal(&signed, &one.verifying()).unwrap(), withdrawal);
        assert!(open_withdrawal(&signed, &other.verifying()).is_err());
        let another = Kind { content: "application/cbor", ..WITHDRAWAL };
        let signed = sign(&withdrawal, &another, &one);
        assert!(open_withdrawal(&signed, &one.verifying()).is_err(), "another kind of message");
    }
}
