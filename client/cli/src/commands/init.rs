//! `blindsmith init`.

use std::path::PathBuf;

use blindsmith_arguments::{
    CloudName, ColumnArguments, DataArguments, Names, TaskName, TrainingArguments, TrustArguments, names,
    say_left_out,
};
use blindsmith_client::create::{CreatedProject, PreparedProject};
use blindsmith_client::scales::Scales;
use blindsmith_client::{Failure, NewProject};
use blindsmith_data::{Beyond, ModelFile, Standardiser};
use blindsmith_protocol::Trigger;
use blindsmith_receipts::{FixedSchedule, Rules};
use clap::{Args, ValueEnum};

use super::plan::in_words;
use super::{report, say_interrupted};

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
    #[command(flatten)]
    columns: ColumnArguments,
    /// The label column; several for multi-label or regression.
    #[arg(long, value_name = "COLUMN")]
    label: Vec<String>,
    /// The kind of labels.
    #[arg(long, value_enum, default_value = "classify")]
    task: TaskName,
    /// All classes, if the rows given may lack some: names, separated by commas, in quotes where they have one [default:
    /// those of the rows given].
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
    /// What happens to values beyond FACTOR standard deviations, to those that differ from a constant, and to categories
    /// that the rows given lack: they are counted, and clipped or dropped, or their file is refused.
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
    /// All but the patience.
    fn rules(&self) -> Rules {
        let RulesArguments { faults, attempts, fixed_schedule, precision, queries, .. } = *self;
        let RulesArguments { judging_rows, replay, trials, .. } = *self;
        // Numbers out of range are refused later, whatever they become here.
        let thousandths = |ratio: f64| (1000.0 * ratio).round() as u32;
        Rules {
            faults,
            attempts,
            fixed_schedule: fixed_schedule.into(),
            precision,
            queries,
            tolerance: thousandths(self.tolerance),
            screening: thousandths(self.screening),
            judging_rows,
            replay,
            trials,
            ..Rules::default()
        }
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

impl Init {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let classes = self.classes.as_ref().map(|Names(names)| names.as_slice());
        let first = self.data.file().first(self.task.into(), &self.label, classes, self.columns.choices())?;
        say_left_out(&self.data.data, &first.left_out);
        let prepared = self.settings()?.prepare(first)?;
        self.say_prepared(&prepared);
        let created = prepared.create()?;
        if created.interrupted {
            say_interrupted(&self.project);
        }
        report(self.json, &created, |c| self.say(c))
    }

    fn settings(&self) -> Result<NewProject, Failure> {
        Ok(NewProject {
            ca: self.ca.clone(),
            key: self.key.clone(),
            name: self.name.clone(),
            task: self.task.into(),
            source: self.data.data.display().to_string(),
            missing: self.data.format.marks(),
            scales: self.ranges.as_deref().map(Scales::read).transpose()?.unwrap_or_default(),
            expect_rows: self.expect_rows,
            training: self.training.settings(),
            model: self.model.as_deref().map(ModelFile::load).transpose()?,
            warm_epochs: self.warm_epochs,
            factor: self.factor,
            beyond: match self.beyond {
                BeyondName::Clip => Beyond::Clip,
                BeyondName::Refuse => Beyond::Refuse,
            },
            cloud: self.cloud.into(),
            offload_all: self.offload_all,
            trigger: self.trigger(),
            attestation: self.trust.attestation()?,
            kem: self.trust.kem.into(),
            rules: self.rules.rules(),
            patience: self.rules.patience,
            ..NewProject::new(&self.project, &self.refinery)
        })
    }

    /// Says what was chosen, and which features count for nothing.
    fn say_prepared(&self, prepared: &PreparedProject) {
        let PreparedProject { pace, rows, constant_columns: constant, .. } = prepared;
        prepared.columns.iter().for_each(|line| eprintln!("{line}"));
        let file = self.data.data.display();
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
        eprintln!("{}", pace.words());
        if self.key.is_some() {
            eprintln!("the owner's public key: {}", prepared.owner());
        }
    }

    fn say(&self, c: &CreatedProject) {
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

    fn trigger(&self) -> Trigger {
        let at_once = if self.manual || self.round_at.is_some() { None } else { Some(1) };
        Trigger {
            rows: self.round_after.or(at_once),
            daily: self.round_at,
            rounds_per_day: self.rounds_per_day,
        }
    }
}
