//! Why the program does not start, or ends.

use std::fmt::Display;
use std::path::PathBuf;

use blindsmith_evidence::AttestError;
use blindsmith_protocol::FrameError;
use blindsmith_sandbox::SandboxError;
use thiserror::Error;

use crate::address::Address;
use crate::arguments::ArgumentError;

/// Why the program does not start, or ends.
#[derive(Debug, Error)]
pub enum Failure {
    /// Wrong options.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// The operating system.
    #[error("{what}: {source}")]
    Io {
        /// A file, or what was done.
        what: String,
        /// How it ended.
        source: std::io::Error,
    },
    /// There are no reports.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// There is no report from which a sealing key could follow.
    #[error("{0}: start it in a SEV-SNP guest, mount configfs, load sev_guest")]
    Guest(AttestError),
    /// The kernel makes no reports of this kind.
    #[error("this kind has no reports of the kernel's")]
    Kernel,
    /// The process cannot give up its rights.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Secrets that count would be held without a sandbox.
    #[error("--sandbox off is for --tee simulated: secrets that count are not held without")]
    Unconfined,
    /// The refinery would be out of reach.
    #[error(
        "the sandbox lets a warden reach a socket's path and no port: --refinery tcp:... is for --tee sgx"
    )]
    Port,
    /// In an enclave, a second process would be another enclave.
    #[error("in an enclave there is no appraiser")]
    Enclave,
    /// The appraiser did not say that it is ready.
    #[error("the appraiser {}: {source}", .path.display())]
    Appraiser {
        /// The program.
        path: PathBuf,
        /// What came instead.
        source: FrameError,
    },
    /// The environment names a backend that is not there.
    #[error("{0}")]
    Backend(String),
    /// Threads cannot be started.
    #[error(transparent)]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// Another warden works with the state's directory.
    #[error("{} is used by another warden: stop that one, or choose another directory", .0.display())]
    Occupied(PathBuf),
    /// The link to the refinery.
    #[error("{at}: {source}")]
    Link {
        /// Where the refinery is.
        at: Address,
        /// How the link ended.
        source: FrameError,
    },
    /// The thread of a link is gone.
    #[error("the link for queries panicked")]
    Panic,
}

/// What failed, for [`Result::map_err`].
pub fn io(what: impl Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::Io { what: what.to_string(), source }
}
