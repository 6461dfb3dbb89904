//! Memory: not swapped out, not dumped.

use std::fmt;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::{MemoryLock, SandboxError, system};

/// Whether memory is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// It is not swapped out.
    Locked,
    /// It may be, because nobody asked for more.
    NotAsked,
    /// It may be, because the limits do not allow more.
    Refused(String),
    /// It may be, and there is no more than so many bytes of it.
    Limited(u64),
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Memory::Locked => write!(f, "memory locked"),
            Memory::NotAsked => write!(f, "memory NOT locked, as it was told"),
            Memory::Limited(bytes) => write!(f, "at most {} MiB of memory", bytes >> 20),
            Memory::Refused(why) => write!(f, "memory NOT locked: {why}"),
        }
    }
}

/// Locks what is in memory, and what will be.
pub fn keep(lock: MemoryLock) -> Result<Memory, SandboxError> {
    if lock == MemoryLock::Off {
        return Ok(Memory::NotAsked);
    }
    match try_lock() {
        Ok(()) => Ok(Memory::Locked),
        Err(why) if lock == MemoryLock::Try => Ok(Memory::Refused(why)),
        Err(why) => Err(SandboxError::MemoryLock(why)),
    }
}

fn try_lock() -> Result<(), String> {
    // Succeeds with privilege, or where the hard limit is none. Only without a limit: every mapping counts in its full size,
    // used or not, and one beyond the limit fails. A warden would end in the middle of a round.
    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, unlimited).map_err(|e| {
        let kib = getrlimit(Resource::Memlock).maximum.map_or(0, |bytes| bytes >> 10);
        format!("the limit of locked memory is {kib} KiB and cannot be lifted ({e})")
    })?;
    // On fault: a page that was never touched holds no secret, and stacks and arenas are far larger than what is used.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|e| format!("mlockall is refused ({e})"))
}

/// Nothing is mapped beyond so many bytes.
pub fn limit(bytes: u64) -> Result<(), SandboxError> {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit).map_err(system("a limit of memory"))
}

/// No core files, and no reading by other processes of the same user (ptrace, /proc/PID/mem). A process that is not
/// dumpable leaves no core file whatever the limit and the pattern are; both are set, in case one is undone from outside.
pub fn no_dumps() -> Result<(), SandboxError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(system("no core files"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system("not dumpable"))
}
