//! Memory shared between a warden and a refinery on one machine, for bulk data: residues are written where
//! the other side reads them, and messages name offsets.
//!
//! Two regions, one for each direction. The writer of a region decides what lies where; a reader that
//! distrusts the writer copies first and checks the copy ([`Region::read`]). The memory can be neither
//! shrunk nor grown once sealed, so no access faults (memfd_create(2), fcntl(2) F_ADD_SEALS).
//!
//! This is the one place outside the vector backends that needs `unsafe`: mapping memory, and slices of it.

mod arena;
mod descriptors;
mod region;

pub use arena::{Arena, Range};
pub use descriptors::{receive, send};
pub use region::{Region, SharedError};
