//! Hand-over: a warden passes a project on to another one, of which the owner approved before it left.
//!
//! The warden that has the project asks the other for evidence, with a nonce of its own, and makes sure that the owner's
//! newest order approves of what it finds. It marks its counter first and seals then: from the mark on it runs no round
//! and answers no query of the project, and repeats the hand-over to the same warden alone. The other makes sure, by the
//! key of the project's receipts in the owner's order, that it takes over the project that its owner released, and goes on
//! from the counter, so that nothing starts anew with it. Contributors' seeds go along only as far as their own terms
//! allow the other.
//!
//! Before sealing (HPKE, see `blindsmith-keys`): `BSHANDO1`; the project's vault key; length (32 bits) and CBOR of the
//! counter; for each contributor its key, its seed, length and CBOR of its terms.

use std::collections::BTreeMap;
use std::sync::Mutex;

use blindsmith_evidence::{Claims, SimulatedReport, Tee, report_data};
use blindsmith_identity::{Action, AttestRequest, Purpose, Terms, open_order, sign_request};
use blindsmith_keys::{Key, Recipient, Suite, random_bytes};
use blindsmith_protocol::{Blob, Evidence, Id, Outcome, ProjectSpec, from_cbor, to_cbor};
use blindsmith_receipts::receipt_signing_key;
use zeroize::{Zeroize, Zeroizing};

use crate::counters::Counter;
use crate::project::Project;
use crate::release::session_info;
use crate::session::Identity;
use crate::transport::lock;

const MAGIC: &[u8; 8] = b"BSHANDO1";
/// The suite of what is handed over.
const SUITE: Suite = Suite::XWing;

/// The nonces of challenges that are not answered yet, one a project.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<BTreeMap<Id, [u8; 32]>>);

impl Challenges {
    /// A challenge for the warden that will take this project over; an earlier one is forgotten.
    pub fn begin(&self, project: Id, identity: &Identity) -> Outcome {
        let nonce = random_bytes();
        lock(&self.0).insert(project, nonce);
        let (policy, kem, purpose) = ([0; 32], SUITE.number(), Purpose::Release);
        let request = AttestRequest { project, nonce, policy, kem, purpose };
        let request = Blob(sign_request(&request, &identity.signing));
        Outcome::Challenge { asker: identity.signing.verifying().into(), request }
    }
}

/// Makes sure that evidence answers a challenge of this warden; what it claims and what was measured.
fn appraise(identity: &Identity, project: &Id, evidence: &Evidence) -> Result<(Claims, Vec<u8>), String> {
    // Whatever comes of it, the nonce is used.
    let nonce = lock(&identity.challenges.0).remove(project);
    let claims = Claims::decode(&evidence.claims.0).map_err(|e| format!("the other warden: {e}"))?;
    let answers = nonce == Some(claims.nonce)
        && claims.project == *project
        && claims.asker == identity.signing.verifying()
        && claims.kem == SUITE.number();
    if !answers {
        return Err(
            "the other warden's evidence answers no challenge of this one: it is stale or replayed".into()
        );
    }
    if claims.tee != Tee::Simulated {
        return Err(format!(
            "this warden cannot appraise evidence of the kind {}: its appraisal is not part of the program yet",
            claims.tee.name()
        ));
    }
    let report = SimulatedReport::decode(&evidence.report.0).map_err(|e| format!("the other warden: {e}"))?;
    if report.data != report_data(&evidence.claims.0) {
        return Err("the other warden's report vouches for other claims: it was taken from elsewhere".into());
    }
    Ok((claims, report.measurement.to_vec()))
}

/// What goes from one warden to the other.
struct Handed {
    vault: Key,
    counter: Counter,
    members: Vec<(Id, Key, Terms)>,
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    let (part, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = tail;
    Some(part)
}

fn take(rest: &mut &[u8]) -> Option<[u8; 32]> {
    let (head, tail) = rest.split_first_chunk::<32>()?;
    *rest = tail;
    Some(*head)
}

fn key(rest: &mut &[u8]) -> Option<Key> {
    let mut bytes = take(rest)?;
    let key = Key::from_bytes(bytes);
    bytes.zeroize();
    Some(key)
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
        let mut rest = bytes.strip_prefix(MAGIC.as_slice())?;
        let vault = key(&mut rest)?;
        let counter = from_cbor(part(&mut rest)?).ok()?;
        let mut members = Vec::new();
        while !rest.is_empty() {
            let (id, seed) = (Id(take(&mut rest)?), key(&mut rest)?);
            let terms: Terms = from_cbor(part(&mut rest)?).ok()?;
            terms.validate().ok()?;
            members.push((id, seed, terms));
        }
        Some(Handed { vault, counter, members })
    }
}

