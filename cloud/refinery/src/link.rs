//! The link to the warden: connections, frames, commands, and the instructions that the warden gives during one.

mod admission;
mod collateral;
pub(crate) mod connection;
pub(crate) mod error;
mod hand_over;
mod instructions;
mod log;
mod memory;
mod released;
mod restore;
mod rollback;
mod rounds;
pub(crate) mod serve;
mod session;
mod waiting;
