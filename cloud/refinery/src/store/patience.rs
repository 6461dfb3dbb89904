//! How long a store waits for whoever has it to end.

use std::time::Duration;

/// The longest wait for whoever has the store to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked whether it did.
pub(super) const RETRY: Duration = Duration::from_millis(20);
