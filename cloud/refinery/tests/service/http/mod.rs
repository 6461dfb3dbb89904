//! The HTTP service: whom it lets in, what it stores, when it refuses. A refusal changes nothing.

mod bounds;
mod members;
mod requests;
mod service;
mod uploads;
