//! What is done with a project: rows pushed, rounds waited for, rows predicted.

use std::path::PathBuf;

use blindsmith_client::push::PushOptions;
use blindsmith_client::rows::Misfits;
use blindsmith_client::trust::answers;
use blindsmith_client::{ClientProject, Connection, Failure, warden_of};
use blindsmith_learn::Targets;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Source;
use crate::errors::json;
use crate::model::matrix;
use crate::place::Place;
use crate::pulse::{Cancel, Pulse};

/// Who observes, and who may end it.
type Callback = Option<Py<PyAny>>;

/// See the options of `blindsmith push`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pushing {
    validation: bool,
    keep_order: bool,
    again: bool,
    era: u32,
}

/// Pushes rows; the stored upload, as JSON.
#[pyfunction]
fn push(
    py: Python<'_>,
    place: Place,
    source: &Bound<'_, PyAny>,
    options: &str,
    callback: Callback,
    cancel: Option<PyRef<'_, Cancel>>,
) -> PyResult<String> {
    let options: Pushing =
        serde_json::from_str(options).map_err(|e| pyo3::exceptions::PyTypeError::new_err(e.to_string()))?;
    let Pushing { validation, keep_order, again, era } = options;
    let source = Source::of(source)?;
    let (data, pulse) = (source.borrowed()?, Pulse::new(callback, cancel));
    let stored = pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        let rows = data.rows(&workspace.project, pulse.interrupter())?;
        let of = rows.features.rows() as u64;
        let options = PushOptions { validation, keep_order, again, early: false, era };
        workspace.push_rows(rows, options, &mut |done| pulse.tell(done, of, None))
    })?;
    json(&stored)
}

/// Asks for a round.
#[pyfunction]
fn request_round(py: Python<'_>, place: Place, epochs: Option<u32>) -> PyResult<()> {
    let pulse = Pulse::new(None, None);
    pulse.run(py, || place.open(pulse.interrupter())?.request_round(epochs))
}

/// Waits until no round is running or due; the report, as JSON.
#[pyfunction]
fn wait(
    py: Python<'_>,
    place: Place,
    callback: Callback,
    cancel: Option<PyRef<'_, Cancel>>,
) -> PyResult<String> {
    let pulse = Pulse::new(callback, cancel);
    let report = pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        workspace.wait(|progress| pulse.tell(progress.step, progress.steps, Some(progress.round)))
    })?;
    json(&report)
}

/// The report, as JSON, with the owner's orders compared.
#[pyfunction]
fn status(py: Python<'_>, place: Place) -> PyResult<String> {
    let pulse = Pulse::new(None, None);
    json(&pulse.run(py, || place.open(pulse.interrupter())?.status())?)
}

/// What a directory records of its project.
#[derive(Serialize)]
struct Record {
    project: String,
    name: String,
    refinery: String,
    task: blindsmith_client::Task,
    labels: Vec<String>,
    classes: Option<Vec<String>>,
    named: bool,
    /// The columns of a table, without labels and identifiers.
    columns: Vec<String>,
    /// What is made of them.
    features: usize,
    layers: Vec<usize>,
    activations: Value,
    owner: bool,
    warden: Option<&'static str>,
}

/// What a directory records of its project, as JSON: no refinery is asked.
#[pyfunction]
fn record(py: Python<'_>, place: Place) -> PyResult<String> {
    let record = Pulse::new(None, None).run(py, || {
        let project = place.project()?;
        let ClientProject { spec, recipe, preprocessing, labelling, .. } = &project;
        Ok(Record {
            project: project.id().to_string(),
            name: spec.name.clone(),
            refinery: project.refinery.clone(),
            task: labelling.task,
            labels: labelling.columns.clone(),
            classes: labelling.classes.as_ref().map(|classes| classes.names().to_vec()),
            named: preprocessing.is_named(),
            columns: preprocessing.columns().iter().map(|column| column.name.clone()).collect(),
            features: project.standardiser.columns(),
            layers: recipe.widths.clone(),
            activations: serde_json::to_value(&recipe.activations)
                .map_err(|e| Failure::Other(e.to_string()))?,
            owner: place.dir().join(blindsmith_client::layout::KEY_FILE).exists(),
            warden: warden_of(place.dir()),
        })
    })?;
    json(&record)
}

