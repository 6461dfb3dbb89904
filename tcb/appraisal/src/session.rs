//! A session with a warden, from the request for evidence to the confirmation of a release.

use std::fmt;

use blindsmith_evidence::{Claims, Tee, report_data};
use blindsmith_identity::{
    AttestRequest, Confirmed, PublicKey, Purpose, SigningKey, open_confirmed, sign_request,
};
use blindsmith_keys::{Confirmation, Recipient, Suite};
use blindsmith_protocol::{Blob, Evidence, Id};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{Collateral, Policy, Refusal, Unusable, appraise};

/// How long a nonce is good for, in seconds.
pub const LIFETIME: u64 = 300;

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

/// What a relying party asked for. It takes one answer.
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
pub struct Session {
    nonce: [u8; 32],
    project: Id,
    asker: PublicKey,
    suite: Suite,
    policy: [u8; 32],
    begun: u64,
}

/// A warden that the policy accepts, in this session: the public key that its evidence binds may receive secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    evidence: Evidence,
    claims: Claims,
    recipient: Recipient,
    measured: Vec<u8>,
}

/// Why evidence is refused: the checks that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Refused {
    /// In the order of the checks; at least one.
    pub refusals: Vec<Refusal>,
}

/// Most refusals that are printed, and most characters of each of their parts: some of it came from outside.
const PRINTED: (usize, usize) = (24, 400);

impl fmt::Display for Refused {
    /// All on one line, as logs need it; with `{:#}` a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, long) = PRINTED;
        let one = |refusal: &Refusal| {
            let parts = [&refusal.claim, &refusal.expected, &refusal.found, &refusal.advice];
            let [claim, expected, found, advice] =
                parts.map(|part| part.chars().take(long).collect::<String>());
            format!("{claim}: expected {expected}, found {found}. {advice}")
        };
        let between = if f.alternate() { "\n  " } else { " | " };
        match self.refusals.as_slice() {
            [] => f.write_str("no check passed"),
            [only] => f.write_str(&one(only)),
            several => {
                write!(f, "{} checks failed:", several.len())?;
                let mut shown = several.iter().take(most);
                shown.try_for_each(|refusal| write!(f, "{between}{}", one(refusal)))?;
                if several.len() > most { write!(f, "{between}...") } else { Ok(()) }
            }
        }
    }
}

