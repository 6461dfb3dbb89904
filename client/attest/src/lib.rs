//! Appraisal of a warden's evidence (the roles and words are those of RFC 9334). Only its result, [`Appraised`], lets a
//! client seal secrets to a warden.
//!
//! A relying party makes a [`Session`], whose nonce is used once, has a warden asked by it, and appraises the evidence
//! that comes back: the claims must answer this session, the report must vouch for the claims, and [`appraisal`] judges
//! the report by the policy. Evidence of a simulated warden proves nothing: it is refused unless the policy accepts
//! simulation by name.
//!
//! What a warden attests later, round by round, [`chain`] verifies.

#![forbid(unsafe_code)]

pub mod appraisal;
pub mod chain;
mod session;

pub use session::{Appraised, AppraisedPolicy, LIFETIME, Refused, Session};
