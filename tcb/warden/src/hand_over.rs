//! Hand-over: a warden passes a project on to another one, of which the owner approved before it left.
//!
//! The warden that has the project asks the other for evidence, with a nonce of its own, and appraises what comes by the
//! policy in the owner's newest approval, as a client would. That the claims answer its challenge, and that the report
//! vouches for them, it checks itself; whether the report is genuine and allowed its appraiser says ([`Appraiser`]). It marks
//! its counter first and seals then: from the mark on it runs no round
//! and answers no query of the project, and repeats the hand-over to the same warden alone. The other makes sure, by the
//! key of the project's receipts in the owner's order, that it takes over the project that its owner released, and goes on
//! from the counter, so that nothing starts anew with it. Hand-overs are counted: what was handed over once is not taken
//! again by a warden that went on with it. Contributors' seeds go along only as far as their own terms
//! allow the other.
//!
//! Before sealing (HPKE, see `blindsmith-keys`): `BSHANDO1`; the project's vault key; length (32 bits) and CBOR of the
//! counter; for each contributor its key, its seed, length and CBOR of its terms.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use blindsmith_evidence::{Appraised, Challenge, Finding, Given, Question, Refused};
use blindsmith_formats::{Reader, session_info};
use blindsmith_identity::{Action, Approval, Purpose, Terms, open_order};
use blindsmith_keys::{Key, Suite, random_bytes};
use blindsmith_protocol::{Blob, Evidence, Id, MAX_BODY, Outcome, ProjectSpec, from_cbor, to_cbor};
use blindsmith_receipts::receipt_signing_key;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::appraiser::{Appraiser, AppraiserError};
use crate::counters::Counter;
use crate::error::{Refusal, RoundError};
use crate::identity::{Delivery, Identity};
use crate::project::Project;

const MAGIC: &[u8; 8] = b"BSHANDO1";
/// Most collateral, in bytes, with the lengths of its parts: an appraiser takes 1 MiB of it.
const MAX_COLLATERAL: usize = (1 << 20) + 1024;
/// The suite of what is handed over.
const SUITE: Suite = Suite::XWing;

/// This machine's clock, in seconds since 1970; not before the owner's approval.
fn clock(approval: &Approval) -> Result<u64, Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match now >= approval.since {
        true => Ok(now),
        false => {
            Err(Refusal::new("this machine's clock is before the time at which the owner approved: set it"))
        }
    }
}

/// SHA-256 of a policy.
fn digest(policy: &str) -> [u8; 32] {
    Sha256::digest(policy.as_bytes()).into()
}

/// Why a policy of the owner's is none.
fn no_policy(why: &str) -> Refusal {
    Refusal::new(format!("the policy of the owner's approval: {why}"))
}

/// A challenge for the warden that will take this project over; an earlier one is forgotten.
fn begin(identity: &Identity, project: Id, approval: &Approval) -> Result<Outcome, Refusal> {
    match identity.appraiser.ask(&Question::Policy(approval.policy.clone()))? {
        Finding::Ready => {}
        Finding::Unusable { why, .. } => return Err(no_policy(&why)),
        Finding::Appraisal(_) => return Err(AppraiserError::Unasked.into()),
    }
    let (policy, now) = (digest(&approval.policy), clock(approval)?);
    let challenge = Challenge::new(random_bytes(), project, &identity.signing, SUITE, policy, now);
    let request = Blob(challenge.request(Purpose::Release, &identity.signing));
    identity.challenges.insert(project, challenge);
    Ok(Outcome::Challenge { asker: identity.signing.verifying().into(), request })
}

/// Has evidence that answers a challenge appraised by the owner's policy.
fn appraise(challenge: Challenge, policy: &str, shown: &Presentation<'_>) -> Result<Appraised, Refusal> {
    let refused = |e: Refused| Refusal::new(format!("the other warden is refused: {e}"));
    let answered = challenge.answered(shown.evidence, digest(policy), shown.now).map_err(refused)?;
    let found = match shown.judge(policy)? {
        Finding::Appraisal(found) => Ok(found),
        Finding::Unusable { what: Given::Report, why } => Err(why),
        Finding::Unusable { what: Given::Policy, why } => return Err(no_policy(&why)),
        Finding::Unusable { what: Given::Collateral, why } => return Err(Refusal::new(why)),
        Finding::Ready => return Err(AppraiserError::Unasked.into()),
    };
    answered.conclude(found).map_err(refused)
}

/// The parts of the collateral in a body, each after its length in 32 bits.
fn collateral(body: &[u8]) -> Result<Vec<Blob>, Refusal> {
    let (mut parts, mut rest) = (Vec::new(), Reader(body));
    if body.len() > MAX_COLLATERAL {
        return Err(Refusal::new(format!("the collateral has more than {MAX_COLLATERAL} bytes")));
    }
    while !rest.0.is_empty() {
        parts.push(Blob(rest.part().ok_or_else(|| Refusal::new("the collateral is cut off"))?.to_vec()));
    }
    Ok(parts)
}

