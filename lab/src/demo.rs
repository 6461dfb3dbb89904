//! `blindsmith demo`: the story of the product, with real processes on real data.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use blindsmith_data::{Classes, Dataset, Part, ReadOptions, Table, Targets, digits};
use blindsmith_learn::{Block, Labels, Layer, Metrics, Network};
use blindsmith_twin::Run;
use clap::{Args, ValueEnum};
use serde::Serialize;

use blindsmith_arguments::{
    ColumnArguments, DataArguments, FormatArguments, Names, TaskName, TrainingArguments,
};
use blindsmith_client::figures::in_units;
use blindsmith_client::models::fetch;
use blindsmith_client::report::{Report, RoundReport};
use blindsmith_client::rows::{First, Rows, standardise};
use blindsmith_client::{ClientProject, Connection, Failure, Keys};

use crate::Services;

/// Encrypts a model and rows, refines the model round by round while its owner is away, fetches it, and trains the
/// twin in the clear to compare. Refinery and warden run as separate processes. The warden is simulated: this command
/// accepts that by name, and every output says so.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith demo\n  blindsmith demo --dataset mnist --data-dir ./mnist --hidden 128 --epochs 5 --json\n  blindsmith demo --file churn.csv --label churned --hidden none --security 256"
)]
pub struct Demo {
    /// The data set: the digits are built in, MNIST comes from --data-dir.
    #[arg(long, value_enum, default_value = "digits", conflicts_with = "file")]
    dataset: DatasetName,
    /// Directory of MNIST's four IDX files, gzipped or not.
    #[arg(long, value_name = "DIR", required_if_eq("dataset", "mnist"))]
    data_dir: Option<PathBuf>,
    /// Your own table: CSV, Parquet.
    #[arg(long, value_name = "FILE", requires = "label")]
    file: Option<PathBuf>,
    /// The label column of --file; several for multi-label or regression.
    #[arg(long, value_name = "COLUMN")]
    label: Vec<String>,
    /// The kind of labels in --file.
    #[arg(long, value_enum, default_value = "classify")]
    task: TaskName,
    #[command(flatten)]
    format: FormatArguments,
    /// Uploads that arrive one after the other [default: 4; MNIST: 3].
    #[arg(long, value_name = "N")]
    uploads: Option<usize>,
    #[command(flatten)]
    training: TrainingArguments,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object as the last line on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DatasetName {
    Digits,
    Mnist,
}

#[derive(Serialize)]
struct Round {
    round: u64,
    rows: u64,
    #[serde(flatten)]
    figure: Figure,
    seconds: f64,
}

/// How good a model is on the rows held out: the share of right answers, or for regression the root of the mean squared
/// error, in standard deviations of the targets of the first rows.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Figure {
    accuracy: Option<f64>,
    rmse: Option<f64>,
}

impl Figure {
    fn of(metrics: &Metrics) -> Self {
        let rmse = metrics.rmse.filter(|_| metrics.accuracy.is_none());
        Figure { accuracy: metrics.accuracy, rmse }
    }

    fn words(&self) -> String {
        match (self.accuracy, self.rmse) {
            (Some(accuracy), _) => format!("{accuracy:.4} {}", gauge(accuracy)),
            (None, Some(rmse)) => format!("{rmse:.4}"),
            (None, None) => "none".into(),
        }
    }

    fn name(&self) -> &'static str {
        if self.rmse.is_some() { "error" } else { "accuracy" }
    }
}

#[derive(Serialize)]
struct Outcome {
    dataset: String,
    layers: Vec<usize>,
    security_bits: u16,
    initial_accuracy: Option<f64>,
    encrypted_accuracy: Option<f64>,
    plaintext_accuracy: Option<f64>,
    initial_rmse: Option<f64>,
    encrypted_rmse: Option<f64>,
    plaintext_rmse: Option<f64>,
    max_weight_difference: f64,
    rounds: Vec<Round>,
    encrypted_seconds: f64,
    plaintext_seconds: f64,
    cloud_seconds: f64,
    warden_seconds: f64,
    cloud_cpu_seconds: f64,
    warden_cpu_seconds: f64,
    traffic_bytes: u64,
    upload_bytes_per_row: f64,
    warden_peak_bytes: u64,
    warden: String,
}

/// The data of a demonstration, in the order of the story.
struct Story {
    name: String,
    task: TaskName,
    labels: Vec<String>,
    first: Dataset,
    parts: Vec<Dataset>,
    held_out: Dataset,
}

