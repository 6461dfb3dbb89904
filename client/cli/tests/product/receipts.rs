//! `blindsmith verify`: exit codes, JSON and words; and the key that the warden's evidence names.

use std::path::Path;
use std::process::Command;

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::chain::{Bundle, OwnerPolicy, Trust};
use blindsmith_client::Keys;
use blindsmith_evidence::{Claims, Tee};
use blindsmith_formats::model_context;
use blindsmith_identity::{AttestRequest, Confirmed, Purpose, sign_confirmed, sign_request};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Evidence, Id, MAX_UPLOADS};
use blindsmith_receipts::{
    Decision, RECEIPT_VERSION, Receipt, Rules, SigningKey, commit, receipt_digest, receipt_signing_key,
    sign_receipt,
};
use blindsmith_refinery::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::site::{Outcome, Site, argument};
use crate::tables;

fn key() -> SigningKey {
    receipt_signing_key(&Key::from_bytes([7; 32]))
}

/// A receipt that follows one, or is the first; nothing was used, and the model stayed as it was.
fn receipt(project: Id, rules: &Rules, previous: Option<&Blob>, round: u64) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        project,
        tee: "simulated".into(),
        measurement: Blob(Vec::new()),
        rules: rules.digest(),
        round,
        attempts: 1,
        faults: 0,
        previous: previous.map(|signed| receipt_digest(&signed.0)),
        orders: 0,
        orders_digest: Id::default(),
        recipe: Id([2; 32]),
        current: round,
        trials: 1,
        uploads: Vec::new(),
        quarantined: Vec::new(),
        rows: 0,
        steps: 0,
        before: [0; 32],
        after: [0; 32],
        decision: Decision::Promoted,
        metrics: [0; 32],
    }
}

/// What leads from a warden of ours to [`key`].
fn trust(project: Id) -> Trust {
    trust_of(Tee::Simulated, project)
}

fn trust_of(tee: Tee, project: Id) -> Trust {
    let warden = SigningKey::from_seed(&[3; 32]);
    let claims = Claims {
        tee,
        kem: 0x20,
        recipient: vec![1; 32],
        signing: warden.verifying(),
        nonce: [2; 32],
        policy: [4; 32],
        project,
        asker: key().verifying(),
        build: "0.1.0".into(),
    };
    let (session, receipts) = (claims.session(), key().verifying());
    let confirmed = Confirmed { project, session, receipts, confirmation: [6; 32] };
    let evidence = Evidence { claims: Blob(claims.encode()), report: Blob(vec![]), auxiliary: Blob(vec![]) };
    Trust { evidence, confirmation: Blob(sign_confirmed(&confirmed, &warden)) }
}

/// A release and two rounds; the last one of `rows` rows.
fn bundle(rows: u64) -> Bundle {
    let mut receipts = Vec::<Blob>::new();
    for round in 0..3 {
        let receipt = receipt(Id([1; 32]), &Rules::default(), receipts.last(), round);
        let receipt = Receipt { rows: if round == 2 { rows } else { 0 }, ..receipt };
        receipts.push(Blob(sign_receipt(&receipt, &key())));
    }
    Bundle::new(trust(Id([1; 32])), receipts, Vec::new())
}

