//! `blindsmith-appraiser`: started by a warden, with its end of a socket pair as standard input. It gives up all rights,
//! answers the warden's questions, and ends with it. People have no use for it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use blindsmith_appraiser::serve;
use blindsmith_sandbox::{Report, seclude};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Most memory, in bytes. What is appraised has at most a few MiB.
const MEMORY: u64 = 1 << 30;
/// What a warden without a sandbox says to its appraiser.
const UNCONFINED: &str = "--sandbox=off";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("blindsmith-appraiser: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    close_others()?;
    // Should it wait for something else than its warden when that one ends.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| format!("the end of its warden: {e}"))?;
    let own = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let stream = UnixStream::from(own);
    let unpaired = "standard input is no socket: a warden starts this program, and nobody else does";
    stream.peer_addr().map_err(|_| unpaired)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let _confined: Option<Report> = match arguments.as_slice() {
        [] => Some(seclude(MEMORY).map_err(|e| e.to_string())?),
        [unconfined] if unconfined == UNCONFINED => None,
        _ => return Err(format!("there is no option but {UNCONFINED}")),
    };
    serve(stream).map_err(|e| e.to_string())
}

/// Closes what the warden may have inherited itself and passed on.
fn close_others() -> Result<(), String> {
    // SAFETY: this process has opened nothing yet that it uses, so that no descriptor above standard error has an owner.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(format!("inherited files: {}", std::io::Error::last_os_error())),
    }
}
