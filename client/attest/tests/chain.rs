//! Chains of receipts: a sound one, and one for each defect, named by it.

use blindsmith_attest::SEALED_DECISION;
use blindsmith_attest::chain::{
    Bundle, Fault, KnownOrder, MAX_BUNDLE, MAX_SIGNEDS, Measured, Newest, OwnerPolicy, Trust, Verdict,
    equivocation, verify, verify_against,
};
use blindsmith_evidence::{Claims, Tee};
use blindsmith_identity::{Confirmed, sign_confirmed};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Evidence, Id, to_cbor};
use blindsmith_receipts::{
    Decision, FaultReport, FixedSchedule, PublicKey, Quarantined, RECEIPT_VERSION, Reason, Receipt, Rules,
    SigningKey, commit, receipt_digest, receipt_signing_key, sign_fault, sign_receipt,
};

fn key() -> SigningKey {
    receipt_signing_key(&Key::from_bytes([7; 32]))
}

fn other_key() -> SigningKey {
    receipt_signing_key(&Key::from_bytes([8; 32]))
}

fn policy() -> OwnerPolicy {
    OwnerPolicy {
        project: Id([0x11; 32]),
        accept_simulated: true,
        wardens: Vec::new(),
        receipts: key().verifying(),
        rules: Rules::default(),
        recipe: Id([0x22; 32]),
        newest: None,
        orders: vec![],
    }
}

/// The digest of all orders up to this one.
fn order_digest(order: u64) -> Id {
    if order == 0 { Id::default() } else { Id([0x30 + order as u8; 32]) }
}

fn model(round: u64) -> [u8; 32] {
    commit(&[round as u8; 32], b"model")
}

/// Rounds 0 to 4, each receipt changed by `change`, then signed.
fn chain(change: impl Fn(&mut Receipt)) -> Vec<Blob> {
    let mut receipts = Vec::<Blob>::new();
    for round in 0..5 {
        let mut receipt = Receipt {
            version: RECEIPT_VERSION,
            project: Id([0x11; 32]),
            tee: "simulated".into(),
            measurement: Blob(Vec::new()),
            rules: Rules::default().digest(),
            round,
            attempts: 1,
            faults: 0,
            previous: receipts.last().map(|r| receipt_digest(&r.0)),
            uploads: if round == 0 { Vec::new() } else { vec![Id([1; 32]), Id([round as u8 + 1; 32])] },
            orders: round / 2,
            orders_digest: order_digest(round / 2),
            recipe: Id([0x22; 32]),
            current: round,
            trials: 1,
            quarantined: Vec::new(),
            rows: 100 * round,
            steps: 10 * round,
            before: model(round.saturating_sub(1)),
            after: model(round),
            decision: Decision::Promoted,
            metrics: [0; 32],
        };
        change(&mut receipt);
        receipts.push(Blob(sign_receipt(&receipt, &key())));
    }
    receipts
}

/// The sound chain, but for one round.
fn spoilt(round: u64, change: impl Fn(&mut Receipt)) -> Bundle {
    bundle(chain(|r| {
        if r.round == round {
            change(r)
        }
    }))
}

fn bundle(receipts: Vec<Blob>) -> Bundle {
    Bundle::new(trust(Tee::Simulated, &key()), receipts, Vec::new())
}

/// A warden's key.
fn warden() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn claims(tee: Tee) -> Claims {
    Claims {
        tee,
        kem: 0x20,
        recipient: vec![1; 32],
        signing: warden().verifying(),
        nonce: [2; 32],
        policy: [4; 32],
        project: Id([0x11; 32]),
        asker: PublicKey([5; 32]),
        build: "0.1.0".into(),
    }
}

/// What a warden of this kind confirms: that this key signs the project's receipts.
fn trust(tee: Tee, receipts: &SigningKey) -> Trust {
    let claims = claims(tee);
    let evidence = Evidence { claims: Blob(claims.encode()), report: Blob(vec![]), auxiliary: Blob(vec![]) };
    let (project, session, receipts) = (Id([0x11; 32]), claims.session(), receipts.verifying());
    let confirmed = Confirmed { project, session, receipts, confirmation: [6; 32] };
    Trust { evidence, confirmation: Blob(sign_confirmed(&confirmed, &warden())) }
}

