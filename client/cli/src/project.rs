//! A project's directory on its owner's disk: what everybody may see, and the keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use blindsmith_attest::chain::OwnerPolicy;
use blindsmith_attest::{Appraised, Policy};
use blindsmith_data::{Classes, Standardiser};
use blindsmith_identity::SigningKey;
use blindsmith_keys::Key;
use blindsmith_learn::{Loss, Recipe};
use blindsmith_protocol::{Evidence, Id, ProjectSpec, from_cbor, to_cbor};
use blindsmith_receipts::Rules;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Failure;

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
    /// The features' standardisation, which all rows and queries use.
    pub standardiser: Standardiser,
    /// Labels.
    pub labelling: Labelling,
    /// Which wardens are trusted.
    pub policy: Policy,
    /// What the warden keeps to.
    pub rules: Rules,
}

/// The owner's keys, derived from one root.
pub struct Keys {
    root: Key,
}

/// The version of `project.json` that this program writes and reads.
pub const FORMAT: u32 = 2;
const KEY_FILE: &str = "owner.key";
const POLICY_FILE: &str = "policy.toml";
const EVIDENCE_FILE: &str = "evidence.cbor";
const PROJECT_FILE: &str = "project.json";

impl Keys {
    /// New keys.
    pub fn generate() -> Self {
        Keys { root: Key::random() }
    }

    fn of(&self, purpose: &str, project: &Id) -> Key {
        self.root.derive(purpose, &[&project.0])
    }

    /// Metrics and models are sealed to it.
    pub fn owner(&self, project: &Id) -> Key {
        self.of("owner", project)
    }

    /// Queries are authenticated by it.
    pub fn member(&self, project: &Id) -> Key {
        self.of("member", project)
    }

    /// The initial model is sealed under it.
    pub fn model(&self, project: &Id) -> Key {
        self.of("initial model", project)
    }

    /// The seed of the owner's own uploads.
    pub fn contributor(&self, project: &Id) -> Key {
        self.of("contributor", project)
    }

    /// What the owner signs orders and requests with.
    pub fn identity(&self) -> SigningKey {
        SigningKey::from_seed(self.root.derive("identity", &[]).expose())
    }

    /// Its public half, by which the refinery and members know it.
    pub fn public(&self) -> Id {
        self.identity().verifying().into()
    }

    /// Reads the keys of a project's directory.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(KEY_FILE);
        let bytes = Zeroizing::new(fs::read(&path).map_err(|e| Failure::project(&path, e))?);
        let text =
            std::str::from_utf8(&bytes).map_err(|_| Failure::project(&path, "it is not a key file"))?;
        let id: Id = text.trim().parse().map_err(|_| Failure::project(&path, "it is not a key file"))?;
        Ok(Keys { root: Key::from_bytes(id.0) })
    }

    /// The same, or none if there is no key file: contributors and queriers have none.
    pub fn load_if_there(dir: &Path) -> Result<Option<Self>, Failure> {
        if dir.join(KEY_FILE).exists() { Keys::load(dir).map(Some) } else { Ok(None) }
    }

    fn save(&self, dir: &Path) -> Result<(), Failure> {
        use std::fmt::Write as _;
        let mut text = Zeroizing::new(String::with_capacity(65));
        self.root.expose().iter().for_each(|b| _ = write!(text, "{b:02x}"));
        text.push('\n');
        write_file(&dir.join(KEY_FILE), text.as_bytes())
    }
}

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

    /// Writes a new project's directory; one that has a project already is left alone.
    pub fn create(&self, keys: &Keys, dir: &Path) -> Result<(), Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| Failure::project(dir, e))?;
        // A key without its project may be the only copy there is.
        for name in [PROJECT_FILE, KEY_FILE] {
            let path = dir.join(name);
            if path.exists() {
                return Err(Failure::project(&path, "there is a project already: choose another directory"));
            }
        }
        let path = dir.join(PROJECT_FILE);
        keys.save(dir)?;
        let json = serde_json::to_vec_pretty(self).map_err(|e| Failure::project(&path, e))?;
        write_file(&path, &json)
    }

    /// Writes what the warden's receipts are verified with: its evidence, and the policy.
    pub fn save_trust(&self, warden: &Appraised, dir: &Path) -> Result<(), Failure> {
        let policy = OwnerPolicy {
            project: self.id(),
            accept_simulated: self.policy.accept_simulated,
            receipts: warden.receipts(),
            rules: self.rules.clone(),
            newest: None,
        };
        write_file(&dir.join(EVIDENCE_FILE), &to_cbor(warden.evidence()))?;
        save_policy(&policy, dir)
    }

    /// Takes back what [`ClientProject::create`] wrote, and the directory if nothing else is in it.
    pub fn remove(dir: &Path) {
        // Best effort: the reason for it is what the user must hear of.
        for name in [PROJECT_FILE, KEY_FILE, POLICY_FILE, EVIDENCE_FILE] {
            _ = fs::remove_file(dir.join(name));
        }
        _ = fs::remove_dir(dir);
    }

    /// Reads a project's directory.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(PROJECT_FILE);
        let bytes = fs::read(&path).map_err(|e| {
            Failure::project(&path, format!("{e}. Create a project first: blindsmith init --help"))
        })?;
        let project: ClientProject =
            serde_json::from_slice(&bytes).map_err(|e| Failure::project(&path, e))?;
        if project.format != FORMAT {
            let message = format!("its format is {}, this program reads {FORMAT}", project.format);
            return Err(Failure::project(&path, message));
        }
        project.spec.validate().map_err(|e| Failure::project(&path, e))?;
        project.recipe.validate().map_err(|e| Failure::project(&path, e))?;
        project.rules.validate().map_err(|e| Failure::project(&path, e))?;
        Ok(project)
    }
}

/// Reads the policy of a project's directory.
pub fn load_policy(dir: &Path) -> Result<OwnerPolicy, Failure> {
    let path = dir.join(POLICY_FILE);
    let text = fs::read_to_string(&path).map_err(|e| Failure::project(&path, e))?;
    OwnerPolicy::parse(&text).map_err(|e| Failure::project(&path, e))
}

/// Writes it.
pub fn save_policy(policy: &OwnerPolicy, dir: &Path) -> Result<(), Failure> {
    write_file(&dir.join(POLICY_FILE), policy.to_toml().as_bytes())
}

/// Reads the evidence that was appraised when the secrets were released.
pub fn load_evidence(dir: &Path) -> Result<Evidence, Failure> {
    let path = dir.join(EVIDENCE_FILE);
    let bytes = fs::read(&path).map_err(|e| Failure::project(&path, e))?;
    from_cbor(&bytes).map_err(|e| Failure::project(&path, e))
}

/// Writes a file that its user alone reads, in one piece.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let beside = path.with_extension("new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| Failure::project(path, e))
}
