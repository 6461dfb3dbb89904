//! What the refinery's HTTP service and its clients share: how requests are signed, which routes there are, what they
//! answer, and limits. `docs/service.md` has it in words.

#![forbid(unsafe_code)]

mod answer;
pub mod message;
mod openapi;
mod route;
mod signature;
mod withdrawal;

pub use answer::{
    Accepted, ContributorUploads, Created, Health, Offset, Problem, ProjectEntry, ProjectState, Projects,
    Ready, Refine, Session, StoreParts, UploadEntry, Uploads, decision_word, json_of,
};
pub use openapi::openapi;
pub use route::{Access, Method, ROUTES, Route};
pub use signature::{
    EMPTY_QUERY, Parameters, Request, SignatureError, Signed, SignedHeaders, TAG, authority, content_digest,
    parse_content_digest, sign,
};
pub use withdrawal::{Withdrawal, open_withdrawal, sign_withdrawal};

/// Largest chunk of an upload or query, in bytes, that any refinery takes.
pub const MAX_CHUNK: usize = 8 << 20;
/// Longest sealed release, in bytes.
pub const MAX_RELEASE: usize = 1 << 20;
/// Longest header of an upload or query with its sealed seed, in bytes of CBOR.
pub const MAX_HEADER: usize = 128 << 10;
/// Longest other body, in bytes.
pub const MAX_SMALL: usize = 4 << 10;
/// The media type of structures that are CBOR.
pub const CBOR: &str = "application/cbor";
/// The media type of what somebody signed.
pub const COSE: &str = "application/cose";
/// The media type of sealed bytes.
pub const BYTES: &str = "application/octet-stream";
/// The header of an answer that names a model's version.
pub const VERSION_HEADER: &str = "blindsmith-version";
