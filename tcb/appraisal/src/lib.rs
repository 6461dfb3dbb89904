//! Appraisal of a warden's evidence (the roles and words are those of RFC 9334): quotes of Intel SGX and TDX, reports of
//! AMD SEV-SNP. Clients appraise wardens by it before they release secrets, and wardens each other before one hands a
//! project over.
//!
//! A relying party makes a [`Session`], whose nonce is used once, has a warden asked by it, and appraises the evidence
//! that comes back: the claims must answer this session, the report must vouch for the claims, and [`appraise`] judges
//! the report by the policy. Only the result, [`Appraised`], lets it seal secrets to that warden. Evidence of a simulated
//! warden proves nothing: it is refused unless the policy accepts simulation by name.
//!
//! [`appraise`] is a pure function of evidence, collateral, policy and the relying party's time: it reads no file, no
//! clock and no network, so that an appraisal can be repeated, years later, with the same result. It denies by
//! default. Every check that fails adds a [`Refusal`]; evidence is accepted if there is none.
//!
//! What is checked, field by field, and what accepted evidence does not prove: `docs/appraisal.md`.

#![forbid(unsafe_code)]

mod amd;
mod collateral;
mod evidence;
mod intel;
mod policy;
mod session;
mod simulated;
mod snp;
mod text;

use std::fmt::Display;

use thiserror::Error;

pub use blindsmith_evidence::{Appraisal, Appraised, LIFETIME, Refusal, Refused};
pub use collateral::{Collateral, MAX_COLLATERAL};
pub use evidence::{Envelope, Evidence, MAX_EVIDENCE};
pub use policy::{
    Bytes, EXAMPLE, Enclave, Guest, IntelPlatform, MAX_POLICY, Platforms, Policy, SgxPolicy, SnpPolicy,
    SnpTcb, SnpTcbs, TdxGuest, TdxPolicy,
};
pub use session::{AppraisedPolicy, Session, confirmed};
pub use simulated::{SimulatedError, SimulatedReport};
pub use text::one_of;

/// Input that cannot be appraised at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// More bytes than any real input has.
    #[error("the {what} has more than {limit} bytes: no real one has. Check which file was given")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Evidence of no known kind, or cut off.
    #[error("not usable as evidence: {0}")]
    Evidence(String),
    /// Collateral of no known kind, or broken.
    #[error("not usable as collateral: {0}")]
    Collateral(String),
    /// A policy that cannot be read, or that nothing could satisfy.
    #[error("not usable as a policy: {0}")]
    Policy(String),
}

/// Appraises `evidence`, with `collateral` to verify it, against `policy`, as of the time `at`: seconds since 1970, of
/// a clock that the relying party trusts.
///
/// ```
/// use blindsmith_appraisal::{Collateral, Evidence, Policy, appraise};
///
/// let report = include_bytes!("../tests/evidence/snp/milan-v2.report");
/// let evidence = Evidence::parse(report)?;
/// let appraisal = appraise(&evidence, &Collateral::default(), &Policy::default(), 1_790_000_000);
/// assert!(!appraisal.accepted);
/// assert!(appraisal.refusals.iter().any(|r| r.claim == "policy.snp"));
/// # Ok::<(), blindsmith_appraisal::Unusable>(())
/// ```
pub fn appraise(evidence: &Evidence, collateral: &Collateral, policy: &Policy, at: u64) -> Appraisal {
    let mut findings = Findings::default();
    let claims = match evidence {
        Evidence::Quote(quote) => intel::appraise(quote, collateral, policy, at, &mut findings),
        Evidence::Report(report) => snp::appraise(report, collateral, policy, at, &mut findings),
        Evidence::Paravisor => {
            findings.add(
                "evidence.kind",
                "a report or quote whose report data the workload chose",
                "evidence of Azure's paravisor (HCL, behind a virtual TPM)",
                "its report data binds a key of the virtual TPM, not the workload: use a guest without paravisor",
            );
            Claims { tee: "azure-vtpm", ..Claims::default() }
        }
        Evidence::Simulated(report) => {
            findings.require(
                policy.accept_simulated,
                "evidence.kind",
                "hardware evidence",
                "a simulated environment, which nothing protects from whoever runs it",
                "to accept that for tests, say so by name: --accept-simulated, or accept_simulated = true in the policy",
            );
            Claims {
                tee: "simulated",
                tcb_status: None,
                measurement: Some(hex::encode(report.measurement)),
                report_data: Some(hex::encode(report.data)),
                verified: policy.accept_simulated,
            }
        }
    };
    let Claims { tee, tcb_status, measurement, report_data, verified } = claims;
    if !verified && findings.refusals.is_empty() {
        findings.add(
            "evidence.verification",
            "evidence whose signatures were verified",
            "evidence of which no check failed, but not all were made",
            "do not trust it, and report this as a defect of the appraisal",
        );
    }
    let refusals = findings.refusals;
    Appraisal { accepted: refusals.is_empty(), tee, tcb_status, measurement, report_data, refusals }
}

/// What evidence says of itself.
#[derive(Default)]
struct Claims {
    tee: &'static str,
    tcb_status: Option<String>,
    measurement: Option<String>,
    report_data: Option<String>,
    /// Whether the signatures were verified up to a root, or simulation is accepted: refusing nothing is not enough.
    verified: bool,
}

/// The checks that failed so far.
#[derive(Default)]
struct Findings {
    refusals: Vec<Refusal>,
}

impl Findings {
    fn add(&mut self, claim: &str, expected: impl Display, found: impl Display, advice: impl Display) {
        self.refusals.push(Refusal {
            claim: claim.into(),
            expected: expected.to_string(),
            found: found.to_string(),
            advice: advice.to_string(),
        });
    }

    fn require(
        &mut self,
        passed: bool,
        claim: &str,
        expected: impl Display,
        found: impl Display,
        advice: impl Display,
    ) {
        if !passed {
            self.add(claim, expected, found, advice);
        }
    }
}
