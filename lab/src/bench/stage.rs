//! A project on synthetic rows with a real refinery and a real warden.

use std::sync::Arc;

use blindsmith_api::message::{ProjectStatus, Request};
use blindsmith_attest::Appraised;
use blindsmith_data::{Beyond, Preprocessing, Standardiser};
use blindsmith_identity::Purpose;
use blindsmith_learn::{Labels, Loss, Matrix, Recipe, Targets, Trainer};
use blindsmith_matrix::Security;
use blindsmith_plan::Cloud;
use blindsmith_protocol::{Id, ProjectSpec, Role, RoundSummary, Trigger};
use blindsmith_receipts::Rules;
use blindsmith_twin::Run;
use tempfile::TempDir;

use blindsmith_client::create::release;
use blindsmith_client::project::FORMAT;
use blindsmith_client::spec::{new_spec, planned};
use blindsmith_client::training::Training;
use blindsmith_client::trust::{Attestation, Kem, appraise_warden};
use blindsmith_client::upload::number_after;
use blindsmith_client::{ClientProject, Connection, Failure, Keys, Labelling, Sender, Sent, Task, ask, send};

use crate::Services;

/// Reproducible numbers for rows and residues (SplitMix64: Steele, Lea and Flood, OOPSLA 2014). Nothing is
/// ever encrypted with them as a secret.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Rows of rms 1/8 within -1 and 1, and labels that a linear rule gives.
pub(super) fn synthetic(rows: usize, inputs: usize, outputs: usize, seed: u64) -> (Matrix, Targets) {
    let mut random = Random::new(seed);
    let bound = 3f32.sqrt() / 8.0;
    let mut features = Matrix::zeros(rows, inputs);
    features.as_mut_slice().iter_mut().for_each(|x| *x = bound * random.symmetric());
    let class = |row: &[f32]| {
        let mut sums = vec![0f32; outputs.max(2)];
        row.iter().enumerate().for_each(|(i, x)| sums[i % outputs.max(2)] += x);
        (0..sums.len()).fold(0, |best, c| if sums[c] > sums[best] { c } else { best })
    };
    let classes: Vec<u32> = features.iter_rows().map(|row| class(row) as u32).collect();
    if outputs > 1 {
        return (features, Targets::Classes(classes));
    }
    let mut bits = Matrix::zeros(rows, 1);
    bits.as_mut_slice().iter_mut().zip(classes).for_each(|(b, c)| *b = c as f32);
    (features, Targets::Values(bits))
}

/// What is set up.
pub(super) struct Setting {
    /// Inputs, hidden layers, outputs.
    pub widths: Vec<usize>,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Security level.
    pub security: Security,
    /// The device that the plan assumes at the refinery.
    pub cloud: Cloud,
    /// Threads of each process.
    pub threads: usize,
    /// Rows that the warden processes at a time.
    pub micro_batch: usize,
}

impl Setting {
    /// The product's default training of these widths, at a rate at which no batch diverges.
    pub fn recipe(&self) -> Result<Recipe, Failure> {
        let training = Training {
            hidden: self.widths[1..self.widths.len() - 1].to_vec(),
            batch_rows: Some(self.batch_rows),
            micro_batch: self.micro_batch,
            learning_rate: Some(0.001),
            epochs: Some(1),
            ..Training::default()
        };
        let (inputs, outputs) = (self.widths[0], self.widths[self.widths.len() - 1]);
        let loss = if outputs > 1 { Loss::SoftmaxCrossEntropy } else { Loss::Logistic };
        training.recipe(inputs, outputs, loss, Standardiser::FACTOR)
    }

    /// The public part of the project, as `init` plans it.
    pub fn spec(&self, recipe: &Recipe, owner: Id) -> Result<ProjectSpec, Failure> {
        let plan = planned(recipe, self.security, (self.cloud, false))?;
        new_spec("bench", owner, (plan, self.security), recipe, Trigger::MANUAL)
    }
}

/// Running processes.
pub(super) struct Grounds {
    // Ended before the directory goes.
    services: Services,
    _dir: TempDir,
}

impl Grounds {
    /// Starts refinery and warden with so many threads each.
    pub fn start(threads: usize) -> Result<Arc<Self>, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("blindsmith-bench-")
            .tempdir()
            .map_err(|e| Failure::Other(format!("no temporary directory: {e}")))?;
        let services = Services::start(dir.path(), Some(threads))?;
        Ok(Arc::new(Grounds { services, _dir: dir }))
    }

    pub fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(&self.services.socket())
    }
}

/// Running processes and a project that they work on.
pub(super) struct Stage {
    pub grounds: Arc<Grounds>,
    pub project: ClientProject,
    keys: Keys,
    connection: Connection,
    warden: Appraised,
    trainer: Trainer,
}

