//! What an operation asks and tells while it runs without the interpreter's lock: whether to go on, and how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blindsmith_client::{Failure, Interrupter};
use pyo3::prelude::*;

use crate::errors::exception;

/// Ends an operation from another thread.
#[pyclass(frozen)]
#[derive(Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
}

#[pymethods]
impl Cancel {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Ends the operation within about a tenth of a second.
    fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

/// What is asked and told.
pub struct Pulse {
    interrupter: Interrupter,
    /// An exception of a signal's handler, or of the callback.
    raised: Arc<Mutex<Option<PyErr>>>,
    callback: Option<Py<PyAny>>,
}

impl Pulse {
    /// Signals are handled while the operation runs; `callback(done, of, round)` hears how far it is.
    pub fn new(callback: Option<Py<PyAny>>, cancel: Option<PyRef<'_, Cancel>>) -> Self {
        let raised = Arc::new(Mutex::new(None::<PyErr>));
        let (asked, seen) = (cancel.map(|cancel| cancel.asked.clone()), raised.clone());
        let interrupter = Interrupter::new(move || {
            if asked.as_ref().is_some_and(|asked| asked.load(Ordering::Relaxed)) {
                return true;
            }
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_none() {
                *seen = Python::attach(|py| py.check_signals()).err();
            }
            seen.is_some()
        });
        Pulse { interrupter, raised, callback }
    }

    /// What the operation is ended by.
    pub fn interrupter(&self) -> &Interrupter {
        &self.interrupter
    }

    /// Tells how far the operation is. An exception of the callback ends it.
    pub fn tell(&self, done: u64, of: u64, round: Option<u64>) {
        let Some(callback) = &self.callback else { return };
        if let Err(error) = Python::attach(|py| callback.call1(py, (done, of, round))) {
            self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    /// Runs an operation without the interpreter's lock.
    pub fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> PyResult<T> {
        let done = py.detach(operation);
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (done, raised) {
            (Ok(done), None) => Ok(done),
            // Also where the operation was over already: a signal is for whoever called.
            (_, Some(error)) => Err(error),
            (Err(failure), None) => Err(exception(py, &failure)),
        }
    }
}
