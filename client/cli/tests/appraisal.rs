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

    // A revocation list in it counts, and can be asked for.
    let demanding = POLICY.replace("[snp]\n", "[snp]\nrevocation_list = true\n");
    let folder = dir.path().join("collateral");
    let without =
        appraise(dir.path(), &demanding, &report, std::slice::from_ref(&folder), "1784000000", false);
    assert_eq!(without.status.code(), Some(2));
    assert!(text(&without.stderr).contains("collateral.amd.revocation"), "{}", text(&without.stderr));
    std::fs::copy(evidence("snp/milan.crl"), folder.join("milan.crl")).unwrap();
    for (at, code) in [("1784000000", 0), ("1790000000", 2)] {
        let judged = appraise(dir.path(), &demanding, &report, std::slice::from_ref(&folder), at, false);
        assert_eq!(judged.status.code(), Some(code), "{at}: {}", text(&judged.stdout));
    }

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

/// A vector of the manifest, its evidence and collateral, and a policy that accepts just its software.
fn intel(id: &str) -> (Value, PathBuf, PathBuf, String) {
    let manifest: Value = serde_json::from_slice(&std::fs::read(evidence("manifest.json")).unwrap()).unwrap();
    let vector = manifest["vectors"].as_array().unwrap().iter().find(|v| v["id"] == id).unwrap().clone();
    let field = |name: &str| &vector["fields"][name];
    let software = match vector["tee"].as_str().unwrap() {
        "sgx" => format!("[sgx]\nenclaves = [{{ mrenclave = {} }}]\n[sgx.platform]\n", field("mrenclave")),
        _ => format!(
            "[tdx]\nguests = [{{ mrtd = {}, rtmrs = [{}, {}, {}, {}] }}]\n[tdx.platform]\n",
            field("mr_td"),
            field("rtmr0"),
            field("rtmr1"),
            field("rtmr2"),
            field("rtmr3")
        ),
    };
    let policy = format!(
        "{software}tcb_statuses = [{}]\nadvisories = {}\nminimum_evaluation_number = 17\nmachines = \"any\"\n\
         dynamic_platform = true\ncached_keys = true\nsmt = true\n",
        vector["tcb_status"], vector["advisory_ids"]
    );
    let file = |key: &str| evidence(vector[key].as_str().unwrap());
    (vector.clone(), file("quote"), file("collateral"), policy)
}

#[test]
fn quotes_of_sgx_and_tdx_are_appraised_as_reports_of_snp_are() {
    let dir = TempDir::new().unwrap();
    for (id, measurement) in [("sgx-v3", "mrenclave"), ("tdx-v4", "mr_td")] {
        let (vector, quote, collateral, policy) = intel(id);
        let at = vector["verify_at"].to_string();
        let judge = |policy: &str, quote: &Path, at: &str| {
            appraise(dir.path(), policy, quote, std::slice::from_ref(&collateral), at, true)
        };
        let accepted = judge(&policy, &quote, &at);
        assert_eq!(accepted.status.code(), Some(0), "{id}: {}", text(&accepted.stderr));
        let answer: Value = serde_json::from_slice(&accepted.stdout).unwrap();
        assert_eq!((&answer["tee"], &answer["tcb_status"]), (&vector["tee"], &vector["tcb_status"]));
        assert_eq!(answer["measurement"], vector["fields"][measurement]);
        // Another measurement, a signature that does not hold, and collateral that is over.
        let other = policy.replace(vector["fields"][measurement].as_str().unwrap(), &"ab".repeat(48)[..]);
        let other = if id == "sgx-v3" { other.replace(&"ab".repeat(48), &"ab".repeat(32)) } else { other };
        let altered = dir.path().join("altered.quote");
        let mut bytes = std::fs::read(&quote).unwrap();
        bytes[400] ^= 1;
        std::fs::write(&altered, bytes).unwrap();
        for (what, refused) in [
            ("measurement", judge(&other, &quote, &at)),
            ("signature", judge(&policy, &altered, &at)),
            ("time", judge(&policy, &quote, "4000000000")),
        ] {
            assert_eq!(refused.status.code(), Some(2), "{id}, {what}: {}", text(&refused.stderr));
            let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
            assert!(!answer["refusals"].as_array().unwrap().is_empty(), "{id}, {what}");
        }
    }
}

/// What a warden answers, around this report.
fn envelope(report: Vec<u8>) -> Vec<u8> {
    use blindsmith_protocol::{Blob, Evidence, to_cbor};
    to_cbor(&Evidence {
        claims: Blob(vec![1, 2, 3]),
        report: Blob(report),
        auxiliary: Blob(vec![0; 32 << 10]),
    })
}