impl Stage {
    /// Starts refinery and warden, creates the project and releases its secrets.
    pub fn start(setting: &Setting) -> Result<Self, Failure> {
        Stage::on(Grounds::start(setting.threads)?, setting)
    }

    /// Creates a project beside others and releases its secrets.
    pub fn on(grounds: Arc<Grounds>, setting: &Setting) -> Result<Self, Failure> {
        let recipe = setting.recipe()?;
        let keys = Keys::generate();
        let spec = setting.spec(&recipe, keys.public())?;
        let trainer = Trainer::new(recipe.clone()).map_err(|e| Failure::Settings(e.to_string()))?;
        let project = ClientProject {
            format: FORMAT,
            refinery: grounds.services.socket().display().to_string(),
            spec,
            recipe,
            preprocessing: Preprocessing::plain(None, setting.widths[0]),
            standardiser: Standardiser::from_ranges(
                None,
                &vec![(-1.0, 1.0); setting.widths[0]],
                Beyond::Clip,
            )?,
            labelling: Labelling {
                task: Task::Classify,
                columns: vec!["class".into()],
                classes: None,
                targets: None,
                missing: None,
            },
            kem: Kem::default(),
            attestation: Attestation::simulated(),
            rules: Rules { queries: u64::from(u32::MAX), ..Rules::default() },
            recipe_opening: Id::default(),
            initial_model: None,
        };
        let mut connection = grounds.connect()?;
        let warden = appraise_warden(
            &mut connection,
            (project.id(), &project.attestation, project.kem),
            &keys.identity(),
            Purpose::Release,
        )?;
        release(&mut connection, &project, &keys, &warden, trainer.network().layers())?;
        Ok(Stage { grounds, project, keys, connection, warden, trainer })
    }

    /// Encrypts and sends rows.
    pub fn push(&mut self, role: Role, rows: (&Matrix, &Targets)) -> Result<Sent, Failure> {
        let id = self.project.id();
        let seed = self.keys.contributor(&id);
        let who = Sender { contributor: self.keys.public(), terms: [0; 32], seed: &seed, era: 0 };
        send(&mut self.connection, &self.project.spec, who, role, rows, &mut |_| {})
    }

    /// Runs a round of so many epochs.
    pub fn round(&mut self, epochs: u32) -> Result<RoundSummary, Failure> {
        let mut connection = self.grounds.connect()?;
        self.round_over(&mut connection, epochs)
    }

    /// The same over a connection of the caller's.
    pub fn round_over(&self, connection: &mut Connection, epochs: u32) -> Result<RoundSummary, Failure> {
        let project = self.project.id();
        connection.command(&Request::Refine { project, epochs: Some(epochs) }, &[])?;
        let status: ProjectStatus = connection.watch(project, |_| {})?;
        if let Some(failure) = status.failure {
            return Err(Failure::Refused(failure));
        }
        status.rounds.last().cloned().ok_or_else(|| Failure::Other("no round was run".into()))
    }

    /// Predictions of rows.
    pub fn ask(&mut self, rows: &Matrix) -> Result<Vec<f32>, Failure> {
        let Stage { connection, project, keys, warden, .. } = self;
        predictions(connection, (project, keys, warden), rows)
    }

    /// Predictions of rows, over a connection of the caller's: any number of threads may ask.
    pub fn ask_over(&self, connection: &mut Connection, rows: &Matrix) -> Result<Vec<f32>, Failure> {
        predictions(connection, (&self.project, &self.keys, &self.warden), rows)
    }

    /// The same training in the clear, from the same start; a round of it has so many epochs.
    pub fn twin(&self, epochs: u32, threads: usize) -> Result<Run, Failure> {
        let recipe = Recipe { epochs, ..self.project.recipe.clone() };
        let network = self.trainer.network().clone();
        let run = Run::continue_from(recipe, network, self.project.spec.block_rows, threads);
        run.map_err(|e| Failure::Other(e.to_string()))
    }
}

/// Hands rows to a twin.
pub(super) fn push_plain(run: &mut Run, (rows, targets): (&Matrix, &Targets)) -> Result<u32, Failure> {
    run.push(rows.clone(), Labels::new(targets.clone())).map_err(|e| Failure::Other(e.to_string()))
}

fn predictions(
    connection: &mut Connection,
    (project, keys, warden): (&ClientProject, &Keys, &Appraised),
    rows: &Matrix,
) -> Result<Vec<f32>, Failure> {
    let querier = (&keys.identity(), number_after(0));
    Ok(ask(connection, &project.spec, querier, warden, rows, &mut |_| {})?.outputs)
}
