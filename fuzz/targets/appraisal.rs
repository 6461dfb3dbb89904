//! Evidence of hardware and what it is verified with: real ones, changed; under a policy that looks at everything and
//! accepts nothing.

#![no_main]

use std::sync::LazyLock;

use blindsmith_attest::appraisal::{Collateral, Evidence, Policy, appraise};
use libfuzzer_sys::fuzz_target;

/// Real evidence: its collateral, and when that was valid.
struct Vector {
    evidence: &'static [u8],
    collateral: &'static [&'static [u8]],
    at: u64,
}

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../tcb/appraisal/tests/evidence/", $name)).as_slice()
    };
}

static VECTORS: [Vector; 5] = [
    Vector {
        evidence: file!("sgx/sgx-v3.quote"),
        collateral: &[file!("sgx/sgx-v3.collateral.json")],
        at: 1_751_241_600,
    },
    Vector {
        evidence: file!("tdx/tdx-v4.quote"),
        collateral: &[file!("tdx/tdx-v4.collateral.json")],
        at: 1_751_241_600,
    },
    Vector {
        evidence: file!("tdx/tdx-v5-td15.quote"),
        collateral: &[file!("tdx/tdx-v5-td15.collateral.json")],
        at: 1_772_500_000,
    },
    Vector {
        evidence: file!("snp/milan-v2.report"),
        collateral: &[file!("snp/milan-v2.vcek.der"), file!("amd-ca/milan-ask-ark-asvk.pem")],
        at: 1_790_000_000,
    },
    Vector {
        evidence: file!("snp/milan-v3-vlek.report"),
        collateral: &[file!("snp/milan-v3-vlek.vlek.der"), file!("amd-ca/milan-ask-ark-asvk.pem")],
        at: 1_760_000_000,
    },
];

/// Accepts nothing, and looks at everything: each kind has a section.
static POLICY: LazyLock<Policy> =
    LazyLock::new(|| Policy::parse(blindsmith_attest::appraisal::EXAMPLE).expect("the example is a policy"));

fn judge(evidence: &[u8], collateral: &[&[u8]], at: u64) {
    let Ok(parsed) = Evidence::parse(evidence) else { return };
    let mut all = Collateral::default();
    if collateral.iter().all(|part| all.add(part).is_ok()) {
        let appraisal = appraise(&parsed, &all, &POLICY, at);
        assert!(!appraisal.accepted, "a policy that accepts nothing accepted");
        assert_eq!(appraisal, appraise(&parsed, &all, &POLICY, at), "appraised twice, it is another");
    }
}

fuzz_target!(|data: &[u8]| {
    let [which, part, bytes @ ..] = data else { return };
    let vector = &VECTORS[usize::from(*which) % VECTORS.len()];
    match usize::from(*part) % (vector.collateral.len() + 1) {
        0 => judge(bytes, vector.collateral, vector.at),
        place => {
            let mut collateral = vector.collateral.to_vec();
            collateral[place - 1] = bytes;
            judge(vector.evidence, &collateral, vector.at);
        }
    }
});
