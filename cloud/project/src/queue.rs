//! The rounds of a project that are to run.

use std::collections::VecDeque;

use blindsmith_protocol::Progress;

use crate::effect::Round;

/// Times that a round is given to a warden that is lost in it.
pub const MOST_ATTEMPTS: u32 = 5;
/// Most rounds of a project that were asked for, or started by themselves, and are not finished.
pub(crate) const MOST_ROUNDS: u32 = 8;

/// Rounds that are not finished.
#[derive(Debug, Default)]
pub(crate) struct RoundQueue {
    /// Those to come, the next one first.
    pub waiting: VecDeque<Round>,
    /// The one that the warden runs.
    pub running: Option<Round>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Rounds whose jobs are about to be stored.
    pub reserved: u32,
}

impl RoundQueue {
    /// How many there are.
    pub fn unfinished(&self) -> u32 {
        self.waiting.len() as u32 + u32::from(self.running.is_some()) + self.reserved
    }

    /// The running one is over.
    pub fn end(&mut self) -> Option<Round> {
        self.progress = None;
        self.running.take()
    }
}