/// Why a warden does nothing for a project that it handed over.
pub(crate) fn handed_over(counter: &Counter) -> String {
    format!(
        "this warden handed the project over to warden {}: start that one; if it is lost, and never began, the owner \
         may let this one go on with blindsmith forgive",
        Id(counter.successor)
    )
}

impl Project {
    /// Passes the project on to the warden whose evidence this is; this one is done with it.
    ///
    /// # Errors
    /// If the evidence does not answer the challenge, or the owner did not approve of that warden, or the project was
    /// handed to another one before. Nothing changes then.
    pub(crate) fn hand_over(
        &self,
        identity: &Identity,
        evidence: &Evidence,
    ) -> Result<(Outcome, Vec<u8>), String> {
        let (claims, measurement) = appraise(identity, &self.id, evidence)?;
        let _counting = identity.counting();
        let counter = self.counter(identity).map_err(|e| e.to_string())?;
        if self.members.roster.sequence() < counter.orders {
            return Err("the refinery withholds orders of the owner that it gave before".into());
        }
        let Some((approval, order)) = &self.members.approval else {
            return Err("the owner approved of no other warden: that is done with blindsmith approve".into());
        };
        let tee = claims.tee.name();
        if !approval.allows(tee, &measurement) {
            let found: String = measurement.iter().map(|b| format!("{b:02x}")).collect();
            return Err(format!(
                "the owner did not approve of a warden of the kind {tee} with measurement {found}"
            ));
        }
        let successor = claims.signing.0;
        if ![[0; 32], successor].contains(&counter.successor) {
            return Err(format!("the project was handed over before, to warden {}", Id(counter.successor)));
        }
        let session = claims.session();
        let recipient = Recipient::new(SUITE, &claims.recipient).map_err(|e| e.to_string())?;
        // Of simulated wardens terms name no measurement.
        let measured = if claims.tee == Tee::Simulated { &[][..] } else { &measurement };
        let allowed = self.members.enrolled().filter(|(_, _, terms)| terms.allow_warden(tee, measured));
        let handed = Handed::encode(&self.vault, &Counter { successor: [0; 32], ..counter }, allowed);
        let sealed = recipient.seal(&session_info("hand-over", &session), None, &handed);
        let (sealed, _) = sealed.map_err(|e| e.to_string())?;
        // Before it leaves.
        let marked = identity.counters.store(&self.id, &Counter { successor, ..counter });
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
        let (id, mut rest) = (spec.id(), body);
        let order = open_order(order, &spec.owner.into()).map_err(|e| format!("the order: {e}"))?;
        let approval = match order.action {
            Action::Approve(approval) if order.project == id => approval,
            _ => return Err("the order approves of no warden of this project".into()),
        };
        let sealed = part(&mut rest).ok_or("what was handed over is cut off")?;
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
        match identity.counters.load(&id).map_err(failed)? {
            Some(own) if own.successor == [0; 32] && own != counter => {
                return Err("this warden goes on with the project already".into());
            }
            Some(own) if own.round > counter.round => {
                return Err("this warden saw a newer round of the project than the other".into());
            }
            _ => {}
        }
        let mut project = Project::opened(spec, Some(counter), vault, rest).map_err(|e| e.to_string())?;
        let tokens = members.into_iter().filter_map(|(contributor, seed, terms)| {
            // The other made sure of that; who does not allow this warden is left out here too.
            let token = project.members.handed(&project.spec, identity, &contributor, seed, terms);
            token.ok().map(|token| (contributor, token))
        });
        let tokens = tokens.collect();
        identity.counters.store(&id, &counter).map_err(failed)?;
        Ok((project, tokens))
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_identity::PublicKey;

    use super::*;

    #[test]
    fn what_is_handed_over_survives_and_damage_is_refused() {
        let counter = Counter { attempts: 2, answered: 77, ..Counter::at(9, [4; 32]) };
        let terms = Terms::without_minima(PublicKey([1; 32]), "simulated", &[]);
        let (vault, seed, id) = (Key::random(), Key::random(), Id([5; 32]));
        let bytes = Handed::encode(&vault, &counter, [(&id, &seed, &terms)].into_iter());
        let handed = Handed::decode(&bytes).unwrap();
        assert_eq!((handed.vault.expose(), handed.counter), (vault.expose(), counter));
        let (found, found_seed, found_terms) = &handed.members[0];
        assert_eq!((found, found_seed.expose(), found_terms), (&id, seed.expose(), &terms));
        let without = Handed::encode(&vault, &counter, std::iter::empty());
        for len in (0..bytes.len()).filter(|len| *len != without.len()) {
            assert!(Handed::decode(&bytes[..len]).is_none(), "truncated to {len}");
        }
    }
}
