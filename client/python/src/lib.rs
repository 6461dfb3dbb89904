//! The client library for Python: data comes in as arrays, settings and results pass as JSON, and failures as exceptions of
//! `blindsmith.errors`. What users see is in `python/blindsmith`.

mod data;
mod errors;
mod members;
mod model;
mod operations;
mod place;
mod proofs;
mod pulse;
mod settings;

use pyo3::prelude::*;

/// Operations without a project, of the client library; all others are functions of a project's directory.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<pulse::Cancel>()?;
    module.add_class::<model::Model>()?;
    operations::add(module)?;
    members::add(module)?;
    model::add(module)?;
    proofs::add(module)?;
    settings::add(module)
}
