//! The warden: holds a project's secrets, trains with the refinery as its accelerator and its disk.
//!
//! The training loop is ordinary code (`blindsmith-learn`); [`Encrypted`] makes its matrix products
//! encrypted ones, and [`Cloud`] is whoever multiplies: the refinery over a socket, or an engine in the same
//! process.

mod accelerator;
mod admission;
mod appraiser;
mod challenges;
mod cloud;
mod counters;
mod course;
mod decide;
mod error;
mod fit;
mod hand_over;
mod identity;
mod keep;
mod lock;
mod members;
mod model;
mod operands;
mod orders;
mod preparation;
mod project;
mod projections;
mod query;
mod reading;
mod record;
mod remote;
mod round;
mod serving;
mod session;
mod sessions;
mod standing;
mod state;
mod transport;
mod uploads;
mod verdict;

pub use accelerator::{ColumnOwner, Encrypted, ProductError, Round, RowKeys, Spoiled};
pub use appraiser::Appraiser;
pub use blindsmith_evidence::Tee;
pub use cloud::{Bytes, Cloud, CloudError, Copier, ProductRequest, Sink, Ticket};
pub use counters::{Asked, Counter, Counters, FileCounters, MemoryCounters};
pub use identity::Identity;
pub use keep::replace_file;
pub use projections::{AdmissionKeys, column_scalars, era_scalars, input_scalars};
pub use reading::{AdmissionError, Reading, admit};
pub use serving::Projects;
pub use session::serve;
pub use uploads::open_projections;
