//! What hardware will measure of enclaves and guests that hold the program, as others' tools tell it; and whether they do hold
//! the program that was built.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use toml::Table;

use super::said;

/// A guest of SEV-SNP.
#[derive(Default)]
pub struct Guest {
    /// The launch measurement.
    pub measurement: String,
    /// The tool's arguments.
    pub of: String,
}

/// A guest of TDX.
#[derive(Default)]
pub struct Td {
    /// MRTD.
    pub mrtd: String,
    /// RTMR0 to RTMR2.
    pub rtmrs: [String; 3],
    /// The tool's metadata file.
    pub of: String,
}

/// MRENCLAVE of a SIGSTRUCT, as Gramine's tool tells it. The manifest that was signed with it lies beside it.
pub fn enclave(sigstruct: &Path, sha256: &str) -> Result<String> {
    let manifest = sigstruct.with_extension("manifest.sgx");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("{}: the manifest beside the SIGSTRUCT", manifest.display()))?;
    starts(&text, sha256).with_context(|| format!("{}", manifest.display()))?;
    let mut view = Command::new("gramine-sgx-sigstruct-view");
    let shown = said(view.args(["--output-format", "json"]).arg(sigstruct))
        .context("Gramine's tools (https://gramine.readthedocs.io) have to be installed")?;
    mrenclave(&shown)
}

/// Makes sure that what a signed manifest starts is the program with this hash.
fn starts(manifest: &str, sha256: &str) -> Result<()> {
    let manifest: Table = manifest.parse().context("not a manifest")?;
    let entry =
        manifest.get("libos").and_then(|libos| libos.get("entrypoint")).context("no libos.entrypoint")?;
    let array = |table: &str, key: &str| manifest.get(table)?.get(key)?.as_array().cloned();
    let mounts = array("fs", "mounts").unwrap_or_default();
    let mount = mounts.iter().find(|mount| mount.get("path") == Some(entry));
    let uri = mount.and_then(|mount| mount.get("uri")).context("no file is mounted at libos.entrypoint")?;
    let files = array("sgx", "trusted_files").unwrap_or_default();
    let file = files.iter().find(|file| file.get("uri") == Some(uri));
    let hash = file.and_then(|file| file.get("sha256")?.as_str()).context("the program has no sha256")?;
    ensure!(
        hash.eq_ignore_ascii_case(sha256),
        "it starts a program with SHA-256 {hash}, and what was built has {sha256}: render and sign it again"
    );
    Ok(())
}

/// MRENCLAVE in what the tool tells of a SIGSTRUCT that is not one for debugging.
fn mrenclave(shown: &str) -> Result<String> {
    let shown: Value = serde_json::from_str(shown).context("what gramine-sgx-sigstruct-view told")?;
    ensure!(
        shown["debug_enclave"] == false,
        "the enclave may be debugged: set sgx.debug = false and sign again"
    );
    let value = shown["mr_enclave"].as_str().and_then(|value| digits(value, 64));
    value.context("gramine-sgx-sigstruct-view told no mr_enclave")
}

/// The launch measurement of an SNP guest, as sev-snp-measure tells it.
pub fn guest(arguments: &[OsString], program: &[u8]) -> Result<Guest> {
    match option(arguments, "--initrd") {
        Some(initrd) => holds(&initrd, program)?,
        None => {
            eprintln!("measure: there is no --initrd: whether the guest holds the program is not checked")
        }
    }
    let shown = said(Command::new("sev-snp-measure").args(arguments))
        .context("sev-snp-measure (https://github.com/virtee/sev-snp-measure) has to be installed")?;
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    let measurement = digits(&shown, 96).context("sev-snp-measure told no measurement")?;
    Ok(Guest { measurement, of: words.join(" ") })
}

/// The value of an option, `--name VALUE` or `--name=VALUE`.
fn option(arguments: &[OsString], name: &str) -> Option<PathBuf> {
    let at = arguments.iter().position(|argument| argument == name);
    let next = at.and_then(|at| arguments.get(at + 1)).map(PathBuf::from);
    let joined = || {
        arguments.iter().find_map(|a| a.to_str()?.strip_prefix(name)?.strip_prefix('=').map(PathBuf::from))
    };
    next.or_else(joined)
}

/// MRTD and RTMR0 to RTMR2 of a TDX guest, as tdx-measure tells them; its answer lies in this folder for a while.
pub fn td(metadata: &Path, folder: &Path, program: &[u8]) -> Result<Td> {
    let about = fs::read_to_string(metadata).with_context(|| format!("{}", metadata.display()))?;
    let about: Value = serde_json::from_str(&about).with_context(|| format!("{}", metadata.display()))?;
    let initrd = about["direct"]["initrd"].as_str();
    let initrd =
        initrd.context("the metadata name no initrd (direct.initrd): nothing else is measured here")?;
    holds(&metadata.parent().unwrap_or(Path::new("")).join(initrd), program)?;
    let answer = folder.join("tdx-measure.json");
    // What it prints may have lines of its log in it.
    let mut tool = Command::new("tdx-measure");
    said(tool.arg(metadata).arg("--json-file").arg(&answer))
        .context("tdx-measure (https://github.com/virtee/tdx-measure) has to be installed")?;
    let told = fs::read_to_string(&answer).context("what tdx-measure told")?;
    registers(&told, metadata.display().to_string())
}

fn registers(told: &str, of: String) -> Result<Td> {
    let told: Value = serde_json::from_str(told).context("what tdx-measure told")?;
    let register = |name: &str| {
        let value = told[name].as_str().and_then(|value| digits(value, 96));
        value.with_context(|| format!("tdx-measure told no {name}"))
    };
    let rtmrs = [register("rtmr0")?, register("rtmr1")?, register("rtmr2")?];
    Ok(Td { mrtd: register("mrtd")?, rtmrs, of })
}

