//! What a warden claims of itself, and the bytes by which a report vouches for it.

use blindsmith_identity::PublicKey;
use blindsmith_protocol::{Blob, Id, from_cbor, to_cbor};
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

/// Longest claims, in bytes.
pub const MAX_CLAIMS: usize = 4096;
/// Longest build version, in bytes.
const MAX_BUILD: usize = 64;
/// Longest public key, in bytes: one of X-Wing has 1216.
const MAX_KEY: usize = 2048;
/// Of the claims' format.
const VERSION: u8 = 1;
/// What tells this hash from others.
const DOMAIN: &[u8] = b"blindsmith evidence v1\0";

/// The kind of trusted execution environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// None at all: an ordinary process that proves nothing. For development and demonstrations.
    Simulated,
    /// An enclave of Intel SGX.
    Sgx,
    /// A virtual machine under Intel TDX.
    Tdx,
    /// A virtual machine under AMD SEV-SNP.
    Snp,
}

impl Tee {
    /// All kinds.
    pub const ALL: [Tee; 4] = [Tee::Simulated, Tee::Sgx, Tee::Tdx, Tee::Snp];

    /// The name in claims, policies, terms and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Tee::Simulated => "simulated",
            Tee::Sgx => "sgx",
            Tee::Tdx => "tdx",
            Tee::Snp => "snp",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Tee::ALL.into_iter().find(|tee| tee.name() == name)
    }
}

/// What a warden claims of itself for one session with one relying party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Its kind.
    pub tee: Tee,
    /// The key encapsulation of HPKE that its key is for, by its number in the registry of RFC 9180, section 7.1.
    pub kem: u16,
    /// Its public key for secrets, fresh for each start.
    pub recipient: Vec<u8>,
    /// The key under which it signs what concerns no project.
    pub signing: PublicKey,
    /// The relying party's nonce: 256 fresh bits.
    pub nonce: [u8; 32],
    /// SHA-256 of the policy under which the relying party appraises.
    pub policy: [u8; 32],
    /// The project that the session is about.
    pub project: Id,
    /// Who asked, and may release: the key that signed the request.
    pub asker: PublicKey,
    /// The version of the warden's program.
    pub build: String,
}

/// Bytes that are no claims.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimsError {
    /// Too long.
    #[error("{0} bytes of claims, where at most {MAX_CLAIMS} are possible")]
    Long(usize),
    /// Not the structure.
    #[error("the claims do not decode: {0}")]
    Malformed(String),
    /// Another version.
    #[error("claims of version {0}, which this program does not know")]
    Version(u8),
    /// A kind that there is not.
    #[error("claims of a kind of environment that this program does not know")]
    Tee,
    /// Beyond a limit.
    #[error("the claims are out of range: {0}")]
    Range(&'static str),
    /// Encoded in another way than [`Claims::encode`] does.
    #[error("the claims are not encoded in the one way that counts")]
    NotCanonical,
}

type Fields = (u8, String, u16, Blob, PublicKey, Blob, Blob, Id, PublicKey, String);

fn fixed(bytes: &Blob, what: &'static str) -> Result<[u8; 32], ClaimsError> {
    bytes.0.as_slice().try_into().map_err(|_| ClaimsError::Range(what))
}

impl Claims {
    /// Deterministic CBOR (RFC 8949, section 4.2): an array of version, kind, KEM, recipient, signing key, nonce, policy,
    /// project, asker, build.
    pub fn encode(&self) -> Vec<u8> {
        let fields: Fields = (
            VERSION,
            self.tee.name().into(),
            self.kem,
            Blob(self.recipient.clone()),
            self.signing,
            Blob(self.nonce.to_vec()),
            Blob(self.policy.to_vec()),
            self.project,
            self.asker,
            self.build.clone(),
        );
        to_cbor(&fields)
    }

