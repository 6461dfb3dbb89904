//! Appraisal of real, hardware-signed evidence, and of the same evidence damaged.

mod damage;
mod policies;
mod vectors;

use std::path::PathBuf;

use blindsmith_appraisal::{Appraisal, Collateral, Evidence, Policy, appraise};
use serde_json::Value;

/// A file of the evidence.
pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/evidence").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A vector: evidence, its collateral, and what is known of them.
pub(crate) struct Vector {
    pub(crate) facts: Value,
    pub(crate) evidence: Vec<u8>,
    pub(crate) collateral: Vec<Vec<u8>>,
}

impl Vector {
    /// All vectors of the manifest.
    pub(crate) fn all() -> Vec<Vector> {
        let manifest: Value = serde_json::from_slice(&file("manifest.json")).unwrap();
        let vectors = manifest["vectors"].as_array().unwrap();
        vectors
            .iter()
            .map(|facts| {
                let read = |key: &str| facts[key].as_str().map(file);
                Vector {
                    facts: facts.clone(),
                    evidence: read("quote").or_else(|| read("report")).unwrap(),
                    collateral: ["collateral", "vek", "ca"].into_iter().filter_map(read).collect(),
                }
            })
            .collect()
    }

    /// One vector.
    pub(crate) fn named(id: &str) -> Vector {
        Vector::all().into_iter().find(|v| v.id() == id).unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.facts["id"].as_str().unwrap()
    }

    pub(crate) fn tee(&self) -> &str {
        self.facts["tee"].as_str().unwrap()
    }

    /// When the manifest verifies it.
    pub(crate) fn at(&self) -> u64 {
        self.facts["verify_at"].as_u64().unwrap()
    }

    /// A field that the manifest states.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.facts["fields"][name].as_str().unwrap()
    }

    /// A policy that accepts just this software, on any platform in any state that the manifest expects.
    pub(crate) fn policy(&self) -> String {
        match self.tee() {
            "sgx" => {
                format!(
                    "[sgx]\nenclaves = [{{ mrenclave = \"{}\" }}]\n[sgx.platform]\n{}",
                    self.field("mrenclave"),
                    self.platform()
                )
            }
            "tdx" => {
                let rtmrs =
                    ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|r| format!("{:?}", self.field(r))).join(", ");
                format!(
                    "[tdx]\n[[tdx.guests]]\nmrtd = \"{}\"\nrtmrs = [{rtmrs}]\nmrconfigid = \"{}\"\n[tdx.platform]\n{}",
                    self.field("mr_td"),
                    self.field("mr_config_id"),
                    self.platform()
                )
            }
            _ => format!(
                "[snp]\nmachines = \"any\"\nmaximum_vmpl = 1\nsmt = true\nalias_check = false\n\
                 vlek_providers = [\"CN=cc-us-east-2.amazonaws.com\"]\n\
                 [[snp.guests]]\nmeasurement = \"{}\"\nhost_data = \"{}\"\n\
                 [snp.minimum_tcb]\nmilan = {{ bootloader = 2, tee = 0, snp = 5, microcode = 68 }}\n\
                 genoa = {{ bootloader = 10, tee = 0, snp = 23, microcode = 84 }}\n",
                self.field("measurement"),
                self.field("host_data")
            ),
        }
    }

    fn platform(&self) -> String {
        let status = self.facts["tcb_status"].as_str().unwrap_or("UpToDate");
        let advisories = self.facts["advisory_ids"].clone();
        let advisories = if advisories.is_null() { Value::Array(Vec::new()) } else { advisories };
        format!(
            "tcb_statuses = [\"{status}\"]\nadvisories = {advisories}\nminimum_evaluation_number = 17\n\
             machines = \"any\"\ndynamic_platform = true\ncached_keys = true\nsmt = true\n"
        )
    }

    /// Appraises the vector's files against its own policy.
    pub(crate) fn appraise(&self, at: u64) -> Appraisal {
        self.appraise_with(&self.policy(), at)
    }

    pub(crate) fn appraise_with(&self, policy: &str, at: u64) -> Appraisal {
        let policy = Policy::parse(policy).unwrap_or_else(|e| panic!("{e}\n{policy}"));
        appraise(&Evidence::parse(&self.evidence).unwrap(), &self.parsed_collateral(), &policy, at)
    }

    pub(crate) fn parsed_collateral(&self) -> Collateral {
        let mut collateral = Collateral::default();
        self.collateral.iter().for_each(|part| collateral.add(part).unwrap());
        collateral
    }
}

/// The claims that were refused, each once.
pub(crate) fn refused(appraisal: &Appraisal) -> Vec<&str> {
    let mut claims: Vec<&str> = appraisal.refusals.iter().map(|r| r.claim.as_str()).collect();
    claims.dedup();
    claims
}
