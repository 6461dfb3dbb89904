//! Reference values of a release, as `cargo xtask measure` writes them, and the policy that they make.

use blindsmith_appraisal::{Bytes, EXAMPLE};
use serde::Deserialize;
use thiserror::Error;

/// Longest file of reference values, in bytes.
pub const MAX_REFERENCE: usize = 64 << 10;
/// The program that is measured.
const PROGRAM: &str = "blindsmith-warden";

/// Reference values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    version: String,
    commit: String,
    sha256: Bytes<32>,
    sgx: Option<Sgx>,
    snp: Option<Snp>,
    tdx: Option<Tdx>,
}

/// A file that holds no reference values, or none that a policy could take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not usable as reference values: {0}")]
pub struct ReferenceError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    program: Program,
    #[serde(rename = "build")]
    _build: Build,
    sgx: Option<Sgx>,
    snp: Option<Snp>,
    tdx: Option<Tdx>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    version: String,
    commit: String,
    sha256: Bytes<32>,
    #[serde(rename = "bytes")]
    _bytes: u64,
}

/// For whoever builds again: no policy takes any of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    #[serde(rename = "rustc")]
    _rustc: String,
    #[serde(rename = "target")]
    _target: String,
    #[serde(rename = "linker")]
    _linker: String,
    #[serde(rename = "source_date_epoch")]
    _epoch: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sgx {
    mrenclave: Bytes<32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snp {
    measurement: Bytes<48>,
    #[serde(rename = "sev_snp_measure")]
    _of: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tdx {
    mrtd: Bytes<48>,
    rtmrs: [Bytes<48>; 4],
    #[serde(rename = "tdx_measure")]
    _of: String,
}

impl Reference {
    /// Reads reference values.
    ///
    /// # Errors
    /// [`ReferenceError`]: a field that is unknown, missing or out of range, or no value that hardware measures.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let fail = |why: &str| Err(ReferenceError(why.into()));
        if text.len() > MAX_REFERENCE {
            return fail(&format!("more than {MAX_REFERENCE} bytes"));
        }
        let file: File = toml::from_str(text).map_err(|e| ReferenceError(e.to_string().trim_end().into()))?;
        let File { program: Program { name, version, commit, sha256, .. }, sgx, snp, tdx, .. } = file;
        if name != PROGRAM {
            return fail(&format!("the program is not {PROGRAM}"));
        }
        // They become comments of a policy: nothing else may get into it.
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
        if !(1..=64).contains(&version.len()) || !version.chars().all(plain) {
            return fail("the version is none");
        }
        if ![40, 64].contains(&commit.len()) || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            return fail("the commit is none: 40 or 64 hexadecimal digits were expected");
        }
        if sgx.is_none() && snp.is_none() && tdx.is_none() {
            return fail(
                "no value that hardware measures: have them added by cargo xtask measure --sigstruct, --tdx or -- (docs/deploy.md)",
            );
        }
        Ok(Reference { version, commit, sha256, sgx, snp, tdx })
    }

    /// A policy that accepts these measurements and no others. It lists no machine yet, and so accepts none.
    pub fn policy(&self) -> String {
        let Reference { version, commit, sha256, .. } = self;
        let mut policy = format!(
            "# Which software on which machines is trusted: blindsmith attest, init and join.\n\
             # Measurements are from the reference values of {PROGRAM} {version},\n\
             # commit {commit},\n# program with SHA-256 {sha256}.\n\
             # Machines, firmware and TCB statuses are yours to say: until machines are listed, nothing is accepted.\n\
             # A name that is not known is an error. In words: blindsmith policy explain FILE.\n\n\
             # Whether simulated environments are accepted, for tests. They prove nothing.\n\
             accept_simulated = false\n"
        );
        let quoted = |value: &dyn std::fmt::Display| format!("\"{value}\"");
        if let Some(Sgx { mrenclave }) = &self.sgx {
            let section = filled(section("Intel SGX"), "mrenclave", &quoted(mrenclave));
            // By what it is, not by who signed it.
            let section = without(&section, "\n# or by who signed it", "\n[sgx.platform]");
            policy += &section.replace(" Either by what it is:", "");
        }
        if let Some(Tdx { mrtd, rtmrs, .. }) = &self.tdx {
            let section = filled(section("Intel TDX"), "mrtd", &quoted(mrtd));
            let rtmrs = rtmrs.map(|rtmr| format!("    {},\n", quoted(&rtmr))).concat();
            let section = filled(&section, "rtmrs", &format!("[\n{rtmrs}]"));
            policy +=
                &section.replace("# As of SGX.", "# As of SGX: blindsmith policy init explains each field.");
        }
        if let Some(Snp { measurement, .. }) = &self.snp {
            policy += &filled(section("AMD SEV-SNP"), "measurement", &quoted(measurement));
        }
        policy
    }

    /// The environments that it has values for.
    pub fn environments(&self) -> Vec<&'static str> {
        let all = [("sgx", self.sgx.is_some()), ("tdx", self.tdx.is_some()), ("snp", self.snp.is_some())];
        all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

/// What each section of the example begins with.
const MARK: &str = "\n# --- ";

/// A section of the example, with the mark that it begins with.
fn section(title: &str) -> &'static str {
    let start = EXAMPLE.find(&format!("{MARK}{title} ")).unwrap_or(EXAMPLE.len());
    let rest = &EXAMPLE[start..];
    let end = rest.get(1..).and_then(|after| after.find(MARK)).map_or(rest.len(), |end| end + 2);
    &rest[..end]
}

