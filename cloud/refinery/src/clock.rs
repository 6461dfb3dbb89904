//! The one place where time is read for decisions.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use blindsmith_project::Now;

/// The time.
pub(crate) fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Now { unix: unix(), steady: START.elapsed() }
}

/// Seconds since 1970.
pub(crate) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