fn sound() -> Bundle {
    bundle(chain(|_| {}))
}

fn report(after: usize) -> FaultReport {
    FaultReport {
        version: RECEIPT_VERSION,
        project: Id([0x11; 32]),
        tee: "simulated".into(),
        round: after as u64 + 1,
        attempt: 1,
        fault: 1,
        instruction: "Multiply".into(),
        previous: Some(receipt_digest(&sound().receipts[after].0)),
    }
}

fn with_report(report: &FaultReport, key: &SigningKey) -> Bundle {
    Bundle { faults: vec![Blob(sign_fault(report, key))], ..sound() }
}

#[track_caller]
fn refuses(bundle: &Bundle, policy: &OwnerPolicy, round: u64, what: &str) {
    let verdict = verify(bundle, policy);
    let fault = verdict.first_fault.clone().expect("a fault");
    assert!(fault.round == round && fault.what.contains(what), "{fault:?}");
    assert!(!verdict.valid && verdict.proven.is_empty());
    assert!(verdict.not_proven[0].starts_with("anything"));
}

fn says(lines: &[String], what: &str) -> bool {
    lines.iter().any(|line| line.contains(what))
}

#[test]
fn a_sound_chain_is_valid() {
    let verdict = verify(&sound(), &policy());
    let Verdict { valid: true, rounds: 4, proven, not_proven, first_fault: None } = verdict else {
        panic!("{verdict:?}")
    };
    assert!(says(&proven, "all 5 receipts are signed"));
    assert!(says(&proven, "4 rounds were promoted, 0 rolled back and 0 failed"));
    assert!(not_proven[0].starts_with("THE WARDEN IS SIMULATED"));
    for what in ["availability", "freshness", "quality of rows", "unlearning"] {
        assert!(says(&not_proven, what), "{what}");
    }
}

#[test]
fn a_release_alone_is_valid() {
    let verdict = verify(&bundle(chain(|_| {})[..1].to_vec()), &policy());
    assert!(verdict.valid && verdict.rounds == 0);
}

#[test]
fn simulation_not_accepted() {
    refuses(&sound(), &OwnerPolicy { accept_simulated: false, ..policy() }, 0, "simulated");
}

#[test]
fn evidence_of_another_kind_than_the_receipts() {
    let bundle = Bundle { trust: trust(Tee::Tdx, &key()), ..sound() };
    refuses(
        &bundle,
        &policy(),
        0,
        "the receipt is of a warden of the kind \"simulated\", the evidence of tdx",
    );
}

#[test]
fn key_that_the_warden_confirmed_is_another() {
    let bundle = Bundle { trust: trust(Tee::Simulated, &other_key()), ..sound() };
    refuses(&bundle, &policy(), 0, "the policy names another");
}

#[test]
fn evidence_that_leads_nowhere() {
    let good = trust(Tee::Simulated, &key());
    let claims = Claims { nonce: [9; 32], ..claims(Tee::Simulated) };
    let other_session = Evidence { claims: Blob(claims.encode()), ..good.evidence.clone() };
    let of_nobody = Claims { signing: other_key().verifying(), ..claims };
    let other_key = Evidence { claims: Blob(of_nobody.encode()), ..good.evidence.clone() };
    let none = Evidence { claims: Blob(b"tdx\x1b[2J".to_vec()), ..good.evidence.clone() };
    let elsewhere = Confirmed {
        project: Id([9; 32]),
        session: session(),
        receipts: key().verifying(),
        confirmation: [6; 32],
    };
    let elsewhere = Blob(sign_confirmed(&elsewhere, &warden()));
    for (trust, words) in [
        (Trust { evidence: other_session, ..good.clone() }, "of another session"),
        (Trust { evidence: other_key, ..good.clone() }, "the warden's confirmation"),
        (Trust { evidence: none, ..good.clone() }, "the claims do not decode"),
        (Trust { confirmation: Blob(vec![1]), ..good.clone() }, "the warden's confirmation"),
        (Trust { confirmation: elsewhere, ..good }, "another project"),
    ] {
        refuses(&Bundle { trust, ..sound() }, &policy(), 0, words);
    }
}

