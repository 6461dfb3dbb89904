//! Locks that a panic elsewhere does not poison.

use std::sync::{Mutex, MutexGuard};

/// What a mutex guards, alone.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere ends the session; nothing half-written is used after it.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
