//! The refinery: stores ciphertexts, multiplies encrypted matrices for the warden, decides when a round
//! starts. It holds no secret, and cannot reach the crate that does.

mod clock;
pub mod config;
mod engine;
mod http;
mod link;
mod listen;
mod local;
mod refusal;
mod requests;
mod scheduler;
mod state;
pub mod store;

pub use blindsmith_project::Verdict;
pub use engine::{Blocks, Engine, EngineError, Factors, Multiplied, Operands, StoredRows, UploadFiles};
pub use http::{HttpServer, ListenError};
pub use listen::{Addresses, serve};
pub use state::Shared;
pub use store::{Places, Standing, Store, StoreError};
