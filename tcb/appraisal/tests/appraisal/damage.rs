//! Evidence and collateral that were cut, altered or exchanged.

use std::ops::Range;

use blindsmith_appraisal::{Collateral, Evidence, MAX_COLLATERAL, MAX_EVIDENCE, Policy, Unusable, appraise};
use proptest::prelude::*;

use crate::{Vector, file, refused};

/// Valid vectors, and the parts of them that are signed or sign: the whole report of SNP; of a quote header, body,
/// signature and attestation key, and the QE's report.
fn signed_parts(vector: &Vector) -> Vec<Range<usize>> {
    if vector.tee() == "snp" {
        return std::iter::once(0..vector.evidence.len()).collect();
    }
    let version = u16::from_le_bytes([vector.evidence[0], vector.evidence[1]]);
    let body = match (version, vector.evidence[48]) {
        (3, _) => 48 + 384,
        (4, _) => 48 + 584,
        (5, 3) => 54 + 648,
        _ => 54 + 885,
    };
    // Four bytes of length; signature and key; of version 4 on, six bytes of type and length; the QE's report and
    // signature.
    let signature = body + 4;
    let qe = signature + 128 + if version == 3 { 0 } else { 6 };
    vec![0..body, signature..signature + 128, qe..qe + 384 + 64]
}

/// Flips every `step`th bit, counted from `first`, and returns how many were flipped.
fn flip(step: usize, first: usize) -> usize {
    let mut flipped = 0;
    for vector in Vector::all().into_iter().filter(|v| v.facts["expect"] == "valid") {
        let (collateral, policy) = (vector.parsed_collateral(), Policy::parse(&vector.policy()).unwrap());
        let bits: Vec<usize> =
            signed_parts(&vector).into_iter().flat_map(|part| part.start * 8..part.end * 8).collect();
        for bit in bits.into_iter().skip(first).step_by(step) {
            let mut altered = vector.evidence.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            flipped += 1;
            if let Ok(evidence) = Evidence::parse(&altered) {
                let appraisal = appraise(&evidence, &collateral, &policy, vector.at());
                assert!(!appraisal.accepted, "{}: bit {bit} changed unnoticed", vector.id());
            }
        }
    }
    flipped
}

#[test]
fn a_sample_of_single_bits_is_refused() {
    // 61 is prime to the sizes of all fields: the sample meets every one.
    assert!(flip(61, 7) > 1400);
}

#[test]
#[ignore = "takes minutes: every bit"]
fn every_single_bit_is_refused() {
    let flipped = flip(1, 0);
    println!("{flipped} single-bit changes, all refused");
    assert!(flipped > 87_000);
}

#[test]
fn collateral_altered_in_one_place_is_refused() {
    for id in ["sgx-v3", "tdx-v4", "tdx-v5-td15ex"] {
        for (part, of) in [("\\\"pcesvn\\\":", "tcb_info"), ("\\\"isvsvn\\\":", "qe_identity")] {
            let mut vector = Vector::named(id);
            let text = String::from_utf8(vector.collateral[0].clone()).unwrap();
            let at = text.find(part).unwrap() + part.len();
            let digit = if text.as_bytes()[at] == b'9' { "8" } else { "9" };
            let mut altered = text.clone();
            altered.replace_range(at..at + 1, digit);
            vector.collateral[0] = altered.into_bytes();
            let appraisal = vector.appraise(vector.at());
            assert_eq!(refused(&appraisal), ["quote.verification"], "{id}, {of}: {:#?}", appraisal.refusals);
        }
    }
}

#[test]
fn collateral_of_another_platform_is_refused() {
    let mut vector = Vector::named("tdx-v5-td15");
    vector.collateral = Vector::named("tdx-v5-td15ex").collateral;
    assert!(!vector.appraise(1_792_500_000).accepted);
    let mut vector = Vector::named("tdx-v4");
    vector.collateral = Vector::named("sgx-v3").collateral;
    assert!(!vector.appraise(vector.at()).accepted);
}

#[test]
fn evidence_without_collateral_is_refused() {
    for mut vector in Vector::all().into_iter().filter(|v| v.facts["expect"] == "valid") {
        vector.collateral.clear();
        let appraisal = vector.appraise(vector.at());
        let expected = if vector.tee() == "snp" { "collateral.amd" } else { "collateral.intel" };
        assert_eq!(refused(&appraisal), [expected], "{}", vector.id());
    }
}