    /// The claims in these bytes.
    ///
    /// # Errors
    /// [`ClaimsError`] if they are malformed, out of range, or not encoded as [`Claims::encode`] would.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClaimsError> {
        if bytes.len() > MAX_CLAIMS {
            return Err(ClaimsError::Long(bytes.len()));
        }
        let fields: Fields = from_cbor(bytes).map_err(|e| ClaimsError::Malformed(e.to_string()))?;
        let (version, tee, kem, recipient, signing, nonce, policy, project, asker, build) = fields;
        if version != VERSION {
            return Err(ClaimsError::Version(version));
        }
        if recipient.0.is_empty() || recipient.0.len() > MAX_KEY {
            return Err(ClaimsError::Range("the public key"));
        }
        if build.len() > MAX_BUILD || build.chars().any(char::is_control) {
            return Err(ClaimsError::Range("the version of the program"));
        }
        let claims = Claims {
            tee: Tee::named(&tee).ok_or(ClaimsError::Tee)?,
            kem,
            recipient: recipient.0,
            signing,
            nonce: fixed(&nonce, "the nonce")?,
            policy: fixed(&policy, "the policy's digest")?,
            project,
            asker,
            build,
        };
        if claims.encode() != bytes { Err(ClaimsError::NotCanonical) } else { Ok(claims) }
    }

    /// SHA-256 of the encoded claims: the name of the session.
    pub fn session(&self) -> [u8; 32] {
        Sha256::digest(self.encode()).into()
    }
}

/// What a report has to hold to vouch for these encoded claims.
pub fn report_data(claims: &[u8]) -> [u8; 64] {
    Sha512::new().chain_update(DOMAIN).chain_update(claims).finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims() -> Claims {
        Claims {
            tee: Tee::Snp,
            kem: 0x0020,
            recipient: vec![1; 32],
            signing: PublicKey([2; 32]),
            nonce: [3; 32],
            policy: [4; 32],
            project: Id([5; 32]),
            asker: PublicKey([6; 32]),
            build: "0.1.0".into(),
        }
    }

    /// As RFC 8949 has it, by hand.
    fn expected() -> Vec<u8> {
        let mut bytes = vec![0x8a, 1, 0x63, b's', b'n', b'p', 0x18, 0x20];
        for byte in 1..=6 {
            bytes.extend([0x58, 32]);
            bytes.extend([byte; 32]);
        }
        bytes.extend(b"\x650.1.0");
        bytes
    }

    #[test]
    fn the_encoding_is_the_one_of_the_document() {
        assert_eq!(claims().encode(), expected());
        assert_eq!(Claims::decode(&expected()).unwrap(), claims());
        // python3 -c 'hashlib.sha512(b"blindsmith evidence v1\0" + encoding)'
        let known = "ae9f3eb5fd3be31e0a783bbe8c7f8800c553bec4b39b3ad621932ca889f49e8274d3c581d24ba995fd294cc8e9dfcf1e626061deddec394de2e163809ded40a5";
        let data: String = report_data(&expected()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(data, known);
    }

    #[test]
    fn claims_out_of_range_are_refused() {
        let with = |change: fn(&mut Claims)| {
            let mut changed = claims();
            change(&mut changed);
            Claims::decode(&changed.encode())
        };
        assert_eq!(with(|c| c.recipient.clear()), Err(ClaimsError::Range("the public key")));
        assert_eq!(with(|c| c.recipient = vec![0; 2049]), Err(ClaimsError::Range("the public key")));
        assert_eq!(with(|c| c.build = "x".repeat(65)), Err(ClaimsError::Range("the version of the program")));
        assert_eq!(
            with(|c| c.build = "\u{1b}[2J".into()),
            Err(ClaimsError::Range("the version of the program"))
        );
        assert!(matches!(with(|c| c.recipient = vec![0; 5000]), Err(ClaimsError::Long(_))));
        let mut other = expected();
        other[1] = 2;
        assert_eq!(Claims::decode(&other), Err(ClaimsError::Version(2)));
        let mut other = expected();
        other[3] = b'x';
        assert_eq!(Claims::decode(&other), Err(ClaimsError::Tee));
    }

    #[test]
    fn a_second_encoding_is_refused() {
        let longer = [&expected()[..1], &[0x18, 1], &expected()[2..]].concat();
        assert_eq!(Claims::decode(&longer), Err(ClaimsError::NotCanonical));
        assert!(Claims::decode(&[expected(), vec![0]].concat()).is_err());
        for len in 0..expected().len() {
            assert!(Claims::decode(&expected()[..len]).is_err(), "truncated to {len}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_is_what_was_encoded(bytes in proptest::collection::vec(any::<u8>(), 0..600), at in 0usize..220, byte: u8) {
            if let Ok(claims) = Claims::decode(&bytes) {
                prop_assert_eq!(claims.encode(), bytes);
            }
            let mut near = expected();
            let at = at % near.len();
            near[at] = byte;
            if let Ok(claims) = Claims::decode(&near) {
                prop_assert_eq!(claims.encode(), near);
            }
        }
    }
}
