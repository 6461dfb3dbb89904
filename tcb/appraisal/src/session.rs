//! A session with a warden, for relying parties that appraise in their own process: clients.

use blindsmith_evidence::{Appraised, Challenge, Refusal, Refused};
use blindsmith_identity::{PublicKey, Purpose, SigningKey, open_confirmed};
use blindsmith_keys::{Confirmation, Suite};
use blindsmith_protocol::{Blob, Evidence, Id};
use sha2::{Digest, Sha256};

use crate::collateral::Collateral;
use crate::policy::Policy;
use crate::{Unusable, appraise};

/// A policy, and the digest of the file that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedPolicy {
    policy: Policy,
    digest: [u8; 32],
}

impl AppraisedPolicy {
    /// Reads a policy file; see [`Policy::parse`].
    ///
    /// # Errors
    /// [`Unusable`] if it cannot be read.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        Ok(AppraisedPolicy { policy: Policy::parse(text)?, digest: Sha256::digest(text.as_bytes()).into() })
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// A challenge to a warden, whose answer is appraised in this process. It takes one answer.
///
/// ```
/// use blindsmith_appraisal::{AppraisedPolicy, Collateral, Session};
/// use blindsmith_identity::{Purpose, SigningKey};
/// use blindsmith_keys::Suite;
/// use blindsmith_protocol::{Evidence, Blob, Id};
///
/// let (owner, project) = (SigningKey::from_seed(&[1; 32]), Id([2; 32]));
/// let policy = AppraisedPolicy::parse("accept_simulated = true").unwrap();
/// let session = Session::begin([3; 32], project, &owner, Suite::XWing, &policy, 1_790_000_000);
/// let request = session.request(Purpose::Release, &owner);
/// // A warden answers the request with its evidence.
/// # let _ = request;
/// # let none = Evidence { claims: Blob(vec![]), report: Blob(vec![]), auxiliary: Blob(vec![]) };
/// let refused = session.appraise(&none, &policy, &Collateral::default(), 1_790_000_001).unwrap_err();
/// assert_eq!(refused.refusals[0].claim, "evidence.claims");
/// ```
#[derive(Debug)]
pub struct Session(Challenge);

impl Session {
    /// Begins a session with a fresh nonce, which nobody used before, at a time of a clock that the relying party
    /// trusts, in seconds since 1970.
    pub fn begin(
        nonce: [u8; 32],
        project: Id,
        asker: &SigningKey,
        suite: Suite,
        policy: &AppraisedPolicy,
        now: u64,
    ) -> Self {
        Session(Challenge::new(nonce, project, asker, suite, policy.digest, now))
    }

    /// What a warden is asked by.
    pub fn request(&self, purpose: Purpose, asker: &SigningKey) -> Vec<u8> {
        self.0.request(purpose, asker)
    }

    /// Appraises what a warden answered, and ends the session by that.
    ///
    /// # Errors
    /// [`Refused`]: the evidence answers another session, is stale, or is of a warden that the policy does not accept.
    pub fn appraise(
        self,
        evidence: &Evidence,
        policy: &AppraisedPolicy,
        collateral: &Collateral,
        now: u64,
    ) -> Result<Appraised, Refused> {
        let answered = self.0.answered(evidence, policy.digest, now)?;
        let report = crate::evidence::Evidence::parse(&evidence.report.0);
        let found = report.map(|report| appraise(&report, collateral, policy.policy(), now));
        answered.conclude(found.map_err(|e| e.to_string()))
    }
}

/// Makes sure that an appraised warden opened what was released to it; what verifies the project's receipts from now on.
///
/// # Errors
/// [`Refused`]: the confirmation is not this warden's, of this session, or not by who opened the release.
pub fn confirmed(
    warden: &Appraised,
    project: &Id,
    confirmation: &Confirmation,
    signed: &Blob,
) -> Result<PublicKey, Refused> {
    let fail = |found: String| {
        let advice = "whether the warden has the secrets is not known: begin anew with another project";
        let expected = "what the warden signs once it opened the release";
        Refused::from(Refusal::new("confirmation", expected, found, advice))
    };
    let opened = open_confirmed(&signed.0, &warden.signing()).map_err(|e| fail(e.to_string()))?;
    if opened.project != *project || opened.session != warden.session() {
        return Err(fail("the confirmation of another session".into()));
    }
    if !confirmation.is(&opened.confirmation) {
        return Err(fail("bytes that who opened the release would not show".into()));
    }
    Ok(opened.receipts)
}
