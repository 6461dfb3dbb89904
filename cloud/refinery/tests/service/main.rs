//! The refinery by itself: its store, its engine, its program.

mod config;
mod engine;
mod http;
mod program;
mod project;
mod store;
