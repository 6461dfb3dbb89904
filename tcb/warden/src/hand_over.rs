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
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use blindsmith_evidence::{Appraised, Challenge, Finding, Given, Question, Refused};
use blindsmith_formats::{Reader, session_info};
use blindsmith_identity::{Action, Approval, Purpose, Terms, open_order};
use blindsmith_keys::{Key, Suite, random_bytes};
use blindsmith_protocol::{Blob, Evidence, Id, MAX_BODY, Outcome, ProjectSpec, from_cbor, to_cbor};
use blindsmith_receipts::receipt_signing_key;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::appraiser::Appraiser;
use crate::counters::Counter;
use crate::project::Project;
use crate::session::Identity;
use crate::transport::lock;

const MAGIC: &[u8; 8] = b"BSHANDO1";
/// Most collateral, in bytes, with the lengths of its parts: an appraiser takes 1 MiB of it.
const MAX_COLLATERAL: usize = (1 << 20) + 1024;
/// The suite of what is handed over.
const SUITE: Suite = Suite::XWing;

/// What other wardens were asked that did not answer yet, one a project.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<BTreeMap<Id, Challenge>>);

/// This machine's clock, in seconds since 1970; not before the owner's approval.
fn clock(approval: &Approval) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match now >= approval.since {
        true => Ok(now),
        false => Err("this machine's clock is before the time at which the owner approved: set it".into()),
    }
}

/// SHA-256 of a policy.
fn digest(policy: &str) -> [u8; 32] {
    Sha256::digest(policy.as_bytes()).into()
}

fn unknown_answer() -> String {
    "this warden's appraiser answers something else than it was asked".into()
}

/// Why a policy of the owner's is none.
fn no_policy(why: &str) -> String {
    format!("the policy of the owner's approval: {why}")
}

impl Challenges {
    /// A challenge for the warden that will take this project over; an earlier one is forgotten.
    fn begin(&self, project: Id, identity: &Identity, approval: &Approval) -> Result<Outcome, String> {
        match identity.appraiser.ask(&Question::Policy(approval.policy.clone()))? {
            Finding::Ready => {}
            Finding::Unusable { why, .. } => return Err(no_policy(&why)),
            Finding::Appraisal(_) => return Err(unknown_answer()),
        }
        let (policy, now) = (digest(&approval.policy), clock(approval)?);
        let challenge = Challenge::new(random_bytes(), project, &identity.signing, SUITE, policy, now);
        let request = Blob(challenge.request(Purpose::Release, &identity.signing));
        lock(&self.0).insert(project, challenge);
        Ok(Outcome::Challenge { asker: identity.signing.verifying().into(), request })
    }

    /// Has evidence that answers a challenge appraised by the owner's policy.
    fn appraise(&self, project: &Id, policy: &str, shown: &Shown) -> Result<Appraised, String> {
        // Whatever comes of it, the nonce is used.
        let challenge = lock(&self.0).remove(project);
        let challenge = challenge.ok_or("the other warden's evidence answers no challenge of this one")?;
        let refused = |e: Refused| format!("the other warden is refused: {e}");
        let answered = challenge.answered(shown.evidence, digest(policy), shown.now).map_err(refused)?;
        let found = match shown.judged(policy)? {
            Finding::Appraisal(found) => Ok(found),
            Finding::Unusable { what: Given::Report, why } => Err(why),
            Finding::Unusable { what: Given::Policy, why } => return Err(no_policy(&why)),
            Finding::Unusable { what: Given::Collateral, why } => return Err(why),
            Finding::Ready => return Err(unknown_answer()),
        };
        answered.conclude(found).map_err(refused)
    }
}

/// The parts of the collateral in a body, each after its length in 32 bits.
fn collateral(body: &[u8]) -> Result<Vec<Blob>, String> {
    let (mut parts, mut rest) = (Vec::new(), Reader(body));
    if body.len() > MAX_COLLATERAL {
        return Err(format!("the collateral has more than {MAX_COLLATERAL} bytes"));
    }
    while !rest.0.is_empty() {
        parts.push(Blob(rest.part().ok_or("the collateral is cut off")?.to_vec()));
    }
    Ok(parts)
}

/// Evidence of another warden, what it is verified with, and as of when.
struct Shown<'a> {
    appraiser: &'a Appraiser,
    evidence: &'a Evidence,
    collateral: Vec<Blob>,
    now: u64,
}

impl Shown<'_> {
    fn judged(&self, policy: &str) -> Result<Finding, String> {
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
    shown: &'a Shown<'a>,
    seen: BTreeMap<String, bool>,
}

impl Policies<'_> {
    fn accept(&mut self, text: &str) -> Result<bool, String> {
        if let Some(known) = self.seen.get(text) {
            return Ok(*known);
        }
        // What cannot be read accepts nobody.
        let accepted = text.is_empty()
            || matches!(self.shown.judged(text)?, Finding::Appraisal(found) if found.accepted);
        self.seen.insert(text.to_owned(), accepted);
        Ok(accepted)
    }
}

/// What goes from one warden to the other.
struct Handed {
    vault: Key,
    counter: Counter,
    members: Vec<(Id, Key, Terms)>,
}

