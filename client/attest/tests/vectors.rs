//! The test vectors of `tests/vectors/receipts.json`: made from fixed keys, compared bit for bit, and opened.
//! Negative ones are named by their defect.

use blindsmith_attest::{MAX_MEASUREMENT, MAX_TEE, SEALED_DECISION, open_fault, open_receipt};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Id, to_cbor};
use blindsmith_receipts::*;
use coset::iana::{Algorithm, HeaderParameter};
use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use ed25519_dalek::Signer;
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/receipts.json");
const RECEIPT_AAD: &[u8] = b"blindsmith receipt v1";
const FAULT_AAD: &[u8] = b"blindsmith fault v1";
/// The order of the group that Ed25519 signs in, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn sealing_key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn key() -> SigningKey {
    receipt_signing_key(&sealing_key(7))
}

fn seed(byte: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(sealing_key(byte).derive("receipts", &[]).expose())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn release() -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        project: Id([0x11; 32]),
        tee: "simulated".into(),
        measurement: Blob(Vec::new()),
        rules: Rules::default().digest(),
        round: 0,
        attempts: 1,
        faults: 0,
        previous: None,
        orders: 0,
        orders_digest: Id::default(),
        recipe: Id([0x22; 32]),
        current: 0,
        trials: 0,
        uploads: Vec::new(),
        quarantined: Vec::new(),
        rows: 0,
        steps: 0,
        before: commit(&[0; 32], b"initial"),
        after: commit(&[0; 32], b"initial"),
        decision: Decision::Promoted,
        metrics: [0; 32],
    }
}

fn after(signed: &[u8], change: impl FnOnce(&mut Receipt)) -> Receipt {
    let before = open_receipt(signed, &key().verifying()).unwrap();
    let mut next = Receipt {
        round: before.round + 1,
        previous: Some(receipt_digest(signed)),
        before: before.after,
        ..before.clone()
    };
    change(&mut next);
    next
}

/// A release, a round, a failed one, one after wrong answers.
fn chain() -> Vec<(&'static str, Vec<u8>)> {
    let sign = |receipt: &Receipt| sign_receipt(receipt, &key());
    let first = sign(&release());
    let second = sign(&after(&first, |r| {
        (r.uploads, r.rows, r.steps) = (vec![Id([1; 32]), Id([2; 32])], 1797, 140);
        (r.after, r.metrics) = (commit(&[1; 32], b"first"), [0xaa; 32]);
        (r.current, r.trials) = (1, 1);
    }));
    let third = sign(&after(&second, |r| {
        (r.attempts, r.faults) = (2, 4);
        r.after = commit(&[2; 32], b"first");
        (r.current, r.trials) = (1, 1);
        r.decision = Decision::Failed { reason: "too many wrong answers".into() };
    }));
    let fourth = sign(&after(&third, |r| {
        (r.attempts, r.faults) = (2, 1);
        (r.uploads, r.after) = (vec![Id([3; 32])], commit(&[3; 32], b"second"));
        (r.orders, r.orders_digest, r.current, r.trials) = (2, Id([0x33; 32]), 3, 4);
        r.quarantined = vec![Quarantined { upload: Id([4; 32]), reason: Reason::Worse }];
        r.decision = Decision::Promoted;
    }));
    vec![("release", first), ("promoted", second), ("failed", third), ("promoted_after_a_fault", fourth)]
}

fn report() -> FaultReport {
    FaultReport {
        version: RECEIPT_VERSION,
        project: Id([0x11; 32]),
        tee: "simulated".into(),
        round: 2,
        attempt: 1,
        fault: 1,
        instruction: "Multiply".into(),
        previous: Some(receipt_digest(&chain()[1].1)),
    }
}

/// What a negative vector is made of, before one part is spoilt.
struct Parts {
    headers: HeaderBuilder,
    unprotected: coset::Header,
    payload: Vec<u8>,
    aad: &'static [u8],
    key: ed25519_dalek::SigningKey,
}

impl Parts {
    fn new() -> Self {
        Parts {
            headers: headers(Some(RECEIPT.content), Some(&key().verifying().0)).algorithm(Algorithm::EdDSA),
            unprotected: coset::Header::default(),
            payload: to_cbor(&release()),
            aad: RECEIPT_AAD,
            key: seed(7),
        }
    }

