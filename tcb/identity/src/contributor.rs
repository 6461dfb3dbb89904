//! What contributors and queriers sign.

use blindsmith_protocol::{Blob, Id};
use serde::{Deserialize, Serialize};

use crate::envelope::{Kind, SignedError, open, sign};
use crate::key::{PublicKey, SigningKey};
use crate::terms::Terms;

const ENROLMENT: Kind =
    Kind { content: "application/vnd.blindsmith.enrolment+cbor", aad: b"blindsmith enrolment v1" };
const INQUIRY: Kind =
    Kind { content: "application/vnd.blindsmith.inquiry+cbor", aad: b"blindsmith inquiry v1" };
/// Longest sealed seed, in bytes.
const MAX_ENVELOPE: usize = 4096;

/// A contributor hands the seed of its uploads to a warden that it appraised, under terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The project.
    pub project: Id,
    /// What it accepts.
    pub terms: Terms,
    /// The session: SHA-256 of the warden's claims.
    #[serde(with = "serde_bytes")]
    pub session: [u8; 32],
    /// The seed, derived for this project and these terms, sealed (HPKE).
    pub envelope: Blob,
}

/// Somebody asks for predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    /// The project.
    pub project: Id,
    /// The query: digest of its header.
    pub query: Id,
    /// Greater than those of the querier's queries before: microseconds since 1970, as its software numbers them.
    pub number: u64,
    /// The key encapsulation, by its number in HPKE's registry.
    pub kem: u16,
    /// The seed of the query's key, sealed (HPKE).
    pub envelope: Blob,
}

/// Signs an enrolment.
pub fn sign_enrolment(enrolment: &Enrolment, contributor: &SigningKey) -> Vec<u8> {
    sign(enrolment, &ENROLMENT, contributor)
}

/// Opens an enrolment that should be signed by this contributor.
///
/// # Errors
/// [`SignedError`] if it is another's, malformed or out of range.
pub fn open_enrolment(bytes: &[u8], contributor: &PublicKey) -> Result<Enrolment, SignedError> {
    let enrolment: Enrolment = open(bytes, &ENROLMENT, contributor)?;
    enrolment.terms.validate().map_err(|e| SignedError::Content(e.to_string()))?;
    if enrolment.envelope.0.len() > MAX_ENVELOPE {
        return Err(SignedError::Limit(format!("a sealed seed of more than {MAX_ENVELOPE} bytes")));
    }
    Ok(enrolment)
}

/// Signs an inquiry.
pub fn sign_inquiry(inquiry: &Inquiry, querier: &SigningKey) -> Vec<u8> {
    sign(inquiry, &INQUIRY, querier)
}

/// Opens an inquiry that should be signed by this querier.
///
/// # Errors
/// [`SignedError`] if it is another's, malformed or out of range.
pub fn open_inquiry(bytes: &[u8], querier: &PublicKey) -> Result<Inquiry, SignedError> {
    let inquiry: Inquiry = open(bytes, &INQUIRY, querier)?;
    if inquiry.envelope.0.len() > MAX_ENVELOPE {
        return Err(SignedError::Limit(format!("a sealed seed of more than {MAX_ENVELOPE} bytes")));
    }
    Ok(inquiry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_contributor_signs_is_no_others() {
        let (one, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let enrolment = Enrolment {
            project: Id([1; 32]),
            terms: Terms::without_minima(PublicKey([3; 32]), "simulated", &[]),
            session: [4; 32],
            envelope: Blob(vec![5; 80]),
        };
        let signed = sign_enrolment(&enrolment, &one);
        assert_eq!(open_enrolment(&signed, &one.verifying()).unwrap(), enrolment);
        assert!(open_enrolment(&signed, &other.verifying()).is_err());
        assert!(open_inquiry(&signed, &one.verifying()).is_err(), "another kind of message");
    }

    #[test]
    fn an_inquiry_is_of_who_signed_it() {
        let (one, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let inquiry = Inquiry {
            project: Id([1; 32]),
            query: Id([2; 32]),
            number: 1,
            kem: 32,
            envelope: Blob(vec![3; 80]),
        };
        let signed = sign_inquiry(&inquiry, &one);
        assert_eq!(open_inquiry(&signed, &one.verifying()).unwrap(), inquiry);
        assert!(open_inquiry(&signed, &other.verifying()).is_err());
        assert!(open_enrolment(&signed, &one.verifying()).is_err(), "another kind of message");
        let long = Inquiry { envelope: Blob(vec![0; 5000]), ..inquiry };
        assert!(open_inquiry(&sign_inquiry(&long, &one), &one.verifying()).is_err());
    }

    #[test]
    fn enrolments_out_of_range_are_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let terms = Terms::without_minima(PublicKey([3; 32]), "simulated", &[]);
        let base = Enrolment { project: Id([1; 32]), terms, session: [4; 32], envelope: Blob(vec![]) };
        let long = Enrolment { envelope: Blob(vec![0; 5000]), ..base.clone() };
        let mut none = base.clone();
        none.terms.tees.clear();
        for bad in [long, none] {
            assert!(open_enrolment(&sign_enrolment(&bad, &key), &key.verifying()).is_err());
        }
        assert!(open_enrolment(&sign_enrolment(&base, &key), &key.verifying()).is_ok());
    }
}
