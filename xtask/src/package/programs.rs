//! The programs, apart from their symbols, and which library of the system they need.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What an operator or a user runs.
pub const NAMES: [&str; 4] =
    ["blindsmith", "blindsmith-refinery", "blindsmith-warden", "blindsmith-appraiser"];

/// A program without symbols, and its symbols.
pub struct Program {
    pub name: &'static str,
    pub stripped: Vec<u8>,
    pub symbols: Vec<u8>,
}

/// All programs, what the client's own commands generate, and the version of glibc that they need.
pub struct Programs {
    pub all: Vec<Program>,
    /// Manual pages by name.
    pub pages: Vec<(String, Vec<u8>)>,
    /// Completions for bash, zsh and fish.
    pub completions: [Vec<u8>; 3],
    /// Major and minor number.
    pub glibc: (u32, u32),
}

impl Programs {
    /// Takes the symbols out of the programs of a folder, with binutils.
    pub fn split(folder: &Path) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut all = Vec::new();
        let mut glibc = (2, 17);
        for name in NAMES {
            let path = folder.join(name);
            ensure!(path.is_file(), "{} is not there: build it, or name another folder", path.display());
            let (stripped, symbols) = (scratch.0.join(name), scratch.0.join(format!("{name}.debug")));
            let place = |path: &Path| path.display().to_string();
            tool("objcopy", &["--only-keep-debug", &place(&path), &place(&symbols)])?;
            let link = format!("--add-gnu-debuglink={}", place(&symbols));
            tool("objcopy", &["--strip-all", &link, &place(&path), &place(&stripped)])?;
            let needed = tool("objdump", &["-T", &place(&stripped)])?;
            glibc = glibc.max(newest_glibc(&needed).unwrap_or(glibc));
            let read =
                |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
            all.push(Program { name, stripped: read(&stripped)?, symbols: read(&symbols)? });
        }
        let client = folder.join(NAMES[0]).display().to_string();
        let completions = ["bash", "zsh", "fish"].map(|shell| tool(&client, &["completions", shell]));
        let [bash, zsh, fish] = completions;
        let pages = scratch.0.join("man");
        tool(&client, &["man", "--out", &pages.display().to_string()])?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&pages)? {
            let entry = entry?;
            found.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
        found.sort();
        Ok(Programs { all, pages: found, completions: [bash?.into(), zsh?.into(), fish?.into()], glibc })
    }
}

/// What a program prints.
fn tool(name: &str, arguments: &[&str]) -> Result<String> {
    let ran = Command::new(name).args(arguments).output();
    let ran =
        ran.with_context(|| format!("cannot run {name}: install it (binutils has objcopy and objdump)"))?;
    ensure!(ran.status.success(), "{name} failed: {}", String::from_utf8_lossy(&ran.stderr).trim());
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// The newest version of glibc that a symbol in a listing of dynamic symbols needs.
fn newest_glibc(listing: &str) -> Option<(u32, u32)> {
    let versions = listing.split("GLIBC_").skip(1).filter_map(|rest| {
        let version: &str = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut numbers = version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.max()
}

/// A folder that is removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("blindsmith-package-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_glibc_counts() {
        let listing = "0000 DF *UND* 0000 (GLIBC_2.2.5) read\n0000 DF *UND* 0000 (GLIBC_2.34) pthread_join\n\
                       0000 DF *UND* 0000 (GCC_3.0) _Unwind_Resume\n0000 DF *UND* 0000 (GLIBC_2.9) pipe2";
        assert_eq!(newest_glibc(listing), Some((2, 34)));
        assert_eq!(newest_glibc("nothing"), None);
    }
}
