//! What a client does with a warden's evidence: appraise it ([`appraisal`]), before it releases secrets, and verify what the
//! warden attests later, round by round ([`chain`]).

#![forbid(unsafe_code)]

pub mod chain;
mod explain;

pub use blindsmith_appraisal as appraisal;
pub use blindsmith_appraisal::{Appraised, AppraisedPolicy, LIFETIME, Refused, Session};
pub use explain::explain;
