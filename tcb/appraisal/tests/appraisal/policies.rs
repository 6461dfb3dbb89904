//! What policies accept and refuse.

use blindsmith_appraisal::{Collateral, EXAMPLE, Evidence, Policy, Unusable, appraise};
use blindsmith_evidence::{Attester, Simulated};
use blindsmith_identity::SigningKey;

use crate::{Vector, refused};

#[test]
fn the_example_parses_and_accepts_nothing() {
    let example = Policy::parse(EXAMPLE).unwrap();
    assert!(example.sgx.is_some() && example.tdx.is_some() && example.snp.is_some());
    for vector in Vector::all() {
        let at = vector.facts["verify_at"].as_u64().unwrap_or(1_772_500_000);
        assert!(!vector.appraise_with(EXAMPLE, at).accepted, "{}", vector.id());
    }
}

#[test]
fn the_example_writes_every_default() {
    // Without the lines whose defaults it states, the example means the same.
    let optional = [
        "accept_simulated",
        "attributes",
        "advisories",
        "dynamic_platform",
        "cached_keys",
        "smt",
        "mrconfigid",
        "mrowner",
        "maximum_vmpl",
        "minimum_guest_svn",
        "vlek_providers",
        "migration",
        "revocation_list",
        "single_socket",
        "cxl",
        "aes_256_xts",
        "rapl_disabled",
        "hiding_demanded",
        "page_swap_disabled",
        "alias_check",
        "ciphertext_hiding",
        "host_data",
    ];
    let shorter: Vec<&str> =
        EXAMPLE.lines().filter(|line| !optional.iter().any(|field| line.starts_with(field))).collect();
    assert_eq!(Policy::parse(&shorter.join("\n")).unwrap(), Policy::parse(EXAMPLE).unwrap());
}

#[test]
fn an_empty_policy_refuses_everything() {
    for vector in Vector::all() {
        let at = vector.facts["verify_at"].as_u64().unwrap_or(1_772_500_000);
        let appraisal = vector.appraise_with("", at);
        assert!(
            refused(&appraisal).contains(&format!("policy.{}", vector.tee()).as_str()),
            "{}",
            vector.id()
        );
    }
}

#[test]
fn unusable_policies_are_errors() {
    let sgx = Vector::named("sgx-v3").policy();
    let snp = Vector::named("milan-v3").policy();
    for (text, expected) in [
        ("accept_simulation = true".into(), "unknown field"),
        (sgx.replace("smt", "smtt"), "unknown field"),
        (sgx.replace("minimum_evaluation_number = 17\n", ""), "missing field `minimum_evaluation_number`"),
        (sgx.replace("machines = \"any\"\n", ""), "missing field `machines`"),
        (sgx.replace("\"any\"", "\"all\""), "neither \"any\" nor a list"),
        (sgx.replace("\"any\"", "[\"00\"]"), "32 hexadecimal digits"),
        (sgx.replace("[\"Config", "[\"Revoked\", \"Config"), "never accepted"),
        (sgx.replace("[\"Config", "[\"Fine\", \"Config"), "unknown variant"),
        (sgx.replace("mrenclave = \"33", "mrenclave = \""), "64 hexadecimal digits"),
        (sgx.replace("{ mrenclave", "{ minimum_svn = 1, mrenclave"), "given by mrenclave alone"),
        (snp.replace("maximum_vmpl = 1", "maximum_vmpl = 4"), "0 to 3"),
        (snp.replace("microcode = 68", "microcode = 256"), "expected u8"),
        (snp.replace("milan =", "rome ="), "unknown field"),
        ("[sgx".into(), "TOML"),
    ] {
        match Policy::parse(&text) {
            Err(Unusable::Policy(message)) => assert!(message.contains(expected), "{expected}: {message}"),
            other => panic!("{expected}: {other:?}\n{text}"),
        }
    }
    let long = format!("# {}", "x".repeat(1 << 20));
    assert!(matches!(Policy::parse(&long), Err(Unusable::TooLarge { what: "policy", .. })));
}

/// Replaces text that has to be there.
fn with(policy: &str, from: &str, to: &str) -> String {
    assert!(policy.contains(from), "{from}: {policy}");
    policy.replace(from, to)
}

