//! Evidence that is not what the owner asked for, between a real warden and a real client: nothing is released, and each
//! refusal names the claim that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blindsmith_evidence::{Attester, Claims, Simulated, Tee, report_data};
use blindsmith_identity::SigningKey;
use blindsmith_keys::{RecipientKey, Suite};
use blindsmith_protocol::{Blob, Evidence, FromWarden, ToWarden};

use super::products::proxied;
use super::proxy::{Frame, Proxy};
use crate::site::{Outcome, Site, argument};

/// A site whose warden is reached through a proxy, which counts what is released to it.
struct Scene {
    site: Site,
    proxy: Proxy,
    released: Arc<AtomicUsize>,
}

impl Scene {
    fn new() -> Self {
        let (site, proxy) = proxied();
        Scene { site, proxy, released: Arc::default() }
    }

    /// What the warden answers becomes what `answer` makes of it.
    fn answered(&self, mut answer: impl FnMut(Evidence) -> Evidence + Send + 'static) {
        let released = self.released.clone();
        self.proxy.attack(move |frame| match frame {
            Frame::FromWarden(FromWarden::Evidence(evidence), body) => {
                vec![Frame::FromWarden(FromWarden::Evidence(answer(evidence)), body)]
            }
            Frame::ToWarden(message @ ToWarden::Release { .. }, body) => {
                released.fetch_add(1, Ordering::Relaxed);
                vec![Frame::ToWarden(message, body)]
            }
            other => vec![other],
        });
    }

    fn init(&self, project: &str, trust: &[&str]) -> Outcome {
        let socket = self.site.socket();
        let common = ["init", "--project", project, "--refinery", &socket, "--data", "first.csv"];
        let plan = ["--label", "largest", "--hidden", "4", "--manual", "--json"];
        self.site.run(&[common.as_slice(), &plan, trust].concat())
    }

