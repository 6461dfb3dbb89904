//! The HTTP service: whom it lets in, what it stores, when it refuses. A refusal changes nothing.

mod bounds;
pub mod members;
mod requests;
pub mod service;
mod uploads;
