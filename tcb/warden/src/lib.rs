//! The warden: holds a project's secrets, trains with the refinery as its accelerator and its disk.
//!
//! The training loop is ordinary code (`blindsmith-learn`); [`Encrypted`] makes its matrix products
//! encrypted ones, and [`Cloud`] is whoever multiplies: the refinery over a socket, or an engine in the same
//! process.

mod accelerator;
mod admission;
mod appraiser;
mod cloud;
mod counters;
mod course;
mod decide;
mod decision;
mod fit;
mod hand_over;
mod keep;
mod labels;
mod members;
mod metrics;
mod model;
mod opening;
mod operands;
mod orders;
mod project;
mod query;
mod release;
mod remote;
mod round;
mod serving;
mod session;
mod sessions;
mod standing;
mod transport;

pub use accelerator::{Encrypted, ProductError, RowKeys, Spoiled};
pub use admission::{
    AdmissionError, AdmissionKeys, Reading, admit, column_scalars, era_scalars, input_scalars, upload_context,
};
pub use appraiser::Appraiser;
pub use blindsmith_evidence::Tee;
pub use cloud::{Bytes, Cloud, CloudError, Copier, ProductRequest, Sink, Ticket};
pub use counters::{Asked, Counter, Counters, FileCounters, MemoryCounters};
pub use decision::{WORSE, decision_bytes};
pub use fit::check_size;
pub use keep::replace_file;
pub use labels::{Label, label_bytes, read_labels, write_labels};
pub use members::enrolment_info;
pub use metrics::{ContributorMetrics, MAX_FAILURE, RoundMetrics};
pub use model::{ModelError, decode_model, encode_model};
pub use project::{Project, ProjectError};
pub use query::REFUSED;
pub use release::{
    Release, ReleaseFormatError, metrics_key, model_context, query_info, recipe_commitment, recipe_opening,
    session_info,
};
pub use remote::Remote;
pub use round::{VALUES, open_projections};
pub use serving::Projects;
pub use session::{Identity, serve};
