//! Who is who: Ed25519 keys (RFC 8032), messages signed by them (COSE_Sign1, RFC 9052), what owners order and what
//! contributors accept. Everything here is public, but for [`SigningKey`].

#![forbid(unsafe_code)]

mod contributor;
mod envelope;
mod key;
mod order;
mod session;
mod terms;

pub use contributor::{Enrolment, Inquiry, open_enrolment, open_inquiry, sign_enrolment, sign_inquiry};
pub use envelope::{Kind, MAX_SIGNED, SignedError, open, sign, signed_digest};
pub use key::{PublicKey, SigningKey};
pub use order::{
    Action, Approval, MAX_APPROVAL_POLICY, MAX_MEMBERS, Member, MemberRole, Order, Quota, Roster,
    RosterError, open_order, order_digest, sign_order,
};
pub use session::{
    AttestRequest, Confirmed, Purpose, SignedRelease, open_confirmed, open_release, open_request,
    sign_confirmed, sign_release, sign_request,
};
pub use terms::{MAX_TERMS_POLICY, Origin, Terms, TermsError};