    fn message(self) -> CoseSign1 {
        CoseSign1Builder::new()
            .protected(self.headers.build())
            .unprotected(self.unprotected)
            .payload(self.payload)
            .create_signature(self.aad, |signed| self.key.sign(signed).to_bytes().to_vec())
            .build()
    }

    fn signed(self) -> Vec<u8> {
        self.message().to_tagged_vec().unwrap()
    }
}

fn headers(content: Option<&str>, kid: Option<&[u8]>) -> HeaderBuilder {
    let mut headers = HeaderBuilder::new();
    if let Some(content) = content {
        headers = headers.content_type(content.into());
    }
    kid.into_iter().fold(headers, |headers, kid| headers.key_id(kid.to_vec()))
}

fn with_headers(headers: HeaderBuilder) -> Vec<u8> {
    Parts { headers, ..Parts::new() }.signed()
}

fn with_payload(payload: Vec<u8>) -> Vec<u8> {
    Parts { payload, ..Parts::new() }.signed()
}

fn with_signature(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Parts::new().message();
    change(&mut message.signature);
    message.to_tagged_vec().unwrap()
}

/// The same receipt, its protected headers encoded in another order.
fn protected_reordered() -> Vec<u8> {
    let mut message = Parts::new().message();
    let encoded = Parts::new().headers.build().to_vec().unwrap();
    // The map's head, its first entry (1: -8), and the others.
    let reordered = [&encoded[..1], &encoded[3..], &encoded[1..3]].concat();
    message.protected.original_data = Some(reordered);
    message.signature = seed(7).sign(&message.tbs_data(RECEIPT_AAD)).to_bytes().to_vec();
    message.to_tagged_vec().unwrap()
}

/// S + order in place of S: the same signature to verifiers that are not strict.
fn malleate(signature: &mut [u8]) {
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
}

fn envelopes() -> Vec<(&'static str, Vec<u8>)> {
    let good = Parts::new().signed();
    let kid = key().verifying().0;
    let typed = |content| headers(Some(content), Some(&kid));
    let usual = || typed(RECEIPT.content);
    let eddsa = |headers: HeaderBuilder| with_headers(headers.algorithm(Algorithm::EdDSA));
    let other_tag = [&[0xd8, 98], &good[1..]].concat();
    let long_array = [&good[..1], &[0x98, 4], &good[2..]].concat();
    let mut detached = Parts::new().message();
    let payload = detached.payload.take().unwrap();
    detached.signature = seed(7).sign(&detached.tbs_detached_data(&payload, RECEIPT_AAD)).to_bytes().to_vec();
    let unprotected = headers(None, None).value(99, 1.into()).build();
    vec![
        ("empty", Vec::new()),
        ("payload_without_envelope", to_cbor(&release())),
        ("untagged", good[1..].to_vec()),
        ("tag_of_another_structure", other_tag),
        ("truncated", good[..good.len() - 1].to_vec()),
        ("byte_after_the_end", [&good[..], &[0]].concat()),
        ("array_of_long_form", long_array),
        ("protected_headers_reordered", protected_reordered()),
        ("algorithm_missing", with_headers(usual())),
        ("algorithm_es256", with_headers(usual().algorithm(Algorithm::ES256))),
        ("algorithm_ed25519_by_its_newer_name", with_headers(usual().algorithm(Algorithm::Ed25519))),
        ("content_type_missing", eddsa(headers(None, Some(&kid)))),
        ("content_type_of_a_fault", eddsa(typed(FAULT.content))),
        ("content_type_cbor", eddsa(typed("application/cbor"))),
        ("critical_header", eddsa(usual().add_critical(HeaderParameter::Alg))),
        ("protected_header_too_many", eddsa(usual().value(99, 1.into()))),
        ("unprotected_header", Parts { unprotected, ..Parts::new() }.signed()),
        ("key_identifier_missing", eddsa(headers(Some(RECEIPT.content), None))),
        ("key_identifier_of_another_key", eddsa(headers(Some(RECEIPT.content), Some(&[9; 32])))),
        ("payload_detached", detached.to_tagged_vec().unwrap()),
        ("signature_of_another_key", Parts { key: seed(8), ..Parts::new() }.signed()),
        ("signature_of_another_domain", Parts { aad: FAULT_AAD, ..Parts::new() }.signed()),
        ("signature_bit_flipped", with_signature(|s| s[5] ^= 1)),
        ("signature_malleated", with_signature(|s| malleate(s))),
        ("signature_short", with_signature(|s| s.truncate(63))),
        ("signature_empty", with_signature(Vec::clear)),
    ]
}

fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let good = to_cbor(&release());
    let with = |change: fn(&mut Receipt)| {
        let mut receipt = release();
        change(&mut receipt);
        with_payload(to_cbor(&receipt))
    };
    let mut altered = Parts::new().message();
    altered.payload = Some(to_cbor(&Receipt { rows: 1, ..release() }));
    // 16 fields, so the map's head is b0: one field fewer, more, twice, and the indefinite form.
    let version = to_cbor(&"version").len() + 1;
    let missing = [&[0xaf], &good[1 + version..]].concat();
    let unknown = [&[0xb1], &good[1..], &to_cbor(&"more"), &[0]].concat();
    let twice = [&[0xb1], &good[1..], &good[1..1 + version]].concat();
    let indefinite = [&[0xbf], &good[1..], &[0xff]].concat();
    let reordered = [&good[..1], &good[1 + version..], &good[1..1 + version]].concat();
    vec![
        ("payload_altered", altered.to_tagged_vec().unwrap()),
        ("payload_empty", with_payload(Vec::new())),
        ("payload_byte_after_the_end", with_payload([&good[..], &[0]].concat())),
        ("payload_field_missing", with_payload(missing)),
        ("payload_field_unknown", with_payload(unknown)),
        ("payload_field_twice", with_payload(twice)),
        ("payload_of_indefinite_length", with_payload(indefinite)),
        ("payload_fields_reordered", with_payload(reordered)),
        ("payload_of_a_fault", with_payload(to_cbor(&report()))),
        ("version_1", with(|r| r.version = 1)),
        ("tee_too_long", with(|r| r.tee = "x".repeat(MAX_TEE + 1))),
        ("tee_with_control_character", with(|r| r.tee = "\u{1b}[2J".into())),
        ("measurement_too_long", with(|r| r.measurement = Blob(vec![0; MAX_MEASUREMENT + 1]))),
        ("reason_too_long", with(|r| r.decision = Decision::Failed { reason: "x".repeat(MAX_REASON + 1) })),
        (
            "sealed_decision_short",
            with(|r| r.decision = Decision::Sealed(Blob(vec![0; SEALED_DECISION - 1]))),
        ),
        ("sealed_decision_long", with(|r| r.decision = Decision::Sealed(Blob(vec![0; SEALED_DECISION + 1])))),
    ]
}

fn bad_reports() -> Vec<(&'static str, Vec<u8>)> {
    let sign = |report: &FaultReport| sign_fault(report, &key());
    vec![
        ("receipt_in_place_of_a_fault", chain()[0].1.clone()),
        ("fault_version_1", sign(&FaultReport { version: 1, ..report() })),
        ("instruction_too_long", sign(&FaultReport { instruction: "x".repeat(MAX_REASON + 1), ..report() })),
        ("instruction_with_control_character", sign(&FaultReport { instruction: "a\nb".into(), ..report() })),
    ]
}

fn vectors() -> Value {
    let key = key().verifying();
    let rules = Rules::default();
    let signed = |(name, bytes): (&str, Vec<u8>)| json!({ "name": name, "cose": hex(&bytes), "digest": hex(&receipt_digest(&bytes)) });
    let sealed = after(&chain()[3].1, |r| r.decision = Decision::Sealed(Blob(vec![0x5a; SEALED_DECISION])));
    let positive = chain().into_iter().chain([("sealed", sign_receipt(&sealed, &self::key()))]);
    let receipts: Vec<Value> = positive.map(signed).collect();
    let refused = |kind: &str, name: &str, bytes: &[u8]| {
        let error = match kind {
            "receipt" => open_receipt(bytes, &key).err(),
            _ => open_fault(bytes, &key).err(),
        };
        let error = error.unwrap_or_else(|| panic!("{name} was opened")).to_string();
        json!({ "name": name, "kind": kind, "cose": hex(bytes), "error": error })
    };
    let fault = sign_fault(&report(), &self::key());
    let mut negative: Vec<Value> =
        envelopes().iter().chain(&payloads()).map(|(name, bytes)| refused("receipt", name, bytes)).collect();
    negative.push(refused("receipt", "fault_in_place_of_a_receipt", &fault));
    negative.extend(bad_reports().iter().map(|(name, bytes)| refused("fault", name, bytes)));
    json!({
        "sealing_key": hex(sealing_key(7).expose()),
        "receipt_key": key.to_string(),
        "rules": { "rules": rules, "cbor": hex(&to_cbor(&rules)), "digest": hex(&rules.digest()) },
        "commitment": { "opening": hex(&[1; 32]), "model": hex(b"first"), "commitment": hex(&commit(&[1; 32], b"first")) },
        "receipts": receipts,
        "faults": [signed(("wrong_answer", fault))],
        "refused": negative,
    })
}

