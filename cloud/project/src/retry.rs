//! The time, and when something is tried again. All times are the caller's.

use std::time::Duration;

/// How long after something failed it is tried again, at first.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Seconds since 1970, UTC.
    pub unix: u64,
    /// Time since some moment, on a clock that nobody sets.
    pub steady: Duration,
}

/// When something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    at: Duration,
    wait: Duration,
}

impl Retry {
    /// After a while, each time after twice as long.
    pub fn after(before: Option<Retry>, now: Now) -> Self {
        let wait = before.map_or(FIRST_WAIT, |retry| (2 * retry.wait).min(LONGEST_WAIT));
        Retry { at: now.steady + wait, wait }
    }

    /// Whether it is too early.
    pub fn waits(&self, now: Now) -> bool {
        self.at > now.steady
    }
}
