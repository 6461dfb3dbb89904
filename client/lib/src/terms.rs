//! A member's terms, as a file of its directory.

use std::fs;
use std::path::Path;

use blindsmith_identity::{Origin, PublicKey, Terms};
use blindsmith_protocol::{Blob, Id};
use serde::Deserialize;

use crate::failure::Failure;
use crate::files::write_file;
use crate::layout::{ENROLLED_FILE, TERMS_FILE};

/// A member's terms as a file: what is bytes elsewhere is hexadecimal here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsFile {
    recipe: String,
    model: String,
    tees: Vec<String>,
    measurements: Vec<String>,
    recipients: Vec<PublicKey>,
    step_rows: u64,
    step_contributors: u32,
    version_rows: u64,
    version_contributors: u32,
    versions: u64,
    metrics_rows: u64,
    #[serde(default)]
    policy: String,
}

pub(crate) fn load_terms(dir: &Path) -> Result<Terms, Failure> {
    let path = dir.join(TERMS_FILE);
    let text = fs::read_to_string(&path).map_err(|e| Failure::project(&path, e))?;
    let file: TermsFile = toml::from_str(&text).map_err(|e| Failure::project(&path, e))?;
    let bytes = |hex: &String| {
        let digits = hex.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let all: Option<Vec<u8>> = digits.0.iter().map(byte).collect();
        all.filter(|_| digits.1.is_empty()).map(Blob)
    };
    let measurements: Option<Vec<Blob>> = file.measurements.iter().map(bytes).collect();
    let commitment = |digits: &str| {
        digits.parse().map_err(|_| Failure::project(&path, "a commitment has 64 hexadecimal digits"))
    };
    let terms = Terms {
        origin: Origin { recipe: commitment(&file.recipe)?, model: commitment(&file.model)? },
        tees: file.tees,
        measurements: measurements
            .ok_or_else(|| Failure::project(&path, "a measurement is not hexadecimal"))?,
        recipients: file.recipients,
        step_rows: file.step_rows,
        step_contributors: file.step_contributors,
        version_rows: file.version_rows,
        version_contributors: file.version_contributors,
        versions: file.versions,
        metrics_rows: file.metrics_rows,
        privacy: 0,
        policy: file.policy,
    };
    terms.validate().map_err(|e| Failure::project(&path, e))?;
    Ok(terms)
}

/// Takes note that the warden took the seed of a member under these terms.
pub(crate) fn remember_enrolment(dir: &Path, terms: &Terms) -> Result<(), Failure> {
    write_file(&dir.join(ENROLLED_FILE), format!("{}\n", Id(terms.digest())).as_bytes())
}

/// Whether the warden took the seed of a member under these terms.
pub(crate) fn is_enrolled(dir: &Path, terms: &Terms) -> Result<bool, Failure> {
    let path = dir.join(ENROLLED_FILE);
    match fs::read_to_string(&path) {
        Ok(digest) => Ok(digest.trim() == Id(terms.digest()).to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Failure::project(&path, e)),
    }
}

/// What terms allow, in words.
pub(crate) fn allowed(terms: &Terms) -> Vec<String> {
    let mut lines = vec![match terms.measurements.len() {
        0 => format!("your rows may be held by wardens of the kind {}", terms.tees.join(", ")),
        n => format!(
            "your rows may be held by wardens of the kind {} with one of {n} measurements",
            terms.tees.join(", ")
        ),
    }];
    if terms.tees.iter().any(|tee| tee == "simulated") {
        lines.push("SIMULATED wardens are among them: whoever runs one can read your rows".into());
    }
    lines.push(match terms.recipients.len() {
        1 => "models that were trained on them go to one recipient, see terms.toml".into(),
        n => format!("models that were trained on them go to {n} recipients, see terms.toml"),
    });
    for (what, rows, contributors) in [
        ("version", terms.version_rows, terms.version_contributors),
        ("step of training", terms.step_rows, terms.step_contributors),
    ] {
        for (least, of) in [(rows, "rows"), (contributors.into(), "contributors")] {
            if least > 0 {
                lines.push(format!("each {what} that uses them has at least {least} {of}"));
            }
        }
    }
    if terms.versions < i64::MAX as u64 {
        lines.push(format!("at most {} versions use them", terms.versions));
    }
    lines
}

pub(crate) fn terms_toml(terms: Option<&Terms>) -> String {
    let Some(terms) = terms else { return String::new() };
    let hex = |m: &Blob| m.0.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (tees, recipients) = (&terms.tees, terms.recipients.iter().map(PublicKey::to_string));
    let (measurements, recipients): (Vec<String>, Vec<String>) =
        (terms.measurements.iter().map(hex).collect(), recipients.collect());
    let Terms {
        step_rows,
        step_contributors,
        version_rows,
        version_contributors,
        versions,
        metrics_rows,
        policy,
        origin: Origin { recipe, model },
        ..
    } = terms;
    let policy = match policy.contains("'''") || policy.contains('\r') {
        // Strings of JSON are strings of TOML.
        true => serde_json::Value::from(policy.as_str()).to_string(),
        false => format!("'''\n{policy}'''"),
    };
    format!(
        r#"# What this member accepts for its rows. Every upload names the digest of these terms, and the warden keeps to
# them, whatever the owner asks for. Other terms count for uploads made after `blindsmith join` was run again.

# The commitments to the recipe and to the initial model of the project, as the first receipt has them. The warden takes the
# rows' keys for a project that began with these and for no other.
recipe = "{recipe}"
model = "{model}"
# Kinds of trusted execution environment that may hold the rows' keys. "simulated" protects nothing.
tees = {tees:?}
# Their measurements, in hexadecimal digits; simulated wardens have none.
measurements = {measurements:?}
# Public keys of those who may receive models that were trained on the rows.
recipients = {recipients:?}
# Least rows and contributors of a step of training that uses the rows.
step_rows = {step_rows}
step_contributors = {step_contributors}
# Least rows and contributors of a version that uses them.
version_rows = {version_rows}
version_contributors = {version_contributors}
# Most versions that use them, in the project's life.
versions = {versions}
# The owner sees this member's validation figures from so many judged rows on.
metrics_rows = {metrics_rows}
# By what the warden that holds the rows' keys appraises another one before it passes them on: a policy as in
# attestation.toml, of which this is a copy. Empty: kinds and measurements above are enough.
policy = {policy}
"#
    )
}
