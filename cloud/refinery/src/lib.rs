//! The refinery: stores ciphertexts, multiplies encrypted matrices for the warden, decides when a round
//! starts. It holds no secret, and cannot reach the crate that does.

pub mod config;
mod engine;
mod http;
mod link;
mod operations;
mod server;
mod shared;
pub mod store;

pub use engine::{Blocks, Engine, EngineError, Factors, Multiplied, Operands, StoredRows, UploadFiles};
pub use http::{HttpServer, ListenError};
pub use server::{Addresses, serve};
pub use shared::Shared;
pub use store::{Places, Standing, Store, StoreError, Verdict};
