//! What is handed over, and what hardware's evidence has to answer.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use blindsmith_evidence::{Claims, Tee};
use blindsmith_identity::{PublicKey, SigningKey};
use blindsmith_keys::RecipientKey;
use serde_json::Value;

use super::*;

#[test]
fn what_is_handed_over_survives_and_damage_is_refused() {
    let counter = Counter { attempts: 2, faults: 77, ..Counter::at(9, [4; 32]) };
    let terms = Terms::without_minima(PublicKey([1; 32]), "simulated", &[]);
    let (vault, seed, id) = (Key::random(), Key::random(), Id([5; 32]));
    let bytes = Estate::encode(&vault, &counter, [(&id, &seed, &terms)].into_iter());
    let handed = Estate::decode(&bytes).unwrap();
    assert_eq!((handed.vault.expose(), handed.counter), (vault.expose(), counter.clone()));
    let (found, found_seed, found_terms) = &handed.members[0];
    assert_eq!((found, found_seed.expose(), found_terms), (&id, seed.expose(), &terms));
    let without = Estate::encode(&vault, &counter, std::iter::empty());
    for len in (0..bytes.len()).filter(|len| *len != without.len()) {
        assert!(Estate::decode(&bytes[..len]).is_none(), "truncated to {len}");
    }
}

/// An appraiser in this process.
fn appraiser() -> Appraiser {
    let (own, other) = UnixStream::pair().unwrap();
    std::thread::spawn(move || blindsmith_appraiser::serve(other));
    Appraiser::ready(own).unwrap()
}

/// Evidence of real machines: files, and what is known of them.
struct Vector {
    facts: Value,
}

impl Vector {
    fn file(name: &str) -> Vec<u8> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../appraisal/tests/evidence");
        std::fs::read(folder.join(name)).unwrap()
    }

    fn named(id: &str) -> Self {
        let manifest: Value = serde_json::from_slice(&Self::file("manifest.json")).unwrap();
        let vectors = manifest["vectors"].as_array().unwrap();
        Vector { facts: vectors.iter().find(|v| v["id"] == id).unwrap().clone() }
    }

    fn field(&self, name: &str) -> &str {
        self.facts["fields"][name].as_str().unwrap()
    }

    /// A policy that accepts this guest or enclave.
    fn policy(&self) -> String {
        let status = self.facts["tcb_status"].as_str().unwrap_or("UpToDate");
        let advisories = self.facts["advisory_ids"].as_array().cloned().unwrap_or_default();
        let platform = format!(
            "tcb_statuses = [\"{status}\"]\nadvisories = {}\nminimum_evaluation_number = 17\nmachines = \"any\"\n\
             dynamic_platform = true\ncached_keys = true\nsmt = true\n",
            Value::Array(advisories)
        );
        match self.facts["tee"].as_str().unwrap() {
            "sgx" => {
                let enclave = self.field("mrenclave");
                format!("[sgx]\nenclaves = [{{ mrenclave = \"{enclave}\" }}]\n[sgx.platform]\n{platform}")
            }
            "tdx" => {
                let rtmrs = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|r| format!("{:?}", self.field(r)));
                let [mrtd, config] = ["mr_td", "mr_config_id"].map(|name| self.field(name));
                format!(
                    "[[tdx.guests]]\nmrtd = \"{mrtd}\"\nrtmrs = [{}]\nmrconfigid = \"{config}\"\n[tdx.platform]\n{platform}",
                    rtmrs.join(", ")
                )
            }
            _ => {
                let [measurement, data] = ["measurement", "host_data"].map(|name| self.field(name));
                format!(
                    "[snp]\nmachines = \"any\"\nmaximum_vmpl = 1\nsmt = true\nalias_check = false\n\
                     [[snp.guests]]\nmeasurement = \"{measurement}\"\nhost_data = \"{data}\"\n[snp.minimum_tcb]\n\
                     milan = {{ bootloader = 2, tee = 0, snp = 5, microcode = 68 }}\n"
                )
            }
        }
    }

    /// Each part after its length.
    fn collateral(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for name in ["collateral", "vek", "ca"].into_iter().filter_map(|key| self.facts[key].as_str()) {
            let part = Self::file(name);
            body.extend((part.len() as u32).to_le_bytes());
            body.extend(part);
        }
        body
    }

    /// What a warden says to a relay of this report beside claims that answer its challenge: there are no others, as
    /// nobody here makes reports of hardware for claims of ours.
    fn relayed(&self, policy: String, body: &[u8]) -> String {
        let (project, at) = (Id([4; 32]), self.facts["verify_at"].as_u64().unwrap());
        let asker = SigningKey::from_seed(&[1; 32]);
        let challenge = Challenge::new([7; 32], project, &asker, SUITE, digest(&policy), at);
        let claims = Claims {
            tee: Tee::named(self.facts["tee"].as_str().unwrap()).unwrap(),
            kem: SUITE.number(),
            recipient: RecipientKey::generate().recipient(SUITE).bytes().to_vec(),
            signing: PublicKey([3; 32]),
            nonce: [7; 32],
            policy: digest(&policy),
            project,
            asker: asker.verifying(),
            build: String::new(),
        };
        let report = ["quote", "report"].into_iter().find_map(|key| self.facts[key].as_str()).unwrap();
        let report = Blob(Self::file(report));
        let evidence = Evidence { claims: Blob(claims.encode()), report, auxiliary: Blob::default() };
        let (appraiser, collateral) = (appraiser(), collateral(body).unwrap());
        let shown = Presentation { appraiser: &appraiser, evidence: &evidence, collateral, now: at };
        appraise(challenge, &policy, &shown).unwrap_err().to_string()
    }
}