#[test]
fn a_key_of_another_chip_is_refused() {
    let mut vector = Vector::named("milan-v2");
    vector.collateral[0] = file("snp/milan-v2-svn4.vcek.der");
    // Its versions are the same: only chip and signature tell.
    assert_eq!(refused(&vector.appraise(vector.at())), ["collateral.amd.chip", "snp.signature"]);
}

#[test]
fn a_key_for_other_versions_is_refused() {
    let mut vector = Vector::named("milan-v2");
    vector.collateral[0] = file("snp/milan-v3.vcek.der");
    let refusals = vector.appraise(vector.at());
    assert_eq!(refused(&refusals), ["collateral.amd.tcb", "collateral.amd.chip", "snp.signature"]);
}

#[test]
fn a_key_of_another_product_is_refused() {
    let mut vector = Vector::named("genoa-v3-azure");
    vector.collateral = vec![file("snp/milan-v3.vcek.der")];
    let appraisal = vector.appraise(vector.at());
    assert_eq!(refused(&appraisal), ["collateral.amd.tcb", "collateral.amd.chip", "snp.signature"]);
}

#[test]
fn a_providers_key_does_not_stand_for_a_chips() {
    let mut vector = Vector::named("milan-v3");
    vector.collateral = vec![file("snp/milan-v3-vlek.vlek.der")];
    assert_eq!(refused(&vector.appraise(1_760_000_000)), ["collateral.amd"]);
}

#[test]
fn several_keys_are_refused() {
    let mut vector = Vector::named("milan-v2");
    vector.collateral.push(file("snp/milan-v2-svn4.vcek.der"));
    assert_eq!(refused(&vector.appraise(vector.at())), ["collateral.amd"]);
}

#[test]
fn authorities_of_another_product_are_refused() {
    let mut vector = Vector::named("milan-v2");
    vector.collateral[1] = file("amd-ca/genoa-ask-ark-asvk.pem");
    assert_eq!(refused(&vector.appraise(vector.at())), ["collateral.amd.authority"]);
}

#[test]
fn an_authority_that_is_not_amds_is_refused() {
    // Intel's root is an authority, but none of AMD's.
    let collateral: serde_json::Value = serde_json::from_slice(&file("sgx/sgx-v3.collateral.json")).unwrap();
    let mut vector = Vector::named("milan-v2");
    vector.collateral.push(collateral["pck_crl_issuer_chain"].as_str().unwrap().trim().as_bytes().to_vec());
    assert_eq!(refused(&vector.appraise(vector.at())), ["collateral.amd.authority"]);
}

#[test]
fn single_bits_of_certificates_are_refused() {
    for id in ["milan-v2", "milan-v3-vlek", "genoa-v3-azure"] {
        let vector = Vector::named(id);
        let policy = Policy::parse(&vector.policy()).unwrap();
        let evidence = Evidence::parse(&vector.evidence).unwrap();
        for bit in (3..vector.collateral[0].len() * 8).step_by(37) {
            let mut altered = vector.collateral[0].clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let mut collateral = Collateral::default();
            if collateral.add(&altered).is_ok() {
                assert!(!appraise(&evidence, &collateral, &policy, vector.at()).accepted, "{id}: bit {bit}");
            }
        }
    }
}

#[test]
fn evidence_of_the_paravisor_is_recognised_and_refused() {
    let report = file("snp/genoa-v3-azure.report");
    let mut bytes = b"HCLA".to_vec();
    bytes.extend([2, 0, 0, 0, 0xe4, 9, 0, 0, 2, 0, 0, 0]);
    bytes.extend([0; 16]);
    bytes.extend(&report);
    bytes.extend(file("snp/genoa-v3-azure.runtime-claims.json"));
    let vector = Vector::named("genoa-v3-azure");
    let appraisal = appraise(
        &Evidence::parse(&bytes).unwrap(),
        &vector.parsed_collateral(),
        &Policy::parse(&vector.policy()).unwrap(),
        vector.at(),
    );
    assert_eq!((refused(&appraisal), appraisal.tee), (vec!["evidence.kind"], "azure-vtpm"));
}

