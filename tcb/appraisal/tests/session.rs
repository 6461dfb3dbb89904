//! Evidence that does not answer the session it is shown in: each defect is named by the claim that fails.

use blindsmith_appraisal::{
    Appraised, AppraisedPolicy, Collateral, LIFETIME, Refusal, Refused, Session, confirmed,
};
use blindsmith_evidence::{Attester, Claims, Simulated, Tee, report_data};
use blindsmith_identity::{Confirmed, Purpose, SigningKey, open_request, sign_confirmed};
use blindsmith_keys::{RecipientKey, Suite};
use blindsmith_protocol::{Blob, Evidence, Id};

const NOW: u64 = 1_790_000_000;
const PROJECT: Id = Id([2; 32]);

fn owner() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn warden() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn policy(text: &str) -> AppraisedPolicy {
    AppraisedPolicy::parse(text).unwrap()
}

fn accepting() -> AppraisedPolicy {
    policy("accept_simulated = true")
}

fn begin(nonce: u8) -> Session {
    Session::begin([nonce; 32], PROJECT, &owner(), Suite::XWing, &accepting(), NOW)
}

/// What a warden answers to a request: its claims, and a simulated report about them.
fn claims(session: &Session, key: &RecipientKey) -> Claims {
    let request = session.request(Purpose::Release, &owner());
    let request = open_request(&request, &owner().verifying()).unwrap();
    Claims {
        tee: Tee::Simulated,
        kem: request.kem,
        recipient: key.recipient(Suite::XWing).bytes().to_vec(),
        signing: warden().verifying(),
        nonce: request.nonce,
        policy: request.policy,
        project: request.project,
        asker: owner().verifying(),
        build: "0.1.0".into(),
    }
}

fn vouched(claims: &Claims) -> Evidence {
    let simulated = Simulated::new(SigningKey::from_seed(&[4; 32]), [5; 32]);
    let claims = claims.encode();
    let report = simulated.report(&report_data(&claims)).unwrap();
    Evidence { claims: Blob(claims), report: Blob(report.report), auxiliary: Blob(report.auxiliary) }
}

fn appraise(session: Session, evidence: &Evidence) -> Result<Appraised, Refused> {
    session.appraise(evidence, &accepting(), &Collateral::default(), NOW + 1)
}

/// The claims that failed.
fn refused<T>(done: Result<T, Refused>) -> Vec<String> {
    let refused = done.err().expect("a refusal");
    assert!(!refused.to_string().is_empty());
    refused.refusals.into_iter().map(|refusal| refusal.claim).collect()
}

#[test]
fn an_answer_to_the_session_is_accepted_and_confirms_a_release() {
    let (session, key) = (begin(7), RecipientKey::generate());
    let claims = claims(&session, &key);
    let appraised = appraise(session, &vouched(&claims)).unwrap();
    assert_eq!((appraised.tee(), appraised.session()), ("simulated", claims.session()));
    let (sealed, expected) = appraised.recipient().seal(b"info", b"seed").unwrap();
    let (_, shown) = key.open(Suite::XWing, b"info", &sealed).unwrap();
    let receipts = SigningKey::from_seed(&[9; 32]).verifying();
    let good =
        Confirmed { project: PROJECT, session: claims.session(), receipts, confirmation: shown.bytes() };
    let signed = |confirmed: &Confirmed, key: &SigningKey| Blob(sign_confirmed(confirmed, key));
    let confirm = |signed: &Blob| confirmed(&appraised, &PROJECT, &expected, signed);
    assert_eq!(confirm(&signed(&good, &warden())).unwrap(), receipts);
    for (what, signed) in [
        ("by another warden", signed(&good, &owner())),
        ("of another session", signed(&Confirmed { session: [0; 32], ..good.clone() }, &warden())),
        ("of another project", signed(&Confirmed { project: Id([0; 32]), ..good.clone() }, &warden())),
        ("by who did not open it", signed(&Confirmed { confirmation: [0; 32], ..good.clone() }, &warden())),
        ("nothing", Blob(vec![])),
    ] {
        assert_eq!(refused(confirm(&signed)), ["confirmation"], "{what}");
    }
}

