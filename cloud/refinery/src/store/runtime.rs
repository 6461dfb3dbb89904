//! Threads for the database and for object stores, whose clients are asynchronous; the store is not.

use std::path::Path;

use super::error::{StoreError, io_error};

/// Runs futures to their end. Must not be used from an asynchronous task: a blocking thread of one is fine.
#[derive(Debug)]
pub(super) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(super) fn new(root: &Path) -> Result<Self, StoreError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let made = builder.worker_threads(2).thread_name("store").enable_all().build();
        Ok(Runtime(Some(made.map_err(io_error(root))?)))
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        // It is there until it is dropped.
        self.0.as_ref().expect("a runtime that runs").block_on(future)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // To wait for its threads is not allowed everywhere, and there is nothing to wait for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
