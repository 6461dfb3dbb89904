//! The warden beside refineries that it cannot trust: what they send, and what becomes of it.

mod commands;
mod compared;
mod garbage;
mod hand_over;
mod local;
mod members;
mod naive;
mod owner;
mod passes;
mod play;
mod products;
mod program;
mod refinery;
mod rounds;
mod stock;
mod training;
mod upload;
