//! New projects: the standardisation fitted, a model made or imported, keys generated, and the secrets released to the warden.

use std::path::PathBuf;

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::chain::Trust;
use blindsmith_attest::{Appraised, confirmed};
use blindsmith_data::{Beyond, Dataset, InputColumn, ModelFile, Preprocessing, Standardiser, Targets};
use blindsmith_formats::{Release, check_size, encode_model, model_context, recipe_opening, session_info};
use blindsmith_identity::{Purpose, SignedRelease, sign_release};
use blindsmith_keys::Key;
use blindsmith_learn::{Labels, Layer, Matrix, Network, Recipe, Trainer};
use blindsmith_plan::Cloud;
use blindsmith_protocol::{Blob, Id, Trigger};
use blindsmith_receipts::{FixedSchedule, Rules};
use blindsmith_twin::Run;
use serde::Serialize;

use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::keys::Keys;
use crate::pace::Pace;
use crate::project::{ClientProject, FORMAT, Labelling, Task};
use crate::rows::{First, column_name, standardise};
use crate::scales::Scales;
use crate::spec::{bytes_per_row, new_spec, planned, sizes};
use crate::training::Training;
use crate::trust::{Attestation, Kem, appraise_warden};

/// What a new project is to be. [`NewProject::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// Its directory, which must not hold a project. One that was interrupted is begun anew.
    pub dir: PathBuf,
    /// The refinery: `http(s)://HOST[:PORT]`, or the path of its socket.
    pub refinery: String,
    /// Certificates (PEM) that lead to the refinery's, if not the system's do.
    pub ca: Option<PathBuf>,
    /// The owner's key, made if the file is not there. Without, the project has a new one.
    pub key: Option<PathBuf>,
    /// A name for people; the refinery sees it.
    pub name: String,
    /// What is learnt.
    pub task: Task,
    /// What the first rows are called in messages, such as the name of their file.
    pub source: String,
    /// What marks a missing value in files, if not what usually does.
    pub missing: Option<Vec<String>>,
    /// Centres and scales in place of those of the first rows.
    pub scales: Scales,
    /// Rows that rounds will train on, about; the first rows, if none.
    pub expect_rows: Option<usize>,
    /// The model and how it is trained.
    pub training: Training,
    /// Start from this model, whose widths replace the hidden ones.
    pub model: Option<ModelFile>,
    /// Epochs of training in the clear, here, on the first rows, before the model is encrypted.
    pub warm_epochs: u32,
    /// Features are stored as (x - mean) / (factor * standard deviation).
    pub factor: f64,
    /// What happens to values beyond the factor.
    pub beyond: Beyond,
    /// What the refinery will multiply on.
    pub cloud: Cloud,
    /// Have the refinery multiply all layers, whatever that costs.
    pub offload_all: bool,
    /// When rounds start by themselves.
    pub trigger: Trigger,
    /// By what wardens are appraised.
    pub attestation: Attestation,
    /// How secrets are sealed to them.
    pub kem: Kem,
    /// What the warden keeps to; but see `patience`.
    pub rules: Rules,
    /// Epochs without progress after which a round stops; chosen from the number of rows, if none.
    pub patience: Option<u32>,
}

impl NewProject {
    /// With defaults: no warden is trusted, and rounds start as soon as there are new rows.
    pub fn new(dir: impl Into<PathBuf>, refinery: impl Into<String>) -> Self {
        NewProject {
            dir: dir.into(),
            refinery: refinery.into(),
            ca: None,
            key: None,
            name: "project".into(),
            task: Task::Classify,
            source: "the table".into(),
            missing: None,
            scales: Scales::default(),
            expect_rows: None,
            training: Training::default(),
            model: None,
            warm_epochs: 0,
            factor: Standardiser::FACTOR,
            beyond: Beyond::Clip,
            cloud: Cloud::Cpu,
            offload_all: false,
            trigger: Trigger { rows: Some(1), daily: None, rounds_per_day: None },
            attestation: Attestation::default(),
            kem: Kem::default(),
            rules: Rules::default(),
            patience: None,
        }
    }

