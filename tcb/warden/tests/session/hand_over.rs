//! A project passed on from one warden to another, command by command, and what is refused.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;

use blindsmith_evidence::{Claims, Finding, Question, hear, tell};
use blindsmith_identity::{Action, Approval, Order, PublicKey, Roster, open, sign_order};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Evidence, FromWarden, Id, Outcome, ToWarden, from_cbor};
use blindsmith_receipts::{RECEIPT, Receipt};
use blindsmith_warden::Appraiser;

use super::owner::{Owner, signing};
use super::refinery::{PROGRAM, Refinery, identity, identity_with};

/// A released project, and what the refinery keeps of it.
struct Released {
    owner: Owner,
    state: Vec<u8>,
    holding: Blob,
    receipts: PublicKey,
    given: RefCell<Vec<Order>>,
}

impl Released {
    fn to(refinery: &mut Refinery) -> Self {
        let owner = Owner::new();
        let (record, receipts, holding) = owner.hand_over_keyed(refinery);
        assert!(open::<Receipt>(&record.receipt.0, &RECEIPT, &receipts).is_ok());
        Released { owner, state: record.state.0, holding, receipts, given: RefCell::default() }
    }

    /// The order with this number, after those with smaller ones that were made last.
    fn order(&self, sequence: usize, action: Action) -> Blob {
        let mut given = self.given.borrow_mut();
        given.truncate(sequence - 1);
        let mut roster = Roster::default();
        given.iter().for_each(|order| roster.apply(order).unwrap());
        let order = roster.next(self.owner.id(), action);
        assert_eq!(order.sequence, sequence as u64);
        given.push(order.clone());
        Blob(sign_order(&order, &signing()))
    }

    fn approval(&self, sequence: usize, program: [u8; 32]) -> Blob {
        self.order(sequence, Action::Approve(simulated(program, self.receipts)))
    }

    fn give(&self, warden: &mut Refinery, order: Blob) {
        let order = ToWarden::Order { project: self.owner.id(), order };
        assert!(matches!(warden.command(&order, &[]).0, Outcome::Ordered { .. }));
    }

    fn challenge(&self, warden: &mut Refinery) -> ToWarden {
        let (outcome, _) = warden.command(&ToWarden::Challenge { project: self.owner.id() }, &[]);
        let Outcome::Challenge { asker, request } = outcome else { panic!("{outcome:?}") };
        ToWarden::Attest { asker, request }
    }

    fn handed(&self, evidence: Evidence) -> ToWarden {
        ToWarden::HandOver { project: self.owner.id(), evidence }
    }

    /// The command that a second warden takes over by, and its body.
    fn take_over(&self, first: &mut Refinery, second: &mut Refinery) -> (ToWarden, Vec<u8>) {
        let challenge = self.challenge(first);
        let ToWarden::Attest { asker: from, .. } = challenge else { panic!("a challenge") };
        let evidence = evidence(second, &challenge);
        let (outcome, sealed) = first.command(&self.handed(evidence), &[]);
        let Outcome::Handed { session, order } = outcome else { panic!("{outcome:?}") };
        let body = [&(sealed.len() as u32).to_le_bytes(), sealed.as_slice(), &self.state].concat();
        (ToWarden::TakeOver { spec: self.owner.spec.clone(), from, session, order }, body)
    }
}

/// An approval of simulated wardens of this program.
fn simulated(program: [u8; 32], receipts: PublicKey) -> Approval {
    let wardens = vec![("simulated".to_owned(), Blob(program.to_vec()))];
    Approval { wardens, receipts, policy: "accept_simulated = true".into(), since: 1_790_000_000 }
}

fn evidence(warden: &mut Refinery, challenge: &ToWarden) -> Evidence {
    warden.send(challenge, &[]);
    let (FromWarden::Evidence(evidence), _) = warden.receive() else { panic!("evidence is due") };
    evidence
}

fn approved() -> (Refinery, Released) {
    let mut first = Refinery::of(identity());
    let project = Released::to(&mut first);
    let order = project.approval(1, PROGRAM);
    project.give(&mut first, order);
    (first, project)
}

