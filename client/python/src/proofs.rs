//! Receipts: fetched, verified, kept.

use std::path::PathBuf;

use blindsmith_attest::chain::{Bundle, OwnerPolicy, Verdict, verify_against};
use blindsmith_client::Failure;
use blindsmith_client::files::write_file;
use blindsmith_client::models::CommittedModel;
use blindsmith_client::policy::load_policy;
use blindsmith_client::receipts::{ReceiptsReport, read_bundle, read_policy};
use pyo3::prelude::*;
use serde::Serialize;

use crate::errors::json;
use crate::place::Place;
use crate::pulse::Pulse;

/// Fetches the receipts and writes them to a file if one is named; what they say, as JSON.
#[pyfunction]
fn receipts(py: Python<'_>, place: Place, path: Option<PathBuf>) -> PyResult<String> {
    let pulse = Pulse::new(None, None);
    let report = pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        let bundle = workspace.receipts()?;
        if let Some(path) = &path {
            write_file(path, &bundle.to_bytes())?;
        }
        // They are kept first: they are the proof if this fails.
        workspace.compare_orders()?;
        ReceiptsReport::of(&bundle)
    })?;
    json(&report)
}

/// A verdict, and what the receipts say of a model.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    verdict: Verdict,
    model: Option<CommittedModel>,
}

fn checked(
    bundle: &Bundle,
    policy: &OwnerPolicy,
    against: Option<&PathBuf>,
    model: Option<&PathBuf>,
) -> Result<Checked, Failure> {
    let verdict = match against {
        Some(other) => verify_against(bundle, &read_bundle(other)?, policy),
        None => blindsmith_attest::chain::verify(bundle, policy),
    };
    // Receipts that do not verify commit to nothing.
    let model = model.filter(|_| verdict.valid);
    let model = model.map(|path| CommittedModel::find(path, bundle, policy)).transpose()?;
    Ok(Checked { verdict, model })
}

/// Verifies the receipts that the refinery has; the verdict, as JSON.
#[pyfunction]
fn verify(
    py: Python<'_>,
    place: Place,
    against: Option<PathBuf>,
    model: Option<PathBuf>,
) -> PyResult<String> {
    let pulse = Pulse::new(None, None);
    let checked = pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        let bundle = workspace.receipts()?;
        workspace.compare_orders()?;
        checked(&bundle, &load_policy(place.dir())?, against.as_ref(), model.as_ref())
    })?;
    json(&checked)
}

/// Verifies receipts in a file against a policy in another, offline; the verdict, as JSON.
#[pyfunction]
fn verify_files(
    py: Python<'_>,
    receipts: PathBuf,
    policy: PathBuf,
    against: Option<PathBuf>,
    model: Option<PathBuf>,
) -> PyResult<String> {
    let checked = Pulse::new(None, None).run(py, || {
        checked(&read_bundle(&receipts)?, &read_policy(&policy)?, against.as_ref(), model.as_ref())
    })?;
    json(&checked)
}

/// Adds these functions to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(receipts, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(verify_files, module)?)
}
