//! Failures as exceptions: one class for each exit code of the command line.

use blindsmith_client::Failure;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The class in `blindsmith.errors`.
fn class(failure: &Failure) -> &'static str {
    match failure {
        Failure::Settings(_) | Failure::EvidenceRefused(_) | Failure::Usage(_) => "SettingsError",
        Failure::Repeated { .. } => "RepeatedRowsError",
        Failure::Data(_) | Failure::Unusable { .. } => "DataError",
        Failure::Unreachable { .. } | Failure::Connection(_) => "UnreachableError",
        Failure::Refused(_) => "RefusedError",
        Failure::NotTrusted(_) => "NotTrustedError",
        Failure::Keys { .. } => "KeysError",
        Failure::Project { .. } => "ProjectError",
        Failure::NotProven(_) => "NotProvenError",
        Failure::Other(_) | Failure::Interrupted => "BlindsmithError",
    }
}

/// What users of the package are told in the place of an option of the command line.
fn words(failure: &Failure) -> String {
    match failure {
        Failure::Repeated { upload } => {
            format!("these rows were pushed before, as upload {upload}. With again=True they count twice")
        }
        other => other.to_string(),
    }
}

/// A failure as the exception that says what a caller can do.
pub fn exception(py: Python<'_>, failure: &Failure) -> PyErr {
    let class = py.import("blindsmith.errors").and_then(|errors| errors.getattr(class(failure)));
    match class.and_then(|class| class.call1((words(failure),))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// A value as JSON.
pub fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| PyRuntimeError::new_err(e.to_string()))
}
