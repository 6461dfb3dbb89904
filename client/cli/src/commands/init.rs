//! `blindsmith init`.

use std::path::PathBuf;

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::Appraised;
use blindsmith_attest::chain::Trust;
use blindsmith_data::{Beyond, Dataset, ModelFile, Standardiser, Targets};
use blindsmith_identity::{Purpose, SignedRelease, sign_release};
use blindsmith_keys::Key;
use blindsmith_learn::{Labels, Layer, Matrix, Network, Recipe, Trainer};
use blindsmith_protocol::{Blob, Id, ProjectSpec, Trigger};
use blindsmith_receipts::{FixedSchedule, Rules};
use blindsmith_twin::Run;
use blindsmith_warden::{Release, check_size, encode_model, model_context, recipe_opening, session_info};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::pace::Pace;
use super::spec::{bytes_per_row, in_words, new_spec, planned, sizes};
use super::{CloudName, TrainingArguments, report};
use crate::connection::unexpected;
use crate::project::{ClientProject, FORMAT, Keys, Labelling, Task};
use crate::rows::{DataArguments, First, Names, names, standardise};
use crate::scales::Scales;
use crate::trust::{TrustArguments, appraise_warden};
use crate::{Connection, Failure};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BeyondName {
    Clip,
    Refuse,
}