    /// Fits the standardisation on the first rows, makes the model and the keys, and trains in the clear if that is asked for.
    /// Nothing is written but the owner's key file, and no warden or refinery is asked.
    ///
    /// # Errors
    /// If nothing could be learnt from the rows, or settings do not go together.
    pub fn prepare(self, first: First) -> Result<PreparedProject, Failure> {
        let First { data, labels, preprocessing, .. } = first;
        let rows = data.rows();
        let standardiser = preprocessing.fit(&data.features, self.factor, self.beyond)?;
        let mut labelling = labelling(self.task, &labels, &data, (self.factor, self.beyond))?;
        labelling.missing = self.missing.clone();
        let (standardiser, targets) = self.scales.apply(standardiser, labelling.targets.take())?;
        labelling.targets = targets;
        self.check_constants(&standardiser, &labelling, rows)?;
        let pace = Pace::of(self.expect_rows.unwrap_or(rows), self.task);
        let training = self.training.clone().paced(&pace);
        let mut recipe =
            training.recipe(standardiser.columns(), labelling.outputs(), labelling.loss(), self.factor)?;
        recipe.class_weights = class_weights(&training, &data)?;
        recipe.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        check_size(&recipe).map_err(Failure::Settings)?;
        let network = self.initial_network(&mut recipe)?;
        // A model that is brought along has layers of its own.
        check_size(&recipe).map_err(Failure::Settings)?;
        let keys = match &self.key {
            Some(path) => Keys::of_owner(path)?,
            None => Keys::generate(),
        };
        let plan = planned(&recipe, training.security, (self.cloud, self.offload_all))?;
        let spec = new_spec(&self.name, keys.public(), (plan, training.security), &recipe, self.trigger)?;
        let opening = Id(*recipe_opening(&keys.owner(&spec.id()), &spec.id()).expose());
        let project = ClientProject {
            format: FORMAT,
            recipe_opening: opening,
            initial_model: None,
            refinery: self.refinery.clone(),
            spec,
            recipe,
            preprocessing,
            standardiser,
            labelling,
            kem: self.kem,
            attestation: self.attestation.clone(),
            rules: self.rules(&pace)?,
        };
        let network = self.warm(&project, network, data)?;
        let constant_columns = constant_columns(&project.standardiser);
        let columns = words_of(&project.preprocessing);
        Ok(PreparedProject { settings: self, project, keys, network, pace, rows, columns, constant_columns })
    }

    fn rules(&self, pace: &Pace) -> Result<Rules, Failure> {
        // On a fixed schedule a round takes its steps whatever it achieves.
        let fixed = self.rules.fixed_schedule == FixedSchedule::Always;
        let patience = self.patience.unwrap_or(if fixed { 0 } else { pace.patience });
        let rules = Rules { patience, ..self.rules.clone() };
        rules.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        Ok(rules)
    }

    /// Refuses rows of which nothing could be learnt.
    fn check_constants(
        &self,
        standardiser: &Standardiser,
        labelling: &Labelling,
        rows: usize,
    ) -> Result<(), Failure> {
        let source = &self.source;
        for targets in labelling.targets.iter() {
            if let Some(column) = (0..targets.columns()).find(|&column| targets.is_constant(column)) {
                return Err(Failure::Settings(format!(
                    "the target {} has one value in all {rows} rows of {source}: nothing can be learnt from it, and no unit \
                     follows from it. Give rows in which it varies, or its range with --ranges",
                    targets.display(column)
                )));
            }
        }
        if constant_columns(standardiser).len() == standardiser.columns() {
            return Err(Failure::Settings(format!(
                "every feature has one value in all {rows} rows of {source}: give rows in which they vary, or their ranges \
                 with --ranges"
            )));
        }
        Ok(())
    }

    fn initial_network(&self, recipe: &mut Recipe) -> Result<Network, Failure> {
        let Some(file) = &self.model else {
            let trainer = Trainer::new(recipe.clone()).map_err(|e| Failure::Settings(e.to_string()))?;
            return Ok(trainer.network().clone());
        };
        let (inputs, outputs) = (recipe.widths[0], recipe.outputs());
        let first = file.model.layers.first().map_or(0, |l| l.inputs);
        let last = file.model.layers.last().map_or(0, |l| l.outputs);
        if (first, last) != (inputs, outputs) {
            return Err(Failure::Settings(format!(
                "the model takes {first} features and gives {last} outputs, the data has {inputs} features and needs {outputs} outputs",
            )));
        }
        recipe.widths = std::iter::once(first).chain(file.model.layers.iter().map(|l| l.outputs)).collect();
        let activation = recipe.activations.first().copied().unwrap_or(blindsmith_learn::Activation::Relu);
        recipe.activations = vec![activation; recipe.widths.len() - 2];
        recipe.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        let layers = file.model.layers.iter().map(|l| Layer {
            // Unwrap safety: the reader checked the layer's sizes.
            weights: Matrix::from_rows(l.inputs, l.outputs, l.weight.clone())
                .expect("a layer of its own sizes"),
            bias: l.bias.clone(),
        });
        Network::new(layers.collect(), recipe.activations.clone(), recipe.input_rms)
            .map_err(|e| Failure::Settings(e.to_string()))
    }