fn policy(accept_simulated: bool) -> String {
    let (receipts, rules) = (key().verifying(), Rules::default());
    let (project, wardens) = (Id([1; 32]), Vec::new());
    let (recipe, newest, orders) = (Id([2; 32]), None, vec![]);
    OwnerPolicy { project, accept_simulated, wardens, receipts, rules, recipe, newest, orders }.to_toml()
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
fn attack_a_receipt_of_another_warden_in_hardware_ends_with_nine() {
    let dir = files();
    let sound = policy(false);
    let bundle = |measurements: [u8; 2]| {
        let mut receipts = Vec::<Blob>::new();
        for (round, byte) in (0..).zip(measurements) {
            let receipt = receipt(Id([1; 32]), &Rules::default(), receipts.last(), round);
            let receipt = Receipt { tee: "snp".into(), measurement: Blob(vec![byte; 48]), ..receipt };
            receipts.push(Blob(sign_receipt(&receipt, &key())));
        }
        Bundle::new(trust_of(Tee::Snp, Id([1; 32])), receipts, Vec::new())
    };
    let listed = format!("wardens = [\"snp:{}\"]", "07".repeat(48));
    for (measurements, text, fault) in [
        ([7, 7], sound.replace("wardens = []", &listed), None),
        ([7, 8], sound.replace("wardens = []", &listed), Some((1, "08".repeat(48)))),
        ([8, 7], sound.replace("wardens = []", &listed), Some((0, "08".repeat(48)))),
        ([7, 7], sound.clone(), Some((0, "07".repeat(48)))),
        ([7, 7], sound.replace("wardens = []", ""), Some((0, "07".repeat(48)))),
    ] {
        std::fs::write(dir.path().join("receipts.cbor"), bundle(measurements).to_bytes()).unwrap();
        std::fs::write(dir.path().join("policy.toml"), text).unwrap();
        let outcome = verify(dir.path(), &["--json"]);
        let verdict: Value = serde_json::from_str(outcome.stdout.trim()).unwrap();
        let Some((round, measurement)) = fault else {
            assert_eq!((outcome.code, &verdict["valid"]), (Some(0), &json!(true)), "{verdict}");
            continue;
        };
        assert_eq!((outcome.code, &verdict["first_fault"]["round"]), (Some(9), &json!(round)));
        let what = verdict["first_fault"]["what"].as_str().unwrap();
        assert!(what.contains(&format!("snp:{measurement}, which the policy does not list")), "{what}");
    }
}

#[test]
fn wardens_that_the_owner_approves_of_are_listed_and_stay() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--manual"]).ok();
    let listed = || {
        let text = std::fs::read_to_string(site.path("p/policy.toml")).unwrap();
        let wardens = OwnerPolicy::parse(&text).unwrap().wardens;
        wardens.iter().map(|warden| warden.to_string()).collect::<Vec<_>>()
    };
    site.on_project("approve", &[]).ok();
    assert_eq!(listed(), [""; 0], "simulated wardens have no measurement in receipts");
    let snp = |byte: &str| format!("snp:{}", byte.repeat(48));
    site.write("next.toml", "[snp]\nmachines = \"any\"\nguests = []\n[snp.minimum_tcb]\n");
    for wardens in [vec![snp("0a"), snp("0b")], vec![snp("0b"), snp("0c")]] {
        let named: Vec<&str> = wardens.iter().map(String::as_str).collect();
        site.on_project("approve", &[&["--attestation", "next.toml", "--warden"], named.as_slice()].concat())
            .ok();
    }
    site.on_project("approve", &["--none"]).ok();
    assert_eq!(listed(), [snp("0a"), snp("0b"), snp("0c")], "receipts of the past stay provable");
    // What is remembered with each pull goes beside it.
    site.pull("model.safetensors", &[]);
    assert_eq!(listed().len(), 3);
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

/// More than fit into an answer, and into what a bundle was limited to once.
#[test]
fn receipts_of_a_project_that_grew_for_months_arrive_and_verify() {
    const ROUNDS: u64 = 260;
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
    let (project, dir) = (site.project(), site.path("p"));
    let id = project.id();
    // As if a warden of ours had signed them, each with as many uploads as a project may have.
    project.save_trust(&trust(id), &[], &dir).unwrap();
    site.services.kill_warden();
    site.services.kill_refinery();
    let store = Store::open(&site.services.store()).unwrap();
    let mut record = store.round(&id, 0).unwrap();
    let owner = Keys::load_owner(&dir).unwrap().owner(&id);
    let opened = owner.unseal(&model_context("model", &id, 0), &record.model.0).unwrap();
    let (opening, model) = opened.split_first_chunk::<32>().unwrap();
    let model = commit(opening, model);
    let uploads = (0..MAX_UPLOADS as u64).map(|i| Id(*blake3::hash(&i.to_le_bytes()).as_bytes()));
    let uploads: Vec<Id> = uploads.collect();
    let mut signed = None;
    for round in 0..=ROUNDS {
        let mut receipt = receipt(id, &project.rules, signed.as_ref(), round);
        receipt.recipe = project.recipe_commitment();
        (receipt.before, receipt.after) = (if round == 0 { [0; 32] } else { model }, model);
        if round > 0 {
            receipt.uploads = uploads.clone();
        }
        record.receipt = Blob(sign_receipt(&receipt, &key()));
        record.summary.round = round;
        store.save_round(&id, &record, None).unwrap();
        signed = Some(record.receipt.clone());
    }
    drop(store);
    site.services.start_refinery().unwrap();
    let fetched = site.on_project("receipts", &["--out", "receipts.cbor"]).ok().json();
    assert_eq!(fetched["receipts"], ROUNDS + 1);
    assert!(std::fs::metadata(site.path("receipts.cbor")).unwrap().len() > 64 << 20);
    std::fs::copy(dir.join("policy.toml"), site.path("policy.toml")).unwrap();
    let verdict = verify(&site.path("."), &["--json"]).ok().json();
    assert_eq!((&verdict["valid"], &verdict["rounds"]), (&json!(true), &json!(ROUNDS)));
    site.on_project("pull", &["--out", "model.safetensors", "--version", "0"]).ok();
}

/// What reviewers ask: what the rounds were, and whether a model file is one of theirs.
#[test]
fn receipts_are_shown_and_tell_whose_model_a_file_is() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1", "--manual"]).ok();
    site.write("rows.csv", tables::largest(60..120));
    let upload = site.push("rows.csv", &[]).ok().json()["upload"].as_str().unwrap().to_owned();
    site.on_project("refine", &[]).ok();
    site.pull("first.safetensors", &[]);
    site.on_project("forgive", &[]).ok();
    site.on_project("refine", &[]).ok();
    site.pull("second.safetensors", &[]);
    site.on_project("receipts", &["--out", "receipts.cbor"]).ok();

    let shown = site.run(&["receipts", "show", "receipts.cbor", "--json"]).ok().json();
    let rounds = shown["rounds"].as_array().unwrap();
    assert_eq!((rounds.len(), &shown["verified"], &shown["warden"]), (3, &json!(false), &json!("simulated")));
    assert_eq!((&rounds[1]["uploads"], &rounds[1]["orders"]), (&json!([upload]), &json!(0)));
    assert_eq!((&rounds[2]["orders"], &rounds[2]["previous"]), (&json!(1), &rounds[1]["receipt"]));
    assert_eq!(rounds[2]["model_before"], rounds[1]["model_after"]);
    let words = site.run(&["receipts", "show", "receipts.cbor"]).ok().stdout;
    for expected in
        ["NOT VERIFIED", "round 2: promoted, version 2 is current", upload.as_str(), "measurement none"]
    {
        assert!(words.contains(expected), "{expected}: {words}");
    }

    let policy = argument(&site.path("p/policy.toml"));
    let whose = |file: &str| {
        let common =
            ["verify", "--receipts", "receipts.cbor", "--policy", &policy, "--json", "--model", file];
        site.run(&common)
    };
    for (file, round, current) in [("first.safetensors", 1, false), ("second.safetensors", 2, true)] {
        let found = whose(file).ok().json();
        assert_eq!((&found["valid"], &found["model"]["round"]), (&json!(true), &json!(round)));
        assert_eq!(found["model"]["current"], current);
    }
    // One weight is another.
    let mut model = blindsmith_data::ModelFile::load(site.path("second.safetensors")).unwrap();
    model.model.layers[0].weight[0] += 1e-6;
    model.save(site.path("altered.safetensors")).unwrap();
    let refused = whose("altered.safetensors");
    assert_eq!(refused.code, Some(9), "{}", refused.stdout);
    assert_eq!(refused.json()["model"]["round"], Value::Null);
    model.metadata.clear();
    model.save(site.path("foreign.safetensors")).unwrap();
    whose("foreign.safetensors").refused(8, &["take the file that blindsmith pull wrote"]);
    site.write("damaged.cbor", "nothing");
    site.run(&["receipts", "show", "damaged.cbor"]).refused(8, &["not a bundle of receipts"]);
}
