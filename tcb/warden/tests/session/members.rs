//! Members: whose seeds and questions the warden takes, and that nobody else weakens what they accepted.

use blindsmith_evidence::Claims;
use blindsmith_identity::{
    Action, AttestRequest, Enrolment, Inquiry, MemberRole, PublicKey, Purpose, Quota, Roster, SigningKey,
    Terms, sign_enrolment, sign_inquiry, sign_order, sign_request,
};
use blindsmith_keys::{Key, Recipient, Suite};
use blindsmith_protocol::{Blob, FromWarden, Id, Outcome, Role, ToWarden};
use blindsmith_warden::{enrolment_info, query_info};

use super::owner::{Owner, name, signing};
use super::refinery::{Refinery, identity};

fn member() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A warden that was handed a project, and its owner's orders so far.
struct Held {
    owner: Owner,
    refinery: Refinery,
    roster: Roster,
}

impl Held {
    fn new() -> Self {
        let (owner, mut refinery) = (Owner::new(), Refinery::of(identity()));
        owner.hand_over(&mut refinery);
        Held { owner, refinery, roster: Roster::default() }
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

fn terms() -> Terms {
    let base = Terms::without_minima(signing().verifying(), "simulated", &[]);
    Terms { version_contributors: 3, ..base }
}

#[test]
fn nobody_enrols_for_a_contributor_and_no_warden_takes_a_seed_that_its_terms_keep_from_it() {
    let mut held = Held::new();
    let (own, owner, seed) = (member(), signing(), Key::random());
    let refused = |held: &mut Held, terms: Terms, who: (&SigningKey, &SigningKey), words: &str| {
        let enrolment = held.enrolment(&terms, &seed, who);
        let message = held.refinery.refusal(&enrolment, &[]);
        assert!(message.contains(words), "{words}: {message}");
    };
    refused(&mut held, terms(), (&own, &own), "is not invited");
    held.invite(MemberRole::Querier);
    refused(&mut held, terms(), (&own, &own), "is not invited");
    held.invite(MemberRole::Contributor);
    // The owner, who would like weaker terms, in the contributor's name.
    let weaker = Terms { version_contributors: 0, ..terms() };
    refused(&mut held, weaker.clone(), (&owner, &owner), "key");
    refused(&mut held, weaker, (&owner, &own), "begun by somebody else");
    refused(&mut held, Terms { tees: vec!["snp".into()], ..terms() }, (&own, &own), "do not allow a warden");
    let other = Terms { recipients: vec![PublicKey([3; 32])], ..terms() };
    refused(&mut held, other, (&own, &own), "do not allow this owner");
    let enrolment = held.enrolment(&terms(), &seed, (&own, &own));
    assert!(matches!(held.refinery.command(&enrolment, &[]).0, Outcome::Enrolled { .. }));
}

#[test]
fn rows_stand_under_the_terms_that_their_contributor_named_and_no_others() {
    let mut held = Held::new();
    let (own, seed) = (member(), Key::random());
    held.invite(MemberRole::Contributor);
    let enrolment = held.enrolment(&terms(), &seed, (&own, &own));
    assert!(matches!(held.refinery.command(&enrolment, &[]).0, Outcome::Enrolled { .. }));
    let mut upload = held.owner.upload_by(&seed, Role::Training);
    (upload.header.contributor, upload.header.terms) = (own.verifying().into(), terms().digest());
    upload.sign(&held.owner.spec, &seed);
    let weaker = Terms { version_contributors: 0, ..terms() }.digest();
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
        let mut inquiry = Inquiry { project, query, kem, envelope: Blob(envelope) };
        change(&mut inquiry);
        let envelope = Blob(sign_inquiry(&inquiry, signer));
        held.refinery.send(&ToWarden::Query { project, header: upload.header, envelope }, &[]);
        match held.refinery.receive().0 {
            FromWarden::Do(_) => {
                // It ends when it is told nothing that is of use.
                held.refinery.send(&ToWarden::Bytes { place: None, len: 0 }, &[]);
                assert!(!matches!(held.refinery.receive().0, FromWarden::Do(_)));
                true
            }
            FromWarden::Finished(Outcome::Refused { message }) => {
                assert_eq!(message, "the query was refused");
                false
            }
            other => panic!("{other:?}"),
        }
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
