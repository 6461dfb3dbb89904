//! A project as a directory records it: `project.json`, what everybody may see.

use std::fs;
use std::path::Path;

use blindsmith_attest::chain::{Measured, OwnerPolicy, Trust};
use blindsmith_data::{Classes, Preprocessing, Standardiser};
use blindsmith_formats::recipe_commitment;
use blindsmith_identity::{Origin, Terms};
use blindsmith_learn::{Loss, Recipe};
use blindsmith_protocol::{Blob, Id, ProjectSpec, to_cbor};
use blindsmith_receipts::Rules;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::files::write_file;
use crate::keys::Keys;
use crate::layout::{EVIDENCE_FILE, PROJECT_FILE, TERMS_FILE};
use crate::policy::{has_policy, list, load_policy, save_policy};
use crate::terms::terms_toml;
use crate::trust::{Attestation, Kem, measured};
use crate::unfinished::{self, Unfinished};

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One of several classes.
    Classify,
    /// Several bits.
    MultiLabel,
    /// Numbers.
    Regress,
}

/// How labels are read and written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labelling {
    /// What is learnt.
    pub task: Task,
    /// The label columns' names.
    pub columns: Vec<String>,
    /// The classes, for classification.
    pub classes: Option<Classes>,
    /// The targets' standardisation, for regression.
    pub targets: Option<Standardiser>,
    /// What marks a missing value in a file, if not what usually does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
}

/// `project.json`: everything but the keys. Contributors and queriers need it too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientProject {
    /// Version of this file.
    pub format: u32,
    /// The refinery: the path of its socket, or `http(s)://HOST[:PORT]`.
    pub refinery: String,
    /// What the refinery knows.
    pub spec: ProjectSpec,
    /// The training.
    pub recipe: Recipe,
    /// What features are made of columns.
    pub preprocessing: Preprocessing,
    /// The features' standardisation, which all rows and queries use.
    pub standardiser: Standardiser,
    /// Labels.
    pub labelling: Labelling,
    /// How secrets are sealed to wardens.
    #[serde(default)]
    pub kem: Kem,
    /// By what wardens are appraised: in files of its own.
    #[serde(skip)]
    pub attestation: Attestation,
    /// What the warden keeps to.
    pub rules: Rules,
    /// Opens the commitment to the recipe in the receipts: contributors accept that recipe and no other.
    pub recipe_opening: Id,
    /// The commitment to the initial model, from the receipt of round 0; none before the release.
    pub initial_model: Option<Id>,
}

/// A member's new directory.
pub struct JoinedDirectory {
    /// Its keys.
    pub keys: Keys,
    /// Whether another `init` or `join` was interrupted in it: this one began anew.
    pub interrupted: bool,
}

/// The version of `project.json` that this program writes and reads.
pub const FORMAT: u32 = 7;
impl Labelling {
    /// Outputs that the labels need.
    pub fn outputs(&self) -> usize {
        match (&self.classes, self.task) {
            (Some(classes), Task::Classify) if classes.len() > 2 => classes.len(),
            (_, Task::Classify) => 1,
            _ => self.columns.len(),
        }
    }

    /// The loss that fits: softmax for more than two classes, logistic for two and for bits.
    pub fn loss(&self) -> Loss {
        match self.task {
            Task::Regress => Loss::MeanSquaredError,
            Task::Classify if self.outputs() > 1 => Loss::SoftmaxCrossEntropy,
            _ => Loss::Logistic,
        }
    }
}

impl ClientProject {
    /// The project's identifier.
    pub fn id(&self) -> Id {
        self.spec.id()
    }

    /// Writes a new project's directory, but for what [`ClientProject::save_trust`] writes, and leaves it marked as
    /// unfinished; one that has a project already is left alone.
    pub fn create(&self, keys: &Keys, dir: &Path) -> Result<Unfinished, Failure> {
        let unfinished = Unfinished::begin(dir)?;
        keys.save(dir)?;
        self.attestation.save(dir)?;
        self.save(dir)?;
        Ok(unfinished)
    }

    fn save(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(PROJECT_FILE);
        let json = serde_json::to_vec_pretty(self).map_err(|e| Failure::project(&path, e))?;
        write_file(&path, &json)
    }

