//! The refinery by itself: its store, its engine, its program.

mod engine;
mod program;
mod project;
mod store;
