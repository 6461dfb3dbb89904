//! `cargo demo`: builds what the demonstration needs, then becomes it.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

/// Builds the three programs, without what the demonstration does not need, and runs `blindsmith demo` with `arguments`. Standard output is the
/// demonstration's alone.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let workspace = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--profile", "demo", "--no-default-features"])
        .args(["-p", "blindsmith", "-p", "blindsmith-refinery", "-p", "blindsmith-warden", "--manifest-path"])
        .arg(workspace.workspace_root.join("Cargo.toml"))
        .stdout(std::io::stderr())
        .status()
        .context("cannot run cargo")?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let program = format!("blindsmith{}", std::env::consts::EXE_SUFFIX);
    let program = workspace.target_directory.join("demo").join(program);
    let mut demo = Command::new(&program);
    demo.arg("demo").args(arguments);
    become_it(demo).with_context(|| format!("cannot run {program}"))
}

/// Signals and the exit code are the program's own.
#[cfg(unix)]
fn become_it(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec().into())
}

#[cfg(not(unix))]
fn become_it(mut command: Command) -> Result<ExitCode> {
    let code = command.status()?.code().and_then(|c| u8::try_from(c).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
