//! What is kept: records in a database, contents as blobs beside it, so that a crash at any moment leaves
//! either the old state or the new one. `docs/store.md` has it in words for those who run one.
//!
//! | path | what |
//! |---|---|
//! | `refinery.db` | the records, unless they are in PostgreSQL |
//! | `blobs/ab/abcd...` | contents under their BLAKE3, unless they are in an object store |
//! | `cache/` | local copies of blobs in an object store |
//! | `incoming/` | uploads under way, and what resumable ones have sent |
//! | `lock` | held by the refinery that serves the store |
//! | `blobs.lock` | held by who adds blobs, shared, and alone by who removes some |
//!
//! A change writes its blobs first and durably, then commits the records that refer to them: an upload, a
//! round, a project is there when its record is. Blobs that nothing refers to are what a crash leaves;
//! [`Store::gc`] removes them.

mod backup;
mod blobs;
mod columns;
mod database;
mod directory;
mod environment;
mod error;
mod failpoint;
mod files;
mod fsck;
mod handle;
mod incoming;
mod jobs;
mod members;
mod metadata;
mod named;
mod objects;
mod partial_id;
mod partials;
mod patience;
mod places;
mod projects;
#[cfg(feature = "objects")]
mod providers;
mod reach;
mod remote;
mod rounds;
mod runtime;
mod schema;
mod uploads;
#[cfg(not(feature = "objects"))]
mod without_providers;
mod writer;

pub use backup::Backup;
pub use error::StoreError;
pub use fsck::{Collection, Findings};
pub use handle::Store;
pub(crate) use incoming::most_bytes;
pub use incoming::{Extent, Incoming};
pub use jobs::{JobName, Lease, QueuedJob, ROUND_JOB};
pub use partial_id::PartialId;
pub use partials::Partial;
pub use places::{CACHE_BYTES, Places};
pub use projects::StoredProject;
pub use reach::Standing;
pub use uploads::{StoredUpload, UploadState};
