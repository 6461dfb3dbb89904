//! A warden's claims and evidence: as they come, and claims that a simulated report vouches for.

#![no_main]

use blindsmith_attest::appraisal::{Collateral, Envelope, SimulatedReport};
use blindsmith_attest::{AppraisedPolicy, Session};
use blindsmith_evidence::{Attester, Claims, Simulated, report_data};
use blindsmith_fuzz::{decoded, owner, spec};
use blindsmith_identity::SigningKey;
use blindsmith_keys::Suite;
use blindsmith_protocol::{Blob, Evidence};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_790_000_000;

/// Evidence that is accepted answers this session.
fn appraise(evidence: &Evidence) {
    let policy = AppraisedPolicy::parse("accept_simulated = true").expect("a policy");
    let session = Session::begin([2; 32], spec().id(), &owner(), Suite::X25519, &policy, NOW);
    if let Ok(warden) = session.appraise(evidence, &policy, &Collateral::default(), NOW) {
        let claims = Claims::decode(&evidence.claims.0).expect("claims that were accepted");
        assert_eq!((claims.nonce, claims.policy, claims.project), ([2; 32], policy.digest(), spec().id()));
        assert_eq!(warden.tee(), "simulated");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Ok(claims) = Claims::decode(bytes) {
                assert_eq!(claims.encode(), bytes, "one encoding");
            }
        }
        1 => {
            _ = SimulatedReport::decode(bytes);
            _ = Envelope::parse(bytes);
        }
        2 => {
            if let Some(evidence) = decoded::<Evidence>(bytes) {
                appraise(&evidence);
            }
        }
        _ => {
            let simulated = Simulated::new(SigningKey::from_seed(&[3; 32]), [4; 32]);
            let report = simulated.report(&report_data(bytes)).expect("a simulated report");
            let (claims, report) = (Blob(bytes.to_vec()), Blob(report.report));
            appraise(&Evidence { claims, report, auxiliary: Blob(vec![]) });
        }
    }
});
