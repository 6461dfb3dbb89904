//! An order to go back to an earlier version, until it is done.

use crate::retry::Retry;

/// An earlier version that is to be the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollback {
    /// The order's number.
    pub order: u64,
    /// The version.
    pub version: u64,
    /// When it is tried again, if something was in the way.
    pub retry: Option<Retry>,
}