#[test]
fn a_project_is_passed_on_and_the_first_warden_is_done_with_it() {
    let ((mut first, project), mut second) = (approved(), Refinery::of(identity()));
    let (command, body) = project.take_over(&mut first, &mut second);
    let (outcome, tokens) = second.command(&command, &body);
    let Outcome::Ready { holding, retired: None, .. } = outcome else { panic!("{outcome:?}") };
    assert!(!holding.0.is_empty() && from_cbor::<Vec<(Id, Blob)>>(&tokens).unwrap().is_empty());
    let round = project.owner.round(1, &[]);
    assert!(first.refusal(&round, &[]).contains("handed the project over to warden"));
    // The second one is asked for rows that there are none of, as a warden that has the project is.
    assert!(!second.refusal(&round, &[]).contains("handed"));
    // What was sealed once is not taken twice.
    assert!(second.refusal(&command, &body).contains("no such session"));
    // Lost on the way, it is repeated: to this warden, which has not gone on yet, and to no other one.
    let (command, body) = project.take_over(&mut first, &mut second);
    assert!(matches!(second.command(&command, &body).0, Outcome::Ready { .. }));
    let mut third = Refinery::of(identity());
    let found = evidence(&mut third, &project.challenge(&mut first));
    let unrelated = Id(Claims::decode(&found.claims.0).unwrap().signing.0);
    assert!(first.refusal(&project.handed(found), &[]).contains("was handed over before, to warden"));
    // Lost for good, the owner lets the first go on: by an order that names the lost one, and by no other.
    let found = evidence(&mut second, &super::refinery::attest([1; 32]));
    let lost = Id(Claims::decode(&found.claims.0).unwrap().signing.0);
    for (sequence, action) in [(2, Action::Forgive), (3, Action::Resume { lost: unrelated })] {
        let order = project.order(sequence, action);
        project.give(&mut first, order);
        assert!(first.refusal(&round, &[]).contains(&format!("forgive --lost {lost}")));
    }
    let resumed = project.order(4, Action::Resume { lost });
    project.give(&mut first, resumed);
    assert!(!first.refusal(&round, &[]).contains("handed"));
}

#[test]
fn what_was_handed_over_counts_once() {
    let ((mut first, project), mut second) = (approved(), Refinery::of(identity()));
    // To itself: the counter of an earlier time would come back.
    let found = {
        let challenge = project.challenge(&mut first);
        evidence(&mut first, &challenge)
    };
    assert!(first.refusal(&project.handed(found), &[]).contains("the other warden is this one"));
    assert!(!first.refusal(&project.owner.round(1, &[]), &[]).contains("handed"));
    // Kept back: a second copy for the second warden, which passes the project on to a third meanwhile.
    let (kept, kept_body) = project.take_over(&mut first, &mut second);
    let (command, body) = project.take_over(&mut first, &mut second);
    assert!(matches!(second.command(&command, &body).0, Outcome::Ready { .. }));
    let order = project.approval(1, PROGRAM);
    project.give(&mut second, order);
    let mut third = Refinery::of(identity());
    let (command, body) = project.take_over(&mut second, &mut third);
    assert!(matches!(third.command(&command, &body).0, Outcome::Ready { .. }));
    assert!(second.refusal(&kept, &kept_body).contains("took the project over before, and went on with it"));
    let (command, body) = project.take_over(&mut first, &mut second);
    assert!(second.refusal(&command, &body).contains("took the project over before"));
    assert!(second.refusal(&project.owner.round(1, &[]), &[]).contains("handed the project over"));
    // Back, in order: the third hands it over to the second, and that one has it again.
    let order = project.approval(1, PROGRAM);
    project.give(&mut third, order);
    let (command, body) = project.take_over(&mut third, &mut second);
    assert!(matches!(second.command(&command, &body).0, Outcome::Ready { .. }));
    let order = project.approval(1, PROGRAM);
    project.give(&mut second, order);
    assert!(!second.refusal(&project.owner.round(1, &[]), &[]).contains("handed"));
}

#[test]
fn orders_are_the_same_whenever_they_are_told() {
    let warden = identity();
    let mut first = Refinery::of(warden);
    let project = Released::to(&mut first);
    let (approves, none) = (project.approval(1, PROGRAM), project.order(2, Action::Approve(none(&project))));
    project.give(&mut first, approves.clone());
    project.give(&mut first, none.clone());
    let restored = |orders: &[&Blob]| {
        let mut again = Refinery::of(warden);
        let holding = project.holding.clone();
        let restore = ToWarden::Restore { spec: project.owner.spec.clone(), holding };
        assert!(matches!(again.command(&restore, &project.state).0, Outcome::Ready { .. }));
        orders.iter().for_each(|order| project.give(&mut again, (*order).clone()));
        again
    };
    drop(first);
    // The second one withheld: nothing is handed over under the first, and no round is run.
    let mut again = restored(&[&approves]);
    let challenge = project.challenge(&mut again);
    let found = evidence(&mut Refinery::of(identity()), &challenge);
    assert!(again.refusal(&project.handed(found), &[]).contains("withholds orders"));
    assert!(again.refusal(&project.owner.round(1, &[]), &[]).contains("withholds orders"));
    // Another one in its place, which its owner signed without having been shown it.
    let other = ToWarden::Order { project: project.owner.id(), order: project.order(2, Action::Forgive) };
    assert!(again.refusal(&other, &[]).contains("are others than those"));
    // Or one that follows that other one.
    project.give(&mut again, none.clone());
    let follows = ToWarden::Order { project: project.owner.id(), order: project.order(3, Action::Forgive) };
    assert!(again.refusal(&follows, &[]).contains("signed after other orders"));
    drop(again);
    let mut again = restored(&[&approves, &none]);
    assert!(!again.refusal(&project.owner.round(1, &[]), &[]).contains("orders"));
}

