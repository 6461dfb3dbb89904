//! The refinery by itself: its store, its engine, its program.

mod config;
mod crash;
mod engine;
mod http;
mod kept;
mod outage;
mod places;
mod program;
mod project;
mod s3;
mod store;
mod writer;
