//! Members: whose seeds and questions the warden takes, and that nobody else weakens what they accepted.

use blindsmith_evidence::Claims;
use blindsmith_formats::{encode_model, enrolment_info, model_context, query_info};
use blindsmith_identity::{
    Action, AttestRequest, Enrolment, Inquiry, MemberRole, Origin, PublicKey, Purpose, Quota, Roster,
    SigningKey, Terms, sign_enrolment, sign_inquiry, sign_order, sign_request,
};
use blindsmith_keys::{Key, Recipient, Suite};
use blindsmith_protocol::{Blob, FromWarden, Id, Outcome, Role, RoundRecord, ToWarden};
use blindsmith_warden::Identity;

use super::owner::{Owner, ROWS, name, number, signing};
use super::refinery::{Refinery, identity, identity_of};

fn member() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A warden that was handed a project, and its owner's orders so far.
struct Held {
    owner: Owner,
    refinery: Refinery,
    roster: Roster,
    origin: Origin,
    /// The record of the release.
    record: RoundRecord,
}

impl Held {
    fn new() -> Self {
        Held::of(identity())
    }

    fn of(identity: &'static Identity) -> Self {
        let (owner, mut refinery) = (Owner::new(), Refinery::of(identity));
        let (record, receipts, _) = owner.hand_over_keyed(&mut refinery);
        let origin = owner.origin(&record, &receipts);
        Held { owner, refinery, roster: Roster::default(), origin, record }
    }

    fn order(&mut self, action: Action) {
        let order = self.roster.next(self.owner.id(), action);
        self.roster.apply(&order).unwrap();
        let order = ToWarden::Order { project: self.owner.id(), order: Blob(sign_order(&order, &signing())) };
        assert!(matches!(self.refinery.command(&order, &[]).0, Outcome::Ordered { retired: None }));
    }

    fn invite(&mut self, role: MemberRole) {
        let (member, quota) = (member().verifying(), Quota::default());
        self.order(Action::Invite { member, name: "member".into(), role, quota });
    }

    /// The warden's claims in a session that this key begins.
    fn session(&mut self, who: &SigningKey, purpose: Purpose) -> Claims {
        let (project, nonce) = (self.owner.id(), *Key::random().expose());
        let request = AttestRequest { project, nonce, policy: [8; 32], kem: Suite::X25519.number(), purpose };
        let request = Blob(sign_request(&request, who));
        self.refinery.send(&ToWarden::Attest { asker: who.verifying().into(), request }, &[]);
        let (FromWarden::Evidence(evidence), _) = self.refinery.receive() else { panic!("evidence is due") };
        Claims::decode(&evidence.claims.0).unwrap()
    }

    /// A seed under terms, sealed in a session that `begun` began, signed by `signer`, in the member's name.
    fn enrolment(
        &mut self,
        terms: &Terms,
        seed: &Key,
        (begun, signer): (&SigningKey, &SigningKey),
    ) -> ToWarden {
        let claims = self.session(begun, Purpose::Release);
        let (project, session) = (self.owner.id(), claims.session());
        let recipient = Recipient::new(Suite::X25519, &claims.recipient).unwrap();
        let (envelope, _) =
            recipient.seal(&enrolment_info(&session, &terms.digest()), seed.expose()).unwrap();
        let enrolment = Enrolment { project, terms: terms.clone(), session, envelope: Blob(envelope) };
        let (contributor, enrolment) = (member().verifying().into(), sign_enrolment(&enrolment, signer));
        ToWarden::Enrol { project, contributor, enrolment: Blob(enrolment) }
    }
}

impl Held {
    fn terms(&self) -> Terms {
        let base = Terms::without_minima(signing().verifying(), "simulated", &[]);
        Terms { version_contributors: 3, origin: self.origin, ..base }
    }
}