/// An approval of nobody.
fn none(project: &Released) -> Approval {
    Approval { wardens: vec![], ..simulated(PROGRAM, project.receipts) }
}

#[test]
fn evidence_of_another_warden_session_or_program_gets_nothing() {
    let ((mut first, project), mut second) = (approved(), Refinery::of(identity()));
    let refused = |first: &mut Refinery, evidence: Evidence, words: &str| {
        let message = first.refusal(&project.handed(evidence), &[]);
        assert!(message.contains(words), "{words}: {message}");
    };
    // Replayed: the nonce is used by the first try, whatever comes of it.
    let challenge = project.challenge(&mut first);
    let answered = evidence(&mut second, &challenge);
    let mut altered = answered.clone();
    *altered.report.0.last_mut().unwrap() ^= 1;
    refused(&mut first, altered, "signature does not verify");
    refused(&mut first, answered, "answers no challenge of this one");
    // Never asked for.
    let strange = evidence(&mut second, &super::refinery::attest([1; 32]));
    project.challenge(&mut first);
    refused(&mut first, strange, "is refused: claims.");
    // Relayed: a report that vouches for other claims.
    let challenge = project.challenge(&mut first);
    let (mut claimed, other) =
        (evidence(&mut second, &challenge), evidence(&mut second, &super::refinery::attest([1; 32])));
    claimed.report = other.report;
    refused(&mut first, claimed, "report.data");
    // Claims of hardware, in a simulated report.
    let challenge = project.challenge(&mut first);
    let mut hardware = evidence(&mut second, &challenge);
    let mut claims = Claims::decode(&hardware.claims.0).unwrap();
    claims.tee = blindsmith_evidence::Tee::Snp;
    hardware.claims = Blob(claims.encode());
    refused(&mut first, hardware, "claims.tee: expected simulated, found snp");
    // Collateral that is none, and cut off.
    for (body, words) in [(&b"\x03\0\0\0abc"[..], "not usable as collateral"), (b"\x09\0\0\0abc", "cut off")]
    {
        let challenge = project.challenge(&mut first);
        let found = evidence(&mut second, &challenge);
        let message = first.refusal(&project.handed(found), body);
        assert!(message.contains(words), "{message}");
    }
    // Another program, once the owner's order names that one alone.
    let order = project.approval(2, [1; 32]);
    project.give(&mut first, order);
    let found = evidence(&mut second, &project.challenge(&mut first));
    refused(&mut first, found, "did not approve of a warden");
    // The right program, but no policy that accepts it; a policy that is none; an approval of tomorrow.
    let approval = |change: fn(&mut Approval)| {
        let mut approval = simulated(PROGRAM, project.receipts);
        change(&mut approval);
        Action::Approve(approval)
    };
    let order = project.order(3, approval(|a| a.policy = String::new()));
    project.give(&mut first, order);
    let found = evidence(&mut second, &project.challenge(&mut first));
    refused(&mut first, found, "evidence.kind: expected hardware evidence");
    let challenge = ToWarden::Challenge { project: project.owner.id() };
    let order = project.order(4, approval(|a| a.policy = "accept_everything = true".into()));
    project.give(&mut first, order);
    assert!(first.refusal(&challenge, &[]).contains("the policy of the owner's approval"));
    let order = project.order(5, approval(|a| a.since = u64::MAX));
    project.give(&mut first, order);
    assert!(first.refusal(&challenge, &[]).contains("clock is before"));
    // A challenge under another policy than the present one.
    let order = project.approval(6, PROGRAM);
    project.give(&mut first, order);
    let challenge = project.challenge(&mut first);
    let order = project.order(7, approval(|a| a.policy.push_str(" # changed")));
    project.give(&mut first, order);
    let found = evidence(&mut second, &challenge);
    refused(&mut first, found, "claims.policy");
    // None of that changed anything.
    assert!(!first.refusal(&project.owner.round(1, &[]), &[]).contains("handed"));
}