/// Evidence of another warden, what it is verified with, and as of when.
struct Presentation<'a> {
    appraiser: &'a Appraiser,
    evidence: &'a Evidence,
    collateral: Vec<Blob>,
    now: u64,
}

impl Presentation<'_> {
    fn judge(&self, policy: &str) -> Result<Finding, AppraiserError> {
        let (policy, report) = (policy.to_owned(), self.evidence.report.clone());
        self.appraiser.ask(&Question::Report {
            policy,
            report,
            collateral: self.collateral.clone(),
            at: self.now,
        })
    }
}

/// Contributors' policies, by which the evidence that the owner's accepts is appraised again.
struct Policies<'a> {
    shown: &'a Presentation<'a>,
    seen: BTreeMap<String, bool>,
}

impl Policies<'_> {
    fn accept(&mut self, text: &str) -> Result<bool, AppraiserError> {
        if let Some(known) = self.seen.get(text) {
            return Ok(*known);
        }
        // What cannot be read accepts nobody.
        let accepted =
            text.is_empty() || matches!(self.shown.judge(text)?, Finding::Appraisal(found) if found.accepted);
        self.seen.insert(text.to_owned(), accepted);
        Ok(accepted)
    }
}

/// What goes from one warden to the other.
struct Estate {
    vault: Key,
    counter: Counter,
    members: Vec<(Id, Key, Terms)>,
}

impl Estate {
    fn encode<'a>(
        vault: &Key,
        counter: &Counter,
        members: impl Iterator<Item = (&'a Id, &'a Key, &'a Terms)>,
    ) -> Zeroizing<Vec<u8>> {
        let members: Vec<_> = members.map(|(id, seed, terms)| (id, seed, to_cbor(terms))).collect();
        let counter = to_cbor(counter);
        let len = 44 + counter.len() + members.iter().map(|(_, _, terms)| 68 + terms.len()).sum::<usize>();
        // Reserved in full: a growing buffer would leave copies of secrets behind.
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(vault.expose());
        out.extend_from_slice(&(counter.len() as u32).to_le_bytes());
        out.extend_from_slice(&counter);
        for (id, seed, terms) in &members {
            out.extend_from_slice(&id.0);
            out.extend_from_slice(seed.expose());
            out.extend_from_slice(&(terms.len() as u32).to_le_bytes());
            out.extend_from_slice(terms);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader::after(MAGIC, bytes)?;
        let vault = rest.key()?;
        let counter = from_cbor(rest.part()?).ok()?;
        let mut members = Vec::new();
        while !rest.0.is_empty() {
            let (id, seed) = (Id(rest.digest()?), rest.key()?);
            let terms: Terms = from_cbor(rest.part()?).ok()?;
            terms.validate().ok()?;
            members.push((id, seed, terms));
        }
        Some(Estate { vault, counter, members })
    }
}

impl Project {
    /// The owner's newest approval.
    fn approval(&self) -> Result<&(Approval, Vec<u8>), Refusal> {
        let none = "the owner approved of no other warden: that is done with blindsmith approve";
        self.members.approval.as_ref().ok_or_else(|| Refusal::new(none))
    }

    /// What the warden that will take the project over is asked by.
    pub(crate) fn challenge(&self, identity: &Identity) -> Result<(Outcome, Vec<u8>), Refusal> {
        let (approval, _) = self.approval()?;
        Ok((begin(identity, self.id, approval)?, Vec::new()))
    }

