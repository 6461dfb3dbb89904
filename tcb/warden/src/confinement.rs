//! Gives up the rights that the warden does not need, before it has anything to protect.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use blindsmith_sandbox::{Environment, MemoryLock, Report, Rules, restrict};

use crate::address::Address;
use crate::{Arguments, Lock, Sandbox, TeeArgument};

/// Makes the state's directory and confines the process to it. The result has to be kept.
pub fn confine(arguments: &Arguments) -> Result<Option<Report>, String> {
    let state = &arguments.state;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(|e| format!("{}: {e}", state.display()))?;
    let (environment, usual) = match arguments.tee {
        // Laptops and containers limit locked memory.
        TeeArgument::Simulated => (Environment::Process, MemoryLock::Try),
        TeeArgument::Tdx | TeeArgument::Snp => (Environment::Guest, MemoryLock::Required),
        // The host has no way into an enclave's memory.
        TeeArgument::Sgx => (Environment::Enclave, MemoryLock::Off),
    };
    if let Sandbox::Off = arguments.sandbox {
        if environment != Environment::Process {
            return Err(
                "--sandbox off is for --tee simulated: secrets that count are not held without".into()
            );
        }
        eprintln!(
            "blindsmith-warden: NO SANDBOX, as it was told: a fault in this process gives away everything that its user \
             can reach."
        );
        return Ok(None);
    }
    let memory_lock = match arguments.memory_lock {
        None => usual,
        Some(Lock::Off) => MemoryLock::Off,
        Some(Lock::Try) => MemoryLock::Try,
        Some(Lock::Required) => MemoryLock::Required,
    };
    let refinery = match (&arguments.refinery, environment) {
        (Address::Socket(path), _) => path.as_path(),
        // No rules are made from it.
        (Address::Tcp(_), Environment::Enclave) => state,
        (Address::Tcp(_), _) => {
            return Err(
                "the sandbox lets a warden reach a socket's path and no port: --refinery tcp:... is for --tee sgx".into()
            );
        }
    };
    let rules = Rules { state, refinery, environment, memory_lock };
    let report = restrict(&rules).map_err(|e| e.to_string())?;
    eprintln!("blindsmith-warden: {report}");
    Ok(Some(report))
}
