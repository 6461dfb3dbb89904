//! Starts the appraiser beside this warden, while programs can be started: the sandbox comes after.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use blindsmith_evidence::Tee;
use blindsmith_warden::Appraiser;

use crate::arguments::Arguments;
use crate::failure::{Failure, io};

/// The program's name.
const NAME: &str = "blindsmith-appraiser";

/// The appraiser; without one, the warden says so, hands nothing over, and does everything else.
pub fn appraiser(arguments: &Arguments) -> Appraiser {
    let started = match arguments.tee {
        // A second process of Gramine's would be another enclave.
        Tee::Sgx => Err(Failure::Enclave),
        _ => beside(arguments.appraiser.as_deref()).and_then(|path| start(&path, arguments.sandbox)),
    };
    started.unwrap_or_else(|why| {
        eprintln!("blindsmith-warden: this warden hands no project over: {why}");
        Appraiser::none(why.to_string())
    })
}

/// The program that was named, or the one in this program's folder.
fn beside(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => Ok(std::env::current_exe().map_err(io("this program's own file"))?.with_file_name(NAME)),
    }
}

/// A process with one end of a pair of sockets and standard error: no environment, nothing else that is open. It ends when
/// this process does; it is never waited for, which the sandbox would not allow.
fn start(path: &Path, sandbox: bool) -> Result<Appraiser, Failure> {
    let failed = || io(format!("the appraiser {}", path.display()));
    let (own, other) = UnixStream::pair().map_err(failed())?;
    let mut command = Command::new(path);
    command.env_clear().stdin(OwnedFd::from(other)).stdout(Stdio::null());
    if !sandbox {
        command.arg("--sandbox=off");
    }
    command.spawn().map_err(failed())?;
    // The command has a copy of the other end, and would keep it open.
    drop(command);
    Appraiser::ready(own).map_err(|source| Failure::Appraiser { path: path.to_owned(), source })
}