fn session() -> [u8; 32] {
    claims(Tee::Simulated).session()
}

#[test]
fn no_receipt() {
    refuses(&bundle(Vec::new()), &policy(), 0, "no receipt");
}

#[test]
fn signature_of_another_key() {
    let mut bundle = sound();
    let receipt = blindsmith_attest::open_receipt(&bundle.receipts[3].0, &key().verifying()).unwrap();
    bundle.receipts[3] = Blob(sign_receipt(&receipt, &other_key()));
    refuses(&bundle, &policy(), 3, "the key identifier is not the expected key");
}

#[test]
fn signature_altered() {
    let mut bundle = sound();
    *bundle.receipts[2].0.last_mut().unwrap() ^= 1;
    refuses(&bundle, &policy(), 2, "signature");
}

#[test]
fn signatures_come_before_anything_else_of_receipts() {
    let mut bundle = spoilt(1, |r| r.project = Id([9; 32]));
    bundle.receipts[4] = Blob(vec![0; 10]);
    refuses(&bundle, &policy(), 4, "COSE_Sign1");
}

#[test]
fn project_is_another() {
    refuses(&spoilt(2, |r| r.project = Id([9; 32])), &policy(), 2, "another project");
    refuses(&sound(), &OwnerPolicy { project: Id([9; 32]), ..policy() }, 0, "another project");
}

#[test]
fn kind_of_warden_changes() {
    refuses(&spoilt(2, |r| r.tee = "sev".into()), &policy(), 2, "\"sev\"");
}

#[test]
fn measurement_of_a_simulated_warden() {
    refuses(&spoilt(2, |r| r.measurement = Blob(vec![1; 48])), &policy(), 2, "no measurement");
}

/// A chain of wardens of one kind, whose measurements each round decides, and a report after its last round.
fn of_hardware(tee: Tee, measured: impl Fn(u64) -> Vec<u8>) -> Bundle {
    let receipts = chain(|r| (r.tee, r.measurement) = (tee.name().into(), Blob(measured(r.round))));
    let previous = receipts.last().map(|last| receipt_digest(&last.0));
    let report = FaultReport { tee: tee.name().into(), round: 5, previous, ..report(4) };
    let faults = vec![Blob(sign_fault(&report, &key()))];
    Bundle { faults, ..Bundle::new(trust(tee, &key()), receipts, Vec::new()) }
}

#[test]
fn attack_receipts_of_a_warden_that_the_owner_did_not_approve() {
    let listed = |wardens: &[(Tee, &[u8])]| OwnerPolicy {
        wardens: wardens
            .iter()
            .map(|(tee, m)| Measured { tee: *tee, measurement: Blob(m.to_vec()) })
            .collect(),
        ..policy()
    };
    for (tee, other, len) in [(Tee::Sgx, Tee::Snp, 32), (Tee::Tdx, Tee::Snp, 48), (Tee::Snp, Tee::Tdx, 48)] {
        let (old, new) = (vec![1; len], vec![2; len]);
        // Round 3 is of a warden that took the project over.
        let bundle = of_hardware(tee, |round| if round < 3 { old.clone() } else { new.clone() });
        let verdict = verify(&bundle, &listed(&[(tee, &old), (tee, &new)]));
        assert!(verdict.valid, "{verdict:?}");
        let names = format!("{}:{}, {}:{}", tee.name(), "01".repeat(len), tee.name(), "02".repeat(len));
        assert!(says(&verdict.proven, &names), "{verdict:?}");
        let named = format!("of the warden {}:{}", tee.name(), "02".repeat(len));
        refuses(&bundle, &listed(&[(tee, &old)]), 3, &named);
        refuses(&bundle, &listed(&[(tee, &old), (other, &new)]), 3, &named);
        refuses(&bundle, &listed(&[(tee, &old), (tee, &new[1..])]), 3, &named);
        refuses(&bundle, &listed(&[(tee, &new)]), 0, "which the policy does not list");
        // Whoever accepts simulated wardens accepts no others by that.
        refuses(&bundle, &policy(), 0, "which the policy does not list");
        // A receipt that names no measurement is of no warden.
        let nameless = of_hardware(tee, |round| if round == 2 { vec![] } else { old.clone() });
        refuses(&nameless, &listed(&[(tee, &old)]), 2, "which the policy does not list");
        // The other bundle is held to the same.
        let sound = of_hardware(tee, |_| old.clone());
        let verdict = verify_against(&sound, &bundle, &listed(&[(tee, &old)]));
        assert!(!verdict.valid, "{verdict:?}");
    }
}

