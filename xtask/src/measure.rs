//! `cargo xtask measure`: builds the warden twice, in two places, and compares the programs bit by bit; what both are is
//! written down as reference values. `docs/deploy.md` says what they prove.

mod hardware;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;
use hardware::{Guest, Td};
use sha2::{Digest, Sha256};

/// The program that is measured.
const PROGRAM: &str = "blindsmith-warden";
/// The one that it starts, which is part of what it runs in.
const APPRAISER: &str = "blindsmith-appraiser";
/// Where its sources and those of its dependencies lie, as far as the program knows.
const SOURCES: &str = "/blindsmith";
const CARGO_HOME: &str = "/cargo";

/// What is to be done.
#[derive(Debug, PartialEq, Eq, Default)]
struct Arguments {
    /// Where the values are written; in the folder of builds, if it is not said.
    out: Option<PathBuf>,
    /// A SIGSTRUCT of Gramine, whose MRENCLAVE is written down too.
    sigstruct: Option<PathBuf>,
    /// Metadata for tdx-measure, whose registers are written down too.
    tdx: Option<PathBuf>,
    /// Arguments for sev-snp-measure, whose measurement is written down too.
    snp: Vec<OsString>,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut arguments = Arguments::default();
        while let Some(name) = given.next() {
            let mut value = || given.next().with_context(|| format!("{} needs a file", name.display()));
            match name.to_str() {
                Some("--out") => arguments.out = Some(value()?.into()),
                Some("--sigstruct") => arguments.sigstruct = Some(value()?.into()),
                Some("--tdx") => arguments.tdx = Some(value()?.into()),
                Some("--") => arguments.snp = given.by_ref().collect(),
                _ => bail!(
                    "no such argument: {}; there are --out FILE, --sigstruct FILE, --tdx FILE, and -- SEV-SNP-MEASURE'S...",
                    name.display()
                ),
            }
        }
        Ok(arguments)
    }
}

/// What is known of the program and its build.
#[derive(Default)]
struct Values {
    version: String,
    commit: String,
    sha256: String,
    bytes: usize,
    rustc: String,
    target: String,
    linker: String,
    epoch: String,
    /// MRENCLAVE.
    enclave: Option<String>,
    /// A guest of SEV-SNP.
    guest: Option<Guest>,
    /// A guest of TDX.
    td: Option<Td>,
}

impl Values {
    fn to_toml(&self) -> String {
        // A JSON string is a TOML string.
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let mut out = String::new();
        _ = write!(
            out,
            "# Reference values of {PROGRAM}, from two builds that are equal bit by bit: cargo xtask measure.\n\
             # docs/deploy.md says what they prove, and which of them a policy takes.\n\n\
             [program]\nname = {}\nversion = {}\ncommit = {}\nsha256 = {}\nbytes = {}\n\n\
             [build]\nrustc = {}\ntarget = {}\nlinker = {}\nsource_date_epoch = {}\n",
            text(PROGRAM),
            text(&self.version),
            text(&self.commit),
            text(&self.sha256),
            self.bytes,
            text(&self.rustc),
            text(&self.target),
            text(&self.linker),
            self.epoch,
        );
        if let Some(enclave) = &self.enclave {
            _ = write!(out, "\n# Into a policy's [[sgx.enclaves]].\n[sgx]\nmrenclave = {}\n", text(enclave));
        }
        if let Some(Guest { measurement, of }) = &self.guest {
            _ = write!(
                out,
                "\n# Into a policy's [[snp.guests]].\n[snp]\nmeasurement = {}\nsev_snp_measure = {}\n",
                text(measurement),
                text(of),
            );
        }
        if let Some(Td { mrtd, rtmrs, of }) = &self.td {
            // Nothing that starts extends the last one.
            let rtmrs = rtmrs.iter().map(|rtmr| text(rtmr)).chain([text(&"0".repeat(96))]);
            _ = write!(
                out,
                "\n# Into a policy's [[tdx.guests]].\n[tdx]\nmrtd = {}\nrtmrs = [{}]\ntdx_measure = {}\n",
                text(mrtd),
                rtmrs.collect::<Vec<_>>().join(", "),
                text(of),
            );
        }
        out
    }
}