    /// Trains in the clear on the first rows.
    fn warm(&self, project: &ClientProject, network: Network, data: Dataset) -> Result<Network, Failure> {
        if self.warm_epochs == 0 {
            return Ok(network);
        }
        let other = |e: blindsmith_twin::RunError| Failure::Other(e.to_string());
        let rows = standardise(project, data)?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let recipe = Recipe { epochs: self.warm_epochs, ..project.recipe.clone() };
        let mut run = Run::continue_from(recipe, network, 1, threads).map_err(other)?;
        let upload = run.push(rows.features, Labels::new(rows.targets)).map_err(other)?;
        let blocks = run.blocks(upload);
        run.train_round(blocks, |_, _| {}).map_err(other)?;
        Ok(run.trainer().network().clone())
    }
}

/// A project that is ready to be created.
pub struct PreparedProject {
    settings: NewProject,
    project: ClientProject,
    keys: Keys,
    network: Network,
    /// What was chosen from the number of rows.
    pub pace: Pace,
    /// The first rows.
    pub rows: usize,
    /// What was made of columns that are no plain numbers.
    pub columns: Vec<String>,
    /// Features with one value only, which count for nothing.
    pub constant_columns: Vec<String>,
}

impl PreparedProject {
    /// The owner's public key, which a refinery's operator lists as one that may create projects.
    pub fn owner(&self) -> Id {
        self.keys.public()
    }

    /// Creates the project at the refinery and releases its secrets to the refinery's warden, if that may be trusted. If it
    /// fails, nothing stays in the directory.
    ///
    /// # Errors
    /// If the warden is not one to trust, the refinery refuses, or the directory has a project.
    pub fn create(self) -> Result<CreatedProject, Failure> {
        let PreparedProject { settings, mut project, keys, network, .. } = self;
        let mut connection =
            Connection::reach(&settings.refinery, Some(keys.identity()), settings.ca.as_deref())?;
        // Nothing is created anywhere unless the warden may be trusted.
        let warden = appraise_warden(
            &mut connection,
            (project.id(), &project.attestation, project.kem),
            &keys.identity(),
            Purpose::Release,
        )?;
        let unfinished = project.create(&keys, &settings.dir)?;
        let interrupted = unfinished.interrupted();
        let released = release(&mut connection, &project, &keys, &warden, network.layers())
            .and_then(|trust| project.released(&mut connection, &trust, warden.measurement(), &settings.dir));
        if let Err(e) = released {
            // It is of no use without a project at the refinery.
            unfinished.remove();
            return Err(e);
        }
        unfinished.finish()?;
        Ok(CreatedProject { interrupted, ..describe(&project, &network, &warden) })
    }
}

/// A project that was created.
#[derive(Debug, Clone, Serialize)]
pub struct CreatedProject {
    /// Its identifier.
    pub project: String,
    /// Inputs, hidden layers, outputs.
    pub layers: Vec<usize>,
    /// Weights and biases.
    pub parameters: usize,
    /// Of security.
    pub security_bits: u16,
    /// For each layer, whether the refinery multiplies it.
    pub offloaded: Vec<bool>,
    /// n, m and r of stored rows, for forward products.
    pub row_form: [usize; 3],
    /// The same for gradients.
    pub column_form: [usize; 3],
    /// Rows of a block.
    pub block_rows: u32,
    /// Bytes of an encrypted row.
    pub upload_bytes_per_row: usize,
    /// What was made of columns that are no plain numbers.
    pub columns: Vec<String>,
    /// Features with one value only, which count for nothing.
    pub constant_columns: Vec<String>,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Epochs of a round.
    pub epochs: u32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Epochs without progress after which a round stops; 0 never stops early.
    pub patience: u32,
    /// The kind of the warden that was given the secrets.
    pub warden: String,
    /// Whether another `init` or `join` was interrupted in the directory: this one began anew.
    #[serde(skip)]
    pub interrupted: bool,
}

