//! How threads and tasks learn that something changed.

use std::sync::{Condvar, LockResult, MutexGuard, WaitTimeoutResult};
use std::time::Duration;

/// Tells that something changed: threads that hold the lock and wait, and tasks that must not.
pub(crate) struct Changed {
    threads: Condvar,
    tasks: tokio::sync::watch::Sender<()>,
}

impl Default for Changed {
    fn default() -> Self {
        Changed { threads: Condvar::new(), tasks: tokio::sync::watch::Sender::new(()) }
    }
}

impl Changed {
    pub fn notify_all(&self) {
        self.threads.notify_all();
        self.tasks.send_replace(());
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.threads.wait(guard)
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        longest: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.threads.wait_timeout(guard, longest)
    }

    /// For a task: marked as changed with each later change.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<()> {
        self.tasks.subscribe()
    }
}
