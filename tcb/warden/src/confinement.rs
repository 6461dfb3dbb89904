//! Gives up the rights that the warden does not need, before it has anything to protect.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use blindsmith_evidence::Tee;
use blindsmith_sandbox::{Environment, MemoryLock, Report, Rules, restrict};

use crate::address::Address;
use crate::arguments::Arguments;
use crate::failure::{Failure, io};

/// Makes the state's directory and confines the process to it. The result has to be kept.
pub fn confine(arguments: &Arguments) -> Result<Option<Report>, Failure> {
    let state = &arguments.state;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(io(state.display()))?;
    let (environment, usual) = match arguments.tee {
        // Laptops and containers limit locked memory.
        Tee::Simulated => (Environment::Process, MemoryLock::Try),
        Tee::Tdx | Tee::Snp => (Environment::Guest, MemoryLock::Required),
        // The host has no way into an enclave's memory.
        Tee::Sgx => (Environment::Enclave, MemoryLock::Off),
    };
    if !arguments.sandbox {
        if environment != Environment::Process {
            return Err(Failure::Unconfined);
        }
        eprintln!(
            "blindsmith-warden: NO SANDBOX, as it was told: a fault in this process gives away everything that its user \
             can reach."
        );
        return Ok(None);
    }
    let refinery = match (&arguments.refinery, environment) {
        (Address::Socket(path), _) => path.as_path(),
        // No rules are made from it.
        (Address::Tcp(_), Environment::Enclave) => state,
        (Address::Tcp(_), _) => return Err(Failure::Port),
    };
    let memory_lock = arguments.memory_lock.unwrap_or(usual);
    let report = restrict(&Rules { state, refinery, environment, memory_lock })?;
    eprintln!("blindsmith-warden: {report}");
    Ok(Some(report))
}
