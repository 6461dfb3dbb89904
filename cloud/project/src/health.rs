//! Whether rounds of a project succeed.

use crate::retry::{Now, Retry};

/// How the last work for a project ended. Each state but the first has a message for clients; None once a client
/// asked for another round, whose end will say more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Health {
    /// Nothing is wrong.
    #[default]
    Well,
    /// Something else than a round failed: an upload could not be read, a rollback was refused. Rounds go on.
    Notice(String),
    /// A round failed because something at the refinery was in the way; it is tried again by itself.
    Retrying {
        /// The message.
        why: Option<String>,
        /// When.
        retry: Retry,
    },
    /// A round failed. No other one starts by itself before there are more uploads.
    Failed {
        /// The message.
        why: Option<String>,
        /// How many uploads there were.
        uploads: usize,
    },
}

impl Health {
    /// The message for clients.
    pub fn why(&self) -> Option<&str> {
        match self {
            Health::Well => None,
            Health::Notice(why) => Some(why),
            Health::Retrying { why, .. } | Health::Failed { why, .. } => why.as_deref(),
        }
    }

    /// Whether the last round failed.
    pub fn failed(&self) -> bool {
        matches!(self, Health::Retrying { .. } | Health::Failed { .. })
    }

    /// Whether it is too early to try again what failed.
    pub fn waits(&self, now: Now) -> bool {
        matches!(self, Health::Retrying { retry, .. } if retry.waits(now))
    }

    /// When the round is tried again that failed last.
    pub fn retry(&self) -> Option<Retry> {
        match self {
            Health::Retrying { retry, .. } => Some(*retry),
            _ => None,
        }
    }

    /// Something else than a round failed.
    pub fn note(&mut self, message: String) {
        match self {
            Health::Well | Health::Notice(_) => *self = Health::Notice(message),
            Health::Retrying { why, .. } | Health::Failed { why, .. } => *why = Some(message),
        }
    }

    /// What was wrong is known, and something is done about it.
    pub fn acknowledge(&mut self) {
        match self {
            Health::Well | Health::Notice(_) => *self = Health::Well,
            Health::Retrying { why, .. } | Health::Failed { why, .. } => *why = None,
        }
    }

    /// A notice was about the warden that is gone.
    pub fn drop_notice(&mut self) {
        if matches!(self, Health::Notice(_)) {
            *self = Health::Well;
        }
    }

    /// What was in the way is not any more.
    pub fn drop_retry(&mut self) {
        if matches!(self, Health::Retrying { .. }) {
            *self = Health::Well;
        }
    }
}