/// Rows from which on uploads are fewer and larger.
const MANY: usize = 20_000;

/// Seeds of the split into parts: fixed, so that runs can be compared. They never drive encryption.
const SPLIT: [u8; 32] = *b"blindsmith demo: split into part";

impl Demo {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let story = self.story()?;
        let dir = tempfile::Builder::new()
            .prefix("blindsmith-demo-")
            .tempdir()
            .map_err(|e| Failure::Other(format!("no temporary directory: {e}")))?;
        self.say(&format!(
            "{}: {} rows to start from, {} uploads, {} rows held out",
            story.name,
            story.first.rows(),
            story.parts.len(),
            story.held_out.rows()
        ));
        self.say("starting a refinery and a SIMULATED warden (it protects nothing; use real hardware for real data)");
        let services = Services::start(dir.path(), self.threads)?;
        let stage = Stage { dir: dir.path(), demo: &self, services: &services };
        let outcome = stage.play(&story)?;
        if self.json {
            println!("{}", serde_json::to_string(&outcome).map_err(|e| Failure::Other(e.to_string()))?);
        } else {
            print(&outcome);
        }
        Ok(())
    }

    /// One line of the story; on standard error where standard output is for a script.
    fn say(&self, line: &str) {
        if self.json { eprintln!("{line}") } else { println!("{line}") }
    }

    fn story(&self) -> Result<Story, Failure> {
        if self.uploads == Some(0) {
            return Err(Failure::Settings("at least one upload is needed".into()));
        }
        let (name, labels, all, held_out) = match (&self.file, self.dataset) {
            (Some(path), _) => {
                let data = DataArguments { data: path.clone(), labels: None, format: self.format.clone() };
                let (file, task) = (data.file(), self.task.into());
                let First { data, labels, preprocessing, .. } =
                    file.first(task, &self.label, None, ColumnArguments::default().choices())?;
                // Where the file has no names, these columns get some.
                let named = preprocessing.is_named();
                let label = |i: usize| if named { labels[i].clone() } else { format!("label {}", i + 1) };
                let labels = (0..labels.len()).map(label).collect();
                let (train, held_out) = data.split(0.2, &SPLIT)?;
                (path.display().to_string(), labels, train, held_out)
            }
            (None, DatasetName::Digits) => {
                let (train, held_out) = digits()?.split(0.2, &SPLIT)?;
                ("digits".into(), vec!["digit".into()], train, held_out)
            }
            (None, DatasetName::Mnist) => {
                let dir = self.data_dir.as_deref().unwrap_or(Path::new("."));
                let read = |part| -> Result<Table, Failure> {
                    Ok(Table::read_mnist(dir, part, &ReadOptions::default())?)
                };
                let train = read(Part::Train)?.classify(None)?;
                let held_out = read(Part::Test)?.classify(classes(&train))?;
                ("mnist".into(), vec!["digit".into()], train, held_out)
            }
        };
        self.divide((name, labels), all, held_out)
    }

    /// A small first part, then uploads of about equal size.
    fn divide(
        &self,
        (name, labels): (String, Vec<String>),
        mut all: Dataset,
        held_out: Dataset,
    ) -> Result<Story, Failure> {
        let uploads = self.uploads.unwrap_or(if all.rows() > MANY { 3 } else { 4 });
        all.shuffle(&SPLIT);
        // A tenth, and of few rows so many that means and standard deviations follow from them.
        let first = (all.rows() / 10).max(40.min(all.rows() / 3)).clamp(1, 1000);
        let rest = all.rows() - first;
        if rest < uploads {
            return Err(Failure::Settings(format!(
                "{} rows to train on are too few for {uploads} uploads: use --uploads",
                all.rows()
            )));
        }
        let range = |from: usize, to: usize| all.select(&(from..to).collect::<Vec<_>>());
        let parts = (0..uploads)
            .map(|i| range(first + rest * i / uploads, first + rest * (i + 1) / uploads))
            .collect();
        Ok(Story { name, task: self.task, labels, first: range(0, first), parts, held_out })
    }
}

fn classes(data: &Dataset) -> Option<&Classes> {
    match &data.targets {
        Targets::Classes { classes, .. } => Some(classes),
        _ => None,
    }
}

struct Stage<'a> {
    dir: &'a Path,
    demo: &'a Demo,
    services: &'a Services,
}

