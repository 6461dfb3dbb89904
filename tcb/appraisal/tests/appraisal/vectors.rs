//! Every vector of the manifest gives the stated result at the stated times.

use blindsmith_appraisal::{Evidence, Policy, appraise};

use crate::{Vector, file, refused};

#[test]
fn the_files_are_those_of_the_manifest() {
    use ring::digest::{SHA256, digest};
    let manifest: serde_json::Value = serde_json::from_slice(&file("manifest.json")).unwrap();
    for (name, expected) in manifest["sha256"].as_object().unwrap() {
        assert_eq!(hex::encode(digest(&SHA256, &file(name))), expected.as_str().unwrap(), "{name}");
    }
}

#[test]
fn valid_vectors_are_accepted_and_their_fields_reported() {
    let mut accepted = 0;
    for vector in Vector::all().into_iter().filter(|v| v.facts["expect"] == "valid") {
        let appraisal = vector.appraise(vector.at());
        assert!(appraisal.accepted, "{}: {:#?}", vector.id(), appraisal.refusals);
        assert_eq!(appraisal.tee, vector.tee(), "{}", vector.id());
        let measurement = match vector.tee() {
            "sgx" => "mrenclave",
            "tdx" => "mr_td",
            _ => "measurement",
        };
        assert_eq!(appraisal.measurement.as_deref(), Some(vector.field(measurement)), "{}", vector.id());
        assert_eq!(appraisal.report_data.as_deref(), Some(vector.field("report_data")), "{}", vector.id());
        let status = match vector.facts["tcb_status"].as_str() {
            Some(status) => status.to_owned(),
            None => {
                let tcb = &vector.facts["fields"]["reported_tcb"];
                format!(
                    "bootloader {}, tee {}, snp {}, microcode {}",
                    tcb["bootloader"], tcb["tee"], tcb["snp"], tcb["microcode"]
                )
            }
        };
        assert_eq!(appraisal.tcb_status, Some(status), "{}", vector.id());
        accepted += 1;
    }
    assert_eq!(accepted, 9);
}

#[test]
fn the_other_vectors_are_refused_for_their_defect() {
    for (id, expected) in [
        ("sgx-v3-debug", vec!["sgx.attributes.debug", "sgx.attributes", "collateral.intel"]),
        ("tdx-v4-debug", vec!["tdx.attributes.debug", "tdx.attributes", "collateral.intel"]),
        ("tdx-v5-td15-tcb-unmatched", vec!["quote.tcb"]),
        ("milan-v2-debug", vec!["snp.policy.debug"]),
        ("milan-tampered-vcek", vec!["collateral.amd.signature"]),
    ] {
        let vector = Vector::named(id);
        let appraisal = vector.appraise(vector.facts["verify_at"].as_u64().unwrap_or(1_772_500_000));
        assert_eq!(refused(&appraisal), expected, "{id}: {:#?}", appraisal.refusals);
        assert!(!appraisal.accepted, "{id}");
    }
}

#[test]
fn results_change_when_collateral_begins_and_ends() {
    for (id, before, at_end) in [
        ("sgx-v3", false, true),
        ("tdx-v4", false, false),
        ("tdx-v5-td15", false, false),
        // What is dated last here is a certificate revocation list, whose first day does not matter.
        ("tdx-v5-td15ex", true, true),
    ] {
        let vector = Vector::named(id);
        let window = &vector.facts["collateral_window"];
        let (from, to) = (window[0].as_u64().unwrap(), window[1].as_u64().unwrap());
        for (at, accepted) in
            [(from - 1, before), (from, true), (to - 1, true), (to, at_end), (to + 1, false)]
        {
            let appraisal = vector.appraise(at);
            assert_eq!(appraisal.accepted, accepted, "{id} at {at}: {:#?}", appraisal.refusals);
            if !accepted {
                assert_eq!(
                    refused(&appraisal),
                    ["collateral.time"],
                    "{id} at {at}: {:#?}",
                    appraisal.refusals
                );
            }
        }
    }
}

