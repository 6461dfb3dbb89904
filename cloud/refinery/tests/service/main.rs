//! The refinery by itself: its store, its engine, its program.

mod crash;
mod engine;
mod kept;
mod places;
mod program;
mod project;
mod store;