impl Stage<'_> {
    fn project(&self) -> PathBuf {
        self.dir.join("project")
    }

    /// Runs this program as its user would: a process that does one thing and is gone.
    fn blindsmith(&self, arguments: &[&str]) -> Result<String, Failure> {
        let program = std::env::current_exe().map_err(|e| Failure::Other(e.to_string()))?;
        let mut command = Command::new(program);
        command.args(arguments).arg("--json").stdin(Stdio::null()).stderr(Stdio::inherit());
        if let Some(threads) = self.demo.threads {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        let output = command.output().map_err(|e| Failure::Other(e.to_string()))?;
        if !output.status.success() {
            return Err(Failure::Other(format!("blindsmith {} failed ({})", arguments[0], output.status)));
        }
        String::from_utf8(output.stdout).map_err(|e| Failure::Other(e.to_string()))
    }

    fn write(&self, name: &str, data: &Dataset, story: &Story) -> Result<String, Failure> {
        let path = self.dir.join(name);
        write_csv(&path, data, &story.labels).map_err(|e| Failure::project(&path, e))?;
        Ok(path.display().to_string())
    }

    /// As a user would: what depends on the number of rows is for `init` to choose.
    fn init(&self, story: &Story) -> Result<(), Failure> {
        let first = self.write("first.csv", &story.first, story)?;
        let (socket, project) =
            (self.services.socket().display().to_string(), self.project().display().to_string());
        let rows = story.parts.iter().map(Dataset::rows).sum::<usize>().to_string();
        let task = story.task.to_possible_value().map(|task| task.get_name().to_owned()).unwrap_or_default();
        let held_out = story.held_out.rows().to_string();
        let mut arguments = vec!["init", "--project", &project, "--refinery", &socket, "--name", &story.name];
        arguments.extend(["--data", &first, "--task", &task, "--accept-simulated", "--warm-epochs", "2"]);
        // Cells are written here, and none is missing. The figures of rounds are over all rows held out, as the last one
        // is; the twin makes all epochs.
        arguments.extend(["--missing-marker", "", "--judging-rows", &held_out, "--patience", "0"]);
        arguments.extend(["--expect-rows", &rows]);
        arguments.extend(story.labels.iter().flat_map(|label| ["--label", label.as_str()]));
        // The first rows may lack a class.
        let classes = classes(&story.first).map(|classes| Names(classes.names().to_vec()).to_string());
        arguments.extend(classes.iter().flat_map(|classes| ["--classes", classes.as_str()]));
        let training = self.demo.training.to_arguments();
        arguments.extend(training.iter().map(String::as_str));
        self.blindsmith(&arguments).map(drop)
    }

    fn push(&self, name: &str, data: &Dataset, story: &Story, more: &[&str]) -> Result<(), Failure> {
        let file = self.write(name, data, story)?;
        let project = self.project().display().to_string();
        let mut arguments = vec!["push", "--project", &project, "--data", &file, "--keep-order"];
        arguments.extend(more);
        self.blindsmith(&arguments)?;
        // The rows in the clear are the owner's: nothing of them stays behind.
        std::fs::remove_file(&file).map_err(|e| Failure::project(Path::new(&file), e))
    }

    /// Waits as somebody who looks in now and then: a process that asks and is gone.
    fn wait(&self) -> Result<serde_json::Value, Failure> {
        let project = self.project().display().to_string();
        let text = self.blindsmith(&["refine", "--project", &project, "--wait-only"])?;
        serde_json::from_str(&text).map_err(|e| Failure::Other(e.to_string()))
    }

    fn play(&self, story: &Story) -> Result<Outcome, Failure> {
        let demo = self.demo;
        self.init(story)?;
        demo.say("the owner encrypted model and rows, released the secrets, and is offline from here on");
        self.push("held-out.csv", &story.held_out, story, &["--validation"])?;
        let mut rounds = Vec::new();
        for (i, part) in story.parts.iter().enumerate() {
            self.push("upload.csv", part, story, &[])?;
            let round = self.wait()?["rounds"].as_array().and_then(|r| r.last()).cloned().unwrap_or_default();
            let accuracy = round["validation"]["accuracy"].as_f64();
            let rmse = round["validation"]["rmse"].as_f64().filter(|_| accuracy.is_none());
            let figure = Figure { accuracy, rmse };
            let rows = round["rows"].as_u64().unwrap_or(0);
            let seconds = round["seconds"].as_f64().unwrap_or(0.0);
            let number = round["round"].as_u64().unwrap_or(0);
            demo.say(&format!(
                "upload {}: round {number} refined the model on {rows} encrypted rows in {seconds:.1} s, {} {}",
                i + 1,
                figure.name(),
                figure.words()
            ));
            if round["decision"].as_str() != Some("promoted") {
                let (decision, failure) = (round["decision"].as_str(), round["failure"].as_str());
                demo.say(&format!(
                    "round {number} was {}: {}. The twin trains on its rows all the same, and so differs",
                    decision.unwrap_or("none"),
                    failure.unwrap_or("it was no better than the version before")
                ));
            }
            rounds.push(Round { round: number, rows, figure, seconds });
        }
        self.compare(story, rounds)
    }

    /// The owner comes back: fetches both models, and trains the twin.
    fn compare(&self, story: &Story, rounds: Vec<Round>) -> Result<Outcome, Failure> {
        let project = ClientProject::load(&self.project())?;
        let keys = Keys::load(&self.project())?;
        let mut connection = Connection::open(&self.services.socket())?;
        let initial = fetch(&mut connection, &project, &keys, Some(0), None)?.layers;
        let refined = fetch(&mut connection, &project, &keys, None, Some(&self.project()))?.layers;
        let status = connection.status(project.id())?;
        let report = Report::new(status, &project, Some(&keys))?;
        self.demo.say("the owner is back, has verified the receipts and fetched the refined model; training the twin in the clear");

        let threads =
            self.demo.threads.or_else(|| std::thread::available_parallelism().ok().map(|n| n.get()));
        let mut twin = Twin::new(&project, initial.clone(), threads.unwrap_or(1))?;
        twin.push(standardise(&project, story.held_out.clone())?)?;
        let initial = twin.figure()?;
        let start = Instant::now();
        for (part, round) in story.parts.iter().zip(report.rounds.iter().skip(1)) {
            twin.run.twin_mut().replay_noise(round.gradient_noise.clone());
            twin.round(standardise(&project, part.clone())?)?;
        }
        let plaintext_seconds = start.elapsed().as_secs_f64();
        let plaintext = twin.figure()?;
        let max_weight_difference = difference(twin.run.trainer().network().layers(), &refined);
        let mut pulled = Twin::new(&project, refined, 1)?;
        pulled.push(standardise(&project, story.held_out.clone())?)?;
        let encrypted = pulled.figure()?;

        let sum = |field: fn(&RoundReport) -> f64| report.rounds.iter().map(field).sum::<f64>();
        let bytes: u64 = report.uploads.iter().map(|u| u.bytes).sum();
        let rows: u32 = report.uploads.iter().map(|u| u.rows).sum();
        Ok(Outcome {
            dataset: story.name.clone(),
            layers: project.recipe.widths.clone(),
            security_bits: project.spec.security.bits(),
            initial_accuracy: initial.accuracy,
            encrypted_accuracy: encrypted.accuracy,
            plaintext_accuracy: plaintext.accuracy,
            initial_rmse: initial.rmse,
            encrypted_rmse: encrypted.rmse,
            plaintext_rmse: plaintext.rmse,
            max_weight_difference,
            rounds,
            encrypted_seconds: sum(|r| r.seconds),
            plaintext_seconds,
            cloud_seconds: sum(|r| r.cloud_seconds),
            warden_seconds: sum(|r| r.warden_seconds),
            cloud_cpu_seconds: sum(|r| r.cloud_cpu_seconds),
            warden_cpu_seconds: sum(|r| r.warden_cpu_seconds),
            traffic_bytes: report.rounds.iter().map(|r| r.traffic_bytes).sum(),
            upload_bytes_per_row: bytes as f64 / rows as f64,
            warden_peak_bytes: report.rounds.iter().map(|r| r.warden_peak_bytes).max().unwrap_or(0),
            warden: report.warden.unwrap_or_else(|| "none".into()),
        })
    }
}

