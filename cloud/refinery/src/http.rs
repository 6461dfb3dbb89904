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
#[cfg(feature = "tls")]
mod tls;
mod uploads;
#[cfg(not(feature = "tls"))]
mod without_tls;

pub use listen::{HttpServer, ListenError};
