//! Evidence: what a warden claims of itself, and a report in which hardware vouches for it (RFC 9334).
//!
//! A report holds 64 bytes that the attested program chose, the *report data*. [`report_data`] makes them from the
//! warden's [`Claims`], so that a report that verifies vouches for the claims that come beside it, the warden's fresh
//! public key among them. [`Attester`]s fetch reports: from Linux ([`Tsm`], for TDX and SEV-SNP), from Gramine
//! ([`Gramine`], for SGX), or from nobody ([`Simulated`]). A relying party asks by a [`Challenge`], which checks that the
//! answer is one to it. Nothing here verifies reports of hardware: what did that says so by an [`Appraisal`].

#![deny(unsafe_code)]

mod appraisal;
mod attester;
mod challenge;
mod claims;
mod firmware;
mod gramine;
mod question;
mod simulated;
mod tsm;

pub use appraisal::{Appraisal, Refusal, Refused};
pub use attester::{AttestError, Attester, MAX_REPORT, Report, measurement};
pub use challenge::{Answered, Appraised, Challenge, LIFETIME};
pub use claims::{Claims, ClaimsError, MAX_CLAIMS, Tee, report_data};
pub use firmware::{Firmware, KeyRequest, SevGuest, sealing_secret};
pub use gramine::{Devices, DevicesAt, Gramine};
pub use question::{Finding, Given, Question, hear, tell};
pub use simulated::{SIMULATED_DOMAIN, SIMULATED_MAGIC, Simulated};
pub use tsm::{Configfs, Kernel, REPORTS, Tsm};
