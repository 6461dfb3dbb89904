//! A project's state machine, for the refinery: events in, effects out. It does no I/O and reads no clock.
//!
//! [`Project`] is the machine, [`Event`] what happens to it, [`Effect`] what the refinery does about it.

#![forbid(unsafe_code)]

mod checks;
mod effect;
mod event;
#[cfg(test)]
mod fixtures;
mod health;
mod orders;
mod part;
mod project;
mod queue;
mod ranges;
mod refusal;
mod retry;
mod rollback;
mod rounds;
mod trigger;
mod upload;
mod warden;

pub use checks::Stock;
pub use effect::{Effect, Round, Task};
pub use event::{Event, Failure};
pub use part::UploadsPart;
pub use project::{Membership, PastRound, Project};
pub use queue::MOST_ATTEMPTS;
pub use ranges::add_round;
pub use refusal::Refusal;
pub use retry::Now;
pub use upload::{Upload, Verdict};
