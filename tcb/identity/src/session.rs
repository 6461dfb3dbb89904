//! What relying parties and wardens sign to each other when secrets are released: a request for evidence, the release, its
//! confirmation.

use blindsmith_protocol::{Blob, Id};
use serde::{Deserialize, Serialize};

use crate::envelope::{Kind, SignedError, open, sign};
use crate::key::{PublicKey, SigningKey};

const REQUEST: Kind =
    Kind { content: "application/vnd.blindsmith.attest+cbor", aad: b"blindsmith request for evidence v1" };
const RELEASE: Kind =
    Kind { content: "application/vnd.blindsmith.release+cbor", aad: b"blindsmith release v1" };
const CONFIRMATION: Kind =
    Kind { content: "application/vnd.blindsmith.confirmation+cbor", aad: b"blindsmith confirmation v1" };
/// Longest sealed release, in bytes.
const MAX_RELEASE: usize = 512 << 10;

/// What evidence is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Secrets will be released in this session, once.
    Release,
    /// A query will be sealed to the warden's key; nothing is remembered.
    Query,
}

/// A relying party asks a warden for evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestRequest {
    /// The project that it is about.
    pub project: Id,
    /// 256 fresh bits: no two requests have the same.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
    /// SHA-256 of the policy by which the evidence will be appraised.
    #[serde(with = "serde_bytes")]
    pub policy: [u8; 32],
    /// The key encapsulation that secrets will be sealed with, by its number of HPKE.
    pub kem: u16,
    /// What for.
    pub purpose: Purpose,
}

/// An owner releases a project's secrets to a warden that it appraised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRelease {
    /// The project.
    pub project: Id,
    /// The session: SHA-256 of the warden's claims.
    #[serde(with = "serde_bytes")]
    pub session: [u8; 32],
    /// The release, sealed (HPKE).
    pub envelope: Blob,
}

/// A warden confirms that it opened what was released, under its key in the claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// The project.
    pub project: Id,
    /// The session.
    #[serde(with = "serde_bytes")]
    pub session: [u8; 32],
    /// What verifies the receipts of this project, whichever warden writes them.
    pub receipts: PublicKey,
    /// What only who opened the release can derive from it (HPKE's exporter).
    #[serde(with = "serde_bytes")]
    pub confirmation: [u8; 32],
}

/// Signs a request for evidence.
pub fn sign_request(request: &AttestRequest, asker: &SigningKey) -> Vec<u8> {
    sign(request, &REQUEST, asker)
}

/// Opens a request that should be signed by this key.
///
/// # Errors
/// [`SignedError`] if it is another's or malformed.
pub fn open_request(bytes: &[u8], asker: &PublicKey) -> Result<AttestRequest, SignedError> {
    open(bytes, &REQUEST, asker)
}

/// Signs a release.
pub fn sign_release(release: &SignedRelease, owner: &SigningKey) -> Vec<u8> {
    sign(release, &RELEASE, owner)
}

/// Opens a release that should be signed by this owner.
///
/// # Errors
/// [`SignedError`] if it is another's, malformed or too long.
pub fn open_release(bytes: &[u8], owner: &PublicKey) -> Result<SignedRelease, SignedError> {
    let release: SignedRelease = open(bytes, &RELEASE, owner)?;
    if release.envelope.0.len() > MAX_RELEASE {
        return Err(SignedError::Limit(format!("a sealed release of more than {MAX_RELEASE} bytes")));
    }
    Ok(release)
}

/// Signs a confirmation.
pub fn sign_confirmed(confirmed: &Confirmed, warden: &SigningKey) -> Vec<u8> {
    sign(confirmed, &CONFIRMATION, warden)
}

/// Opens a confirmation that should be signed by this warden.
///
/// # Errors
/// [`SignedError`] if it is another's or malformed.
pub fn open_confirmed(bytes: &[u8], warden: &PublicKey) -> Result<Confirmed, SignedError> {
    open(bytes, &CONFIRMATION, warden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_its_senders_and_of_its_kind() {
        let (one, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let project = Id([3; 32]);
        let request = AttestRequest {
            project,
            nonce: [4; 32],
            policy: [5; 32],
            kem: 0x647a,
            purpose: Purpose::Release,
        };
        let release = SignedRelease { project, session: [6; 32], envelope: Blob(vec![7; 80]) };
        let confirmed =
            Confirmed { project, session: [6; 32], receipts: PublicKey([8; 32]), confirmation: [9; 32] };
        let key = one.verifying();
        let signed =
            [sign_request(&request, &one), sign_release(&release, &one), sign_confirmed(&confirmed, &one)];
        assert_eq!(open_request(&signed[0], &key).unwrap(), request);
        assert_eq!(open_release(&signed[1], &key).unwrap(), release);
        assert_eq!(open_confirmed(&signed[2], &key).unwrap(), confirmed);
        for (i, bytes) in signed.iter().enumerate() {
            assert_eq!(open_request(bytes, &key).is_ok(), i == 0);
            assert_eq!(open_release(bytes, &key).is_ok(), i == 1);
            assert_eq!(open_confirmed(bytes, &key).is_ok(), i == 2);
            assert!(open_request(bytes, &other.verifying()).is_err());
            assert!(open_release(bytes, &other.verifying()).is_err());
            assert!(open_confirmed(bytes, &other.verifying()).is_err());
        }
        let long = SignedRelease { envelope: Blob(vec![0; MAX_RELEASE + 1]), ..release };
        assert!(matches!(open_release(&sign_release(&long, &one), &key), Err(SignedError::Limit(_))));
    }
}