#[test]
fn results_change_when_a_signing_key_begins_and_ends() {
    let mut seen = 0;
    for vector in
        Vector::all().into_iter().filter(|v| v.facts["vek_window"].is_array() && v.facts["expect"] == "valid")
    {
        let window = &vector.facts["vek_window"];
        let (from, to) = (window[0].as_u64().unwrap(), window[1].as_u64().unwrap());
        for (at, accepted) in
            [(from - 1, false), (from, true), (to, true), (to + 1, false), (u64::MAX, false), (0, false)]
        {
            let appraisal = vector.appraise(at);
            assert_eq!(appraisal.accepted, accepted, "{} at {at}: {:#?}", vector.id(), appraisal.refusals);
            if !accepted {
                assert_eq!(refused(&appraisal), ["collateral.amd.time"], "{} at {at}", vector.id());
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn the_report_data_of_the_paravisor_are_the_digest_of_its_claims() {
    use ring::digest::{SHA256, digest};
    let vector = Vector::named("genoa-v3-azure");
    let digest = hex::encode(digest(&SHA256, &file("snp/genoa-v3-azure.runtime-claims.json")));
    assert_eq!(vector.appraise(vector.at()).report_data.unwrap(), format!("{digest}{}", "0".repeat(64)));
}

#[test]
fn authorities_of_amd_need_not_be_given() {
    for id in ["milan-v3", "milan-v3-vlek", "genoa-v3-azure"] {
        let mut vector = Vector::named(id);
        vector.collateral.truncate(1);
        let appraisal = vector.appraise(vector.at());
        assert!(appraisal.accepted, "{id}: {:#?}", appraisal.refusals);
    }
}

/// AMD's list for Milan, of which `openssl crl` says: from 2026-06-22 05:53:52 to 2026-08-08 00:00:00, nothing revoked.
const LIST: (&str, u64, u64) = ("snp/milan.crl", 1_782_107_632, 1_786_147_200);

#[test]
fn amds_revocation_list_counts_where_collateral_has_it() {
    let (name, from, to) = LIST;
    let mut vector = Vector::named("milan-v3");
    let required = vector.policy().replace("[snp]\n", "[snp]\nrevocation_list = true\n");
    assert_eq!(
        refused(&vector.appraise_with(&required, from)),
        ["collateral.amd.revocation"],
        "none is there"
    );
    vector.collateral.push(file(name));
    for at in [from, to] {
        for policy in [&required, &vector.policy()] {
            let appraisal = vector.appraise_with(policy, at);
            assert!(appraisal.accepted, "{at}: {:#?}", appraisal.refusals);
        }
    }
    for at in [from - 1, to + 1] {
        assert_eq!(refused(&vector.appraise(at)), ["collateral.amd.time"], "{at}");
    }
    // Of Milan's root it says nothing about Genoa.
    let mut vector = Vector::named("genoa-v3-azure");
    vector.collateral.push(file(name));
    assert_eq!(refused(&vector.appraise(from)), ["collateral.amd.revocation"]);
}

#[test]
fn attack_amds_revocation_list_altered() {
    let (name, from, to) = LIST;
    let (list, at) = (file(name), (from + to) / 2);
    let vector = Vector::named("milan-v3");
    let mut judged = 0;
    // 13 is prime to the lengths of all fields.
    for bit in (0..list.len() * 8).step_by(13) {
        let mut altered = list.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut collateral = vector.parsed_collateral();
        if collateral.add(&altered).is_ok() {
            let policy = Policy::parse(&vector.policy()).unwrap();
            let appraisal = appraise(&Evidence::parse(&vector.evidence).unwrap(), &collateral, &policy, at);
            assert!(!appraisal.accepted, "bit {bit} changed unnoticed");
            judged += 1;
        }
    }
    assert!(judged > 350, "{judged}");
}