#[test]
fn an_envelope_whose_report_is_of_other_claims_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("warden.evidence");
    let collateral = [evidence("snp/milan-v3.vcek.der"), evidence("amd-ca/milan-ask-ark-asvk.pem")];
    // The report alone is accepted; beside claims that it does not vouch for it is not.
    std::fs::write(&file, envelope(std::fs::read(evidence("snp/milan-v3.report")).unwrap())).unwrap();
    let refused = appraise(dir.path(), POLICY, &file, &collateral, "1790000000", true);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
    let refusals = answer["refusals"].as_array().unwrap();
    assert_eq!((refusals.len(), &refusals[0]["claim"]), (1, &Value::from("report.data")));
    for bytes in [envelope(vec![]), envelope(vec![9; 64]), vec![0xa3; 100], vec![0; 1 << 20]] {
        std::fs::write(&file, bytes).unwrap();
        let unusable = appraise(dir.path(), POLICY, &file, &collateral, "1790000000", true);
        assert_eq!(unusable.status.code(), Some(3), "{}", text(&unusable.stderr));
    }
}

#[test]
fn wrong_usage_is_not_taken_for_a_refusal() {
    for arguments in [
        &["attest", "appraise"][..],
        &["attest", "appraise", "--evidence"],
        &["attest", "appraise", "--policy", "a", "--evidence", "b", "--at", "noon"],
        &["attest", "appraise", "--unknown"],
        &["attest", "judge"],
    ] {
        let wrong = blindsmith(arguments);
        assert_eq!(wrong.status.code(), Some(64), "{arguments:?}: {}", text(&wrong.stderr));
        assert!(!wrong.stderr.is_empty());
    }
    assert_eq!(blindsmith(["attest", "appraise", "--help"]).status.code(), Some(0));
    assert_eq!(blindsmith(["status", "--unknown"]).status.code(), Some(2), "other commands have 2 for it");
    let backend = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
        .args(["attest", "appraise", "--evidence", "a", "--policy", "b"])
        .env("BLINDSMITH_BACKEND", "none")
        .output();
    assert_eq!(backend.unwrap().status.code(), Some(64));
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

#[test]
fn reference_values_become_a_policy_that_accepts_them() {
    let dir = TempDir::new().unwrap();
    let written =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../attest/tests/reference/reference-values.toml");
    let (values, policy) = (dir.path().join("reference-values.toml"), dir.path().join("trusted.toml"));
    let (values_file, policy_file) = (values.to_str().unwrap(), policy.to_str().unwrap());
    // A report of a real guest, whose measurement is the reference.
    let measured =
        POLICY.lines().find_map(|line| line.strip_prefix("measurement = ")).unwrap().replace('"', "");
    let text = std::fs::read_to_string(written).unwrap();
    std::fs::write(&values, text.replace(&"a2".repeat(48), &measured)).unwrap();
    let done = blindsmith(["policy", "init", "--reference", values_file, policy_file]);
    assert_eq!(done.status.code(), Some(0), "{}", self::text(&done.stderr));
    let explained = blindsmith(["policy", "explain", policy_file]);
    assert!(self::text(&explained.stdout).contains(&measured));

    let (report, key) = (evidence("snp/milan-v3.report"), evidence("snp/milan-v3.vcek.der"));
    let judge = |policy: &str| {
        let refused = appraise(dir.path(), policy, &report, std::slice::from_ref(&key), "1790000000", true);
        let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
        let refusals = answer["refusals"].as_array().unwrap().iter();
        refusals.map(|refusal| refusal["claim"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // The owner says machines and firmware, and what the host named at launch: then it is accepted.
    let written = std::fs::read_to_string(&policy).unwrap();
    assert!(judge(&written).contains(&"platform.machine".to_owned()));
    let host_data = POLICY.lines().find(|line| line.starts_with("host_data")).unwrap();
    let (head, snp) = written.split_once("[snp]").unwrap();
    let snp = snp
        .replace("machines = []", "machines = \"any\"")
        .replace("smt = false", "smt = true")
        .replace("snp = 24\nmicrocode = 219", "snp = 23\nmicrocode = 213")
        .replace(&format!("host_data = \"{}\"", "0".repeat(64)), host_data);
    assert_eq!(judge(&format!("{head}[snp]{snp}")), Vec::<String>::new());

    // A file that is there stays, and one that is not understood makes none.
    assert_eq!(
        blindsmith(["policy", "init", "--reference", values_file, policy_file]).status.code(),
        Some(8)
    );
    std::fs::write(&values, text + "more = 1\n").unwrap();
    let other = dir.path().join("other.toml");
    let refused = blindsmith(["policy", "init", "--reference", values_file, other.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{}", self::text(&refused.stderr));
    assert!(!other.exists());
}
