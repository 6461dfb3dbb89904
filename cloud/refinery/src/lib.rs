//! The refinery: stores ciphertexts, multiplies encrypted matrices for the warden, decides when a round
//! starts. It holds no secret, and cannot reach the crate that does.

mod engine;
pub mod http {
    //! What the refinery serves over HTTP.

    pub mod page;
}
mod link;
mod server;
mod shared;
mod store;

pub use engine::{Blocks, Engine, EngineError, UploadFiles};
pub use server::{Addresses, serve};
pub use shared::Shared;
pub use store::{Store, StoreError, Verdict};