/// The same training in the clear: the same rows, batches and order.
struct Twin<'a> {
    project: &'a ClientProject,
    run: Run,
    uploads: Vec<u32>,
}

impl<'a> Twin<'a> {
    fn new(project: &'a ClientProject, layers: Vec<Layer>, threads: usize) -> Result<Self, Failure> {
        let recipe = project.recipe.clone();
        let network = Network::new(layers, recipe.activations.clone(), recipe.input_rms)
            .map_err(|e| Failure::Other(e.to_string()))?;
        let run = Run::continue_from(recipe, network, project.spec.block_rows, threads).map_err(other)?;
        Ok(Twin { project, run, uploads: Vec::new() })
    }

    fn push(&mut self, rows: Rows) -> Result<(), Failure> {
        let upload = self.run.push(rows.features, Labels::new(rows.targets)).map_err(other)?;
        self.uploads.push(upload);
        Ok(())
    }

    fn blocks(&self, uploads: &[u32]) -> Vec<Block> {
        uploads.iter().flat_map(|&u| self.run.blocks(u)).collect()
    }

    /// One more upload, then a round over all but the first, which is held out; the round ends in an
    /// evaluation, as the warden's does.
    fn round(&mut self, rows: Rows) -> Result<(), Failure> {
        self.push(rows)?;
        let blocks = self.blocks(&self.uploads[1..]);
        self.run.train_round(blocks, |_, _| {}).map_err(other)?;
        self.figure().map(drop)
    }

