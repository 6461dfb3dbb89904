//! `blindsmith attest appraise` and `blindsmith policy`: exit codes, JSON and words.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn evidence(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tcb/appraisal/tests/evidence").join(name)
}

fn blindsmith<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blindsmith")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const POLICY: &str = r#"
[snp]
machines = "any"
smt = true
[[snp.guests]]
measurement = "7f51e17f72a04d5422cb2c00998166536019a217376f3aa45a630e59c805a599847ff250dbffcd07e1ba639771d6f05d"
host_data = "783f0057820acb99249af56cc3b07b4e8d80f65183167cba9cf437bb680f742f"
[snp.minimum_tcb.milan]
bootloader = 4
tee = 0
snp = 23
microcode = 213
"#;

/// Appraises the report of a Milan with these collateral files, at a time.
fn appraise(dir: &Path, policy: &str, report: &Path, collateral: &[PathBuf], at: &str, json: bool) -> Output {
    let file = dir.join("policy.toml");
    std::fs::write(&file, policy).unwrap();
    let mut arguments =
        vec!["attest".into(), "appraise".into(), "--evidence".into(), report.as_os_str().to_owned()];
    for path in collateral {
        arguments.extend(["--collateral".into(), path.as_os_str().to_owned()]);
    }
    arguments.extend(["--policy".into(), file.into_os_string(), "--at".into(), at.into()]);
    arguments.extend(json.then(|| "--json".into()));
    blindsmith(arguments)
}

#[test]
fn accepted_refused_and_unusable_evidence_have_codes_of_their_own() {
    let dir = TempDir::new().unwrap();
    let (report, key) = (evidence("snp/milan-v3.report"), evidence("snp/milan-v3.vcek.der"));
    let authorities = evidence("amd-ca/milan-ask-ark-asvk.pem");
    let both = [key.clone(), authorities.clone()];

    let accepted = appraise(dir.path(), POLICY, &report, &both, "1790000000", true);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted.stderr));
    let answer: Value = serde_json::from_slice(&accepted.stdout).unwrap();
    let names: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(names, ["accepted", "tee", "tcb_status", "measurement", "report_data", "refusals"]);
    assert_eq!((&answer["accepted"], &answer["tee"]), (&Value::Bool(true), &Value::from("snp")));
    assert_eq!(answer["tcb_status"], "bootloader 4, tee 0, snp 23, microcode 213");
    assert!(answer["measurement"].as_str().unwrap().starts_with("7f51"));
    assert_eq!(answer["refusals"], Value::Array(Vec::new()));

    // A directory does as well as its files.
    let folder = dir.path().join("collateral");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&key, folder.join("vcek.der")).unwrap();
    std::fs::copy(&authorities, folder.join("chain.pem")).unwrap();
    std::fs::write(folder.join("notes.txt"), "no collateral").unwrap();
    let accepted = appraise(dir.path(), POLICY, &report, &[folder], "1790000000", false);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted.stderr));
    assert!(text(&accepted.stdout).starts_with("ACCEPTED: snp\n"));

    let expired = appraise(dir.path(), POLICY, &report, &both, "4000000000", true);
    assert_eq!(expired.status.code(), Some(2));
    let answer: Value = serde_json::from_slice(&expired.stdout).unwrap();
    assert_eq!(answer["accepted"], false);
    let refusal = &answer["refusals"][0];
    assert_eq!(refusal["claim"], "collateral.amd.time");
    for name in ["expected", "found", "advice"] {
        assert!(!refusal[name].as_str().unwrap().is_empty(), "{name}");
    }
    assert!(text(&expired.stderr).contains("collateral.amd.time"));
    let words = appraise(dir.path(), "", &report, &both, "1790000000", false);
    assert_eq!(words.status.code(), Some(2));
    assert!(text(&words.stdout).contains("policy.snp\n  expected: "), "{}", text(&words.stdout));

    for (policy, report, collateral) in [
        ("unknown = 1", &report, &key),
        (POLICY, &authorities, &key),
        (POLICY, &report, &report),
        (POLICY, &dir.path().join("absent"), &key),
        (POLICY, &report, &dir.path().join("absent")),
    ] {
        let output =
            appraise(dir.path(), policy, report, std::slice::from_ref(collateral), "1790000000", true);
        assert_eq!(output.status.code(), Some(3), "{policy} {report:?} {collateral:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn a_policy_is_written_once_and_explained() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("trusted.toml");
    let file = file.to_str().unwrap();
    let written = blindsmith(["policy", "init", file]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    assert_eq!(std::fs::read_to_string(file).unwrap(), blindsmith_attest::appraisal::EXAMPLE);

    let explained = blindsmith(["policy", "explain", file]);
    assert_eq!(explained.status.code(), Some(0), "{}", text(&explained.stderr));
    assert!(text(&explained.stdout).contains("Simulated environments are refused."));

    std::fs::write(file, "accept_simulated = true").unwrap();
    assert_eq!(blindsmith(["policy", "init", file]).status.code(), Some(8));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "accept_simulated = true");
    std::fs::write(file, "accept_simulated = 1").unwrap();
    assert_eq!(blindsmith(["policy", "explain", file]).status.code(), Some(3));
}