fn text() -> String {
    serde_json::to_string_pretty(&vectors()).unwrap() + "\n"
}

#[test]
fn the_vectors_are_what_the_keys_give() {
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let made: Value = serde_json::from_str(&text()).unwrap();
    assert!(kept == made, "regenerate, or find out what changed a format");
}

#[test]
#[ignore = "writes the vectors"]
fn write_the_vectors() {
    std::fs::write(FILE, text()).unwrap();
}

#[test]
fn the_files_receipts_form_a_chain() {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let key: PublicKey = file["receipt_key"].as_str().unwrap().parse().unwrap();
    let mut previous = None;
    for (round, vector) in file["receipts"].as_array().unwrap().iter().enumerate() {
        let signed = unhex(&vector["cose"]);
        let receipt = open_receipt(&signed, &key).unwrap();
        assert_eq!((receipt.round, receipt.previous), (round as u64, previous), "{}", vector["name"]);
        assert_eq!(unhex(&vector["digest"]), receipt_digest(&signed));
        previous = Some(receipt_digest(&signed));
    }
    let fault = open_fault(&unhex(&file["faults"][0]["cose"]), &key).unwrap();
    assert_eq!(fault, report());
}

#[test]
fn the_files_defects_are_refused() {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let key: PublicKey = file["receipt_key"].as_str().unwrap().parse().unwrap();
    let refused = file["refused"].as_array().unwrap();
    assert!(refused.len() > 40);
    for vector in refused {
        let signed = unhex(&vector["cose"]);
        let error = match vector["kind"].as_str() {
            Some("receipt") => open_receipt(&signed, &key).unwrap_err(),
            _ => open_fault(&signed, &key).unwrap_err(),
        };
        assert_eq!(vector["error"], error.to_string(), "{}", vector["name"]);
    }
}

#[test]
fn too_long_is_refused_before_anything_else() {
    let long = vec![0; MAX_SIGNED + 1];
    assert_eq!(open_receipt(&long, &key().verifying()), Err(SignedError::Long(MAX_SIGNED + 1)));
}

#[test]
fn too_many_uploads_are_refused() {
    let most = blindsmith_protocol::MAX_UPLOADS;
    let with = |count| sign_receipt(&Receipt { uploads: vec![Id([0; 32]); count], ..release() }, &key());
    assert!(open_receipt(&with(most), &key().verifying()).is_ok());
    assert!(matches!(open_receipt(&with(most + 1), &key().verifying()), Err(SignedError::Limit(_))));
}

#[test]
fn a_key_of_small_order_is_refused() {
    // With the neutral point as key, R = neutral and S = 0 sign everything, unless verification is strict.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut message = Parts {
        headers: headers(Some(RECEIPT.content), Some(&neutral)).algorithm(Algorithm::EdDSA),
        ..Parts::new()
    }
    .message();
    message.signature = [neutral, [0; 32]].concat();
    let signed = message.to_tagged_vec().unwrap();
    assert_eq!(open_receipt(&signed, &PublicKey(neutral)), Err(SignedError::Signature));
}

#[test]
fn no_altered_byte_is_accepted() {
    let good = Parts::new().signed();
    let key = key().verifying();
    assert_eq!(open_receipt(&good, &key), Ok(release()));
    for at in 0..good.len() {
        for change in [1, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= change;
            assert!(open_receipt(&bad, &key).is_err(), "byte {at} ^ {change}");
        }
        assert!(open_receipt(&good[..at], &key).is_err());
    }
}

#[test]
fn deep_nesting_is_refused() {
    let key = key().verifying();
    for opener in [0x81, 0xd2, 0x9f] {
        assert!(open_receipt(&vec![opener; MAX_SIGNED], &key).is_err());
    }
}
