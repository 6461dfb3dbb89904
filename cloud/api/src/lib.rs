//! What the refinery's HTTP service and its clients share: how requests are signed, which routes there are, what they
//! answer, and limits. `docs/service.md` has it in words.

#![forbid(unsafe_code)]

mod answer;
mod limits;
mod media;
pub mod message;
mod openapi;
mod route;
mod signature;
mod status;
mod withdrawal;

pub use answer::{
    Accepted, ContributorUploads, Created, Health, Offset, Problem, ProjectEntry, ProjectState, Projects,
    Ready, Refine, Session, StoreParts, UploadEntry, Uploads, decision_word, json_of,
};
pub use limits::{MAX_CHUNK, MAX_HEADER, MAX_RELEASE, MAX_SMALL};
pub use media::{BYTES, CBOR, COSE, VERSION_HEADER};
pub use openapi::openapi;
pub use route::{Access, Method, ROUTES, Route};
pub use signature::{
    EMPTY_QUERY, Parameters, Request, SignatureError, Signed, SignedHeaders, TAG, authority, content_digest,
    parse_content_digest, sign,
};
pub use withdrawal::{Withdrawal, open_withdrawal, sign_withdrawal};
