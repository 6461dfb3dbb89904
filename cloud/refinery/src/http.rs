//! The HTTP service: signed requests, bounded in number, size and time. `docs/service.md` has it in words.

mod answer;
mod events;
mod gate;
mod health;
mod listen;
mod metrics;
mod nonces;
mod page;
mod problem;
mod projects;
mod query;
mod rate;
mod routes;
mod service;
mod shares;
mod uploads;

pub use listen::{HttpServer, ListenError};