fn refusal(claim: &str, expected: impl Into<String>, found: impl Into<String>, advice: &str) -> Refusal {
    Refusal { claim: claim.into(), expected: expected.into(), found: found.into(), advice: advice.into() }
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

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
        Session { nonce, project, asker: asker.verifying(), suite, policy: policy.digest, begun: now }
    }

    /// What a warden is asked by.
    pub fn request(&self, purpose: Purpose, asker: &SigningKey) -> Vec<u8> {
        let Session { nonce, project, suite, policy, .. } = *self;
        sign_request(&AttestRequest { project, nonce, policy, kem: suite.number(), purpose }, asker)
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
        let one = |refusal| Refused { refusals: vec![refusal] };
        let claims = Claims::decode(&evidence.claims.0).map_err(|e| {
            let advice = "the warden has another version, or what it said was altered on the way";
            one(refusal("evidence.claims", "the claims of a warden", e.to_string(), advice))
        })?;
        let mut refusals = self.unanswered(&claims, policy, now);
        let recipient = Recipient::new(self.suite, &claims.recipient).map_err(|e| {
            one(refusal(
                "claims.recipient",
                "a public key of the suite asked for",
                e.to_string(),
                "do not trust it",
            ))
        })?;
        let unusable = |e: Unusable| {
            let advice =
                "what vouches for the warden was altered on the way, or is of a version that is not known";
            one(refusal("evidence.report", "a report or quote", e.to_string(), advice))
        };
        let report = crate::Evidence::parse(&evidence.report.0).map_err(unusable)?;
        let found = appraise(&report, collateral, policy.policy(), now);
        let data = hex(&report_data(&evidence.claims.0));
        if found.tee != claims.tee.name() {
            let advice = "the claims are of another environment: somebody put them together";
            refusals.push(refusal("claims.tee", found.tee, claims.tee.name(), advice));
        }
        if found.report_data.as_deref() != Some(data.as_str()) {
            let advice =
                "the report vouches for something else: it was taken from elsewhere (relay), or replayed";
            refusals.push(refusal("report.data", data, found.report_data.unwrap_or_default(), advice));
        }
        refusals.extend(found.refusals);
        if !refusals.is_empty() {
            return Err(Refused { refusals });
        }
        let measured = found.measurement.and_then(|digits| hex::decode(digits).ok()).unwrap_or_default();
        Ok(Appraised { evidence: evidence.clone(), claims, recipient, measured })
    }

    /// In what the claims do not answer this session.
    fn unanswered(&self, claims: &Claims, policy: &AppraisedPolicy, now: u64) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut require = |passed: bool, claim: &str, expected: String, found: String, advice: &str| {
            if !passed {
                refusals.push(refusal(claim, expected, found, advice));
            }
        };
        let stale = "the evidence is stale or replayed: ask again; if it happens again, the refinery cheats";
        require(claims.nonce == self.nonce, "claims.nonce", hex(&self.nonce), hex(&claims.nonce), stale);
        let age = now.checked_sub(self.begun);
        let words = age.map_or("before it was asked for".into(), |age| format!("after {age} seconds"));
        let late = "ask again: a nonce is good for a short time";
        require(
            age.is_some_and(|age| age <= LIFETIME),
            "session.age",
            format!("an answer within {LIFETIME} seconds"),
            words,
            late,
        );
        let policies =
            "the warden was told of another policy: it was changed meanwhile, or the request was altered";
        let expected = [self.policy, policy.digest];
        require(
            expected == [claims.policy; 2],
            "claims.policy",
            hex(&policy.digest),
            hex(&claims.policy),
            policies,
        );
        let other = "this is evidence for another session";
        require(
            claims.project == self.project,
            "claims.project",
            self.project.to_string(),
            claims.project.to_string(),
            other,
        );
        require(
            claims.asker == self.asker,
            "claims.asker",
            self.asker.to_string(),
            claims.asker.to_string(),
            other,
        );
        require(
            claims.kem == self.suite.number(),
            "claims.kem",
            format!("{:#06x}", self.suite.number()),
            format!("{:#06x}", claims.kem),
            "the warden has another version, or the request was altered",
        );
        refusals
    }
}

impl Appraised {
    /// The kind of trusted execution environment.
    pub fn tee(&self) -> &'static str {
        self.claims.tee.name()
    }

    /// What its environment measured of it; empty if simulated.
    pub fn measurement(&self) -> &[u8] {
        if self.claims.tee == Tee::Simulated { &[] } else { &self.measured }
    }

    /// The same, and of a simulated warden the SHA-256 of the program that it says it is: what approvals name.
    pub fn program(&self) -> &[u8] {
        &self.measured
    }

    /// The key under which it signs what concerns no project.
    pub fn signing(&self) -> PublicKey {
        self.claims.signing
    }

    /// The public key to which secrets may be sealed.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The session's name: SHA-256 of the claims.
    pub fn session(&self) -> [u8; 32] {
        self.claims.session()
    }

    /// What was appraised.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Makes sure that this warden opened what was released to it; what verifies the project's receipts from now on.
    ///
    /// # Errors
    /// [`Refused`]: the confirmation is not this warden's, of this session, or not by who opened the release.
    pub fn confirmed(
        &self,
        project: &Id,
        confirmation: &Confirmation,
        signed: &Blob,
    ) -> Result<PublicKey, Refused> {
        let fail = |found: String| Refused {
            refusals: vec![refusal(
                "confirmation",
                "what the warden signs once it opened the release",
                found,
                "whether the warden has the secrets is not known: begin anew with another project",
            )],
        };
        let Confirmed { project: of, session, receipts, confirmation: shown } =
            open_confirmed(&signed.0, &self.claims.signing).map_err(|e| fail(e.to_string()))?;
        if of != *project || session != self.session() {
            return Err(fail("the confirmation of another session".into()));
        }
        if !confirmation.is(&shown) {
            return Err(fail("bytes that who opened the release would not show".into()));
        }
        Ok(receipts)
    }
}
