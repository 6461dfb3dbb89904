//! `cargo xtask package`: archives that operators install. docs/running.md says what is in them.

mod archive;
mod debian;
mod inventory;
mod programs;
mod tree;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Metadata, MetadataCommand};
use sha2::{Digest, Sha256};

use programs::Programs;
use tree::Tree;

/// What is to be done.
#[derive(Debug, PartialEq, Eq, Default)]
struct Arguments {
    /// Where the archives go; `package` in the folder of builds, if it is not said.
    out: Option<PathBuf>,
    /// Where the programs are; they are built as a release, if it is not said.
    programs: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut arguments = Arguments::default();
        while let Some(name) = given.next() {
            let place = match name.to_str() {
                Some("--out") => &mut arguments.out,
                Some("--programs") => &mut arguments.programs,
                _ => bail!("no such argument: {}; there are --out DIR and --programs DIR", name.display()),
            };
            *place = Some(given.next().with_context(|| format!("{} needs a folder", name.display()))?.into());
        }
        Ok(arguments)
    }
}

/// What all archives share.
struct Release {
    version: String,
    /// As Debian names it.
    architecture: &'static str,
    /// Seconds since 1970 that files in archives carry: those of the commit.
    time: u64,
}

impl Release {
    fn of(metadata: &Metadata) -> Result<Self> {
        let own = metadata.packages.iter().find(|p| p.name.as_str() == "blindsmith");
        let version = own.context("the workspace has no package blindsmith")?.version.to_string();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => bail!("packages are made on x86_64 and aarch64, not on {other}"),
        };
        let root = metadata.workspace_root.as_std_path();
        Ok(Release { version, architecture, time: time(root)? })
    }

    /// What names of archives begin with.
    fn stem(&self) -> String {
        format!("blindsmith-{}-{}-linux", self.version, std::env::consts::ARCH)
    }
}

/// The platform that the compiler builds for.
fn platform() -> Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// The time of the newest commit, or what SOURCE_DATE_EPOCH says.
fn time(root: &Path) -> Result<u64> {
    if let Ok(said) = std::env::var("SOURCE_DATE_EPOCH") {
        return said.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let git = Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root).output();
    let said = git.context("cannot run git")?.stdout;
    String::from_utf8_lossy(&said).trim().parse().context("git names no time: set SOURCE_DATE_EPOCH")
}

/// Builds what is to be packed, if it is not there, and packs it.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let arguments = Arguments::parse(arguments)?;
    let metadata = MetadataCommand::new()
        .other_options(["--locked".to_owned(), format!("--filter-platform={}", platform()?)])
        .exec()
        .context("cannot read the workspace")?;
    let root = metadata.workspace_root.as_std_path();
    let out = arguments.out.unwrap_or_else(|| metadata.target_directory.join("package").into());
    let built = match arguments.programs {
        Some(folder) => folder,
        None => build(&metadata)?,
    };
    let release = Release::of(&metadata)?;
    let programs = Programs::split(&built)?;
    let inventory = inventory::Inventory::of(&metadata)?;
    let tree = Tree::gather(root, &programs, &inventory, &release)?;

    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let stem = release.stem();
    let symbols = Tree::of_symbols(&programs);
    let archives = [
        (format!("{stem}.tar.gz"), archive::tar_gz(&tree.relocated(), &stem, release.time)?),
        (format!("{stem}-symbols.tar.gz"), archive::tar_gz(&symbols, &stem, release.time)?),
        (debian::file_name(&release), debian::package(&tree, &programs, &release)?),
        (format!("{stem}.cdx.json"), inventory.bill_of_materials(&release)?),
    ];
    let mut sums = String::new();
    for (name, content) in &archives {
        fs::write(out.join(name), content).with_context(|| format!("cannot write {name}"))?;
        sums += &format!("{}  {name}\n", hex(&Sha256::digest(content)));
        println!("{} {:.1} MB", out.join(name).display(), content.len() as f64 / 1e6);
    }
    fs::write(out.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")?;
    Ok(ExitCode::SUCCESS)
}

fn build(metadata: &Metadata) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "--manifest-path"]);
    command.arg(metadata.workspace_root.join("Cargo.toml"));
    command.args(programs::NAMES.iter().flat_map(|name| ["-p", name]));
    let built = command.status().context("cannot run cargo")?;
    ensure!(built.success(), "the programs were not built");
    Ok(metadata.target_directory.join("release").into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_folders() {
        let parse = |words: &[&str]| Arguments::parse(words.iter().map(OsString::from));
        let given = parse(&["--out", "a", "--programs", "b"]).unwrap();
        assert_eq!(given, Arguments { out: Some("a".into()), programs: Some("b".into()) });
        assert!(parse(&["--out"]).unwrap_err().to_string().contains("needs a folder"));
        assert!(parse(&["--deb"]).unwrap_err().to_string().contains("no such argument"));
    }
}
