//! Gives up what a warden does not need: files, programs, the network, capabilities, dumps of its memory.
//!
//! [`restrict`] is called before any thread is started and before any secret is in memory; [`seclude`] leaves less, to the
//! process that appraises other wardens for it and has no secrets. What they take stays taken
//! (no_new_privs, capabilities, landlock, seccomp cannot be undone), so a fault in the warden is worth less to who
//! exploits it. It does not hide the warden from whoever runs its machine.
//!
//! See `docs/sandbox.md` for what is allowed, and why.

#![forbid(unsafe_code)]

mod calls;
mod files;
mod memory;
mod rights;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use calls::Whose;
use landlock::PathFd;
use thiserror::Error;

pub use memory::Memory;

/// Where the warden runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// As an ordinary process: a simulated warden.
    Process,
    /// In a TDX or SEV-SNP guest: reports come from the kernel, by configfs-tsm.
    Guest,
    /// In an SGX enclave by Gramine, which has no such interfaces: its system calls are its own, and what the host sees of
    /// them is decided by the manifest.
    Enclave,
}

/// Whether memory is to be locked, so that it is not swapped out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLock {
    /// No.
    Off,
    /// If the limits allow it.
    Try,
    /// Or not start.
    Required,
}

/// What a warden needs.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Its directory, which has to exist: the only place where it writes.
    pub state: &'a Path,
    /// The refinery's socket, which need not be there yet.
    pub refinery: &'a Path,
    /// Where it runs.
    pub environment: Environment,
    /// Whether its memory has to stay out of swap space.
    pub memory_lock: MemoryLock,
}

/// What was done. Keep it as long as the process runs.
#[derive(Debug)]
pub enum Report {
    /// Nothing: inside an enclave there is nothing of this to give up.
    NotApplicable,
    /// All of it.
    Restricted(Restricted),
}

/// Where kernels differ.
#[derive(Debug)]
pub struct Restricted {
    /// Whether memory is locked.
    pub memory: Memory,
    /// The version of landlock's rules that hold: 1 to 3 files; from 4 on TCP, from 6 on abstract sockets and signals, from 9
    /// on sockets by path.
    pub landlock: i32,
    /// Whether the process runs as root, though without root's capabilities.
    pub root: bool,
    /// Holds the process's own entry in `/proc`: the kernel forgets entries that nobody holds, and with it the rule
    /// about it.
    _process: Option<PathFd>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report::Restricted(done) = self else {
            return write!(f, "sandbox: not applicable in an enclave");
        };
        write!(
            f,
            "sandbox: on (landlock {}, system calls filtered, no capabilities, no dumps)",
            done.landlock
        )?;
        if done.landlock < 6 {
            write!(f, "; this kernel lets it reach abstract sockets (6.12 would not)")?;
        }
        if done.root {
            write!(f, "; it runs as root: give it a user of its own, unless it needs root's files")?;
        }
        write!(f, "; {}", done.memory)
    }
}

/// Why a warden is not confined. It must not go on then.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Threads run already, which landlock would not reach.
    #[error("the sandbox begins with {0} threads: it has to come before the second one")]
    Threads(usize),
    /// The operating system refused.
    #[error("sandbox: {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// A place that the warden needs is not there.
    #[error("sandbox: {path}: {source}{advice}")]
    Place {
        /// The place.
        path: PathBuf,
        /// Why not.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// No landlock.
    #[error(
        "sandbox: this kernel cannot confine files: landlock {0} (Linux 5.13 or later, built with it, `landlock` in the boot option lsm=; a container's system call filter has to let it through). A simulated warden may run without: --sandbox off"
    )]
    Landlock(String),
    /// No seccomp.
    #[error("sandbox: the filter of system calls: {0}")]
    Filter(#[from] seccompiler::Error),
    /// The memory may not be locked.
    #[error(
        "the memory cannot be locked, so that secrets could reach swap space: {0}. Raise the limit to infinity (systemd: LimitMEMLOCK=infinity; containers: --ulimit memlock=-1; shell: ulimit -l unlimited), or give --memory-lock try where there is no swap space"
    )]
    MemoryLock(String),
}

/// What failed, for [`Result::map_err`].
fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::System { what, source: source.into() }
}

/// Gives up all that `rules` do not say. After an error some of it is given up: end the process.
///
/// # Errors
/// [`SandboxError`] if anything that is required cannot be had, or if threads run already.
pub fn restrict(rules: &Rules<'_>) -> Result<Report, SandboxError> {
    if rules.environment == Environment::Enclave {
        return Ok(Report::NotApplicable);
    }
    alone()?;
    // While there may be rights to: they go next.
    let memory = memory::keep(rules.memory_lock)?;
    let root = rights::drop()?;
    memory::no_dumps()?;
    let (landlock, process) = files::confine(rules)?;
    calls::filter(Whose::Warden)?;
    Ok(Report::Restricted(Restricted { memory, landlock, root, _process: Some(process) }))
}

/// Gives up all but what is open, so much memory in bytes, time and threads: for a process that computes on what it is
/// sent. After an error some of it is given up: end the process.
///
/// # Errors
/// [`SandboxError`] if any of it cannot be given up, or if threads run already.
pub fn seclude(memory: u64) -> Result<Report, SandboxError> {
    alone()?;
    let root = rights::drop()?;
    memory::no_dumps()?;
    memory::limit(memory)?;
    let landlock = files::none()?;
    calls::filter(Whose::Secluded)?;
    Ok(Report::Restricted(Restricted { memory: Memory::Limited(memory), landlock, root, _process: None }))
}

/// Makes sure that this is the only thread, and that no program gives more rights.
fn alone() -> Result<(), SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(system("/proc/self/task"))?.count();
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    rustix::thread::set_no_new_privs(true).map_err(system("no_new_privs"))
}
