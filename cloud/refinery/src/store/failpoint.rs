//! Failures on purpose, for tests: a program built for development dies or is told that the disk is full
//! at the place that an environment variable names. In a release nothing of it is left.
//!
//! `BLINDSMITH_FAILPOINT=NAME[:N][:abort|error|torn]` acts at the Nth passage (1 unless told) of that place:
//! the process ends, the operation gets what a full disk answers, or half of what is being written is written
//! and the process ends. `BLINDSMITH_FAILPOINT_LOG=FILE` writes down every passage instead, so that a test
//! can go through all of them.

use std::fs::File;
use std::io;

/// A place where the operation may be told that it failed: nothing that counts has happened yet.
pub(super) fn refusable(name: &'static str) -> io::Result<()> {
    active::passed(name, true)
}

/// A place where it is too late to refuse: only the end of the process is tried.
pub(super) fn passed(name: &'static str) {
    _ = active::passed(name, false);
}

/// Writes at the file's position, or only half of it.
pub(super) fn write(name: &'static str, file: &mut File, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    active::torn(name, |half| {
        _ = file.write_all(&bytes[..bytes.len() / 2]);
        if half { file.sync_all() } else { Ok(()) }
    })?;
    file.write_all(bytes)
}

#[cfg(debug_assertions)]
mod active {
    use std::collections::HashMap;
    use std::io::{self, Write};
    use std::sync::{Mutex, OnceLock};

    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Abort,
        Error,
        Torn,
    }

    struct Plan {
        name: String,
        at: u64,
        action: Action,
    }

    /// None where the variable is not set or not understood.
    fn plan() -> Option<&'static Plan> {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let read = || {
            let value = std::env::var("BLINDSMITH_FAILPOINT").ok()?;
            let mut parts = value.split(':');
            let mut plan = Plan { name: parts.next()?.to_owned(), at: 1, action: Action::Abort };
            for part in parts {
                match part {
                    "abort" => plan.action = Action::Abort,
                    "error" => plan.action = Action::Error,
                    "torn" => plan.action = Action::Torn,
                    number => plan.at = number.parse().ok()?,
                }
            }
            Some(plan)
        };
        PLAN.get_or_init(read).as_ref()
    }

    /// Whether this passage is the one that the plan names.
    fn due(name: &'static str, refusable: bool) -> Option<Action> {
        static PASSAGES: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);
        if let Some(path) = std::env::var_os("BLINDSMITH_FAILPOINT_LOG")
            && let Ok(mut log) = std::fs::File::options().append(true).create(true).open(path)
        {
            _ = writeln!(log, "{name} {}", if refusable { "refusable" } else { "final" });
        }
        let plan = plan().filter(|p| p.name == name)?;
        let mut passages = PASSAGES.lock().unwrap_or_else(|e| e.into_inner());
        let count = passages.get_or_insert_default().entry(name).or_default();
        *count += 1;
        (*count == plan.at).then_some(plan.action)
    }

    pub(super) fn passed(name: &'static str, refusable: bool) -> io::Result<()> {
        match due(name, refusable) {
            None => Ok(()),
            Some(Action::Error) if refusable => Err(io::ErrorKind::StorageFull.into()),
            Some(Action::Error) => Ok(()),
            Some(Action::Abort | Action::Torn) => std::process::abort(),
        }
    }

    pub(super) fn torn(name: &'static str, half: impl FnOnce(bool) -> io::Result<()>) -> io::Result<()> {
        match due(name, true) {
            None => Ok(()),
            Some(Action::Abort) => std::process::abort(),
            Some(action) => {
                half(action == Action::Torn)?;
                if action == Action::Torn {
                    std::process::abort();
                }
                Err(io::ErrorKind::StorageFull.into())
            }
        }
    }
}

#[cfg(not(debug_assertions))]
mod active {
    use std::io;

    #[inline(always)]
    pub(super) fn passed(_name: &'static str, _refusable: bool) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(super) fn torn(_name: &'static str, _half: impl FnOnce(bool) -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }
}