#[test]
fn each_demand_of_a_policy_refuses_by_itself() {
    let zeros = |n: usize| "0".repeat(n);
    for (id, from, to, claim) in [
        ("sgx-v3", "[\"ConfigurationAndSWHardeningNeeded\"]", "[\"UpToDate\"]", "platform.tcb_status"),
        ("sgx-v3", "\"INTEL-SA-00289\",", "", "platform.advisories"),
        ("sgx-v3", "number = 17", "number = 18", "collateral.evaluation_number"),
        ("sgx-v3", "machines = \"any\"", "machines = []", "platform.machine"),
        ("sgx-v3", "mrenclave = \"33", "mrenclave = \"34", "sgx.enclave"),
        ("sgx-v3", "[sgx]\n", "[sgx]\nattributes = \"85000000000000000000000000000000\"\n", "sgx.attributes"),
        ("tdx-v4", "dynamic_platform = true", "", "platform.dynamic_platform"),
        ("tdx-v4", "cached_keys = true", "", "platform.cached_keys"),
        ("tdx-v4", "smt = true", "smt = false", "platform.smt"),
        ("tdx-v4", "mrtd = \"91", "mrtd = \"92", "tdx.guest"),
        ("tdx-v4", "rtmrs = [\"44", "rtmrs = [\"45", "tdx.guest"),
        ("tdx-v4", "mrconfigid = \"00", "mrconfigid = \"01", "tdx.guest"),
        ("tdx-v4", "[tdx]\n", "[tdx]\nmrseam = []\n", "tdx.mrseam"),
        ("tdx-v4", "[tdx]\n", "[tdx]\nattributes = \"0000005000000000\"\n", "tdx.attributes"),
        ("milan-v3", "measurement = \"7f", "measurement = \"80", "snp.guest"),
        ("milan-v3", "host_data = \"78", "host_data = \"79", "snp.guest"),
        ("milan-v3-vlek", "microcode = 68", "microcode = 218", "snp.tcb.reported"),
        ("milan-v3", "snp = 5", "snp = 24", "snp.tcb.reported"),
        ("milan-v3", "milan =", "turin =", "snp.product"),
        ("milan-v3", "smt = true\n", "", "snp.policy.smt"),
        ("milan-v3", "[snp]\n", "[snp]\nciphertext_hiding = true\n", "snp.platform.ciphertext_hiding"),
        ("milan-v3", "[snp]\n", "[snp]\nsingle_socket = true\n", "snp.policy.single_socket"),
        ("milan-v3", "[snp]\n", "[snp]\naes_256_xts = true\n", "snp.policy.aes_256_xts"),
        ("milan-v3", "[snp]\n", "[snp]\nrapl_disabled = true\n", "snp.policy.rapl_disabled"),
        ("milan-v3", "[snp]\n", "[snp]\nhiding_demanded = true\n", "snp.policy.hiding_demanded"),
        ("milan-v3", "[snp]\n", "[snp]\npage_swap_disabled = true\n", "snp.policy.page_swap_disabled"),
        ("milan-v3", "[snp]\n", "[snp]\nrevocation_list = true\n", "collateral.amd.revocation"),
        ("milan-v2", "alias_check = false\n", "", "snp.platform.alias_check"),
        ("milan-v2", "[snp]\n", "[snp]\nminimum_guest_svn = 1\n", "snp.guest_svn"),
        ("milan-v2", "machines = \"any\"", "machines = []", "platform.machine"),
        ("milan-v3-vlek", "maximum_vmpl = 1", "maximum_vmpl = 0", "snp.vmpl"),
        ("milan-v3-vlek", "us-east-2", "us-east-1", "snp.vlek_provider"),
        ("milan-v3-vlek", "\"any\"", &format!("[\"{}\"]", zeros(128)), "platform.machine"),
    ] {
        let vector = Vector::named(id);
        let appraisal = vector.appraise_with(&with(&vector.policy(), from, to), vector.at());
        assert_eq!(refused(&appraisal), [claim], "{id}, {from} -> {to}: {:#?}", appraisal.refusals);
        for refusal in &appraisal.refusals {
            assert!(
                ![&refusal.expected, &refusal.found, &refusal.advice].iter().any(|text| text.is_empty()),
                "{refusal:?}"
            );
        }
    }
}

/// Which of a guest's policy bits a policy refuses, once the bits are altered; the signature is refused with them.
fn refused_bits(asked: &str, change: impl Fn(u64) -> u64) -> Vec<String> {
    let mut vector = Vector::named("milan-v3");
    let bits = u64::from_le_bytes(vector.evidence[8..16].try_into().unwrap());
    vector.evidence[8..16].copy_from_slice(&change(bits).to_le_bytes());
    let appraisal = vector.appraise_with(&with(&vector.policy(), "[snp]\n", asked), vector.at());
    let claims = appraisal.refusals.into_iter().map(|refusal| refusal.claim);
    claims.filter(|claim| claim.starts_with("snp.policy.")).collect()
}