#[test]
fn rules_are_others() {
    refuses(&spoilt(3, |r| r.rules = [0; 32]), &policy(), 3, "other rules");
    let rules = Rules { queries: 1, ..Rules::default() };
    refuses(&sound(), &OwnerPolicy { rules, ..policy() }, 0, "other rules");
}

#[test]
fn receipt_left_out() {
    for (at, due) in [(0, 0), (1, 1), (3, 3)] {
        let mut bundle = sound();
        bundle.receipts.remove(at);
        refuses(&bundle, &policy(), due, &format!("where {due} is due"));
    }
}

#[test]
fn receipt_twice() {
    let mut bundle = sound();
    bundle.receipts.insert(2, bundle.receipts[2].clone());
    refuses(&bundle, &policy(), 3, "of round 2, where 3 is due");
}

#[test]
fn receipts_swapped() {
    let mut bundle = sound();
    bundle.receipts.swap(2, 3);
    refuses(&bundle, &policy(), 2, "of round 3, where 2 is due");
}

#[test]
fn round_number_wrong() {
    refuses(&spoilt(2, |r| r.round = 7), &policy(), 2, "of round 7, where 2 is due");
    refuses(&spoilt(2, |r| r.round = u64::MAX), &policy(), 2, "where 2 is due");
}

#[test]
fn release_with_a_predecessor() {
    refuses(&spoilt(0, |r| r.previous = Some([0; 32])), &policy(), 0, "release names a predecessor");
}

#[test]
fn predecessor_missing() {
    refuses(&spoilt(1, |r| r.previous = None), &policy(), 1, "names no predecessor");
}

#[test]
fn predecessor_is_another() {
    refuses(&spoilt(3, |r| r.previous = Some([0; 32])), &policy(), 3, "follows another");
    // The middle of a fork, all of it signed.
    let mut bundle = sound();
    bundle.receipts[2] = spoilt(2, |r| r.rows = 1).receipts[2].clone();
    refuses(&bundle, &policy(), 3, "follows another");
}

#[test]
fn model_before_is_another() {
    refuses(&spoilt(3, |r| r.before = model(1)), &policy(), 3, "another model");
}

#[test]
fn attempts_out_of_the_rules() {
    refuses(&spoilt(3, |r| r.attempts = 0), &policy(), 3, "0 attempts");
    refuses(&spoilt(3, |r| r.attempts = 17), &policy(), 3, "17 attempts, where the rules allow 1 to 16");
    assert!(verify(&spoilt(3, |r| r.attempts = 16), &policy()).valid);
}

#[test]
fn wrong_answers_beyond_the_rules() {
    let failed = || Decision::Failed { reason: "wrong answers".into() };
    let discarded = |faults| {
        bundle(chain(|r| {
            if r.round == 3 {
                (r.faults, r.decision, r.current) = (faults, failed(), 2);
            }
        }))
    };
    let verdict = verify(&discarded(4), &policy());
    assert!(verdict.valid && says(&verdict.proven, "3 rounds were promoted, 0 rolled back and 1 failed"));
    assert!(verify(&spoilt(3, |r| r.faults = 3), &policy()).valid);
    refuses(&discarded(5), &policy(), 3, "5 wrong answers");
    refuses(&discarded(u32::MAX), &policy(), 3, "wrong answers");
    // Whoever exceeds what is survived is refused: nothing is promoted.
    refuses(&spoilt(3, |r| r.faults = 4), &policy(), 3, "4 wrong answers");
}