    /// Writes a member's directory, with a new key and the terms that it accepts; one that has a key keeps it.
    pub fn join(&self, terms: Terms, dir: &Path) -> Result<JoinedDirectory, Failure> {
        // Nothing is written that could not be read again.
        terms.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        let unfinished = Unfinished::begin(dir)?;
        let keys = Keys::of_member(terms);
        keys.save(dir)?;
        write_file(&dir.join(TERMS_FILE), terms_toml(keys.terms()).as_bytes())?;
        self.attestation.save(dir)?;
        self.save(dir)?;
        let interrupted = unfinished.interrupted();
        unfinished.finish()?;
        Ok(JoinedDirectory { keys, interrupted })
    }

    /// The commitment to the recipe, as receipts name it.
    pub fn recipe_commitment(&self) -> Id {
        recipe_commitment(&self.recipe_opening.0, &self.recipe)
    }

    /// What the project began with, as members accept it.
    ///
    /// # Errors
    /// If its secrets were not released yet.
    pub fn origin(&self) -> Result<Origin, Failure> {
        let unreleased = "the project file is from before the project's secrets were released: ask its owner for a newer one";
        let model = self.initial_model.ok_or_else(|| Failure::Settings(unreleased.into()))?;
        Ok(Origin { recipe: self.recipe_commitment(), model })
    }

    /// Takes note of a release: what the receipts are verified with, and the initial model's commitment in the first of them.
    pub fn released(
        &mut self,
        connection: &mut Connection,
        trust: &Trust,
        measurement: &[u8],
        dir: &Path,
    ) -> Result<(), Failure> {
        let (_, _, key) = trust.opened().map_err(Failure::NotProven)?;
        let receipt = connection.receipt(self.id(), 0, &key)?;
        if receipt.recipe != self.recipe_commitment() {
            return Err(Failure::NotProven("the receipt of the release names another recipe".into()));
        }
        self.initial_model = Some(Id(receipt.after));
        self.save(dir)?;
        self.save_trust(trust, measurement, dir)
    }

    /// Writes what the receipts are verified with: the warden that was given the secrets, what its environment measured of
    /// it, and the policy.
    pub fn save_trust(&self, trust: &Trust, measurement: &[u8], dir: &Path) -> Result<(), Failure> {
        let (tee, _, receipts) = trust.opened().map_err(Failure::NotProven)?;
        let attestation = self.attestation.policy()?;
        // What was seen before is not forgotten.
        let before = if has_policy(dir) { Some(load_policy(dir)?) } else { None };
        let (mut wardens, newest, orders) = match before.filter(|before| before.receipts == receipts) {
            Some(before) => (before.wardens, before.newest, before.orders),
            None => (Vec::new(), None, Vec::new()),
        };
        let released = Measured { tee, measurement: Blob(measurement.to_vec()) };
        list(&mut wardens, std::iter::once(released).chain(measured(attestation.policy())));
        let policy = OwnerPolicy {
            project: self.id(),
            accept_simulated: attestation.policy().accept_simulated,
            wardens,
            receipts,
            rules: self.rules.clone(),
            recipe: self.recipe_commitment(),
            newest,
            orders,
        };
        write_file(&dir.join(EVIDENCE_FILE), &to_cbor(trust))?;
        save_policy(&policy, dir)
    }

    /// Reads a project's directory.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        unfinished::refuse(dir)?;
        let project = ClientProject::load_file(&dir.join(PROJECT_FILE))?;
        Ok(ClientProject { attestation: Attestation::load(dir)?, ..project })
    }

    /// Reads a project file, such as an invitation.
    pub fn load_file(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).map_err(|e| {
            Failure::project(path, format!("{e}. Create a project first: blindsmith init --help"))
        })?;
        let project: ClientProject = serde_json::from_slice(&bytes).map_err(|e| Failure::project(path, e))?;
        if project.format != FORMAT {
            let message = format!("its format is {}, this program reads {FORMAT}", project.format);
            return Err(Failure::project(path, message));
        }
        project.spec.validate().map_err(|e| Failure::project(path, e))?;
        project.recipe.validate().map_err(|e| Failure::project(path, e))?;
        project.rules.validate().map_err(|e| Failure::project(path, e))?;
        if project.preprocessing.features() != project.standardiser.columns() {
            return Err(Failure::project(path, "it standardises other features than it makes"));
        }
        Ok(project)
    }
}
