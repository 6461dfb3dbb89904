//! Models that were fetched: their layers as arrays, and their files.

use std::path::PathBuf;

use blindsmith_client::Failure;
use blindsmith_client::card::model_card;
use blindsmith_client::files::write_file;
use blindsmith_data::ModelFile;
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;

use crate::place::Place;
use crate::pulse::Pulse;

/// A matrix of this many columns.
pub fn matrix<'py>(py: Python<'py>, values: Vec<f32>, columns: usize) -> PyResult<Bound<'py, PyAny>> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    Ok(values.into_pyarray(py).reshape([rows, columns])?.into_any())
}

/// A matrix in row-major order, `columns` wide, with rows and columns exchanged.
pub fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// A version that was fetched and verified.
#[pyclass(frozen)]
pub struct Model {
    version: u64,
    file: ModelFile,
    onnx: Vec<u8>,
    card: String,
    centre: Vec<f64>,
    scale: Vec<f64>,
    factor: f64,
    names: Option<Vec<String>>,
}

#[pymethods]
impl Model {
    /// The version's number.
    #[getter]
    fn version(&self) -> u64 {
        self.version
    }

    /// Layers as PyTorch has them: weights (outputs x inputs) and biases, float32.
    #[getter]
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        let layers = self.file.model.layers.iter().map(|layer| {
            let weight = matrix(py, transposed(&layer.weight, layer.outputs), layer.inputs)?;
            Ok((weight, layer.bias.clone().into_pyarray(py).into_any()))
        });
        layers.collect()
    }

    /// Centre and scale of each feature: the model takes (x - centre) / scale, clipped to +-factor.
    #[getter]
    fn standardisation<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, Bound<'py, PyAny>, f64) {
        let array = |values: &[f64]| values.to_vec().into_pyarray(py).into_any();
        (array(&self.centre), array(&self.scale), self.factor)
    }

    /// Names of the features, where they have names.
    #[getter]
    fn features(&self) -> Option<Vec<String>> {
        self.names.clone()
    }

    /// What its file says beside the weights.
    #[getter]
    fn metadata(&self) -> std::collections::BTreeMap<String, String> {
        self.file.metadata.clone()
    }

    /// Its card, as Markdown.
    #[getter]
    fn card(&self) -> &str {
        &self.card
    }

    /// Writes safetensors, or ONNX if the path ends in .onnx.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Pulse::new(None, None).run(py, || {
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
                write_file(&path, &self.onnx)
            } else {
                Ok(self.file.save(&path)?)
            }
        })
    }
}

/// Fetches and opens a version, after the receipts were verified.
#[pyfunction]
fn pull(py: Python<'_>, place: Place, version: Option<u64>) -> PyResult<Model> {
    let pulse = Pulse::new(None, None);
    pulse.run(py, || -> Result<Model, Failure> {
        let mut workspace = place.open(pulse.interrupter())?;
        let model = workspace.pull(version)?;
        let status = workspace.fetch_status()?;
        let (report, warden) = (workspace.report(status)?, workspace.warden());
        let project = &workspace.project;
        let standardiser = &project.standardiser;
        Ok(Model {
            version: model.version,
            onnx: model.onnx(project)?,
            card: model_card(project, &model, &report, warden),
            centre: standardiser.centre().to_vec(),
            scale: standardiser.scale().to_vec(),
            factor: standardiser.factor(),
            names: standardiser.names().map(<[String]>::to_vec),
            file: model.file(project)?,
        })
    })
}

/// Adds this function to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pull, module)?)
}