/// Makes sure that an initrd has the program in it, bit by bit.
fn holds(initrd: &Path, program: &[u8]) -> Result<()> {
    let name = initrd.display();
    let packed = fs::read(initrd).with_context(|| format!("{name}"))?;
    let unpacked = match unpacker(&packed) {
        None => packed,
        Some(tool) => {
            let mut command = Command::new(tool);
            command.arg("-dc").arg(initrd).stderr(Stdio::inherit());
            let done = command.output().with_context(|| format!("cannot run {tool}"))?;
            ensure!(done.status.success(), "{tool} does not unpack {name}");
            done.stdout
        }
    };
    ensure!(
        within(&unpacked, program),
        "{name} does not hold the program that was built, bit by bit: make it anew of that. (Archives in one piece are \
         looked into: plain, or packed by gzip, zstd or xz.)"
    );
    Ok(())
}

/// What unpacks it, by how it begins.
fn unpacker(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 3] =
        [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz")];
    kinds.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, tool)| tool)
}

fn within(archive: &[u8], program: &[u8]) -> bool {
    !program.is_empty() && archive.windows(program.len()).any(|part| part == program)
}

/// So many hexadecimal digits.
fn digits(text: &str, count: usize) -> Option<String> {
    let text = text.trim();
    (text.len() == count && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_tell_is_a_measurement_or_refused() {
        let good = "AB".repeat(32);
        assert_eq!(digits(&format!(" {good}\n"), 64), Some(good.to_lowercase()));
        for bad in ["", &good[1..], &good.replace('A', "g")] {
            assert_eq!(digits(bad, 64), None, "{bad}");
        }
    }

    #[test]
    fn an_enclave_for_debugging_gives_no_value() {
        let shown =
            |debug: &str| format!("{{\"mr_enclave\": \"{}\", \"debug_enclave\": {debug}}}", "ab".repeat(32));
        assert_eq!(mrenclave(&shown("false")).unwrap(), "ab".repeat(32));
        for bad in [shown("true"), shown("null"), shown("false").replace("mr_e", "mr"), String::new()] {
            assert!(mrenclave(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_manifest_of_another_program_is_refused() {
        let (sha256, other) = ("ab".repeat(32), "cd".repeat(32));
        let manifest = format!(
            "libos.entrypoint = \"/app/warden\"\n[fs]\nmounts = [{{ path = \"/app/warden\", uri = \"file:w\" }}]\n\
             [[sgx.trusted_files]]\nuri = \"file:other\"\nsha256 = \"{other}\"\n\
             [[sgx.trusted_files]]\nuri = \"file:w\"\nsha256 = \"{sha256}\"\n"
        );
        starts(&manifest, &sha256).unwrap();
        assert!(starts(&manifest, &other).unwrap_err().to_string().contains("sign it again"));
        for (from, to) in
            [("libos", "loader"), ("path", "place"), ("file:w\"\nsha", "file:v\"\nsha"), ("[fs]", "[")]
        {
            assert!(starts(&manifest.replace(from, to), &sha256).is_err(), "{from}");
        }
    }

    #[test]
    fn registers_of_a_guest_are_four_or_none() {
        let all = |name: &str| {
            format!(
                "{{\"mrtd\": \"{0}\", \"rtmr0\": \"{0}\", \"{name}\": \"{0}\", \"rtmr2\": \"{0}\"}}",
                "Ab".repeat(48)
            )
        };
        let td = registers(&all("rtmr1"), "m".into()).unwrap();
        assert_eq!((td.mrtd, td.rtmrs[1].as_str()), ("ab".repeat(48), "ab".repeat(48).as_str()));
        for bad in [all("rtmr3"), all("rtmr1").replace("Ab", "A"), String::new()] {
            assert!(registers(&bad, "m".into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_initrd_without_the_program_is_refused() {
        let dir = std::env::temp_dir().join(format!("blindsmith-xtask-initrd-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let program: Vec<u8> =
            (0..10_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let plain = dir.join("plain");
        fs::write(&plain, [b"070701 and more", program.as_slice(), b"after"].concat()).unwrap();
        holds(&plain, &program).unwrap();
        let packed = Command::new("gzip").arg("-k").arg(&plain).status();
        assert!(packed.unwrap().success());
        holds(&dir.join("plain.gz"), &program).unwrap();
        let mut other = program.clone();
        other[5000] ^= 1;
        for path in [plain, dir.join("plain.gz")] {
            assert!(holds(&path, &other).unwrap_err().to_string().contains("does not hold the program"));
        }
        assert!(holds(&dir.join("absent"), &program).is_err());
        // Without the tool that measures, what was found is an error, and not a value.
        let metadata = dir.join("metadata.json");
        fs::write(&metadata, "{\"direct\": {\"initrd\": \"plain\"}}").unwrap();
        assert!(td(&metadata, &dir, &other).is_err_and(|e| e.to_string().contains("does not hold")));
        fs::write(&metadata, "{\"indirect\": {}}").unwrap();
        assert!(td(&metadata, &dir, &program).is_err_and(|e| e.to_string().contains("no initrd")));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn options_of_the_tool_are_found() {
        let given =
            |words: &[&str]| option(&words.iter().map(OsString::from).collect::<Vec<_>>(), "--initrd");
        assert_eq!(given(&["--mode", "snp", "--initrd", "a"]), Some("a".into()));
        assert_eq!(given(&["--initrd=a b"]), Some("a b".into()));
        assert_eq!(given(&["--initrdx", "a", "--initrd"]), None);
    }
}