/// Builds twice, compares, writes.
pub fn run(given: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let arguments = Arguments::parse(given)?;
    let workspace = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
    let root = workspace.workspace_root.as_std_path();
    let folder = workspace.target_directory.join("measure").into_std_path_buf();
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    }
    let package = workspace.packages.iter().find(|p| p.name.as_str() == PROGRAM);
    let version = package.context("the warden is not in this workspace")?.version.to_string();
    let commit = said(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root))?;
    // Fixed by what is built, not by when.
    let epoch = said(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root))?;
    if !said(Command::new("git").args(["status", "--porcelain"]).current_dir(root))?.is_empty() {
        eprintln!("measure: what is not committed is left out: the values are those of {commit}");
    }
    let rustc = said(Command::new("rustc").arg("-vV"))?;
    let field = |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let linker = said(Command::new(std::env::var_os("CC").unwrap_or("cc".into())).arg("--version"))?;

    // Places of different lengths and depths, so that a path in the program shows.
    let places = [folder.join("one"), folder.join("another").join("place")];
    let (mut programs, mut appraisers) = (Vec::new(), Vec::new());
    for place in &places {
        export(root, place)?;
        let program = build(place, &epoch, PROGRAM)?;
        let hash = sha256(&program);
        println!("{hash}  {} bytes, built in {}", program.len(), place.display());
        programs.push((program, hash));
        appraisers.push(sha256(&build(place, &epoch, APPRAISER)?));
    }
    println!("{}  {APPRAISER}, built beside it", appraisers[0]);
    if appraisers[0] != appraisers[1] {
        eprintln!("measure: the appraisers differ");
        return Ok(ExitCode::FAILURE);
    }
    let [(first, sha256), (second, _)] = programs.as_slice() else { bail!("two builds") };
    if let Some(at) = difference(first, second) {
        eprintln!("measure: the programs differ from byte {at} on: diffoscope tells more");
        return Ok(ExitCode::FAILURE);
    }
    let values = Values {
        version,
        commit,
        sha256: sha256.clone(),
        bytes: first.len(),
        rustc: rustc.lines().next().unwrap_or_default().into(),
        target: field("host: ").into(),
        linker: linker.lines().next().unwrap_or_default().into(),
        epoch,
        enclave: arguments.sigstruct.as_deref().map(|file| hardware::enclave(file, sha256)).transpose()?,
        guest: (!arguments.snp.is_empty()).then(|| hardware::guest(&arguments.snp, first)).transpose()?,
        td: arguments.tdx.as_deref().map(|file| hardware::td(file, &folder, first)).transpose()?,
    };
    let out = arguments
        .out
        .unwrap_or_else(|| workspace.target_directory.join("reference-values.toml").into_std_path_buf());
    fs::write(&out, values.to_toml()).with_context(|| format!("{}", out.display()))?;
    println!("both are the same; the values are in {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// What a command prints, without the end of the last line.
fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let done = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {name}"))?;
    ensure!(done.status.success(), "{name} failed");
    Ok(String::from_utf8(done.stdout).with_context(|| format!("what {name} printed"))?.trim_end().into())
}

/// Puts what is committed into a folder: no file that only this checkout has gets into the program.
fn export(root: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    let archive = place.with_extension("tar");
    said(
        Command::new("git")
            .args(["archive", "--format=tar", "--output"])
            .arg(&archive)
            .arg("HEAD")
            .current_dir(root),
    )?;
    said(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(place))?;
    Ok(fs::remove_file(&archive)?)
}

