//! New projects and new members: settings as JSON objects, whose names are those of the command line's options.

use std::path::PathBuf;

use blindsmith_client::create::CreatedProject;
use blindsmith_client::members::Minima;
use blindsmith_client::pace::Pace;
use blindsmith_client::scales::Scales;
use blindsmith_client::training::{ClassWeights, Training};
use blindsmith_client::trust::{Attestation, Kem};
use blindsmith_client::{ClientProject, Failure, NewProject, Task};
use blindsmith_data::{Beyond, Choices, ColumnRef, Linear, Model, ModelFile, Standardiser};
use blindsmith_learn::{Activation, Moments, Rule, Schedule};
use blindsmith_matrix::Security;
use blindsmith_protocol::Trigger;
use blindsmith_receipts::{FixedSchedule, Rules};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::Source;
use crate::errors::json;
use crate::model::transposed;
use crate::pulse::Pulse;

/// By what wardens are appraised.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TrustSettings {
    accept_simulated: bool,
    policy: Option<PathBuf>,
    collateral: Vec<PathBuf>,
    kem: Kem,
}

impl TrustSettings {
    fn attestation(&self) -> Result<Attestation, Failure> {
        match &self.policy {
            Some(path) => Attestation::read(path, &self.collateral),
            None if self.accept_simulated => Attestation::simulated().with_collateral(&self.collateral),
            None => Attestation::default().with_collateral(&self.collateral),
        }
    }
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Optimiser {
    Sgd,
    Momentum,
    #[default]
    Nesterov,
    Adam,
    Adamw,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Course {
    Constant,
    #[default]
    Cosine,
    Step,
}

/// `balanced`, or weights by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Weights {
    Word(String),
    Named(std::collections::BTreeMap<String, f32>),
}

/// See the options of `blindsmith init`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    dir: PathBuf,
    refinery: String,
    ca: Option<PathBuf>,
    key: Option<PathBuf>,
    name: Option<String>,
    task: Option<Task>,
    #[serde(default)]
    label: Vec<String>,
    classes: Option<Vec<String>>,
    #[serde(default)]
    category: Vec<String>,
    #[serde(default)]
    date: Vec<String>,
    #[serde(default)]
    id: Vec<String>,
    #[serde(default)]
    impute: Vec<String>,
    indicator: Option<bool>,
    ranges: Option<PathBuf>,
    expect_rows: Option<usize>,
    hidden: Option<Vec<usize>>,
    activation: Option<Activation>,
    epochs: Option<u32>,
    batch_rows: Option<usize>,
    micro_batch: Option<usize>,
    optimiser: Option<Optimiser>,
    learning_rate: Option<f32>,
    schedule: Option<Course>,
    weight_decay: Option<f32>,
    clip_norm: Option<f32>,
    seed: Option<u64>,
    security: Option<u16>,
    class_weights: Option<Weights>,
    threshold: Option<f32>,
    model: Option<PathBuf>,
    warm_epochs: Option<u32>,
    factor: Option<f64>,
    #[serde(default)]
    beyond_refuse: bool,
    #[serde(default)]
    manual: bool,
    round_after: Option<u64>,
    patience: Option<u32>,
    tolerance: Option<f64>,
    screening: Option<f64>,
    fixed_schedule: Option<FixedSchedule>,
    precision: Option<u8>,
    queries: Option<u64>,
    replay: Option<u32>,
    trials: Option<u32>,
    #[serde(default)]
    trust: TrustSettings,
}

impl Settings {
    fn choices(&self) -> Choices {
        let columns = |names: &[String]| names.iter().map(|name| ColumnRef::from(name.as_str())).collect();
        let Ok(imputations) = self.impute.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        Choices {
            categories: columns(&self.category),
            dates: columns(&self.date),
            ids: columns(&self.id),
            imputations,
            indicators: self.indicator.unwrap_or(true),
        }
    }

    fn training(&self) -> Result<Training, Failure> {
        let usual = Training::default();
        let class_weights = match &self.class_weights {
            None => ClassWeights::Equal,
            Some(Weights::Word(word)) if word == "balanced" => ClassWeights::Balanced,
            Some(Weights::Word(word)) => {
                let message =
                    format!("class_weights is \"balanced\" or a weight for each name, not {word:?}");
                return Err(Failure::Settings(message));
            }
            Some(Weights::Named(named)) => {
                ClassWeights::Named(named.iter().map(|(name, w)| (name.clone(), *w)).collect())
            }
        };
        let security = self.security.map(Security::try_from).transpose();
        Ok(Training {
            hidden: self.hidden.clone().unwrap_or(usual.hidden),
            activation: self.activation.unwrap_or(usual.activation),
            epochs: self.epochs,
            batch_rows: self.batch_rows,
            micro_batch: self.micro_batch.unwrap_or(usual.micro_batch),
            rule: match self.optimiser.unwrap_or_default() {
                Optimiser::Sgd => Rule::Sgd,
                Optimiser::Momentum => Rule::Momentum { momentum: 0.9 },
                Optimiser::Nesterov => Rule::Nesterov { momentum: 0.9 },
                Optimiser::Adam => Rule::Adam(Moments::default()),
                Optimiser::Adamw => Rule::AdamW(Moments::default()),
            },
            learning_rate: self.learning_rate,
            schedule: match self.schedule.unwrap_or_default() {
                Course::Constant => Schedule::Constant,
                Course::Cosine => Schedule::Cosine { end: 0.0 },
                Course::Step => Schedule::Step { epochs: 3, factor: 0.5 },
            },
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm.unwrap_or(usual.clip_norm),
            seed: self.seed.unwrap_or(usual.seed),
            security: security.map_err(|e| Failure::Settings(e.to_string()))?.unwrap_or(usual.security),
            class_weights,
            threshold: self.threshold.unwrap_or(usual.threshold),
        })
    }