    /// Passes the project on to the warden whose evidence this is; this one is done with it. Body: collateral, in parts
    /// that each stand after their length (32 bits).
    ///
    /// # Errors
    /// If the evidence does not answer the challenge, or the owner did not approve of that warden, or the project was
    /// handed to another one before. Nothing changes then.
    pub(crate) fn hand_over(
        &self,
        identity: &Identity,
        evidence: &Evidence,
        body: &[u8],
    ) -> Result<(Outcome, Vec<u8>), Refusal> {
        let (approval, order) = self.approval()?;
        let now = clock(approval)?;
        let collateral = collateral(body)?;
        let shown = Presentation { appraiser: &identity.appraiser, evidence, collateral, now };
        let challenge = identity
            .challenges
            .take(&self.id)
            .ok_or_else(|| Refusal::new("the other warden's evidence answers no challenge of this one"))?;
        let other = appraise(challenge, &approval.policy, &shown)?;
        let _counting = identity.counting();
        let counter = self.counter(identity)?;
        self.heard_all(&counter)?;
        let (successor, own) = (other.signing(), identity.tee().name());
        let refused = if !approval.allows(other.tee(), other.program()) {
            let found: String = other.program().iter().map(|b| format!("{b:02x}")).collect();
            format!(
                "the owner did not approve of a warden of the kind {} with measurement {found}",
                other.tee()
            )
        } else if successor == identity.signing.verifying() {
            // To itself would be to go back to the counter of an earlier time.
            "the other warden is this one".into()
        } else if other.tee() != own {
            format!(
                "the other warden is of the kind {}, this one of the kind {own}: the project's receipts would not verify",
                other.tee()
            )
        } else if ![[0; 32], successor.0].contains(&counter.successor) {
            format!("the project was handed over before, to warden {}", Id(counter.successor))
        } else {
            String::new()
        };
        if !refused.is_empty() {
            return Err(Refusal::new(refused));
        }
        let session = other.session();
        // Of simulated wardens terms name no measurement.
        let mut policies = Policies { shown: &shown, seen: BTreeMap::new() };
        let mut allowed = Vec::new();
        for member in self.members.enrolled() {
            let terms = member.2;
            if terms.allow_warden(other.tee(), other.measurement()) && policies.accept(&terms.policy)? {
                allowed.push(member);
            }
        }
        let marked = counter.handed_to(successor.0);
        let handed = Estate::encode(
            &self.vault,
            &Counter { successor: [0; 32], ..marked.clone() },
            allowed.into_iter(),
        );
        if handed.len() > MAX_BODY / 2 {
            return Err(Refusal::new("the contributors' seeds and terms are too many to be handed over"));
        }
        let sealed = other.recipient().seal(&session_info("hand-over", &session), &handed);
        let (sealed, _) = sealed?;
        // Before it leaves.
        identity.counters.store(&self.id, &marked).map_err(RoundError::Counters)?;
        Ok((Outcome::Handed { session: Id(session), order: Blob(order.clone()) }, sealed))
    }

    /// Takes a project over from another warden; the project, and the tokens of its contributors, sealed for this
    /// warden.
    ///
    /// # Errors
    /// If the owner's order or what was sealed is not what it should be, or this warden goes on with the project already.
    pub(crate) fn take_over(
        identity: &Identity,
        transfer: Transfer<'_>,
    ) -> Result<(Self, Vec<(Id, Blob)>), Refusal> {
        let Transfer { spec, from, session, order, body } = transfer;
        spec.validate()?;
        let (id, mut rest) = (spec.id(), Reader(body));
        let order = open_order(order, &spec.owner.into());
        let order = order.map_err(|e| Refusal::new(format!("the order: {e}")))?;
        let approval = match order.action {
            Action::Approve(approval) if order.project == id => approval,
            _ => return Err(Refusal::new("the order approves of no warden of this project")),
        };
        let envelope = rest.part().ok_or_else(|| Refusal::new("what was handed over is cut off"))?;
        let info = session_info("hand-over", &session.0);
        let delivery = Delivery { session: &session.0, project: &id, sender: from, info: &info, envelope };
        let (opened, _) = identity.receive(&delivery)?;
        let estate = Estate::decode(&opened);
        let Estate { vault, counter, members } =
            estate.ok_or_else(|| Refusal::new("what was handed over is malformed"))?;
        if receipt_signing_key(&vault).verifying() != approval.receipts {
            return Err(Refusal::new("what was handed over is not the project that its owner released"));
        }
        let _counting = identity.counting();
        let own = identity.counters.load(&id).map_err(RoundError::Counters)?;
        if let Some(why) = own.and_then(|own| own.not_followed_by(&counter)) {
            return Err(Refusal::new(why));
        }
        let mut project = Project::open(spec, Some(counter.clone()), vault, rest.0)?;
        let (known, host) = project.host(identity);
        let tokens = members.into_iter().filter_map(|(contributor, seed, terms)| {
            // The other made sure of that; who does not allow this warden is left out here too.
            let token = known.take(&host, &contributor, seed, terms);
            token.ok().map(|token| (contributor, token))
        });
        let tokens = tokens.collect();
        identity.counters.store(&id, &counter).map_err(RoundError::Counters)?;
        Ok((project, tokens))
    }
}

/// What a warden is given to take a project over.
pub(crate) struct Transfer<'a> {
    pub spec: ProjectSpec,
    /// The key of the warden that had it.
    pub from: &'a Id,
    /// The session that this warden's evidence began.
    pub session: &'a Id,
    /// The owner's approval of this warden.
    pub order: &'a [u8],
    /// What was sealed in the session, after its length, and the project's sealed state.
    pub body: &'a [u8],
}

#[cfg(test)]
mod tests;