#[test]
fn current_versions_that_do_not_follow() {
    let bad = |change: fn(&mut Receipt)| spoilt(3, change);
    let back = |r: &mut Receipt| {
        (r.decision, r.current) = (Decision::RolledBack { reason: "worse".into() }, 2);
    };
    assert!(verify(&spoilt(3, back), &policy()).valid);
    let restored = |r: &mut Receipt| (r.decision, r.current) = (Decision::Restored { version: 1 }, 1);
    assert!(verify(&spoilt(3, restored), &policy()).valid);
    refuses(&bad(|r| r.current = 2), &policy(), 3, "the current version is another");
    refuses(
        &bad(|r| r.decision = Decision::Restored { version: 1 }),
        &policy(),
        3,
        "the current version is another",
    );
    let kept = |r: &mut Receipt| {
        (r.decision, r.current) = (Decision::RolledBack { reason: "worse".into() }, 1);
    };
    refuses(&bad(kept), &policy(), 3, "the round was discarded, but the current version is another");
    refuses(&bad(|r| r.trials = 17), &policy(), 3, "17 trainings");
    refuses(&bad(|r| r.orders = 0), &policy(), 3, "fewer of the owner's orders");
    let aside = |upload: u8| Quarantined { upload: Id([upload; 32]), reason: Reason::Worse };
    assert!(verify(&spoilt(3, |r| r.quarantined = vec![aside(7)]), &policy()).valid);
    refuses(&spoilt(3, |r| r.quarantined = vec![aside(7); 2]), &policy(), 3, "quarantined twice");
    refuses(&spoilt(3, |r| r.quarantined = vec![aside(1)]), &policy(), 3, "used and quarantined");
}

#[test]
fn decision_sealed_without_a_fixed_schedule() {
    let never = Rules { fixed_schedule: FixedSchedule::Never, ..Rules::default() };
    let policy = |rules: &Rules| OwnerPolicy { rules: rules.clone(), ..policy() };
    let seal = |r: &mut Receipt| r.decision = Decision::Sealed(Blob(vec![0; SEALED_DECISION]));
    let sealed = |from: u64, to: u64, rules: &Rules| {
        let digest = rules.digest();
        bundle(chain(|r| {
            r.rules = digest;
            if (from..to).contains(&r.round) {
                seal(r);
            }
        }))
    };
    refuses(&sealed(2, 3, &never), &policy(&never), 2, "sealed, but the schedule is not fixed");
    // By default from the first invitation on, which is an order, and for good.
    let shared = Rules::default();
    assert!(verify(&sealed(2, 5, &shared), &policy(&shared)).valid);
    assert!(verify(&sealed(3, 5, &shared), &policy(&shared)).valid);
    refuses(&sealed(1, 5, &shared), &policy(&shared), 1, "nobody was invited");
    refuses(&sealed(2, 3, &shared), &policy(&shared), 3, "not sealed any more");
}

#[test]
fn orders_replaced_or_withheld() {
    // All of them due from this round on.
    let known = |orders: u64, due| OwnerPolicy {
        orders: (1..=orders).map(|order| KnownOrder { digest: order_digest(order), due }).collect(),
        ..policy()
    };
    let verdict = verify(&sound(), &known(2, 4));
    assert!(verdict.valid && says(&verdict.proven, "orders, up to number 2"), "{verdict:?}");
    let verdict = verify(&sound(), &known(1, 2));
    assert!(verdict.valid && says(&verdict.not_proven, "orders after number 1"), "{verdict:?}");
    let verdict = verify(&sound(), &known(3, 5));
    assert!(verdict.valid && says(&verdict.not_proven, "it knew 2 of 3"), "{verdict:?}");
    // The refinery kept the order that it said it refused, and gave that.
    let replaced = bundle(chain(|r| {
        if r.orders == 2 {
            r.orders_digest = Id([0x77; 32]);
        }
    }));
    refuses(&replaced, &known(2, 4), 4, "told other orders, up to number 2");
    refuses(&sound(), &known(2, 3), 3, "knew 1 of 2 orders");
    // A later order does not forgive that an earlier one was withheld.
    let mut late = known(3, 9);
    late.orders[1].due = 3;
    refuses(&sound(), &late, 3, "knew 1 of 2 orders");
    let changed = spoilt(3, |r| r.orders_digest = Id([0x78; 32]));
    refuses(&changed, &policy(), 3, "other orders than in the round before");
    let none = spoilt(0, |r| r.orders_digest = Id([0x78; 32]));
    refuses(&none, &policy(), 0, "told other orders, up to number 0");
}

