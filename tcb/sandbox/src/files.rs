//! Files, TCP, abstract sockets and signals: landlock.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, make_bitflags,
};

use crate::{Environment, Rules, SandboxError};

/// What every kernel has to confine; newer ones confine more.
const LEAST: ABI = ABI::V1;
/// What is asked of kernels that can.
const MOST: ABI = ABI::V10;

/// Files of the warden's state: made, written, replaced.
fn state_rights() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile
    })
}

/// Entries of configfs-tsm: made, asked, removed.
fn report_rights() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ ReadFile | ReadDir | WriteFile | Truncate | MakeDir | RemoveDir })
}

fn read_rights() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ ReadFile | ReadDir })
}

/// Confines this thread and those that it starts. The version of the rules that hold, and what has to be kept open for
/// them to.
pub fn confine(rules: &Rules<'_>) -> Result<(i32, PathFd), SandboxError> {
    let place = |path: &Path, advice: &'static str| {
        PathFd::new(path).map_err(|e| match e {
            PathFdError::OpenCall { source, path, .. } => SandboxError::Place { path, source, advice },
            other => SandboxError::Landlock(other.to_string()),
        })
    };
    let mut ruleset = ruleset()?;
    let state = place(rules.state, "")?;
    ruleset = allow(ruleset, &state, state_rights())?;
    // Its own status, and the limits from which the number of threads follows.
    let process = place(Path::new("/proc/self"), ": /proc has to be mounted")?;
    ruleset = allow(ruleset, &process, read_rights())?;
    if let Ok(groups) = PathFd::new("/sys/fs/cgroup") {
        ruleset = allow(ruleset, &groups, read_rights())?;
    }
    let beside = existing(rules.refinery);
    ruleset = allow(ruleset, &place(beside, "")?, AccessFs::ResolveUnix.into())?;
    if rules.environment == Environment::Guest {
        let advice = ": mount configfs, load tdx_guest or sev_guest; Linux 6.7 or later";
        let reports = place(Path::new("/sys/kernel/config/tsm/report"), advice)?;
        ruleset = allow(ruleset, &reports, report_rights())?;
    }
    Ok((enforce(ruleset)?, process))
}

/// Confines this thread and those that it starts to what is open. The version of the rules that hold.
pub fn none() -> Result<i32, SandboxError> {
    enforce(ruleset()?)
}

fn enforce(ruleset: RulesetCreated) -> Result<i32, SandboxError> {
    let status = ruleset.restrict_self().map_err(refused)?;
    match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => Ok(effective_abi as i32),
        (_, status) => Err(SandboxError::Landlock(format!("is not enforced ({status:?})"))),
    }
}

/// Everything that landlock knows is denied, as far as the kernel knows it too.
fn ruleset() -> Result<RulesetCreated, SandboxError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .map_err(refused)?
        .set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(MOST)).map_err(refused)?;
    let ruleset = ruleset.handle_access(AccessNet::from_all(MOST)).map_err(refused)?;
    ruleset.scope(Scope::from_all(MOST)).and_then(Ruleset::create).map_err(refused)
}

fn allow(
    ruleset: RulesetCreated,
    place: &PathFd,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    ruleset.add_rule(PathBeneath::new(place, rights)).map_err(refused)
}

fn refused(e: RulesetError) -> SandboxError {
    SandboxError::Landlock(e.to_string())
}

/// The folder of the socket, or the nearest one above it that is there: the refinery makes the socket anew at each start,
/// and its folder at the first.
fn existing(socket: &Path) -> &Path {
    let folders = socket.ancestors().skip(1);
    let mut folders =
        folders.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    folders.find(|folder| folder.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_looked_for_in_the_nearest_folder_that_is_there() {
        for (socket, folder) in [
            ("/proc/self/link.sock", "/proc/self"),
            ("/proc/no-such/folder/link.sock", "/proc"),
            ("link.sock", "."),
            ("no-such-folder/link.sock", "."),
            ("./link.sock", "."),
        ] {
            assert_eq!(existing(Path::new(socket)), Path::new(folder), "{socket}");
        }
    }
}
