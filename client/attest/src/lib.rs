//! Appraisal of a warden's evidence: a pure function of evidence, policy and nonce (the roles and words are
//! those of RFC 9334). Only its result, [`Appraised`], lets a client seal secrets to a warden.
//!
//! Wardens today give one kind of evidence: that of a simulated warden, which proves nothing. It is refused unless
//! the policy accepts simulation by name. Evidence of hardware, [`appraisal`] judges.
//!
//! What a warden attests later, round by round, [`chain`] verifies.

#![forbid(unsafe_code)]

pub mod appraisal;
pub mod chain;

use blindsmith_protocol::Evidence;
use blindsmith_receipts::PublicKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which wardens an owner trusts. The default trusts none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether simulated wardens are accepted: processes that nothing protects from whoever runs them.
    pub accept_simulated: bool,
}

/// Evidence that the policy accepts: the public key that it binds may receive secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    evidence: Evidence,
}

impl Appraised {
    /// The kind of trusted execution environment.
    pub fn tee(&self) -> &str {
        &self.evidence.tee
    }

    /// The public key to which secrets may be sealed.
    pub fn recipient(&self) -> [u8; 32] {
        self.evidence.recipient
    }

    /// The key that verifies the warden's receipts.
    pub fn receipts(&self) -> PublicKey {
        PublicKey(self.evidence.receipts)
    }

    /// What was appraised.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

/// Why evidence is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Stale or replayed.
    #[error("the evidence answers another nonce than the one sent: it is stale or replayed")]
    Nonce,
    /// Simulated, and not accepted.
    #[error(
        "the warden is simulated: nothing protects its memory from whoever runs it. To accept that for tests, say so by name (--accept-simulated)"
    )]
    Simulated,
    /// Something else.
    #[error("the warden's evidence is of the kind {0:?}, which this version cannot appraise")]
    UnknownKind(String),
}

/// Appraises evidence that should answer `nonce`.
///
/// ```
/// use blindsmith_attest::{Policy, Refused, appraise};
/// use blindsmith_protocol::Evidence;
///
/// let evidence = Evidence {
///     tee: "simulated".into(),
///     version: "0.1.0".into(),
///     recipient: [1; 32],
///     nonce: [2; 32],
///     receipts: [4; 32],
/// };
/// assert_eq!(appraise(&evidence, &Policy::default(), &[2; 32]), Err(Refused::Simulated));
/// let accepting = Policy { accept_simulated: true };
/// assert_eq!(appraise(&evidence, &accepting, &[2; 32]).unwrap().recipient(), [1; 32]);
/// assert_eq!(appraise(&evidence, &accepting, &[3; 32]), Err(Refused::Nonce));
/// ```
pub fn appraise(evidence: &Evidence, policy: &Policy, nonce: &[u8; 32]) -> Result<Appraised, Refused> {
    if evidence.nonce != *nonce {
        return Err(Refused::Nonce);
    }
    match evidence.tee.as_str() {
        "simulated" if policy.accept_simulated => Ok(Appraised { evidence: evidence.clone() }),
        "simulated" => Err(Refused::Simulated),
        other => Err(Refused::UnknownKind(other.chars().take(64).collect())),
    }
}