#[test]
fn another_recipe() {
    refuses(&spoilt(2, |r| r.recipe = Id([0x23; 32])), &policy(), 2, "another recipe");
}

#[test]
fn decision_open_under_a_fixed_schedule() {
    let rules = Rules { fixed_schedule: FixedSchedule::Always, ..Rules::default() };
    let policy = OwnerPolicy { rules: rules.clone(), ..policy() };
    let sealed = |r: &mut Receipt| {
        r.rules = rules.digest();
        r.decision = Decision::Sealed(Blob(vec![r.round as u8; SEALED_DECISION]));
    };
    let verdict = verify(&bundle(chain(sealed)), &policy);
    assert!(verdict.valid && says(&verdict.proven, "decisions of 4 rounds are sealed"), "{verdict:?}");
    // The first one is held to the rules alone, each later one to its predecessor before.
    for (round, what) in [(0, "the decision is not sealed"), (2, "decisions are not sealed any more")] {
        let open = bundle(chain(|r| {
            sealed(r);
            if r.round == round {
                r.decision = Decision::Promoted;
            }
        }));
        refuses(&open, &policy, round, what);
    }
}

#[test]
fn upload_twice() {
    refuses(&spoilt(2, |r| r.uploads = vec![Id([5; 32]); 2]), &policy(), 2, "counts twice");
}

#[test]
fn newest_rolled_back() {
    let newest = |round: u64| {
        let receipt = Id(receipt_digest(&sound().receipts[round as usize].0));
        OwnerPolicy { newest: Some(Newest { round, receipt }), ..policy() }
    };
    let verdict = verify(&sound(), &newest(4));
    assert!(verdict.valid && says(&verdict.proven, "round 4 that the owner has seen"));
    let mut older = sound();
    older.receipts.truncate(4);
    assert!(verify(&older, &newest(3)).valid);
    refuses(&older, &newest(4), 4, "rolled back");
    let beyond = Newest { round: u64::MAX, receipt: Id([0; 32]) };
    refuses(&sound(), &OwnerPolicy { newest: Some(beyond), ..policy() }, u64::MAX, "rolled back");
}

#[test]
fn newest_forked() {
    let receipt = Id(receipt_digest(&sound().receipts[2].0));
    let policy = OwnerPolicy { newest: Some(Newest { round: 2, receipt }), ..policy() };
    refuses(&spoilt(1, |r| r.rows = 1), &policy, 2, "forked");
}

#[test]
fn reports_are_proven_and_no_defect() {
    let mut bundle = sound();
    let rows = FaultReport { instruction: "Rows".into(), fault: 2, ..report(2) };
    let signed = [report(1), rows.clone(), rows].map(|r| Blob(sign_fault(&r, &key())));
    bundle.faults = signed.to_vec();
    let verdict = verify(&bundle, &policy());
    let expected = "the warden reported 2 wrong answers of the refinery: 1 x \"Multiply\", 1 x \"Rows\"";
    assert!(verdict.valid && says(&verdict.proven, expected), "{verdict:?}");
}

#[test]
fn report_of_another_key() {
    refuses(&with_report(&report(1), &other_key()), &policy(), 0, "report 1 of a wrong answer: the key");
}

#[test]
fn report_that_is_a_receipt() {
    let bundle = Bundle { faults: vec![sound().receipts[1].clone()], ..sound() };
    refuses(&bundle, &policy(), 0, "content type");
}

#[test]
fn report_of_another_project() {
    refuses(
        &with_report(&FaultReport { project: Id([9; 32]), ..report(1) }, &key()),
        &policy(),
        2,
        "project",
    );
}

#[test]
fn report_of_another_kind_of_warden() {
    refuses(&with_report(&FaultReport { tee: "sev".into(), ..report(1) }, &key()), &policy(), 2, "kind");
}