#[test]
fn truncated_evidence_is_an_error_or_refused() {
    for vector in Vector::all().into_iter().filter(|v| v.facts["expect"] == "valid") {
        let (collateral, policy) = (vector.parsed_collateral(), Policy::parse(&vector.policy()).unwrap());
        // Bytes after a quote are no part of it; its last part follows the signed body, after its length.
        let end = match signed_parts(&vector)[0].end {
            body if vector.tee() != "snp" => {
                let length: [u8; 4] = vector.evidence[body..body + 4].try_into().unwrap();
                body + 4 + u32::from_le_bytes(length) as usize
            }
            whole => whole,
        };
        for length in 0..end {
            if let Ok(evidence) = Evidence::parse(&vector.evidence[..length]) {
                assert!(vector.tee() != "snp");
                assert!(
                    !appraise(&evidence, &collateral, &policy, vector.at()).accepted,
                    "{} {length}",
                    vector.id()
                );
            }
        }
    }
}

#[test]
fn oversize_input_is_an_error() {
    let long = vec![3; MAX_EVIDENCE + 1];
    assert!(matches!(Evidence::parse(&long), Err(Unusable::TooLarge { what: "evidence", .. })));
    let mut collateral = Collateral::default();
    assert!(matches!(
        collateral.add(&vec![b'{'; MAX_COLLATERAL + 1]),
        Err(Unusable::TooLarge { what: "collateral", .. })
    ));
    // Parts count together.
    let mut collateral = Collateral::default();
    let certificate = file("snp/milan-v2.vcek.der");
    let failed = (0..100).map(|_| collateral.add(&certificate)).find_map(Result::err).unwrap();
    assert!(matches!(failed, Unusable::Collateral(_)));
}

#[test]
fn unusable_collateral_is_an_error() {
    let intel = file("sgx/sgx-v3.collateral.json");
    for bytes in [
        &b""[..],
        b"{}",
        b"{\"tcb_info\": 1}",
        b"hello",
        b"\x30\x03\x02\x01\x01",
        b"-----BEGIN CERTIFICATE-----",
    ] {
        let added = Collateral::default().add(bytes);
        assert!(matches!(added, Err(Unusable::Collateral(_))), "{bytes:?}: {added:?}");
    }
    let mut collateral = Collateral::default();
    collateral.add(&intel).unwrap();
    assert!(matches!(collateral.add(&intel), Err(Unusable::Collateral(_))));
}

#[test]
fn reports_of_unknown_versions_are_errors() {
    for version in [0, 1, 6, 255] {
        let mut report = file("snp/milan-v2.report");
        report[0] = version;
        assert!(matches!(Evidence::parse(&report), Err(Unusable::Evidence(_))), "{version}");
    }
}

fn parse_and_appraise(bytes: &[u8], vector: &Vector) {
    if let Ok(evidence) = Evidence::parse(bytes) {
        let policy = Policy::parse(&vector.policy()).unwrap();
        appraise(&evidence, &vector.parsed_collateral(), &policy, vector.at());
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..6000), version in 2u8..6, tdx: bool) {
        let vector = Vector::named("tdx-v4");
        parse_and_appraise(&bytes, &vector);
        let mut quote = vec![version, 0, 2, 0, if tdx { 0x81 } else { 0 }, 0, 0, 0];
        quote.extend(&bytes);
        parse_and_appraise(&quote, &vector);
        let _ = Collateral::default().add(&bytes);
        let _ = Collateral::default().add(&[b"0\x82".as_slice(), &bytes].concat());
        let _ = Collateral::default().add(&[b"{".as_slice(), &bytes].concat());
        let _ = Policy::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn overwritten_evidence_never_panics_and_is_never_accepted_elsewhere(
        which in 0usize..9, at in 0usize..1200, bytes in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let vectors: Vec<_> = Vector::all().into_iter().filter(|v| v.facts["expect"] == "valid").collect();
        let vector = &vectors[which];
        let mut altered = vector.evidence.clone();
        for (to, from) in altered[at.min(vector.evidence.len() - 1)..].iter_mut().zip(&bytes) {
            *to = *from;
        }
        parse_and_appraise(&altered, vector);
    }
}