#[test]
fn attack_bits_of_the_guests_policy_that_the_owners_policy_does_not_allow() {
    // The report has bits 16 and 17 alone.
    assert_eq!(refused_bits("[snp]\n", |bits| bits), [""; 0]);
    assert_eq!(refused_bits("[snp]\n", |bits| bits | 1 << 21), ["snp.policy.cxl"]);
    assert_eq!(refused_bits("[snp]\ncxl = true\n", |bits| bits | 1 << 21), [""; 0]);
    for (bit, field) in [
        (20, "single_socket"),
        (22, "aes_256_xts"),
        (23, "rapl_disabled"),
        (24, "hiding_demanded"),
        (25, "page_swap_disabled"),
    ] {
        let (asked, claim) = (format!("[snp]\n{field} = true\n"), format!("snp.policy.{field}"));
        // Neither no bit nor every other one stands for it.
        assert_eq!(refused_bits(&asked, |bits| bits), [claim.as_str()]);
        assert_eq!(refused_bits(&asked, |bits| (bits | 0x3d0_0000) & !(1 << bit)), [claim]);
        assert_eq!(refused_bits(&asked, |bits| bits | 1 << bit), [""; 0], "{field}");
        assert_eq!(
            refused_bits("[snp]\n", |bits| bits | 1 << bit),
            [""; 0],
            "a guest may demand more: {field}"
        );
    }
    for bit in 26..64 {
        assert_eq!(refused_bits("[snp]\n", |bits| bits | 1 << bit), ["snp.policy.reserved"], "{bit}");
    }
    assert_eq!(refused_bits("[snp]\n", |bits| bits & !(1 << 17)), ["snp.policy.reserved"]);
}

#[test]
fn enclaves_are_accepted_by_signer_product_and_version() {
    let vector = Vector::named("sgx-v3");
    let signer = vector.field("mrsigner");
    let measured = format!("mrenclave = \"{}\"", vector.field("mrenclave"));
    for (product, version, signer, accepted) in
        [(0, 0, signer, true), (1, 0, signer, false), (0, 1, signer, false), (0, 0, &"1".repeat(64), false)]
    {
        let signed = format!("mrsigner = \"{signer}\", product_id = {product}, minimum_svn = {version}");
        let appraisal = vector.appraise_with(&with(&vector.policy(), &measured, &signed), vector.at());
        assert_eq!(appraisal.accepted, accepted, "{signed}: {:#?}", appraisal.refusals);
    }
}

#[test]
fn machines_are_accepted_by_their_identifiers() {
    let milan = Vector::named("milan-v3");
    let list = format!("machines = [\"{}\"]", milan.field("chip_id"));
    let appraisal = milan.appraise_with(&with(&milan.policy(), "machines = \"any\"", &list), milan.at());
    assert!(appraisal.accepted, "{:#?}", appraisal.refusals);

    // What a refusal names can be written into the policy.
    let tdx = Vector::named("tdx-v4");
    let refusal = tdx.appraise_with(&with(&tdx.policy(), "machines = \"any\"", "machines = []"), tdx.at());
    let found = &refusal.refusals[0].found;
    for word in ["PPID ", "platform instance "] {
        let id: String = found.split(word).nth(1).unwrap().chars().take(32).collect();
        let list = format!("machines = [\"{id}\"]");
        let appraisal = tdx.appraise_with(&with(&tdx.policy(), "machines = \"any\"", &list), tdx.at());
        assert!(appraisal.accepted, "{list}: {:#?}", appraisal.refusals);
    }
}

#[test]
fn attributes_are_compared_under_the_mask() {
    let vector = Vector::named("tdx-v4");
    let masked = "[tdx]\nattributes = \"0000005000000000\"\nattributes_mask = \"0000001000000000\"\n";
    let appraisal = vector.appraise_with(&with(&vector.policy(), "[tdx]\n", masked), vector.at());
    assert!(appraisal.accepted, "{:#?}", appraisal.refusals);
}

#[test]
fn debug_is_refused_under_any_mask() {
    for (id, section, bytes, claim) in [
        ("sgx-v3-debug", "[sgx]\n", 16, "sgx.attributes.debug"),
        ("tdx-v4-debug", "[tdx]\n", 8, "tdx.attributes.debug"),
    ] {
        let vector = Vector::named(id);
        let open = format!("{section}attributes_mask = \"{}\"\n", "00".repeat(bytes));
        let appraisal = vector.appraise_with(&with(&vector.policy(), section, &open), 1_772_500_000);
        assert_eq!(refused(&appraisal), [claim, "collateral.intel"], "{id}");
    }
}

#[test]
fn simulation_is_accepted_by_name_only() {
    let simulated = Simulated::new(SigningKey::from_seed(&[1; 32]), [2; 32]);
    let report = simulated.report(&[3; 64]).unwrap().report;
    let evidence = Evidence::parse(&report).unwrap();
    let judge =
        |policy: &str| appraise(&evidence, &Collateral::default(), &Policy::parse(policy).unwrap(), 0);
    assert_eq!(refused(&judge("")), ["evidence.kind"]);
    assert_eq!(refused(&judge(EXAMPLE)), ["evidence.kind"]);
    assert!(judge("accept_simulated = true").accepted);
    let appraisal = judge("accept_simulated = true");
    assert_eq!(appraisal.report_data, Some("03".repeat(64)));
    assert_eq!(appraisal.measurement, Some("02".repeat(32)));
    let altered = [&report[..60], &[0xff], &report[61..]].concat();
    assert!(matches!(Evidence::parse(&altered), Err(Unusable::Evidence(_))));
}
