//! Whether whoever waits for an operation still wants it: asked again and again while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;

/// How often it is asked while nothing else happens.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// What is asked whether an operation is to end. The default never ends one.
#[derive(Clone, Default)]
pub struct Interrupter(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Interrupter {
    /// One that ends an operation as soon as `wanted` says so; it is asked about ten times a second, in the thread of the
    /// operation.
    pub fn new(wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Interrupter(Some(Arc::new(wanted)))
    }

    /// Whether it may ever end one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the operation is to end.
    pub fn is_interrupted(&self) -> bool {
        self.0.as_ref().is_some_and(|wanted| wanted())
    }

    /// Goes on, or not.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] if the operation is to end.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_interrupted() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Waits for so long.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn sleep(&self, mut time: Duration) -> Result<(), Failure> {
        while !time.is_zero() {
            self.check()?;
            let step = if self.is_set() { time.min(PERIOD) } else { time };
            std::thread::sleep(step);
            time -= step;
        }
        Ok(())
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interrupter({})", if self.is_set() { "set" } else { "never" })
    }
}