    /// The owner refuses, for these claims among others, and the warden was given nothing.
    fn refuses(&self, trust: &[&str], claims: &[&str]) {
        let before = self.released.load(Ordering::Relaxed);
        let words: Vec<String> = claims.iter().map(|claim| format!("{claim}: expected ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = [["secrets were not released"].as_slice(), &words].concat();
        self.init("refused", trust).refused(6, &words);
        assert!(!self.site.path("refused").exists(), "a directory was left");
        assert_eq!(self.released.load(Ordering::Relaxed), before, "secrets were released");
        self.site.assert_no_panic();
    }

    /// The same of a report of hardware, by this policy.
    fn refuses_hardware(&self, report: &Hardware, policy: &str, claims: &[&str]) {
        self.site.write("trusted.toml", policy);
        let collateral: Vec<String> = report.collateral.iter().map(|name| vector(name)).collect();
        let mut trust = vec!["--attestation", "trusted.toml", "--collateral"];
        trust.extend(collateral.iter().map(String::as_str));
        let (tee, bytes) = (report.tee, std::fs::read(vector(report.report)).unwrap());
        self.answered(move |evidence| relayed(&evidence, tee, bytes.clone()));
        // Nobody here makes reports of hardware for claims of ours: that is refused beside.
        self.refuses(&trust, &[claims, &["report.data"]].concat());
    }
}

/// Evidence of real hardware.
struct Hardware {
    tee: Tee,
    report: &'static str,
    collateral: &'static [&'static str],
}

const MILAN: Hardware = Hardware {
    tee: Tee::Snp,
    report: "snp/milan-v3.report",
    collateral: &["snp/milan-v3.vcek.der", "amd-ca/milan-ask-ark-asvk.pem"],
};

fn vector(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tcb/appraisal/tests/evidence/");
    format!("{folder}{name}")
}

/// The claims of a warden, changed.
fn with(evidence: &Evidence, change: impl FnOnce(&mut Claims)) -> Vec<u8> {
    let mut claims = Claims::decode(&evidence.claims.0).unwrap();
    change(&mut claims);
    claims.encode()
}

/// A genuine report beside claims that answer the session.
fn relayed(evidence: &Evidence, tee: Tee, report: Vec<u8>) -> Evidence {
    let claims = Blob(with(evidence, |claims| claims.tee = tee));
    Evidence { claims, report: Blob(report), auxiliary: Blob::default() }
}

/// Claims with a simulated report that does vouch for them.
fn vouched(claims: Vec<u8>) -> Evidence {
    let anybody = Simulated::new(SigningKey::from_seed(&[4; 32]), [5; 32]);
    let report = anybody.report(&report_data(&claims)).unwrap();
    Evidence { claims: Blob(claims), report: Blob(report.report), auxiliary: Blob(report.auxiliary) }
}

/// A policy for guests of SEV-SNP with this measurement, from this firmware on.
fn snp(measurement: &str, microcode: u8) -> String {
    format!(
        "[snp]\nmachines = \"any\"\nsmt = true\nalias_check = false\n[[snp.guests]]\nmeasurement = \"{measurement}\"\n\
         host_data = \"783f0057820acb99249af56cc3b07b4e8d80f65183167cba9cf437bb680f742f\"\n\
         [snp.minimum_tcb.milan]\nbootloader = 2\ntee = 0\nsnp = 5\nmicrocode = {microcode}\n"
    )
}

/// The measurement of [`MILAN`].
const MEASURED: &str =
    "7f51e17f72a04d5422cb2c00998166536019a217376f3aa45a630e59c805a599847ff250dbffcd07e1ba639771d6f05d";

#[test]
fn attack_evidence_of_a_debug_environment() {
    let scene = Scene::new();
    let guest = Hardware {
        tee: Tee::Snp,
        report: "snp/milan-v2-debug.report",
        collateral: &["snp/milan-v2-debug.vcek.der", "amd-ca/milan-ask-ark-asvk.pem"],
    };
    scene.refuses_hardware(&guest, &snp(MEASURED, 0), &["snp.policy.debug"]);
    let enclave = Hardware {
        tee: Tee::Sgx,
        report: "sgx/sgx-v3-debug.quote",
        collateral: &["sgx/sgx-v3.collateral.json"],
    };
    let policy = "[sgx]\nenclaves = []\n[sgx.platform]\ntcb_statuses = [\"UpToDate\"]\n\
                  minimum_evaluation_number = 1\nmachines = \"any\"\n";
    scene.refuses_hardware(&enclave, policy, &["sgx.attributes.debug"]);
    let td = Hardware {
        tee: Tee::Tdx,
        report: "tdx/tdx-v4-debug.quote",
        collateral: &["tdx/tdx-v4.collateral.json"],
    };
    let policy = policy.replace("sgx", "tdx").replace("enclaves", "guests");
    scene.refuses_hardware(&td, &policy, &["tdx.attributes.debug"]);
}

#[test]
fn attack_evidence_of_old_firmware() {
    let scene = Scene::new();
    // The report states microcode 213.
    scene.refuses_hardware(&MILAN, &snp(MEASURED, 214), &["snp.tcb.reported"]);
}

#[test]
fn attack_evidence_of_another_measurement() {
    let scene = Scene::new();
    scene.refuses_hardware(&MILAN, &snp(&"ab".repeat(48), 213), &["snp.guest"]);
}

/// Genuine evidence of a guest that the policy accepts in all, beside claims of somebody else.
#[test]
fn attack_evidence_relayed_for_a_foreign_key() {
    let scene = Scene::new();
    scene.refuses_hardware(&MILAN, &snp(MEASURED, 213), &[]);
    // The evidence of the very warden that was asked, with the key of whoever is in between.
    let foreign = RecipientKey::generate().recipient(Suite::XWing).bytes().to_vec();
    scene.answered(move |evidence| {
        let key = foreign.clone();
        Evidence { claims: Blob(with(&evidence, |claims| claims.recipient = key)), ..evidence }
    });
    scene.refuses(&["--accept-simulated"], &["report.data"]);
}

/// What the warden answered to an owner before is shown to the next.
#[test]
fn attack_evidence_recorded_and_played_again() {
    let scene = Scene::new();
    let mut recorded: Option<Evidence> = None;
    scene.answered(move |evidence| recorded.get_or_insert(evidence).clone());
    scene.init("first", &["--accept-simulated"]).ok();
    assert_eq!(scene.released.load(Ordering::Relaxed), 1, "the first release is seen");
    scene.refuses(&["--accept-simulated"], &["claims.nonce"]);
    let attest = ["attest", "--refinery", &scene.site.socket(), "--policy", &accepting(&scene)];
    scene.site.run(&attest).refused(2, &["claims.nonce"]);
}

#[test]
fn attack_evidence_for_another_policy() {
    let scene = Scene::new();
    scene.answered(|evidence| vouched(with(&evidence, |claims| claims.policy[0] ^= 1)));
    scene.refuses(&["--accept-simulated"], &["claims.policy"]);
    // Nothing else is wrong with evidence that is made like this.
    scene.answered(|evidence| vouched(with(&evidence, |_| ())));
    let done =
        scene.site.run(&["attest", "--refinery", &scene.site.socket(), "--policy", &accepting(&scene)]);
    done.ok();
}

fn accepting(scene: &Scene) -> String {
    scene.site.write("accepting.toml", "accept_simulated = true\n")
}

#[test]
fn attack_a_simulated_warden_without_consent() {
    let scene = Scene::new();
    scene.answered(|evidence| evidence);
    scene.refuses(&[], &["evidence.kind"]);
    let policy = scene.site.write("trusted.toml", snp(MEASURED, 213));
    scene.refuses(&["--attestation", &policy], &["evidence.kind"]);
    // Claims that say otherwise do not make it another kind.
    scene.answered(|evidence| vouched(with(&evidence, |claims| claims.tee = Tee::Snp)));
    scene.refuses(
        &["--attestation", &argument(&scene.site.path("trusted.toml"))],
        &["claims.tee", "evidence.kind"],
    );
    scene.refuses(&["--accept-simulated"], &["claims.tee"]);
}