/// What was made of columns that are no plain numbers.
fn words_of(preprocessing: &Preprocessing) -> Vec<String> {
    let ids =
        preprocessing.ids().iter().map(|id| format!("column {id:?}: identifies rows, and is no feature"));
    ids.chain(preprocessing.columns().iter().filter_map(InputColumn::words)).collect()
}

/// A weight for each output, from the first rows.
fn class_weights(training: &Training, data: &Dataset) -> Result<Vec<f32>, Failure> {
    let Targets::Classes { classes, index } = &data.targets else {
        return training.class_weights.of(&[], &[]);
    };
    let mut rows = vec![0; classes.len()];
    index.iter().for_each(|class| rows[*class as usize] += 1);
    training.class_weights.of(classes.names(), &rows)
}

/// The features with one value only.
fn constant_columns(standardiser: &Standardiser) -> Vec<String> {
    let constant = (0..standardiser.columns()).filter(|&column| standardiser.is_constant(column));
    constant.map(|column| column_name(standardiser, column)).collect()
}

fn labelling(
    task: Task,
    label: &[String],
    data: &Dataset,
    (factor, beyond): (f64, Beyond),
) -> Result<Labelling, Failure> {
    let classes = match &data.targets {
        Targets::Classes { classes, .. } => Some(classes.clone()),
        _ => None,
    };
    let (targets, columns) = match &data.targets {
        Targets::Values(values) => {
            (Some(Standardiser::fit(values, factor, beyond)?), values.matrix().columns())
        }
        Targets::Bits(bits) => (None, bits.matrix().columns()),
        Targets::Classes { .. } => (None, 1),
    };
    let names = match label.is_empty() {
        false => label.to_vec(),
        true => (1..=columns).map(|i| format!("label {i}")).collect(),
    };
    Ok(Labelling { task, columns: names, classes, targets, missing: None })
}

/// Creates the project at the refinery and releases its secrets to the warden.
pub fn release(
    connection: &mut Connection,
    project: &ClientProject,
    keys: &Keys,
    warden: &Appraised,
    layers: &[Layer],
) -> Result<Trust, Failure> {
    let id: Id = project.id();
    let model_key: Key = keys.model(&id);
    let sealed = model_key.seal(&model_context("model", &id, 0), &encode_model(layers));
    connection.command(&Request::Create { spec: project.spec.clone() }, &sealed.0)?;
    let release = Release {
        owner: keys.owner(&id),
        model: model_key,
        rows: keys.contributor(&id),
        rules: project.rules.clone(),
        recipe: project.recipe.clone(),
    };
    let session = warden.session();
    let info = session_info("release", &session);
    let sealed = warden.recipient().seal(&info, &release.encode());
    let (envelope, confirmation) = sealed.map_err(|e| Failure::Other(e.to_string()))?;
    let release = SignedRelease { project: id, session, envelope: Blob(envelope) };
    let signed = sign_release(&release, &keys.identity());
    let (Reply::Confirmed { confirmation: shown }, _) =
        connection.request(&Request::Release { project: id }, &signed)?
    else {
        return Err(unexpected());
    };
    confirmed(warden, &id, &confirmation, &shown)?;
    Ok(Trust { evidence: warden.evidence().clone(), confirmation: shown })
}

fn describe(project: &ClientProject, network: &Network, warden: &Appraised) -> CreatedProject {
    let spec = &project.spec;
    CreatedProject {
        project: project.id().to_string(),
        layers: project.recipe.widths.clone(),
        parameters: network.layers().iter().map(|l| l.weights.as_slice().len() + l.bias.len()).sum(),
        security_bits: spec.security.bits(),
        offloaded: spec.layers.iter().map(|l| l.offload.is_some()).collect(),
        row_form: sizes(&spec.row_form),
        column_form: sizes(&spec.column_form),
        block_rows: spec.block_rows,
        upload_bytes_per_row: bytes_per_row(spec),
        columns: words_of(&project.preprocessing),
        constant_columns: constant_columns(&project.standardiser),
        batch_rows: project.recipe.batch_rows,
        epochs: project.recipe.epochs,
        weight_decay: project.recipe.weight_decay,
        patience: project.rules.patience,
        warden: warden.tee().to_owned(),
        interrupted: false,
    }
}