#[test]
fn nobody_enrols_for_a_contributor_and_no_warden_takes_a_seed_that_its_terms_keep_from_it() {
    let mut held = Held::new();
    let (own, owner, seed, terms) = (member(), signing(), Key::random(), held.terms());
    let refused = |held: &mut Held, terms: Terms, who: (&SigningKey, &SigningKey), words: &str| {
        let enrolment = held.enrolment(&terms, &seed, who);
        let message = held.refinery.refusal(&enrolment, &[]);
        assert!(message.contains(words), "{words}: {message}");
    };
    refused(&mut held, terms.clone(), (&own, &own), "is not invited");
    held.invite(MemberRole::Querier);
    refused(&mut held, terms.clone(), (&own, &own), "is not invited");
    held.invite(MemberRole::Contributor);
    // The owner, who would like weaker terms, in the contributor's name.
    let weaker = Terms { version_contributors: 0, ..terms.clone() };
    refused(&mut held, weaker.clone(), (&owner, &owner), "key");
    refused(&mut held, weaker, (&owner, &own), "begun by somebody else");
    refused(
        &mut held,
        Terms { tees: vec!["snp".into()], ..terms.clone() },
        (&own, &own),
        "do not allow a warden",
    );
    let other = Terms { recipients: vec![PublicKey([3; 32])], ..terms.clone() };
    refused(&mut held, other, (&own, &own), "do not allow this owner");
    let zero = Id::default();
    for origin in [Origin { recipe: zero, ..terms.origin }, Origin { model: zero, ..terms.origin }] {
        let other = Terms { origin, ..terms.clone() };
        refused(&mut held, other, (&own, &own), "another recipe or another initial model");
    }
    let enrolment = held.enrolment(&terms, &seed, (&own, &own));
    assert!(matches!(held.refinery.command(&enrolment, &[]).0, Outcome::Enrolled { .. }));
}

#[test]
fn rows_stand_under_the_terms_that_their_contributor_named_and_no_others() {
    let mut held = Held::new();
    let (own, seed, terms) = (member(), Key::random(), held.terms());
    held.invite(MemberRole::Contributor);
    let enrolment = held.enrolment(&terms, &seed, (&own, &own));
    assert!(matches!(held.refinery.command(&enrolment, &[]).0, Outcome::Enrolled { .. }));
    let mut upload = held.owner.upload_by(&seed, Role::Training);
    (upload.header.contributor, upload.header.terms) = (own.verifying().into(), terms.digest());
    upload.sign(&held.owner.spec, &seed);
    let weaker = Terms { version_contributors: 0, ..terms.clone() }.digest();
    // As the refinery would like to have them, then as whoever has the seed of other terms could have signed them.
    for (digest, signed) in [([0; 32], false), (weaker, false), ([0; 32], true), (weaker, true)] {
        let mut altered = upload.clone();
        altered.header.terms = digest;
        if signed {
            altered.sign(&held.owner.spec, &seed);
        }
        let outcome = held.owner.admit(&mut held.refinery, &mut altered);
        assert!(matches!(outcome, Outcome::Malformed { .. }), "{outcome:?}");
    }
    // In the owner's name, for whom the owner's rules are enough.
    let mut altered = upload.clone();
    (altered.header.contributor, altered.header.terms) = (name(), [0; 32]);
    altered.sign(&held.owner.spec, &seed);
    let outcome = held.owner.admit(&mut held.refinery, &mut altered);
    assert!(matches!(outcome, Outcome::Malformed { .. }), "{outcome:?}");
    assert!(matches!(held.owner.admit(&mut held.refinery, &mut upload), Outcome::Admitted { .. }));
    held.order(Action::Revoke { member: own.verifying() });
    let outcome = held.owner.admit(&mut held.refinery, &mut upload);
    assert!(matches!(outcome, Outcome::Malformed { .. }), "{outcome:?}");
}

#[test]
fn the_owner_and_its_queriers_ask_and_nobody_else() {
    let mut held = Held::new();
    let (own, owner, seed) = (member(), signing(), Key::random());
    // Whether the warden begins to answer: it has the rows read to it then.
    let asks = |held: &mut Held, signer: &SigningKey, who: &SigningKey, change: fn(&mut Inquiry)| {
        let (project, who) = (held.owner.id(), Id::from(who.verifying()));
        let claims = held.session(signer, Purpose::Query);
        let mut upload = held.owner.upload_by(&seed, Role::Query);
        upload.header.contributor = who;
        upload.sign(&held.owner.spec, &seed);
        let (query, kem) = (upload.header.id(), claims.kem);
        let recipient = Recipient::new(Suite::X25519, &claims.recipient).unwrap();
        let (envelope, _) = recipient.seal(&query_info(&project, &query, &who), seed.expose()).unwrap();
        let mut inquiry = Inquiry { project, query, number: number(), kem, envelope: Blob(envelope) };
        change(&mut inquiry);
        let envelope = Blob(sign_inquiry(&inquiry, signer));
        answers(&mut held.refinery, &ToWarden::Query { project, header: upload.header, envelope })
    };
    assert!(!asks(&mut held, &own, &own, |_| {}), "a stranger");
    held.invite(MemberRole::Contributor);
    assert!(!asks(&mut held, &own, &own, |_| {}), "a contributor");
    held.invite(MemberRole::Querier);
    assert!(!asks(&mut held, &own, &owner, |_| {}), "in the owner's name");
    assert!(!asks(&mut held, &owner, &own, |_| {}), "in a querier's name");
    let changes: [fn(&mut Inquiry); 4] = [
        |i| i.query = Id([1; 32]),
        |i| i.project = Id([1; 32]),
        |i| i.kem = Suite::XWing.number(),
        |i| i.envelope.0[40] ^= 1,
    ];
    for change in changes {
        assert!(!asks(&mut held, &own, &own, change));
    }
    assert!(asks(&mut held, &own, &own, |_| {}));
    assert!(asks(&mut held, &owner, &owner, |_| {}));
    held.order(Action::Revoke { member: own.verifying() });
    assert!(!asks(&mut held, &own, &own, |_| {}), "revoked");
}

