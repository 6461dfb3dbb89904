//! A relying party's challenge to a warden, from the request for evidence to the confirmation of a release. Whether the
//! report is genuine and allowed is for an appraisal to say; whether it vouches for claims that answer this challenge is
//! checked here, and needs no vendor's formats.

use blindsmith_identity::{AttestRequest, PublicKey, Purpose, SigningKey, sign_request};
use blindsmith_keys::{Recipient, Suite};
use blindsmith_protocol::{Evidence, Id};

use crate::appraisal::{Appraisal, Refusal, Refused};
use crate::claims::{Claims, Tee, report_data};

/// How long a nonce is good for, in seconds.
pub const LIFETIME: u64 = 300;

/// What a relying party asked for. It takes one answer.
#[derive(Debug)]
pub struct Challenge {
    nonce: [u8; 32],
    project: Id,
    asker: PublicKey,
    suite: Suite,
    policy: [u8; 32],
    begun: u64,
}

/// Claims that answered a challenge, and in what they failed to. The report beside them is not appraised yet.
#[derive(Debug)]
pub struct Answered {
    evidence: Evidence,
    claims: Claims,
    recipient: Recipient,
    refusals: Vec<Refusal>,
}

/// A warden that the policy accepts, in this session: the public key that its evidence binds may receive secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    evidence: Evidence,
    claims: Claims,
    recipient: Recipient,
    measured: Vec<u8>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits; none if they are no such.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |d: u8| (d as char).to_digit(16);
    pairs.iter().map(|[high, low]| Some((16 * digit(*high)? + digit(*low)?) as u8)).collect()
}

impl Challenge {
    /// A challenge with a fresh nonce, which nobody used before, under the policy with this SHA-256, at a time of a clock
    /// that the relying party trusts, in seconds since 1970.
    pub fn new(
        nonce: [u8; 32],
        project: Id,
        asker: &SigningKey,
        suite: Suite,
        policy: [u8; 32],
        now: u64,
    ) -> Self {
        Challenge { nonce, project, asker: asker.verifying(), suite, policy, begun: now }
    }

    /// What a warden is asked by.
    pub fn request(&self, purpose: Purpose, asker: &SigningKey) -> Vec<u8> {
        let Challenge { nonce, project, suite, policy, .. } = *self;
        sign_request(&AttestRequest { project, nonce, policy, kem: suite.number(), purpose }, asker)
    }

    /// Takes what a warden answered, and ends by that; `policy` is the SHA-256 of the policy that counts now.
    ///
    /// # Errors
    /// [`Refused`] if there are no claims in it, or no key to seal to. Other defects show in [`Answered::conclude`].
    pub fn answered(self, evidence: &Evidence, policy: [u8; 32], now: u64) -> Result<Answered, Refused> {
        let claims = Claims::decode(&evidence.claims.0).map_err(|e| {
            let advice = "the warden has another version, or what it said was altered on the way";
            Refusal::new("evidence.claims", "the claims of a warden", e.to_string(), advice)
        })?;
        let recipient = Recipient::new(self.suite, &claims.recipient).map_err(|e| {
            let expected = "a public key of the suite asked for";
            Refusal::new("claims.recipient", expected, e.to_string(), "do not trust it")
        })?;
        let refusals = self.unanswered(&claims, policy, now);
        Ok(Answered { evidence: evidence.clone(), claims, recipient, refusals })
    }

    /// In what the claims do not answer this challenge.
    fn unanswered(&self, claims: &Claims, policy: [u8; 32], now: u64) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut require = |passed: bool, claim: &str, expected: String, found: String, advice: &str| {
            if !passed {
                refusals.push(Refusal::new(claim, expected, found, advice));
            }
        };
        let stale = "the evidence is stale or replayed: ask again; if it happens again, the refinery cheats";
        require(claims.nonce == self.nonce, "claims.nonce", hex(&self.nonce), hex(&claims.nonce), stale);
        let age = now.checked_sub(self.begun);
        let words = age.map_or("before it was asked for".into(), |age| format!("after {age} seconds"));
        let late = "ask again: a nonce is good for a short time";
        let expected = format!("an answer within {LIFETIME} seconds");
        require(age.is_some_and(|age| age <= LIFETIME), "session.age", expected, words, late);
        let policies =
            "the warden was told of another policy: it was changed meanwhile, or the request was altered";
        let same = [self.policy, policy] == [claims.policy; 2];
        require(same, "claims.policy", hex(&policy), hex(&claims.policy), policies);
        let other = "this is evidence for another session";
        let (asked, found) = (self.project, claims.project);
        require(asked == found, "claims.project", asked.to_string(), found.to_string(), other);
        let (asked, found) = (self.asker, claims.asker);
        require(asked == found, "claims.asker", asked.to_string(), found.to_string(), other);
        let (asked, found) = (self.suite.number(), claims.kem);
        let version = "the warden has another version, or the request was altered";
        require(asked == found, "claims.kem", format!("{asked:#06x}"), format!("{found:#06x}"), version);
        refusals
    }
}

impl Answered {
    /// Ends the session with what the appraisal of the report found, or with why there is none.
    ///
    /// # Errors
    /// [`Refused`]: the claims answer another session, are stale, the report does not vouch for them, or the appraisal
    /// does not accept it.
    pub fn conclude(self, found: Result<Appraisal, String>) -> Result<Appraised, Refused> {
        let Answered { evidence, claims, recipient, mut refusals } = self;
        let found = found.map_err(|e| {
            let advice =
                "what vouches for the warden was altered on the way, or is of a version that is not known";
            Refusal::new("evidence.report", "a report or quote", e, advice)
        })?;
        if found.tee != claims.tee.name() {
            let advice = "the claims are of another environment: somebody put them together";
            refusals.push(Refusal::new("claims.tee", found.tee, claims.tee.name(), advice));
        }
        let data = hex(&report_data(&evidence.claims.0));
        if found.report_data.as_deref() != Some(data.as_str()) {
            let advice =
                "the report vouches for something else: it was taken from elsewhere (relay), or replayed";
            refusals.push(Refusal::new("report.data", data, found.report_data.unwrap_or_default(), advice));
        }
        let accepted = found.accepted && found.refusals.is_empty();
        refusals.extend(found.refusals);
        if !accepted || !refusals.is_empty() {
            return Err(Refused { refusals });
        }
        let measured = found.measurement.and_then(|digits| unhex(&digits)).unwrap_or_default();
        Ok(Appraised { evidence, claims, recipient, measured })
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
}