/// Creates a project: fits the standardisation on the given rows, makes or imports a model, generates keys, and hands
/// the secrets to the refinery's warden if that warden is trusted.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith init --project ./sales --refinery ./refinery/refinery.sock --data first.csv --label churned \\\n    --hidden 32 --warm-epochs 20 --accept-simulated"
)]
pub struct Init {
    /// The project's directory, which must not hold a project. An interrupted init is begun anew.
    #[arg(long, value_name = "DIR", default_value = "blindsmith-project")]
    project: PathBuf,
    /// The refinery: http(s)://HOST[:PORT], or the path of its socket.
    #[arg(long, value_name = "URL")]
    refinery: String,
    /// Certificates (PEM) of the authority that signed the refinery's certificate, if the system does not trust it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The owner's key; made if the file does not exist. init shows the public half, which the operator of a refinery
    /// lists in http.owners so that the key may create projects. A key may own several projects. Without this option
    /// each project has a new key.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A name for people to read; the refinery sees it.
    #[arg(long, default_value = "project")]
    name: String,
    #[command(flatten)]
    data: DataArguments,
    /// The label column; several for multi-label or regression.
    #[arg(long, value_name = "COLUMN")]
    label: Vec<String>,
    /// The kind of labels.
    #[arg(long, value_enum, default_value = "classify")]
    task: Task,
    /// All classes, if the given rows may lack some: names separated by commas; put a name that has a comma in quotes
    /// [default: those of the given rows].
    #[arg(long, value_name = "NAMES", value_parser = names)]
    classes: Option<Names>,
    /// Ranges, or a fitted scaler, in place of the mean and the standard deviation of the given rows: a CSV with
    /// column,min,max or column,mean,std; or JSON, such as the mean_, scale_ and feature_names_in_ of scikit-learn's
    /// StandardScaler. Columns that the file does not name follow from the given rows.
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
    /// Approximate number of rows that rounds will train on; init chooses settings from it [default: the number of
    /// given rows].
    #[arg(long, value_name = "ROWS")]
    expect_rows: Option<usize>,
    #[command(flatten)]
    training: TrainingArguments,
    /// Start from this model: safetensors of an nn.Sequential of nn.Linear layers. Its widths replace --hidden.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Epochs of training in the clear, on this machine and the given rows, before the model is encrypted.
    #[arg(long, value_name = "N", default_value_t = 0)]
    warm_epochs: u32,
    /// Features are stored as (x - mean) / (FACTOR * standard deviation).
    #[arg(long, value_name = "FACTOR", default_value_t = Standardiser::FACTOR)]
    factor: f64,
    /// How to treat values beyond FACTOR standard deviations, and values that differ from a constant feature: `clip`
    /// counts them and clips or ignores them, `refuse` refuses the file.
    #[arg(long, value_enum, default_value = "clip")]
    beyond: BeyondName,
    /// The device of the refinery. init chooses encodings, and the layers that the refinery multiplies, for it.
    #[arg(long, value_enum, default_value_t)]
    cloud: CloudName,
    /// Have the refinery multiply all layers, whatever that costs.
    #[arg(long, hide = true)]
    offload_all: bool,
    /// Start rounds only by blindsmith refine, not when rows arrive.
    #[arg(long, conflicts_with_all = ["round_after", "round_at", "rounds_per_day"])]
    manual: bool,
    /// Start a round by itself when there are so many new rows [default: 1; with --round-at, no number starts one].
    #[arg(long, value_name = "ROWS")]
    round_after: Option<u64>,
    /// Start a round by itself at this time of the day (UTC), if new rows had arrived by then. Later rows wait for the
    /// next day.
    #[arg(long, value_name = "HH:MM", value_parser = minute)]
    round_at: Option<u16>,
    /// Most rounds that start by themselves in 24 hours [default: no limit].
    #[arg(long, value_name = "N")]
    rounds_per_day: Option<u32>,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    rules: RulesArguments,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// What the warden keeps to; policy.toml explains each.
#[derive(Debug, Clone, Args)]
struct RulesArguments {
    /// Most wrong answers of the refinery between two rounds; after one more the warden stops working on the project.
    #[arg(long, value_name = "N", default_value_t = Rules::default().faults)]
    faults: u32,
    /// Most attempts at one round.
    #[arg(long, value_name = "N", default_value_t = Rules::default().attempts)]
    attempts: u32,
    /// When rounds follow a fixed schedule: they take the same steps whatever they achieve, and decisions are sealed
    /// to the owner. The fate of an upload would tell its contributor something about the model.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, default_missing_value = "always")]
    fixed_schedule: FixedName,
    /// Round predictions to multiples of 2^-BITS.
    #[arg(long, value_name = "BITS", default_value_t = Rules::default().precision)]
    precision: u8,
    /// Most rows that the warden predicts for one querier in the project's life.
    #[arg(long, value_name = "ROWS", default_value_t = Rules::default().queries)]
    queries: u64,
    /// Promote a round whose validation loss is at most RATIO times that of the version before.
    #[arg(long, value_name = "RATIO", default_value_t = thousandth(Rules::default().tolerance))]
    tolerance: f64,
    /// Quarantine an upload if its loss is above RATIO times the validation loss, and above the loss of a model that
    /// knows nothing; 0 quarantines none.
    #[arg(long, value_name = "RATIO", default_value_t = thousandth(Rules::default().screening))]
    screening: f64,
    /// Most held-out rows of one contributor in the validation set.
    #[arg(long, value_name = "ROWS", default_value_t = Rules::default().judging_rows)]
    judging_rows: u64,
    /// Replay: number of old rows that a round trains on for 100 new ones [default: all].
    #[arg(long, value_name = "PERCENT")]
    replay: Option<u32>,
    /// Epochs without progress after which a round stops early, with the best model so far; 0 never stops early
    /// [default: chosen from the number of rows].
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u32>,
    /// Most trainings in a round. If a round makes the model worse, the warden tries parts of its new uploads to find
    /// the one responsible.
    #[arg(long, value_name = "N", default_value_t = Rules::default().trials)]
    trials: u32,
}

fn thousandth(value: u32) -> f64 {
    f64::from(value) / 1000.0
}

impl RulesArguments {
    fn rules(&self, pace: &Pace) -> Result<Rules, Failure> {
        let RulesArguments { faults, attempts, fixed_schedule, precision, queries, .. } = *self;
        let RulesArguments { judging_rows, replay, patience, trials, .. } = *self;
        // On a fixed schedule a round takes its steps whatever it achieves.
        let fixed = matches!(fixed_schedule, FixedName::Always);
        let patience = patience.unwrap_or(if fixed { 0 } else { pace.patience });
        // Numbers out of range are refused below, whatever they become here.
        let thousandths = |ratio: f64| (1000.0 * ratio).round() as u32;
        let (tolerance, screening) = (thousandths(self.tolerance), thousandths(self.screening));
        let rules = Rules {
            faults,
            attempts,
            fixed_schedule: fixed_schedule.into(),
            precision,
            queries,
            tolerance,
            screening,
            judging_rows,
            replay,
            patience,
            trials,
        };
        rules.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        Ok(rules)
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum FixedName {
    /// From the first invitation of a contributor on.
    #[default]
    WhenShared,
    /// From the first round on.
    Always,
    /// Never: contributors see whether their uploads are used or quarantined.
    Never,
}

impl From<FixedName> for FixedSchedule {
    fn from(name: FixedName) -> Self {
        match name {
            FixedName::WhenShared => FixedSchedule::WhenShared,
            FixedName::Always => FixedSchedule::Always,
            FixedName::Never => FixedSchedule::Never,
        }
    }
}

/// The minute of the day in `HH:MM`.
fn minute(text: &str) -> Result<u16, String> {
    let parts =
        text.split_once(':').and_then(|(h, m)| Some((h.parse::<u16>().ok()?, m.parse::<u16>().ok()?)));
    match parts {
        Some((hour, minute)) if hour < 24 && minute < 60 => Ok(60 * hour + minute),
        _ => Err("give hours and minutes, such as 03:30".into()),
    }
}

#[derive(Serialize)]
struct Created {
    project: String,
    layers: Vec<usize>,
    parameters: usize,
    security_bits: u16,
    /// For each layer, whether the refinery multiplies it.
    offloaded: Vec<bool>,
    /// n, m and r of stored rows, for forward products and for gradients.
    row_form: [usize; 3],
    column_form: [usize; 3],
    /// Rows of a block.
    block_rows: u32,
    upload_bytes_per_row: usize,
    /// Features with one value only, which count for nothing.
    constant_columns: Vec<String>,
    batch_rows: usize,
    epochs: u32,
    weight_decay: f32,
    patience: u32,
    warden: String,
}

impl Init {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let First { data, labels } = self.data.first(self.task, &self.label, self.classes.as_ref())?;
        let beyond = match self.beyond {
            BeyondName::Clip => Beyond::Clip,
            BeyondName::Refuse => Beyond::Refuse,
        };
        let standardiser = Standardiser::fit(&data.features, self.factor, beyond)?;
        let mut labelling = labelling(self.task, &labels, &data, (self.factor, beyond))?;
        labelling.missing = self.data.format.marks();
        let scales = self.ranges.as_deref().map(Scales::read).transpose()?.unwrap_or_default();
        let (standardiser, targets) = scales.apply(standardiser, labelling.targets.take())?;
        labelling.targets = targets;
        self.check_constants(&standardiser, &labelling, data.rows())?;
        let pace = Pace::of(self.expect_rows.unwrap_or(data.rows()));
        eprintln!("{}", pace.words());
        let training = self.training.clone().paced(&pace);
        let mut recipe =
            training.recipe(standardiser.columns(), labelling.outputs(), labelling.loss(), self.factor)?;
        check_size(&recipe).map_err(Failure::Settings)?;
        let network = self.initial_network(&mut recipe)?;
        // A model that is brought along has layers of its own.
        check_size(&recipe).map_err(Failure::Settings)?;
        let keys = match &self.key {
            Some(path) => Keys::of_owner(path)?,
            None => Keys::generate(),
        };
        if self.key.is_some() {
            eprintln!("the owner's public key: {}", keys.public());
        }
        let spec = self.spec(&recipe, keys.public())?;
        let attestation = self.trust.attestation()?;
        let opening = Id(*recipe_opening(&keys.owner(&spec.id()), &spec.id()).expose());
        let mut project = ClientProject {
            format: FORMAT,
            recipe_opening: opening,
            initial_model: None,
            refinery: self.refinery.clone(),
            spec,
            recipe,
            standardiser,
            labelling,
            kem: self.trust.kem,
            attestation,
            rules: self.rules.rules(&pace)?,
        };
        let network = self.warm(&project, network, data)?;

        let mut connection = Connection::reach(&self.refinery, Some(keys.identity()), self.ca.as_deref())?;
        // Nothing is created anywhere unless the warden may be trusted.
        let warden = appraise_warden(
            &mut connection,
            (project.id(), &project.attestation, project.kem),
            &keys.identity(),
            Purpose::Release,
        )?;
        let unfinished = project.create(&keys, &self.project)?;
        let released = hand_over(&mut connection, &project, &keys, &warden, network.layers())
            .and_then(|trust| project.released(&mut connection, &trust, warden.measurement(), &self.project));
        if let Err(e) = released {
            // It is of no use without a project at the refinery.
            unfinished.remove();
            return Err(e);
        }
        unfinished.finish()?;
        let created = describe(&project, &network, &warden);
        report(self.json, &created, |c| self.say(c))
    }

    /// Names features with one value only, and refuses rows of which nothing could be learnt.
    fn check_constants(
        &self,
        standardiser: &Standardiser,
        labelling: &Labelling,
        rows: usize,
    ) -> Result<(), Failure> {
        let file = self.data.data.display();
        for targets in labelling.targets.iter() {
            if let Some(column) = (0..targets.columns()).find(|&column| targets.is_constant(column)) {
                return Err(Failure::Settings(format!(
                    "the target {} has one value in all {rows} rows of {file}: nothing can be learnt from it, and no unit \
                     follows from it. Give rows in which it varies, or its range with --ranges",
                    targets.display(column)
                )));
            }
        }
        let constant = constant_columns(standardiser);
        if constant.len() == standardiser.columns() {
            return Err(Failure::Settings(format!(
                "every feature has one value in all {rows} rows of {file}: give rows in which they vary, or their ranges \
                 with --ranges"
            )));
        }
        if !constant.is_empty() {
            let named: Vec<String> = constant.iter().take(10).map(|name| format!("{name:?}")).collect();
            let more = if constant.len() > 10 { ", ..." } else { "" };
            eprintln!(
                "{} of the features have one value in all {rows} rows of {file}: {}{more}. They count for nothing, in later \
                 rows too, whatever they hold there. Give the ranges of those that will vary: --ranges FILE, with lines \
                 such as {},0,1 below column,min,max",
                constant.len(),
                named.join(", "),
                constant[0]
            );
        }
        Ok(())
    }

    fn say(&self, c: &Created) {
        println!("project {}", c.project);
        println!("model {:?}, {} parameters, {} bits of security", c.layers, c.parameters, c.security_bits);
        println!("{}", in_words(&c.offloaded));
        println!(
            "a round: {} epochs in batches of {}, weight decay {}, patience {}",
            c.epochs, c.batch_rows, c.weight_decay, c.patience
        );
        println!(
            "n of forward products {}, of gradients {}; an encrypted row takes {} bytes, in blocks of {}",
            c.row_form[0], c.column_form[0], c.upload_bytes_per_row, c.block_rows
        );
        if c.warden == "simulated" {
            println!("warden: SIMULATED - whoever runs it can read the secrets released to it");
        } else {
            println!("warden: {}", c.warden);
        }
        println!("keys and settings are in {}: keep owner.key safe and secret", self.project.display());
        println!("receipts are verified with {}", self.project.join("policy.toml").display());
    }

    fn initial_network(&self, recipe: &mut Recipe) -> Result<Network, Failure> {
        let Some(path) = &self.model else {
            let trainer = Trainer::new(recipe.clone()).map_err(|e| Failure::Settings(e.to_string()))?;
            return Ok(trainer.network().clone());
        };
        let file = ModelFile::load(path)?;
        let (inputs, outputs) = (recipe.widths[0], recipe.outputs());
        let first = file.model.layers.first().map_or(0, |l| l.inputs);
        let last = file.model.layers.last().map_or(0, |l| l.outputs);
        if (first, last) != (inputs, outputs) {
            return Err(Failure::Settings(format!(
                "the model in {} takes {first} features and gives {last} outputs, the data has {inputs} features and needs {outputs} outputs",
                path.display()
            )));
        }
        recipe.widths = std::iter::once(first).chain(file.model.layers.iter().map(|l| l.outputs)).collect();
        let activation = recipe.activations.first().copied().unwrap_or(blindsmith_learn::Activation::Relu);
        recipe.activations = vec![activation; recipe.widths.len() - 2];
        recipe.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        let layers = file.model.layers.into_iter().map(|l| Layer {
            // Unwrap safety: the reader checked the layer's sizes.
            weights: Matrix::from_rows(l.inputs, l.outputs, l.weight).expect("a layer of its own sizes"),
            bias: l.bias,
        });
        Network::new(layers.collect(), recipe.activations.clone(), recipe.input_rms)
            .map_err(|e| Failure::Settings(e.to_string()))
    }

    fn spec(&self, recipe: &Recipe, owner: Id) -> Result<ProjectSpec, Failure> {
        let security = self.training.security;
        let plan = planned(recipe, security, (self.cloud.into(), self.offload_all))?;
        new_spec(&self.name, owner, (plan, security), recipe, self.trigger())
    }

    fn trigger(&self) -> Trigger {
        let at_once = if self.manual || self.round_at.is_some() { None } else { Some(1) };
        Trigger {
            rows: self.round_after.or(at_once),
            daily: self.round_at,
            rounds_per_day: self.rounds_per_day,
        }
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

/// The features with one value only.
fn constant_columns(standardiser: &Standardiser) -> Vec<String> {
    let name = |column: usize| match standardiser.names() {
        Some(names) => names[column].clone(),
        None => format!("#{}", column + 1),
    };
    (0..standardiser.columns()).filter(|&column| standardiser.is_constant(column)).map(name).collect()
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
pub(crate) fn hand_over(
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
    warden.confirmed(&id, &confirmation, &shown)?;
    Ok(Trust { evidence: warden.evidence().clone(), confirmation: shown })
}

fn describe(project: &ClientProject, network: &Network, warden: &Appraised) -> Created {
    let spec = &project.spec;
    Created {
        project: project.id().to_string(),
        layers: project.recipe.widths.clone(),
        parameters: network.layers().iter().map(|l| l.weights.as_slice().len() + l.bias.len()).sum(),
        security_bits: spec.security.bits(),
        offloaded: spec.layers.iter().map(|l| l.offload.is_some()).collect(),
        row_form: sizes(&spec.row_form),
        column_form: sizes(&spec.column_form),
        block_rows: spec.block_rows,
        upload_bytes_per_row: bytes_per_row(spec),
        constant_columns: constant_columns(&project.standardiser),
        batch_rows: project.recipe.batch_rows,
        epochs: project.recipe.epochs,
        weight_decay: project.recipe.weight_decay,
        patience: project.rules.patience,
        warden: warden.tee().to_owned(),
    }
}
