//! What a warden claims of itself, and the evidence for it: quotes and reports of its trusted execution environment.
//!
//! [`Claims`] are encoded in one way; their digest ([`report_data`]) is what the hardware signs. An [`Attester`] has it
//! signed: [`ConfigFsTsm`] for Intel TDX and AMD SEV-SNP, [`Gramine`] for Intel SGX, [`Simulated`] for none of them.
//! [`attest`] puts both together. There is no verifier of hardware signatures here: whoever relies on a warden appraises
//! its evidence, the warden does not.
//!
//! See `docs/evidence.md` for the formats in words.

#![forbid(unsafe_code)]

mod claims;
mod envelope;
mod gramine;
mod place;
mod simulated;
mod tsm;

pub use claims::{
    CLAIMS_VERSION, Claims, ClaimsError, MAX_BUILD, MAX_CLAIMS, REPORT_DATA, Suite, TeeKind, report_data,
};
pub use envelope::{
    AttestError, Attester, Evidence, EvidenceError, MAX_AUXBLOB, MAX_EVIDENCE, MAX_REPORT, Report, attest,
};
pub use gramine::{AttestationFiles, DevAttestation, Gramine};
pub use place::{SNP_REPORT, echoed};
pub use simulated::{SIMULATED_REPORT, Simulated, SimulatedReport};
pub use tsm::{ConfigFs, ConfigFsTsm, Kernel};