#[test]
fn evidence_for_another_session_is_refused() {
    let key = RecipientKey::generate();
    let good = claims(&begin(7), &key);
    // Replayed: what another session was answered.
    assert_eq!(refused(appraise(begin(8), &vouched(&good))), ["claims.nonce"]);
    for (change, claim) in [
        (Claims { policy: [0; 32], ..good.clone() }, "claims.policy"),
        (Claims { project: Id([0; 32]), ..good.clone() }, "claims.project"),
        (Claims { asker: warden().verifying(), ..good.clone() }, "claims.asker"),
        (Claims { kem: 0x20, ..good.clone() }, "claims.kem"),
        (Claims { tee: Tee::Snp, ..good.clone() }, "claims.tee"),
        (Claims { recipient: vec![1; 32], ..good.clone() }, "claims.recipient"),
    ] {
        assert_eq!(refused(appraise(begin(7), &vouched(&change))), [claim]);
    }
}

#[test]
fn a_key_that_nobody_vouched_for_is_refused() {
    // Relayed: the report of an honest warden, with the claims of whoever is in between.
    let honest = vouched(&claims(&begin(7), &RecipientKey::generate()));
    let foreign = claims(&begin(7), &RecipientKey::generate());
    let relayed = Evidence { claims: Blob(foreign.encode()), ..honest };
    assert_eq!(refused(appraise(begin(7), &relayed)), ["report.data"]);
}

#[test]
fn late_answers_and_other_clocks_are_refused() {
    let key = RecipientKey::generate();
    let judge = |now| {
        let session = begin(7);
        let evidence = vouched(&claims(&session, &key));
        session.appraise(&evidence, &accepting(), &Collateral::default(), now)
    };
    assert!(judge(NOW + LIFETIME).is_ok());
    for now in [NOW + LIFETIME + 1, NOW - 1] {
        assert_eq!(refused(judge(now)), ["session.age"]);
    }
}

#[test]
fn a_simulated_warden_without_consent_is_refused() {
    for text in ["", "accept_simulated = false"] {
        let denying = policy(text);
        let session = Session::begin([7; 32], PROJECT, &owner(), Suite::XWing, &denying, NOW);
        let evidence = vouched(&claims(&session, &RecipientKey::generate()));
        let done = session.appraise(&evidence, &denying, &Collateral::default(), NOW);
        assert_eq!(refused(done), ["evidence.kind"]);
    }
    // A policy that was changed meanwhile is another one.
    let session = Session::begin([7; 32], PROJECT, &owner(), Suite::XWing, &policy(""), NOW);
    let evidence = vouched(&claims(&session, &RecipientKey::generate()));
    let done = session.appraise(&evidence, &accepting(), &Collateral::default(), NOW);
    assert_eq!(refused(done), ["claims.policy"]);
}

#[test]
fn hardware_that_vouched_for_something_else_is_refused() {
    // A genuine report of SEV-SNP, taken from elsewhere: its report data is of nobody here.
    let report = include_bytes!("evidence/snp/milan-v3.report").to_vec();
    let claims = Claims { tee: Tee::Snp, ..claims(&begin(7), &RecipientKey::generate()) };
    let evidence = Evidence { claims: Blob(claims.encode()), report: Blob(report), auxiliary: Blob(vec![]) };
    let refusal = appraise(begin(7), &evidence).unwrap_err();
    let (line, lines) = (refusal.to_string(), format!("{refusal:#}"));
    assert!(!line.contains('\n') && lines.lines().count() == 1 + refusal.refusals.len());
    let claims = refused::<Appraised>(Err(refusal));
    assert_eq!(claims[..2], ["report.data", "collateral.amd"]);
    // Each is named, in a log's line and in a terminal's.
    for claim in claims {
        assert!(line.contains(&format!("{claim}: expected")) && lines.contains(&claim), "{line}");
    }
}

#[test]
fn however_much_is_refused_the_words_are_bounded() {
    let long = || "x".repeat(10_000);
    let refusal = Refusal { claim: "c".into(), expected: long(), found: long(), advice: long() };
    let all = Refused { refusals: vec![refusal; 1000] };
    assert!(all.to_string().len() < 40_000 && all.to_string().starts_with("1000 checks failed:"));
}

#[test]
fn what_is_no_evidence_is_refused_without_a_panic() {
    let good = vouched(&claims(&begin(7), &RecipientKey::generate()));
    for len in [0, 1, 60, good.claims.0.len() - 1] {
        let cut = Evidence { claims: Blob(good.claims.0[..len].to_vec()), ..good.clone() };
        assert_eq!(refused(appraise(begin(7), &cut)), ["evidence.claims"]);
    }
    for len in [0, 1, 60, good.report.0.len() - 1] {
        let cut = Evidence { report: Blob(good.report.0[..len].to_vec()), ..good.clone() };
        assert_eq!(refused(appraise(begin(7), &cut)), ["evidence.report"]);
    }
}