#[test]
fn report_without_a_receipt_before_it() {
    refuses(&with_report(&FaultReport { previous: None, ..report(1) }, &key()), &policy(), 2, "no receipt");
}

/// The refinery's store was restored from a copy: what was found after rounds that it lost is genuine, and no defect.
#[test]
fn reports_of_a_lost_branch_are_told_and_no_defect() {
    let lost = FaultReport { previous: Some([0; 32]), round: 9, ..report(1) };
    let verdict = verify(&with_report(&lost, &key()), &policy());
    assert!(
        verdict.valid && says(&verdict.proven, "1 of them after rounds that are not in this chain"),
        "{verdict:?}"
    );
}

#[test]
fn report_of_a_round_too_late() {
    refuses(&with_report(&FaultReport { round: 3, ..report(1) }, &key()), &policy(), 3, "later");
}

#[test]
fn forks_are_found_at_their_first_round() {
    let fork = spoilt(3, |r| r.rows += 1);
    assert!(verify(&fork, &policy()).valid);
    assert_eq!(equivocation(&sound(), &fork), Some(3));
    assert_eq!(equivocation(&fork, &sound()), Some(3));
    let verdict = verify_against(&sound(), &fork, &policy());
    assert!(matches!(
        verdict,
        Verdict { valid: false, rounds: 2, first_fault: Some(Fault { round: 3, .. }), .. }
    ));
}

#[test]
fn older_states_are_no_forks() {
    let mut older = sound();
    older.receipts.truncate(2);
    assert_eq!(equivocation(&sound(), &older), None);
    let newest = Some(Newest { round: 4, receipt: Id(receipt_digest(&sound().receipts[4].0)) });
    let verdict = verify_against(&sound(), &older, &OwnerPolicy { newest, ..policy() });
    assert!(verdict.valid && says(&verdict.proven, "same receipts up to round 1"), "{verdict:?}");
}

#[test]
fn what_others_sign_is_no_fork() {
    let mut fork = spoilt(3, |r| r.rows += 1);
    fork.trust = trust(Tee::Simulated, &other_key());
    assert_eq!(equivocation(&sound(), &fork), None, "another warden");
    let forged = sign_receipt(
        &blindsmith_attest::open_receipt(&sound().receipts[3].0, &key().verifying()).unwrap(),
        &other_key(),
    );
    let mut bad = sound();
    bad.receipts[3] = Blob(forged);
    assert_eq!(equivocation(&sound(), &bad), None, "a forged receipt");
    assert_eq!(equivocation(&sound(), &bundle(chain(|r| r.project = Id([9; 32])))), None, "another project");
    let verdict = verify_against(&sound(), &bad, &policy());
    assert!(verdict.first_fault.unwrap().what.contains("the other bundle does not verify"));
}

#[test]
fn bundles_are_read_with_limits() {
    let good = with_report(&report(1), &key());
    assert_eq!(Bundle::from_bytes(&good.to_bytes()), Ok(good.clone()));
    let refused = |bytes: &[u8]| Bundle::from_bytes(bytes).unwrap_err().to_string();
    assert!(refused(&vec![0; MAX_BUNDLE + 1]).contains("longer"));
    assert!(refused(&[good.to_bytes(), vec![0]].concat()).contains("after the end"));
    assert!(refused(&to_cbor(&Bundle { format: 3, ..good.clone() })).contains("format 3"));
    let many = Bundle { faults: vec![Blob(Vec::new()); MAX_SIGNEDS + 1], ..good.clone() };
    assert!(refused(&many.to_bytes()).contains("more than"));
    let bytes = good.to_bytes();
    for len in 0..200 {
        assert!(Bundle::from_bytes(&bytes[..len]).is_err());
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0xff;
        if let Ok(bundle) = Bundle::from_bytes(&bad) {
            verify(&bundle, &policy());
        }
    }
}

#[test]
fn a_key_that_signs_nothing_is_no_receipts_key() {
    let policy = OwnerPolicy { receipts: other_key().verifying(), ..policy() };
    let bundle = Bundle { trust: trust(Tee::Simulated, &other_key()), ..sound() };
    refuses(&bundle, &policy, 0, "the receipt:");
}
