//! Capabilities: none.

use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::{SandboxError, system};

/// Numbers that capabilities may have; the kernel knows 41.
const NUMBERS: u32 = 64;

/// Drops every capability, also those that a program could get back. Whether the user is root.
///
/// The user stays: becoming another one is for who starts the warden (systemd: `User=`), who knows which.
pub fn drop() -> Result<bool, SandboxError> {
    clear_ambient_capability_set().map_err(system("dropping ambient capabilities"))?;
    let held = capabilities(None).map_err(system("reading capabilities"))?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..NUMBERS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            match remove_capability_from_bounding_set(one) {
                // One that this kernel does not know.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(e) => return Err(system("dropping capabilities of the bounding set")(e)),
            }
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(system("dropping capabilities"))?;
    Ok(geteuid().is_root())
}
