//! The warden beside refineries that it cannot trust: what they send, and what becomes of it.

mod commands;
mod garbage;
mod hand_over;
mod members;
mod owner;
mod products;
mod program;
mod refinery;
