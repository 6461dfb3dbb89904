//! What clients and wardens seal to each other and both have to read: the release, models, labels, metrics and decisions of
//! rounds, and what seals and uploads are bound to. What the refinery reads is in `blindsmith-protocol`, what is signed in
//! `blindsmith-identity` and `blindsmith-receipts`. The formats in words: `docs/protocol.md`, `docs/release.md`.

#![forbid(unsafe_code)]

mod codec;
mod decision;
mod labels;
mod metrics;
mod model;
mod release;
mod size;
mod upload;

pub use codec::Reader;
pub use decision::{VALUES, WORSE, decision_bytes};
pub use labels::{Label, label_bytes, read_labels, write_labels};
pub use metrics::{ContributorMetrics, MAX_FAILURE, RoundMetrics};
pub use model::{ModelError, decode_model, encode_model};
pub use release::{
    REFUSED, Release, ReleaseFormatError, enrolment_info, metrics_key, model_context, query_info,
    recipe_commitment, recipe_opening, session_info,
};
pub use size::check_size;
pub use upload::upload_context;