#[test]
fn a_project_that_its_owner_did_not_release_is_not_taken_over() {
    let ((mut first, project), mut second) = (approved(), Refinery::of(identity()));
    // The owner's order names another project's key: somebody who is no warden of this one made it up.
    let other = Action::Approve(simulated(PROGRAM, PublicKey([9; 32])));
    let with = |command: ToWarden, order: Blob| match command {
        ToWarden::TakeOver { spec, from, session, .. } => ToWarden::TakeOver { spec, from, session, order },
        other => other,
    };
    let (command, body) = project.take_over(&mut first, &mut second);
    let message = second.refusal(&with(command, project.order(1, other)), &body);
    assert!(message.contains("not the project that its owner released"), "{message}");
    let (command, body) = project.take_over(&mut first, &mut second);
    assert!(
        second.refusal(&with(command, project.order(1, Action::Forgive)), &body).contains("approves of no")
    );
    let (command, body) = project.take_over(&mut first, &mut second);
    let mut altered = project.approval(1, PROGRAM);
    *altered.0.last_mut().unwrap() ^= 1;
    assert!(second.refusal(&with(command, altered), &body).contains("the order"));
    // Cut off, and altered.
    for change in [|body: &mut Vec<u8>| body.truncate(2), |body: &mut Vec<u8>| body[100] ^= 1] {
        let (command, mut body) = project.take_over(&mut first, &mut second);
        change(&mut body);
        second.refusal(&command, &body);
    }
    let (command, body) = project.take_over(&mut first, &mut second);
    assert!(matches!(second.command(&command, &body).0, Outcome::Ready { .. }));
}

/// A released project of a warden with this appraiser, with an approval of the tests' program.
fn appraised_by(appraiser: Appraiser) -> (Refinery, Released) {
    let mut first = Refinery::of(identity_with(&Key::random(), appraiser));
    let project = Released::to(&mut first);
    let order = project.approval(1, PROGRAM);
    project.give(&mut first, order);
    (first, project)
}

#[test]
fn without_an_appraiser_nothing_is_handed_over_and_the_rest_goes_on() {
    let (mut first, project) = appraised_by(Appraiser::none("there is none"));
    let challenge = ToWarden::Challenge { project: project.owner.id() };
    let message = first.refusal(&challenge, &[]);
    assert_eq!(message, "hand-over is refused until this warden is started again: there is none");
    first.assert_serves();
    assert!(!first.refusal(&project.owner.round(1, &[]), &[]).contains("hand"));
    // Another such warden takes a project over: for that nobody is appraised.
    let (mut other, project) = approved();
    let mut second = Refinery::of(identity_with(&Key::random(), Appraiser::none("there is none")));
    let (command, body) = project.take_over(&mut other, &mut second);
    assert!(matches!(second.command(&command, &body).0, Outcome::Ready { .. }));
}

#[test]
fn an_appraiser_that_ends_or_lies_hands_nothing_over() {
    // It answers whether the policy is one, and then so.
    let first_of = |last: Option<Finding>| {
        let (own, mut stream) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            tell(&mut stream, &Finding::Ready).unwrap();
            hear::<Question>(&mut stream).unwrap();
            tell(&mut stream, &Finding::Ready).unwrap();
            hear::<Question>(&mut stream).unwrap();
            last.iter().for_each(|last| tell(&mut stream, last).unwrap());
        });
        appraised_by(Appraiser::ready(own).unwrap())
    };
    let accepted = |data: Option<String>| blindsmith_evidence::Appraisal {
        accepted: true,
        tee: "simulated",
        tcb_status: None,
        measurement: Some("07".repeat(32)),
        report_data: data,
        refusals: vec![],
    };
    // Whatever it accepts, the report has to be about these claims, and an appraisal has to have accepted it.
    let unaccepted = blindsmith_evidence::Appraisal { accepted: false, ..accepted(None) };
    for (last, words) in [
        (None, "this warden's appraiser has ended"),
        (Some(Finding::Ready), "something else than it was asked"),
        (Some(Finding::Appraisal(accepted(None))), "report.data"),
        (Some(Finding::Appraisal(accepted(Some("00".repeat(64))))), "report.data"),
        (Some(Finding::Appraisal(unaccepted)), "is refused"),
    ] {
        let (mut first, project) = first_of(last);
        let found = evidence(&mut Refinery::of(identity()), &project.challenge(&mut first));
        let message = first.refusal(&project.handed(found), &[]);
        assert!(message.contains(words), "{words}: {message}");
        assert!(!first.refusal(&project.owner.round(1, &[]), &[]).contains("handed"));
    }
}
