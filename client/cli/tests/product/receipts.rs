//! `blindsmith verify`: exit codes, JSON and words; and the key that the warden's evidence names.

use std::path::Path;
use std::process::Command;

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::chain::{Bundle, OwnerPolicy, Trust};
use blindsmith_evidence::{Claims, Tee};
use blindsmith_identity::{AttestRequest, Confirmed, Purpose, sign_confirmed, sign_request};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Evidence, Id};
use blindsmith_receipts::{
    Decision, RECEIPT_VERSION, Receipt, Rules, SigningKey, receipt_digest, receipt_signing_key, sign_receipt,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::site::{Outcome, Site, argument};

fn key() -> SigningKey {
    receipt_signing_key(&Key::from_bytes([7; 32]))
}

/// A release and two rounds; the last one of `rows` rows.
fn bundle(rows: u64) -> Bundle {
    let mut receipts = Vec::<Blob>::new();
    for round in 0..3 {
        let receipt = Receipt {
            version: RECEIPT_VERSION,
            project: Id([1; 32]),
            tee: "simulated".into(),
            measurement: Blob(Vec::new()),
            rules: Rules::default().digest(),
            round,
            attempts: 1,
            faults: 0,
            previous: receipts.last().map(|r| receipt_digest(&r.0)),
            orders: 0,
            current: round,
            trials: 1,
            uploads: Vec::new(),
            quarantined: Vec::new(),
            rows: if round == 2 { rows } else { 0 },
            steps: 0,
            before: [0; 32],
            after: [0; 32],
            decision: Decision::Promoted,
            metrics: [0; 32],
        };
        receipts.push(Blob(sign_receipt(&receipt, &key())));
    }
    let warden = SigningKey::from_seed(&[3; 32]);
    let claims = Claims {
        tee: Tee::Simulated,
        kem: 0x20,
        recipient: vec![1; 32],
        signing: warden.verifying(),
        nonce: [2; 32],
        policy: [4; 32],
        project: Id([1; 32]),
        asker: key().verifying(),
        build: "0.1.0".into(),
    };
    let (session, receipts_key) = (claims.session(), key().verifying());
    let confirmed =
        Confirmed { project: Id([1; 32]), session, receipts: receipts_key, confirmation: [6; 32] };
    let evidence = Evidence { claims: Blob(claims.encode()), report: Blob(vec![]), auxiliary: Blob(vec![]) };
    let trust = Trust { evidence, confirmation: Blob(sign_confirmed(&confirmed, &warden)) };
    Bundle::new(trust, receipts, Vec::new())
}

fn policy(accept_simulated: bool) -> String {
    let (receipts, rules) = (key().verifying(), Rules::default());
    OwnerPolicy { project: Id([1; 32]), accept_simulated, receipts, rules, newest: None }.to_toml()
}

fn verify(dir: &Path, more: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
        .args(["verify", "--receipts", &argument(&dir.join("receipts.cbor"))])
        .args(["--policy", &argument(&dir.join("policy.toml"))])
        .args(more)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A directory with a bundle and a policy that fit.
fn files() -> TempDir {
    let dir = TempDir::with_prefix("blindsmith-test-").unwrap();
    std::fs::write(dir.path().join("receipts.cbor"), bundle(5).to_bytes()).unwrap();
    std::fs::write(dir.path().join("policy.toml"), policy(true)).unwrap();
    dir
}

#[test]
fn valid_receipts_end_with_zero() {
    let dir = files();
    let verdict = verify(dir.path(), &["--json"]).ok().json();
    assert_eq!((&verdict["valid"], &verdict["rounds"]), (&json!(true), &json!(2)));
    assert_eq!(verdict["first_fault"], Value::Null);
    assert!(!verdict["proven"].as_array().unwrap().is_empty());
    assert!(verdict["not_proven"][0].as_str().unwrap().contains("SIMULATED"));
    let words = verify(dir.path(), &[]).ok().stdout;
    assert!(
        words.starts_with("VALID: 2 rounds") && words.contains("\nnot proven:\n  - THE WARDEN"),
        "{words}"
    );
}

#[test]
fn receipts_that_do_not_verify_end_with_nine() {
    let dir = files();
    std::fs::write(dir.path().join("policy.toml"), policy(false)).unwrap();
    let outcome = verify(dir.path(), &["--json"]);
    assert_eq!(outcome.code, Some(9));
    let verdict: Value = serde_json::from_str(outcome.stdout.trim()).unwrap();
    assert_eq!((&verdict["valid"], &verdict["first_fault"]["round"]), (&json!(false), &json!(0)));
    assert!(verdict["first_fault"]["what"].as_str().unwrap().contains("simulated"));
    let words = verify(dir.path(), &[]).refused(9, &["does not verify", "simulated"]).stdout;
    assert!(words.starts_with("NOT VALID, at round 0"), "{words}");
}

#[test]
fn forks_end_with_nine() {
    let dir = files();
    let other = dir.path().join("other.cbor");
    std::fs::write(&other, bundle(5).to_bytes()).unwrap();
    verify(dir.path(), &["--against", &argument(&other)]).ok();
    std::fs::write(&other, bundle(6).to_bytes()).unwrap();
    verify(dir.path(), &["--against", &argument(&other)]).refused(9, &["round 2", "fork"]);
}

#[test]
fn files_that_cannot_be_read_end_with_eight() {
    for (file, contents, words) in [
        ("receipts.cbor", b"nothing".as_slice(), ["receipts.cbor", "not a bundle of receipts"]),
        ("receipts.cbor", b"", ["receipts.cbor", "not a bundle of receipts"]),
        ("policy.toml", b"project = 5", ["policy.toml", "line 1"]),
        ("policy.toml", b"\xff", ["policy.toml", "not text"]),
    ] {
        let dir = files();
        std::fs::write(dir.path().join(file), contents).unwrap();
        let outcome = verify(dir.path(), &["--json"]).refused(8, &words);
        assert_eq!(outcome.stdout, "");
        std::fs::remove_file(dir.path().join(file)).unwrap();
        verify(dir.path(), &[]).refused(8, &[file]);
    }
}

#[test]
fn the_wardens_key_outlives_restarts() {
    let mut site = Site::new();
    let claims = |site: &Site| {
        let asker = SigningKey::from_seed(&[1; 32]);
        let (project, purpose) = (Id([1; 32]), Purpose::Query);
        let request = AttestRequest { project, nonce: [3; 32], policy: [4; 32], kem: 0x20, purpose };
        let request = Blob(sign_request(&request, &asker));
        let request = Request::Attest { asker: asker.verifying().into(), request };
        let (Reply::Evidence(evidence), _) = site.connect().request(&request, &[]).unwrap() else {
            panic!("evidence is due")
        };
        Claims::decode(&evidence.claims.0).unwrap()
    };
    let before = claims(&site);
    site.services.kill_warden();
    site.services.start_warden().unwrap();
    let after = claims(&site);
    assert_eq!(before.signing, after.signing);
    assert_ne!(before.recipient, after.recipient);
}