/// A clean build, as a release is built.
fn build(place: &Path, epoch: &str, package: &str) -> Result<Vec<u8>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("there is no home")?;
    let target = place.join("target");
    let maps = [(place, SOURCES), (home.as_path(), CARGO_HOME)];
    let flags = |option: &str| maps.map(|(from, to)| format!("{option}={}={to}", from.display()));
    // Not as RUSTFLAGS: cargo names crates by those, names enter the code, and the paths in them differ.
    let compiler = place.join("remapped-rustc");
    fs::write(&compiler, wrapper(&flags("--remap-path-prefix")))?;
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--locked", "--package", package])
        .current_dir(place)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTC_WRAPPER", &compiler)
        .env("CFLAGS", flags("-ffile-prefix-map").join(" "))
        .env("SOURCE_DATE_EPOCH", epoch)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdout(std::io::stderr())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the build failed");
    let program = target.join("release").join(package);
    fs::read(&program).with_context(|| format!("{}", program.display()))
}

/// A program that calls the compiler with more arguments.
fn wrapper(more: &[String]) -> String {
    // A quote within quotes: end them, write it, begin them again.
    let quoted = more.iter().map(|argument| format!(" '{}'", argument.replace('\'', "'\\''")));
    format!("#!/bin/sh\ncompiler=$1\nshift\nexec \"$compiler\" \"$@\"{}\n", quoted.collect::<String>())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Where two programs begin to differ.
fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let common = one.len().min(other.len());
    let differs = one.iter().zip(other).position(|(a, b)| a != b);
    differs.or_else(|| (one.len() != other.len()).then_some(common))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[&str]) -> Result<Arguments> {
        Arguments::parse(given.iter().map(OsString::from))
    }

    #[test]
    fn arguments_are_understood() {
        assert_eq!(parse(&[]).unwrap(), Arguments::default());
        let all =
            parse(&["--out", "o", "--sigstruct", "s", "--tdx", "m", "--", "--mode", "snp", "--out"]).unwrap();
        assert_eq!((all.out, all.sigstruct, all.tdx), (Some("o".into()), Some("s".into()), Some("m".into())));
        assert_eq!(all.snp, ["--mode", "snp", "--out"]);
    }

    #[test]
    fn other_arguments_are_refused() {
        for (given, words) in [(&["--out"][..], "--out needs a file"), (&["out"], "no such argument: out")] {
            let refused = parse(given).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn the_wrapped_compiler_is_given_what_it_was_given_and_more() {
        let dir = std::env::temp_dir().join(format!("blindsmith-xtask-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let program = dir.join("wrapper");
        fs::write(&program, wrapper(&["--remap=a b's=/x".into()])).unwrap();
        let printed = said(Command::new("sh").arg(&program).args(["printf", "%s|", "one two"])).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(printed, "one two|--remap=a b's=/x|");
    }

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"axc"), Some(1));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
    }

    #[test]
    fn values_are_written_with_what_is_known_alone() {
        let plain = Values { version: "1\"2".into(), epoch: "7".into(), ..Values::default() };
        let text = plain.to_toml();
        assert!(
            text.contains("version = \"1\\\"2\"\n") && text.contains("source_date_epoch = 7\n"),
            "{text}"
        );
        assert!(["[sgx]", "[snp]", "[tdx]"].iter().all(|section| !text.contains(section)), "{text}");
    }

    /// The file that the client's test reads (`client/attest/src/reference.rs`): what is written here it understands.
    #[test]
    fn values_are_written_as_policies_import_them() {
        let values = Values {
            version: "0.1.0".into(),
            commit: "c0".repeat(20),
            sha256: "5a".repeat(32),
            bytes: 23_572_664,
            rustc: "rustc 1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            linker: "cc 12.2.0".into(),
            epoch: "1795418478".into(),
            enclave: Some("e1".repeat(32)),
            guest: Some(Guest { measurement: "a2".repeat(48), of: "--mode snp".into() }),
            td: Some(Td {
                mrtd: "b3".repeat(48),
                rtmrs: ["c0", "c1", "c2"].map(|rtmr| rtmr.repeat(48)),
                of: "metadata.json".into(),
            }),
        };
        let expected = include_str!("../../client/attest/tests/reference/reference-values.toml");
        assert_eq!(values.to_toml(), expected);
    }
}
