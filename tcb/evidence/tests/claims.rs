//! Claims, evidence and simulated reports have one encoding, limits, and answers that were computed elsewhere.

use blindsmith_evidence::*;
use blindsmith_identity::{PublicKey, SigningKey};
use blindsmith_protocol::{from_cbor, to_cbor};

fn claims(tee: TeeKind, suite: Suite) -> Claims {
    Claims {
        tee,
        suite,
        key: vec![7; suite.key_len()],
        receipts: PublicKey([8; 32]),
        nonce: [9; 32],
        policy: [10; 32],
        parameters: [11; 32],
        build: "0.1.0".into(),
    }
}

fn simulated() -> Simulated {
    Simulated::new(SigningKey::from_seed(&[1; 32]), [2; 32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Expected: SHA-512 by Python's hashlib over CBOR that was put together byte by byte from RFC 8949.
#[test]
fn report_data_are_those_that_were_computed_independently() {
    let small = claims(TeeKind::Simulated, Suite::X25519).encode().unwrap();
    assert_eq!((small.len(), &small[..15]), (190, &b"\x89\x01\x69simulated\x18\x20\x58"[..]));
    assert_eq!(
        hex(&report_data(&small)),
        "740e9a34a7e571606c150eaae5ed337fab471f0b6cc6716ced8725a19b0d96ee\
         23d1a47f5e330a44a4bfe8eabd8ae51df06e76c8edfa63262e8b79fa94ac52ec"
    );
    let large = claims(TeeKind::Tdx, Suite::XWing).encode().unwrap();
    assert_eq!(large.len(), 1370);
    assert_eq!(
        hex(&report_data(&large)),
        "49f4b827d18dc0ee103daed4565d6be014f0f460b3f58367de2f7a5e7a4ac527\
         cb72065d7b9ac461b63b5523543b2bce09d3998b90813844871ec2a7d5002c3c"
    );
}

#[test]
fn claims_come_back() {
    for tee in TeeKind::ALL {
        for suite in [Suite::X25519, Suite::XWing] {
            let claims = claims(tee, suite);
            assert_eq!(Claims::decode(&claims.encode().unwrap()).unwrap(), claims);
        }
    }
}

#[test]
fn every_claim_changes_the_report_data() {
    let base = claims(TeeKind::Tdx, Suite::X25519);
    let others = [
        Claims { tee: TeeKind::Snp, ..base.clone() },
        claims(TeeKind::Tdx, Suite::XWing),
        Claims { key: vec![0; 32], ..base.clone() },
        Claims { receipts: PublicKey([0; 32]), ..base.clone() },
        Claims { nonce: [0; 32], ..base.clone() },
        Claims { policy: [0; 32], ..base.clone() },
        Claims { parameters: [0; 32], ..base.clone() },
        Claims { build: "0.1.1".into(), ..base.clone() },
    ];
    let data = |claims: &Claims| report_data(&claims.encode().unwrap());
    let all: std::collections::BTreeSet<_> = others.iter().chain([&base]).map(data).collect();
    assert_eq!(all.len(), 9);
}

#[test]
fn claims_beyond_limits_are_not_encoded() {
    let base = claims(TeeKind::Tdx, Suite::XWing);
    let key = Claims { key: vec![7; 32], ..base.clone() };
    assert_eq!(key.encode(), Err(ClaimsError::Key { expected: 1216, found: 32 }));
    let build = Claims { build: "v".repeat(65), ..base.clone() };
    assert_eq!(build.encode(), Err(ClaimsError::Build(65)));
    assert!(Claims { build: "v".repeat(64), ..base }.encode().unwrap().len() <= MAX_CLAIMS);
}

#[test]
fn other_bytes_are_no_claims() {
    let good = claims(TeeKind::Simulated, Suite::X25519).encode().unwrap();
    let edited = |at: usize, to: &[u8]| [&good[..at], to, &good[at + to.len()..]].concat();
    for (defect, bytes, words) in [
        ("nothing", vec![], "not claims"),
        ("a newer format", edited(1, &[2]), "format 2"),
        ("an unknown environment", edited(3, b"simulatex"), "unknown kind"),
        ("an unknown suite", edited(13, &[0x21]), "HPKE suite, 0x0021"),
        ("one item too few", edited(0, &[0x88]), "not claims"),
        ("one item too many", edited(0, &[0x8a]), "one way"),
        ("an array without a length", [&[0x9f], &good[1..], &[0xff]].concat(), "not claims"),
        ("a long form of a number", [&good[..12], &[0x19, 0, 0x20], &good[14..]].concat(), "one way"),
        ("bytes after the end", [&good[..], &[0]].concat(), "not claims"),
        ("a key of another suite", [&good[..12], &[0x19, 0x64, 0x7a], &good[14..]].concat(), "has 1216"),
        (
            "an endless build version",
            [&good[..184], &[0x78, 70], "v".repeat(70).as_bytes()].concat(),
            "70 bytes",
        ),
        ("more bytes than claims have", vec![0; MAX_CLAIMS + 1], "at most 2048"),
    ] {
        let message = Claims::decode(&bytes).expect_err(defect).to_string();
        assert!(message.contains(words), "{defect}: {message}");
    }
}

#[test]
fn damaged_claims_are_others_or_none() {
    let good = claims(TeeKind::Snp, Suite::X25519).encode().unwrap();
    for cut in 0..good.len() {
        assert!(Claims::decode(&good[..cut]).is_err(), "cut off at {cut}");
    }
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(claims) = Claims::decode(&bytes) {
            assert_eq!(claims.encode().unwrap(), bytes, "bit {bit}: one encoding");
        }
    }
}

#[test]
fn names_and_numbers_are_stable() {
    for (tee, name) in TeeKind::ALL.into_iter().zip(["simulated", "tdx", "snp", "sgx"]) {
        assert_eq!((tee.to_string().as_str(), name.parse()), (name, Ok(tee)));
    }
    assert_eq!("TDX".parse::<TeeKind>(), Err(ClaimsError::Tee));
    assert_eq!([Suite::X25519, Suite::XWing].map(Suite::number), [0x20, 0x647a]);
    assert_eq!(Suite::from_number(0x21), None);
}

#[test]
fn evidence_comes_back_and_binds_its_claims() {
    let claims = claims(TeeKind::Simulated, Suite::XWing);
    let evidence = attest(&simulated(), &claims).unwrap();
    let back = Evidence::decode(&evidence.encode()).unwrap();
    assert_eq!((&back, back.claims().unwrap()), (&evidence, claims));
    assert_eq!(echoed(back.tee, &back.report), Some(report_data(&back.claims)));
}

#[test]
fn claims_of_another_kind_are_not_attested() {
    let error = attest(&simulated(), &claims(TeeKind::Tdx, Suite::X25519)).unwrap_err();
    assert!(matches!(error, AttestError::Kind { claimed: TeeKind::Tdx, .. }), "{error}");
}

#[test]
fn other_bytes_are_no_evidence() {
    let good = attest(&simulated(), &claims(TeeKind::Simulated, Suite::X25519)).unwrap();
    let other_kind = Evidence { tee: TeeKind::Tdx, ..good.clone() };
    let report = Evidence { report: vec![0; MAX_REPORT + 1], ..good.clone() };
    let auxblob = Evidence { auxblob: vec![0; MAX_AUXBLOB + 1], ..good.clone() };
    let no_claims = Evidence { claims: vec![0], ..good.clone() };
    for (defect, bytes, words) in [
        ("claims of another kind", other_kind.encode(), "of the kind simulated"),
        ("a long report", report.encode(), "a report of 32769 bytes"),
        ("long auxiliary data", auxblob.encode(), "auxiliary data of 28673"),
        ("claims that are none", no_claims.encode(), "not claims"),
        ("an endless message", vec![0; MAX_EVIDENCE + 1], "evidence of 65537"),
        ("bytes after the end", [good.encode(), vec![0]].concat(), "after the end"),
        ("an unknown kind", to_cbor(&std::collections::BTreeMap::from([("tee", "sev")])), "unknown kind"),
        ("a part left out", to_cbor(&std::collections::BTreeMap::from([("tee", "snp")])), "missing field"),
    ] {
        let message = Evidence::decode(&bytes).expect_err(defect).to_string();
        assert!(message.contains(words), "{defect}: {message}");
    }
    let largest = Evidence {
        claims: claims(TeeKind::Simulated, Suite::XWing).encode().unwrap(),
        report: vec![0; MAX_REPORT],
        auxblob: vec![0; MAX_AUXBLOB],
        ..good.clone()
    };
    assert!(Evidence::decode(&largest.encode()).is_ok());
    for cut in 0..good.encode().len() {
        assert!(Evidence::decode(&good.encode()[..cut]).is_err(), "cut off at {cut}");
    }
    // Evidence of this envelope is none of the older, unsigned kind, and the other way round.
    assert!(from_cbor::<blindsmith_protocol::Evidence>(&good.encode()).is_err());
}

#[test]
fn simulated_reports_are_what_the_document_says() {
    let report = simulated().report(&[3; 64]).unwrap();
    assert_eq!((report.report.len(), report.auxblob.len()), (SIMULATED_REPORT, 0));
    let key = SigningKey::from_seed(&[1; 32]).verifying();
    let signed = [b"BSSIMEV1", &key.0[..], &[2; 32], &[3; 64]].concat();
    assert_eq!(report.report[..136], signed);
    let signature = report.report[136..].try_into().unwrap();
    assert!(key.verifies(&[b"blindsmith simulated evidence v1", &signed[..]].concat(), &signature));
    let back = SimulatedReport::decode(&report.report).unwrap();
    assert_eq!((back.key, back.measurement, back.report_data, back.verify()), (key, [2; 32], [3; 64], true));
}

#[test]
fn no_altered_simulated_report_verifies() {
    let good = simulated().report(&[3; 64]).unwrap().report;
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!SimulatedReport::decode(&bytes).is_some_and(|report| report.verify()), "bit {bit}");
    }
    for len in 0..good.len() {
        assert_eq!(SimulatedReport::decode(&good[..len]), None, "cut off at {len}");
    }
    assert_eq!(SimulatedReport::decode(&[&good[..], &[0]].concat()), None, "longer");
}
