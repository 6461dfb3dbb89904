//! How much core time checking takes: measured where it is spent, and reported with each round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

static NANOS: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds of core time that this process has spent on projections, scalars and checks so far.
pub fn check_nanos() -> u64 {
    NANOS.load(Ordering::Relaxed)
}

/// Counts what `work` takes on this thread as checking.
pub fn metered<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    NANOS.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    done
}
