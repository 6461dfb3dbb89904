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
mod fit;
mod hand_over;
mod keep;
mod members;
mod model;
mod opening;
mod operands;
mod orders;
mod project;
mod query;
mod remote;
mod round;
mod serving;
mod session;
mod sessions;
mod standing;
mod transport;

pub use accelerator::{Encrypted, ProductError, RowKeys, Spoiled};
pub use admission::{
    AdmissionError, AdmissionKeys, Reading, admit, column_scalars, era_scalars, input_scalars,
};
pub use appraiser::Appraiser;
pub use blindsmith_evidence::Tee;
pub use cloud::{Bytes, Cloud, CloudError, Copier, ProductRequest, Sink, Ticket};
pub use counters::{Asked, Counter, Counters, FileCounters, MemoryCounters};
pub use keep::replace_file;
pub use project::{Project, ProjectError};
pub use remote::Remote;
pub use round::open_projections;
pub use serving::Projects;
pub use session::{Identity, serve};