    fn rules(&self) -> Rules {
        let usual = Rules::default();
        // Numbers out of range are refused later, whatever they become here.
        let thousandths = |ratio: f64| (1000.0 * ratio).round() as u32;
        Rules {
            fixed_schedule: self.fixed_schedule.unwrap_or(usual.fixed_schedule),
            precision: self.precision.unwrap_or(usual.precision),
            queries: self.queries.unwrap_or(usual.queries),
            tolerance: self.tolerance.map_or(usual.tolerance, thousandths),
            screening: self.screening.map_or(usual.screening, thousandths),
            replay: self.replay.or(usual.replay),
            trials: self.trials.unwrap_or(usual.trials),
            ..usual
        }
    }

    fn project(&self, source: &str, missing: Option<Vec<String>>) -> Result<NewProject, Failure> {
        let new = NewProject::new(&self.dir, &self.refinery);
        Ok(NewProject {
            ca: self.ca.clone(),
            key: self.key.clone(),
            name: self.name.clone().unwrap_or(new.name),
            task: self.task.unwrap_or(Task::Classify),
            source: source.to_owned(),
            missing,
            scales: self.ranges.as_deref().map(Scales::read).transpose()?.unwrap_or_default(),
            expect_rows: self.expect_rows,
            training: self.training()?,
            model: self.model.as_deref().map(ModelFile::load).transpose()?,
            warm_epochs: self.warm_epochs.unwrap_or(0),
            factor: self.factor.unwrap_or(Standardiser::FACTOR),
            beyond: if self.beyond_refuse { Beyond::Refuse } else { Beyond::Clip },
            trigger: Trigger {
                rows: if self.manual { None } else { Some(self.round_after.unwrap_or(1)) },
                daily: None,
                rounds_per_day: None,
            },
            attestation: self.trust.attestation()?,
            kem: self.trust.kem,
            rules: self.rules(),
            patience: self.patience,
            ..NewProject::new(&self.dir, &self.refinery)
        })
    }
}

/// A project that was created, and how it will train.
#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    created: CreatedProject,
    pace: Pace,
    left_out: Vec<String>,
}

/// Layers as PyTorch has them: weights of outputs x inputs, and a bias.
type Layers<'py> = Vec<(PyReadonlyArray2<'py, f32>, PyReadonlyArray1<'py, f32>)>;

fn model(layers: &Layers<'_>) -> PyResult<ModelFile> {
    let linear = layers.iter().map(|(weight, bias)| {
        let (outputs, inputs) = (weight.shape()[0], weight.shape()[1]);
        let weight: Vec<f32> = weight.as_array().iter().copied().collect();
        let bias: Vec<f32> = bias.as_array().iter().copied().collect();
        Linear { inputs, outputs, weight: transposed(&weight, inputs), bias }
    });
    let model = Model { layers: linear.collect() };
    model.check("the model").map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(ModelFile::new(model))
}

/// Creates a project; what became of it, as JSON.
#[pyfunction]
fn init(
    py: Python<'_>,
    settings: &str,
    source: &Bound<'_, PyAny>,
    layers: Option<Layers<'_>>,
) -> PyResult<String> {
    let settings: Settings =
        serde_json::from_str(settings).map_err(|e| PyTypeError::new_err(e.to_string()))?;
    let source = Source::of(source)?;
    let data = source.borrowed()?;
    let layers = layers.as_ref().map(model).transpose()?;
    let (name, missing) = (source.name(), source.missing());
    let pulse = Pulse::new(None, None);
    let created = pulse.run(py, || {
        let task = settings.task.unwrap_or(Task::Classify);
        let first = data.first(task, &settings.label, settings.classes.as_deref(), settings.choices())?;
        let left_out = first.left_out.clone();
        let mut new = settings.project(name, missing)?;
        new.model = layers.or(new.model);
        let prepared = new.prepare(first)?;
        pulse.interrupter().check()?;
        let pace = prepared.pace;
        Ok(Created { created: prepared.create()?, pace, left_out })
    })?;
    json(&created)
}

/// See the options of `blindsmith join`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Joining {
    dir: PathBuf,
    invitation: PathBuf,
    refinery: Option<String>,
    #[serde(default)]
    least_rows: u64,
    #[serde(default)]
    least_contributors: u32,
    #[serde(default)]
    least_step_rows: u64,
    #[serde(default)]
    least_step_contributors: u32,
    most_versions: Option<u64>,
    metrics_rows: Option<u64>,
    #[serde(default)]
    trust: TrustSettings,
}

/// Writes a member's directory.
#[pyfunction]
fn join(py: Python<'_>, settings: &str) -> PyResult<()> {
    let joining: Joining = serde_json::from_str(settings).map_err(|e| PyTypeError::new_err(e.to_string()))?;
    Pulse::new(None, None).run(py, || {
        let mut project = ClientProject::load_file(&joining.invitation)?;
        (project.attestation, project.kem) = (joining.trust.attestation()?, joining.trust.kem);
        if let Some(refinery) = joining.refinery {
            project.refinery = refinery;
        }
        let usual = Minima::default();
        let terms = project.terms(&Minima {
            version_rows: joining.least_rows,
            version_contributors: joining.least_contributors,
            step_rows: joining.least_step_rows,
            step_contributors: joining.least_step_contributors,
            versions: joining.most_versions.unwrap_or(usual.versions),
            metrics_rows: joining.metrics_rows.unwrap_or(usual.metrics_rows),
        })?;
        project.join(terms, &joining.dir).map(drop)
    })
}

/// Adds these functions to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(init, module)?)?;
    module.add_function(wrap_pyfunction!(join, module)?)
}
