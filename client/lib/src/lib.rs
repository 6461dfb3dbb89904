//! The client library of Blindsmith: what owners, contributors and queriers do, for programs that do it for them.
//!
//! It parses no arguments, prints nothing and ends no process. A project is a directory with keys and settings;
//! [`Workspace::open`] opens it and connects to its refinery, and operations are methods of [`Workspace`]. A new project
//! begins with [`NewProject`].

pub mod card;
pub mod cells;
pub mod collateral;
mod connection;
pub mod create;
pub mod era;
pub mod export;
pub mod failure;
pub mod figures;
pub mod files;
mod http;
mod ids;
mod interrupter;
mod keys;
pub mod layout;
pub mod members;
pub mod models;
pub mod onnx;
pub mod orders;
pub mod pace;
pub mod policy;
pub mod predictions;
pub mod project;
pub mod push;
mod pushed;
pub mod receipts;
pub mod report;
pub mod rows;
pub mod scales;
pub mod spec;
mod standing;
mod terms;
#[cfg(feature = "https")]
mod tls;
pub mod training;
pub mod trust;
mod unfinished;
pub mod upload;
#[cfg(not(feature = "https"))]
mod without_tls;
mod workspace;

pub use connection::Connection;
pub use create::NewProject;
pub use failure::Failure;
pub use ids::Prefix;
pub use interrupter::Interrupter;
pub use keys::Keys;
pub use orders::GivenOrder;
pub use project::{ClientProject, Labelling, Task};
pub use unfinished::Unfinished;
pub use upload::{Answer, Sender, Sent, ask, send};
pub use workspace::{Workspace, warden_of};