    /// On the held-out rows.
    fn figure(&mut self) -> Result<Figure, Failure> {
        let blocks = self.blocks(&self.uploads[..1]);
        let metrics = self.run.evaluate(blocks).map_err(other)?;
        Ok(Figure::of(&in_units(metrics, self.project)))
    }
}

fn other(e: blindsmith_twin::RunError) -> Failure {
    Failure::Other(e.to_string())
}

fn difference(a: &[Layer], b: &[Layer]) -> f64 {
    let values = |layers: &[Layer]| -> Vec<f32> {
        layers
            .iter()
            .flat_map(|l| l.weights.as_slice().iter().chain(&l.bias).copied().collect::<Vec<_>>())
            .collect()
    };
    let largest = values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    largest as f64
}

/// A bar for an accuracy: a picture of a rising row of numbers.
fn gauge(accuracy: f64) -> String {
    let filled = (accuracy * 40.0).round() as usize;
    format!("[{}{}]", "#".repeat(filled.min(40)), "-".repeat(40 - filled.min(40)))
}

/// Writes a table of features and labels, which `init` and `push` read back as they are.
pub(crate) fn write_csv(path: &Path, data: &Dataset, labels: &[impl AsRef<str>]) -> Result<(), csv::Error> {
    use std::fmt::Write;

    let mut csv = csv::Writer::from_path(path)?;
    let named = |i: usize| match data.features.names() {
        Some(names) => names[i].clone(),
        None => format!("feature {}", i + 1),
    };
    let labels = labels.iter().map(|label| label.as_ref().to_owned());
    csv.write_record((0..data.features.columns()).map(named).chain(labels))?;
    let mut record = csv::StringRecord::new();
    let mut cell = String::new();
    for (row, features) in data.features.matrix().iter_rows().enumerate() {
        record.clear();
        let numbers = match &data.targets {
            Targets::Classes { .. } => &[],
            Targets::Bits(targets) | Targets::Values(targets) => targets.matrix().row(row),
        };
        for value in features.iter().chain(numbers) {
            cell.clear();
            _ = write!(cell, "{value}");
            record.push_field(&cell);
        }
        if let Targets::Classes { classes, index } = &data.targets {
            record.push_field(&classes.names()[index[row] as usize]);
        }
        csv.write_record(&record)?;
    }
    Ok(csv.flush()?)
}

fn print(o: &Outcome) {
    println!();
    println!(
        "model {:?} at {} bits of security, warden: {}",
        o.layers,
        o.security_bits,
        o.warden.to_uppercase()
    );
    let figures = [
        ("before", Figure { accuracy: o.initial_accuracy, rmse: o.initial_rmse }),
        ("refined, encrypted", Figure { accuracy: o.encrypted_accuracy, rmse: o.encrypted_rmse }),
        ("twin, in the clear", Figure { accuracy: o.plaintext_accuracy, rmse: o.plaintext_rmse }),
    ];
    match figures[1].1.rmse {
        Some(_) => {
            println!("root mean squared error on held-out rows, in standard deviations of the targets:")
        }
        None => println!("accuracy on held-out rows:"),
    }
    for (what, figure) in figures {
        println!("  {what:<18}  {}", figure.words());
    }
    println!("largest difference of a weight to the twin's: {:.2e}", o.max_weight_difference);
    println!(
        "training took {:.2} s encrypted (refinery {:.2} s, warden {:.2} s) and {:.2} s in the clear: {:.1} times",
        o.encrypted_seconds,
        o.cloud_seconds,
        o.warden_seconds,
        o.plaintext_seconds,
        o.encrypted_seconds / o.plaintext_seconds
    );
    println!(
        "an encrypted row takes {:.0} bytes; the warden's memory peaked at {:.1} MiB",
        o.upload_bytes_per_row,
        o.warden_peak_bytes as f64 / 1048576.0
    );
}