#[test]
fn of_hardware_everything_is_appraised_and_what_a_report_vouches_for_too() {
    for id in ["sgx-v3", "tdx-v4", "tdx-v5-td15", "milan-v2", "milan-v3"] {
        let vector = Vector::named(id);
        // Genuine, of a machine and a guest that the policy accepts, and for other claims: that alone is refused.
        let message = vector.relayed(vector.policy(), &vector.collateral());
        assert!(message.contains("report.data: expected"), "{id}: {message}");
        assert!(!message.contains("checks failed"), "{id}: {message}");
        // Without collateral, or without a policy that names it, more is refused.
        for message in
            [vector.relayed(vector.policy(), &[]), vector.relayed(String::new(), &vector.collateral())]
        {
            assert!(message.contains("checks failed"), "{id}: {message}");
        }
    }
}

#[test]
fn a_contributors_own_policy_counts_beside_the_owners() {
    let of = |id: &str| {
        let vector = Vector::named(id);
        let report = ["quote", "report"].into_iter().find_map(|key| vector.facts[key].as_str()).unwrap();
        let report = Blob(Vector::file(report));
        (Evidence { claims: Blob::default(), report, auxiliary: Blob::default() }, vector)
    };
    for (id, other) in [("tdx-v4", "tdx-v5-td15"), ("milan-v2", "milan-v3"), ("sgx-v3", "tdx-v4")] {
        let ((evidence, vector), (_, other)) = (of(id), of(other));
        let collateral = collateral(&vector.collateral()).unwrap();
        let now = vector.facts["verify_at"].as_u64().unwrap();
        let appraiser = appraiser();
        let shown = Presentation { appraiser: &appraiser, evidence: &evidence, collateral, now };
        let mut policies = Policies { shown: &shown, seen: BTreeMap::new() };
        let mut accept = |text: &str| policies.accept(text).unwrap();
        // Twice: what is known is not appraised again.
        for _ in 0..2 {
            assert!(accept("") && accept(&vector.policy()), "{id}");
            for refuses in [other.policy(), "accept_simulated = true".into(), "no policy".into()] {
                assert!(!accept(&refuses), "{id}: {refuses}");
            }
        }
        if id.starts_with("tdx") {
            // The same firmware, but another kernel.
            let kernel = vector.policy().replace(vector.field("rtmr2"), &"00".repeat(48));
            assert!(kernel != vector.policy() && !accept(&kernel));
        }
    }
}
