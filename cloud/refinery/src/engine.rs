//! The accelerator: keeps the operands of a session, and multiplies. The link to the warden uses it; it trusts no
//! number that the warden sends.

mod buffer;
mod cache;
mod error;
mod operands;
mod product;
mod session;
mod stored;
mod sum;

pub use error::EngineError;
pub use operands::Operands;
pub use session::{Engine, Factors, Multiplied, ROW_BYTES};
pub use stored::{Blocks, StoredRows, UploadFiles};