/// A text in which a field has another value.
fn filled(text: &str, name: &str, value: &str) -> String {
    let begins = format!("\n{name} = ");
    let Some((before, after)) = text.split_once(&begins) else { return text.to_owned() };
    let end = if after.starts_with('[') { "]\n" } else { "\n" };
    let rest = after.split_once(end).map_or("", |(_, rest)| rest);
    format!("{before}{begins}{value}\n{rest}")
}

/// A text without what lies between.
fn without(text: &str, from: &str, to: &str) -> String {
    match (text.find(from), text.find(to)) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_appraisal::{Enclave, Guest, Platforms, Policy};

    use super::*;

    /// What `cargo xtask measure` writes, as a test of its own makes sure.
    const WRITTEN: &str = include_str!("../tests/reference/reference-values.toml");

    /// The same with the sections of some environments alone.
    fn of(environments: &[&str]) -> String {
        let mut text = WRITTEN.to_owned();
        for (name, end) in
            [("sgx", "\n# Into a policy's [[snp"), ("snp", "\n# Into a policy's [[tdx"), ("tdx", "")]
        {
            if !environments.contains(&name) {
                let start = text.find(&format!("\n[{name}]")).unwrap();
                let end = if end.is_empty() { text.len() } else { text.find(end).unwrap() };
                text.replace_range(start..end, "");
            }
        }
        text
    }

    #[test]
    fn a_policy_has_the_measurements_and_no_others() {
        let text = Reference::parse(WRITTEN).unwrap().policy();
        for word in [&"c0".repeat(20), &"5a".repeat(32), "0.1.0"] {
            assert!(text.lines().any(|line| line.starts_with('#') && line.contains(word)), "{word}: {text}");
        }
        let Policy { accept_simulated, sgx, tdx, snp } = Policy::parse(&text).unwrap();
        let (sgx, tdx, snp) = (sgx.unwrap(), tdx.unwrap(), snp.unwrap());
        assert!(!accept_simulated && !text.contains("Either") && !text.contains("mrsigner"));
        assert_eq!(sgx.enclaves, [Enclave::Measured { mrenclave: Bytes([0xe1; 32]) }]);
        assert_eq!((tdx.guests.len(), tdx.guests[0].mrtd), (1, Bytes([0xb3; 48])));
        assert_eq!(tdx.guests[0].rtmrs, [0xc0, 0xc1, 0xc2, 0].map(|byte| Bytes([byte; 48])));
        assert_eq!(snp.guests, [Guest { measurement: Bytes([0xa2; 48]), host_data: Bytes([0; 32]) }]);
        // Which machines are trusted nobody but its owner says.
        assert_eq!(sgx.platform.machines, Platforms::Listed(vec![]));
        assert_eq!(
            (tdx.platform.machines, snp.machines),
            (Platforms::Listed(vec![]), Platforms::Listed(vec![]))
        );
        // All else is as in the example.
        let example = Policy::parse(EXAMPLE).unwrap();
        let same = Policy {
            sgx: Some(crate::appraisal::SgxPolicy { enclaves: sgx.enclaves, ..example.sgx.unwrap() }),
            tdx: Some(crate::appraisal::TdxPolicy { guests: tdx.guests, ..example.tdx.unwrap() }),
            snp: Some(crate::appraisal::SnpPolicy { guests: snp.guests, ..example.snp.unwrap() }),
            accept_simulated: false,
        };
        assert_eq!(Policy::parse(&text).unwrap(), same);
    }

    #[test]
    fn environments_without_values_are_refused_by_the_policy() {
        for environments in [&["sgx"][..], &["snp"], &["tdx"], &["sgx", "tdx"]] {
            let reference = Reference::parse(&of(environments)).unwrap();
            assert_eq!(reference.environments(), environments);
            let policy = Policy::parse(&reference.policy()).unwrap();
            let there = [policy.sgx.is_some(), policy.tdx.is_some(), policy.snp.is_some()];
            assert_eq!(there, ["sgx", "tdx", "snp"].map(|name| environments.contains(&name)));
        }
        assert!(
            Reference::parse(&of(&[])).unwrap_err().to_string().contains("no value that hardware measures")
        );
    }

    #[test]
    fn other_files_are_refused() {
        for (from, to) in [
            ("[sgx]", "more = 1\n[sgx]"),
            ("mrenclave", "mrsigner"),
            ("e1e1", "e1"),
            ("\"blindsmith-warden\"", "\"blindsmith-refinery\""),
            ("\"0.1.0\"", "\"0.1.0\\naccept_simulated = true\""),
            ("commit = \"c0", "commit = \"\\n"),
            ("commit = \"c0", "commit = \""),
            ("[program]", "[programme]"),
            ("bytes = 23572664\n", ""),
        ] {
            assert!(WRITTEN.contains(from), "{from}");
            assert!(Reference::parse(&WRITTEN.replacen(from, to, 1)).is_err(), "{from} {to}");
        }
        assert!(Reference::parse(&"#".repeat(MAX_REFERENCE + 1)).is_err());
    }
}
