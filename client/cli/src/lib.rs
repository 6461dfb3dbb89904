//! `blindsmith`, the command line: what owners, contributors and queriers run.

pub mod commands;
mod connection;
pub mod era;
mod failure;
mod http;
mod project;
mod pushed;
mod rows;
mod scales;
mod services;
mod standing;
mod trust;
mod unfinished;
mod upload;

pub use connection::Connection;
pub use failure::Failure;
pub use project::{ClientProject, Keys, Labelling, Task};
pub use services::Services;
pub use unfinished::Unfinished;
pub use upload::{Answer, Sender, Sent, ask, send};