/// What is said of predictions beside their columns.
#[derive(Serialize)]
struct Answered {
    rows: usize,
    accuracy: Option<f64>,
    clipped_values: u64,
    misfits: Misfits,
    warden: &'static str,
}

/// A column of predictions: numbers or names.
#[derive(IntoPyObject)]
enum Predicted<'py> {
    Numbers(Bound<'py, PyArray1<f64>>),
    Names(Vec<String>),
}

fn column<'py>(py: Python<'py>, rows: &[Vec<Value>], index: usize) -> Predicted<'py> {
    let cells = || rows.iter().map(|row| row.get(index).unwrap_or(&Value::Null));
    let numbers: Option<Vec<f64>> = cells().map(Value::as_f64).collect();
    match numbers {
        Some(numbers) => Predicted::Numbers(numbers.into_pyarray(py)),
        None => Predicted::Names(
            cells().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect(),
        ),
    }
}

/// Names of columns, a column for each, and what else there is to say, as JSON.
type Columns<'py> = (Vec<String>, Vec<Predicted<'py>>, String);

/// Predicts encrypted rows.
#[pyfunction]
fn predict<'py>(
    py: Python<'py>,
    place: Place,
    source: &Bound<'_, PyAny>,
    callback: Callback,
    cancel: Option<PyRef<'_, Cancel>>,
) -> PyResult<Columns<'py>> {
    let source = Source::of(source)?;
    let (data, pulse) = (source.borrowed()?, Pulse::new(callback, cancel));
    let predicted = pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        let query = data.query(&workspace.project, pulse.interrupter())?;
        let of = query.rows() as u64;
        workspace.predict(query, &mut |done| pulse.tell(done, of, None))
    })?;
    let rows = &predicted.predictions;
    let columns = (0..predicted.columns.len()).map(|index| column(py, rows, index)).collect();
    let answered = Answered {
        rows: predicted.rows,
        accuracy: predicted.accuracy,
        clipped_values: predicted.clipped_values,
        misfits: predicted.misfits.clone(),
        warden: predicted.warden,
    };
    Ok((predicted.columns.clone(), columns, json(&answered)?))
}

/// Rows as they are before they are encrypted: features (rows x features) and targets (rows x outputs), in their order.
#[pyfunction]
fn standardised<'py>(
    py: Python<'py>,
    place: Place,
    source: &Bound<'_, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let source = Source::of(source)?;
    let (data, pulse) = (source.borrowed()?, Pulse::new(None, None));
    let rows = pulse.run(py, || data.rows(&place.project()?, pulse.interrupter()))?;
    let width = rows.features.cols();
    let (outputs, targets) = match rows.targets {
        Targets::Classes(classes) => (1, classes.into_iter().map(|class| class as f32).collect()),
        Targets::Values(values) => (values.cols(), values.into_vec()),
    };
    Ok((matrix(py, rows.features.into_vec(), width)?, matrix(py, targets, outputs)?))
}

/// Whether a refinery answers at a socket, and, if that is asked, whether it has a warden.
#[pyfunction]
fn is_ready(py: Python<'_>, socket: PathBuf, warden: bool) -> bool {
    py.detach(|| {
        let Ok(mut connection) = Connection::open(&socket) else { return false };
        !warden || answers(&mut connection).is_ok()
    })
}

/// Adds these functions to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(push, module)?)?;
    module.add_function(wrap_pyfunction!(request_round, module)?)?;
    module.add_function(wrap_pyfunction!(wait, module)?)?;
    module.add_function(wrap_pyfunction!(status, module)?)?;
    module.add_function(wrap_pyfunction!(record, module)?)?;
    module.add_function(wrap_pyfunction!(predict, module)?)?;
    module.add_function(wrap_pyfunction!(standardised, module)?)?;
    module.add_function(wrap_pyfunction!(is_ready, module)?)
}
