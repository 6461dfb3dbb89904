//! `blindsmith attest fetch`: the evidence of a running warden, appraised and kept.

use blindsmith_attest::chain::Trust;
use blindsmith_protocol::{Evidence, from_cbor, to_cbor};

use crate::site::{Site, argument};
use crate::tables;

/// A site with project `p`, which accepts simulated wardens.
fn site() -> Site {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--manual"]).ok();
    site
}

#[test]
fn fresh_evidence_of_a_projects_warden_is_appraised_and_kept_for_later() {
    let site = site();
    let done = site.on_project("attest", &["--out", "kept.evidence"]).ok().json();
    let names: Vec<&String> = done.as_object().unwrap().keys().collect();
    assert_eq!(names, ["accepted", "tee", "tcb_status", "measurement", "report_data", "refusals"]);
    assert_eq!((&done["accepted"], &done["tee"]), (&true.into(), &"simulated".into()));
    // By its other name, in words; each time is another session.
    let words = site.run(&["attest", "fetch", "--project", "p", "--out", "other.evidence"]).ok().stdout;
    assert!(words.starts_with("ACCEPTED: simulated\n") && words.contains("SIMULATED"), "{words}");
    let data = done["report_data"].as_str().unwrap();
    assert!(!words.contains(data), "the evidence is not fresh");

    let policy = argument(&site.path("p/attestation.toml"));
    let appraise =
        |file: &str| site.run(&["attest", "appraise", "--json", "--policy", &policy, "--evidence", file]);
    let again = appraise("kept.evidence").ok().json();
    assert_eq!(again, done, "the evidence that was kept is appraised as the fresh one was");
    // What the project's directory has since the release can be read too.
    assert_eq!(appraise("p/evidence.cbor").ok().json()["accepted"], true);
    let trust: Trust = from_cbor(&std::fs::read(site.path("p/evidence.cbor")).unwrap()).unwrap();
    let fresh: Evidence = from_cbor(&std::fs::read(site.path("kept.evidence")).unwrap()).unwrap();
    site.write("mixed.cbor", to_cbor(&Trust { evidence: fresh, ..trust }));
    let refused = appraise("mixed.cbor");
    assert_eq!(refused.json()["refusals"][0]["claim"], "confirmation");
    refused.refused(2, &["confirmation"]);
}

#[test]
fn a_warden_is_appraised_before_there_is_a_project() {
    let site = Site::new();
    let socket = site.socket();
    for (policy, code) in [("accept_simulated = true\n", 0), ("accept_simulated = false\n", 2)] {
        let policy = site.write("trusted.toml", policy);
        let common = ["attest", "fetch", "--refinery", &socket, "--policy", &policy, "--json"];
        let done = site.run(&[common.as_slice(), &["--out", "warden.evidence"]].concat());
        assert_eq!(done.code, Some(code), "{}", done.stderr);
        assert_eq!(done.json()["accepted"], code == 0);
        if code == 2 {
            assert_eq!(done.json()["refusals"][0]["claim"], "evidence.kind");
            assert!(done.stderr.contains("evidence.kind"));
        }
        // What was refused can be looked at as well.
        let kept = site.run(&["attest", "appraise", "--evidence", "warden.evidence", "--policy", &policy]);
        assert_eq!(kept.code, Some(code));
        std::fs::remove_file(site.path("warden.evidence")).unwrap();
    }
}

#[test]
fn what_is_no_refusal_of_evidence_has_codes_of_its_own() {
    let mut site = Site::new();
    let policy = site.write("trusted.toml", "accept_simulated = true\n");
    let fetch =
        |site: &Site, refinery: &str| site.run(&["attest", "--refinery", refinery, "--policy", &policy]);
    fetch(&site, "nowhere.sock").refused(4, &["no refinery answers"]);
    site.run(&["attest", "--project", "nowhere"]).refused(8, &["nowhere"]);
    site.run(&["attest", "--key", "k"]).refused(64, &["--refinery"]);
    site.services.kill_warden();
    fetch(&site, &site.socket()).refused(5, &["warden"]);
}