#[test]
fn attack_a_project_released_again_does_not_get_seeds_back() {
    let (sealing, own, seed) = (Key::random(), member(), Key::random());
    let mut held = Held::of(identity_of(&sealing));
    let terms = held.terms();
    held.invite(MemberRole::Contributor);
    let enrolment = held.enrolment(&terms, &seed, (&own, &own));
    let (Outcome::Enrolled { token, .. }, _) = held.refinery.command(&enrolment, &[]) else {
        panic!("it is enrolled");
    };
    let (project, contributor) = (held.owner.id(), own.verifying().into());
    let again = ToWarden::Enrolled { project, contributor, token };
    assert!(matches!(held.refinery.command(&again, &[]).0, Outcome::Enrolled { .. }), "it is this project's");
    // The same warden, whose counters were deleted: the owner releases the project once more.
    let mut again_released = Held::of(identity_of(&sealing));
    let message = again_released.refinery.refusal(&again, &[]);
    assert!(message.contains("not one that a warden of this project made"), "{message}");
}

/// Whether the warden begins to answer: it has the rows read to it then.
fn answers(refinery: &mut Refinery, query: &ToWarden) -> bool {
    refinery.send(query, &[]);
    match refinery.receive().0 {
        FromWarden::Do(_) => {
            // It ends when it is told nothing that is of use.
            refinery.send(&ToWarden::Bytes { place: None, len: 0 }, &[]);
            assert!(!matches!(refinery.receive().0, FromWarden::Do(_)));
            true
        }
        FromWarden::Finished(Outcome::Refused { message }) => {
            assert_eq!(message, "the query was refused");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn attack_one_query_replayed_uses_up_nobodys_budget() {
    let mut held = Held::new();
    held.owner.rules.queries = u64::from(2 * ROWS);
    let mut refinery = Refinery::of(identity());
    held.owner.hand_over(&mut refinery);
    let seed = Key::random();
    let query = |refinery: &mut Refinery| {
        let upload = held.owner.upload_by(&seed, Role::Query);
        held.owner.query(refinery, &seed, &upload.header)
    };
    let (first, second, third) = (query(&mut refinery), query(&mut refinery), query(&mut refinery));
    assert!(answers(&mut refinery, &first));
    // A warden that was stopped is asked again, but not for ever.
    let again = (0..10).filter(|_| answers(&mut refinery, &first)).count();
    assert_eq!(again, 2);
    assert!(answers(&mut refinery, &second), "the replays cost nothing");
    assert!(!answers(&mut refinery, &third), "two queries were all");
}

/// The owner has the key that models are sealed under: it could have a model of its own made current, one that shows a
/// contributor's rows in its next step.
#[test]
fn attack_a_rollback_to_a_model_that_no_warden_made() {
    let mut held = Held::new();
    held.order(Action::Rollback { version: 0 });
    let project = held.owner.id();
    let command = ToWarden::Rollback { project, round: 1, version: 0 };
    let context = model_context("model", &project, 0);
    let genuine = held.owner.key.unseal(&context, &held.record.model.0).unwrap();
    let mut network = held.owner.network.clone().into_layers();
    network[0].weights.as_mut_slice()[0] += 1.0;
    let crafted = encode_model(&network);
    for opening in [&genuine[..32], &[0; 32]] {
        let sealed = held.owner.key.seal(&context, &[opening, &crafted].concat());
        let message = held.refinery.refusal(&command, &sealed.0);
        assert!(message.contains("not the model of that version"), "{message}");
    }
    let model = held.record.model.0.clone();
    assert!(matches!(held.refinery.command(&command, &model).0, Outcome::Round));
}

#[test]
fn an_order_that_is_refused_leaves_nothing_behind() {
    let mut held = Held::new();
    let unknown = held.roster.next(held.owner.id(), Action::Rollback { version: 7 });
    let order = Blob(sign_order(&unknown, &signing()));
    let message = held.refinery.refusal(&ToWarden::Order { project: held.owner.id(), order }, &[]);
    assert!(message.contains("there is no version 7"), "{message}");
    // Its number is free.
    held.order(Action::Forgive);
}