impl Handed {
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
        Some(Handed { vault, counter, members })
    }
}

impl Project {
    /// The owner's newest approval.
    fn approval(&self) -> Result<&(Approval, Vec<u8>), String> {
        let none = "the owner approved of no other warden: that is done with blindsmith approve";
        self.members.approval.as_ref().ok_or_else(|| none.into())
    }

    /// What the warden that will take the project over is asked by.
    pub(crate) fn challenge(&self, identity: &Identity) -> Result<(Outcome, Vec<u8>), String> {
        let (approval, _) = self.approval()?;
        Ok((identity.challenges.begin(self.id, identity, approval)?, Vec::new()))
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
    ) -> Result<(Outcome, Vec<u8>), String> {
        let (approval, order) = self.approval()?;
        let now = clock(approval)?;
        let collateral = collateral(body)?;
        let shown = Shown { appraiser: &identity.appraiser, evidence, collateral, now };
        let other = identity.challenges.appraise(&self.id, &approval.policy, &shown)?;
        let _counting = identity.counting();
        let counter = self.counter(identity).map_err(|e| e.to_string())?;
        self.told_all(&counter)?;
        if !approval.allows(other.tee(), other.program()) {
            let found: String = other.program().iter().map(|b| format!("{b:02x}")).collect();
            return Err(format!(
                "the owner did not approve of a warden of the kind {} with measurement {found}",
                other.tee()
            ));
        }
        let (successor, own) = (other.signing(), identity.tee().name());
        // To itself would be to go back to the counter of an earlier time.
        if successor == identity.signing.verifying() {
            return Err("the other warden is this one".into());
        }
        if other.tee() != own {
            return Err(format!(
                "the other warden is of the kind {}, this one of the kind {own}: the project's receipts would not verify",
                other.tee()
            ));
        }
        let successor = successor.0;
        if ![[0; 32], successor].contains(&counter.successor) {
            return Err(format!("the project was handed over before, to warden {}", Id(counter.successor)));
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
        let marked = counter.handed_to(successor);
        let handed = Handed::encode(
            &self.vault,
            &Counter { successor: [0; 32], ..marked.clone() },
            allowed.into_iter(),
        );
        if handed.len() > MAX_BODY / 2 {
            return Err("the contributors' seeds and terms are too many to be handed over".into());
        }
        let sealed = other.recipient().seal(&session_info("hand-over", &session), &handed);
        let (sealed, _) = sealed.map_err(|e| e.to_string())?;
        // Before it leaves.
        let marked = identity.counters.store(&self.id, &marked);
        marked.map_err(|e| format!("the warden's counters: {e}"))?;
        Ok((Outcome::Handed { session: Id(session), order: Blob(order.clone()) }, sealed))
    }

    /// Takes a project over from the warden with the key `from`, sealed in a session that it began; the project, and the
    /// tokens of its contributors, sealed for this warden.
    ///
    /// # Errors
    /// If the owner's order or what was sealed is not what it should be, or this warden goes on with the project already.
    pub(crate) fn taken_over(
        (spec, from): (ProjectSpec, &Id),
        identity: &Identity,
        (session, order): (&Id, &[u8]),
        body: &[u8],
    ) -> Result<(Self, Vec<(Id, Blob)>), String> {
        spec.validate().map_err(|e| e.to_string())?;
        let (id, mut rest) = (spec.id(), Reader(body));
        let order = open_order(order, &spec.owner.into()).map_err(|e| format!("the order: {e}"))?;
        let approval = match order.action {
            Action::Approve(approval) if order.project == id => approval,
            _ => return Err("the order approves of no warden of this project".into()),
        };
        let sealed = rest.part().ok_or("what was handed over is cut off")?;
        let malformed = || "what was handed over is malformed".to_owned();
        let receipts = |opened: &[u8]| {
            let handed = Handed::decode(opened).ok_or_else(malformed)?;
            Ok(receipt_signing_key(&handed.vault).verifying())
        };
        let info = session_info("hand-over", &session.0);
        let (opened, _) = identity.receive(&session.0, (&id, from), &info, sealed, receipts)?;
        let Handed { vault, counter, members } = Handed::decode(&opened).ok_or_else(malformed)?;
        if receipt_signing_key(&vault).verifying() != approval.receipts {
            return Err("what was handed over is not the project that its owner released".into());
        }
        let _counting = identity.counting();
        let failed = |e: std::io::Error| format!("the warden's counters: {e}");
        let own = identity.counters.load(&id).map_err(failed)?;
        if let Some(why) = own.and_then(|own| own.not_followed_by(&counter)) {
            return Err(why.into());
        }
        let mut project =
            Project::opened(spec, Some(counter.clone()), vault, rest.0).map_err(|e| e.to_string())?;
        let (known, host) = project.host(identity);
        let tokens = members.into_iter().filter_map(|(contributor, seed, terms)| {
            // The other made sure of that; who does not allow this warden is left out here too.
            let token = known.handed(&host, &contributor, seed, terms);
            token.ok().map(|token| (contributor, token))
        });
        let tokens = tokens.collect();
        identity.counters.store(&id, &counter).map_err(failed)?;
        Ok((project, tokens))
    }
}

#[cfg(test)]
mod tests;
