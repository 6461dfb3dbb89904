//! What a client does with a warden's evidence: appraise it ([`appraisal`]), before it releases secrets, and verify what the
//! warden attests later, round by round ([`chain`]). Reference values of a release become policies ([`Reference`]).

#![forbid(unsafe_code)]

pub mod chain;
mod explain;
mod opening;
mod reference;

pub use blindsmith_appraisal as appraisal;
pub use blindsmith_appraisal::{Appraised, AppraisedPolicy, LIFETIME, Refused, Session, confirmed};
pub use explain::explain;
pub use opening::{MAX_MEASUREMENT, MAX_TEE, SEALED_DECISION, open_fault, open_receipt};
pub use reference::{MAX_REFERENCE, Reference, ReferenceError};
