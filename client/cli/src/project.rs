//! A project's directory on its owner's disk: what everybody may see, and the keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use blindsmith_attest::chain::{Measured, OwnerPolicy, Trust};
use blindsmith_data::{Classes, Standardiser};
use blindsmith_identity::{Origin, PublicKey, SigningKey, Terms};
use blindsmith_keys::Key;
use blindsmith_learn::{Loss, Recipe};
use blindsmith_protocol::{Blob, Id, ProjectSpec, from_cbor, to_cbor};
use blindsmith_receipts::Rules;
use blindsmith_warden::{Tee, metrics_key, recipe_commitment};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::trust::{Attestation, Kem, measured};
use crate::unfinished::{self, Unfinished};
use crate::upload::number_after;
use crate::{Connection, Failure};

/// The kind of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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
    /// The kind of labels.
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
    /// The features' standardisation, which all rows and queries use.
    pub standardiser: Standardiser,
    /// Labels.
    pub labelling: Labelling,
    /// The key encapsulation that seals secrets to wardens.
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

/// The keys of an owner or of a member, derived from one root.
pub struct Keys {
    root: Key,
    member: Option<Terms>,
}

/// The version of `project.json` that this program writes and reads.
pub const FORMAT: u32 = 6;
pub(crate) const KEY_FILE: &str = "owner.key";
pub(crate) const MEMBER_FILE: &str = "member.key";
pub(crate) const POLICY_FILE: &str = "policy.toml";
const EVIDENCE_FILE: &str = "evidence.cbor";
pub(crate) const PROJECT_FILE: &str = "project.json";
const TERMS_FILE: &str = "terms.toml";
/// All that is written while a project's directory is made, but for the policy of attestation.
pub(crate) const MADE: [&str; 6] =
    [PROJECT_FILE, KEY_FILE, MEMBER_FILE, POLICY_FILE, EVIDENCE_FILE, TERMS_FILE];
/// The first line of an owner's key file: the page of a refinery refuses such a file by it.
const OWNER_MARK: &str =
    "# The owner's key, which opens every model: give it to no page, and to no program but blindsmith.\n";

impl Keys {
    /// New keys.
    pub fn generate() -> Self {
        Keys { root: Key::random(), member: None }
    }

    /// An owner's keys from a file of their own, which is made with new ones if it is not there: they may own several
    /// projects, each of which has keys of its own derived from them.
    pub fn of_owner(path: &Path) -> Result<Self, Failure> {
        if path.exists() {
            return Keys::read(path);
        }
        let keys = Keys::generate();
        keys.write(path)?;
        Ok(keys)
    }

    fn of(&self, purpose: &str, project: &Id) -> Key {
        self.root.derive(purpose, &[&project.0])
    }

    /// Models are sealed to it.
    pub fn owner(&self, project: &Id) -> Key {
        self.of("owner", project)
    }

    /// Metrics are sealed to it.
    pub fn metrics(&self, project: &Id) -> Key {
        metrics_key(&self.owner(project))
    }

    /// Writes a key file for somebody who is to see a project's figures and nothing else: a root of its own, from which
    /// its identity follows, and the key of the metrics. Its public key.
    pub fn write_viewer(&self, project: &Id, path: &Path) -> Result<Id, Failure> {
        let viewer = Keys::generate();
        write_keys(path, "", &[&viewer.root, &self.metrics(project)])?;
        Ok(viewer.public())
    }

    /// The initial model is sealed under it.
    pub fn model(&self, project: &Id) -> Key {
        self.of("initial model", project)
    }

    /// The seed of the uploads of whoever holds these keys: a member's is one for each project and terms.
    pub fn contributor(&self, project: &Id) -> Key {
        match &self.member {
            None => self.of("contributor", project),
            Some(terms) => self.root.derive("contributor", &[&project.0, &terms.digest()]),
        }
    }

    /// What a member accepts; none for the owner.
    pub fn terms(&self) -> Option<&Terms> {
        self.member.as_ref()
    }

    /// What uploads pin: the digest of a member's terms, zero for the owner.
    pub fn pinned(&self) -> [u8; 32] {
        self.member.as_ref().map_or([0; 32], Terms::digest)
    }

    /// What the owner signs orders and requests with.
    pub fn identity(&self) -> SigningKey {
        SigningKey::from_seed(self.root.derive("identity", &[]).expose())
    }

    /// Its public half, by which the refinery and members know it.
    pub fn public(&self) -> Id {
        self.identity().verifying().into()
    }

    /// Reads the keys of a project's directory: the owner's, or a member's with its terms.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        unfinished::refuse(dir)?;
        if !dir.join(KEY_FILE).exists() && dir.join(MEMBER_FILE).exists() {
            let Keys { root, .. } = Keys::read(&dir.join(MEMBER_FILE))?;
            return Ok(Keys { root, member: Some(load_terms(dir)?) });
        }
        Keys::read(&dir.join(KEY_FILE))
    }

    /// The owner's keys, which open models and metrics.
    pub fn load_owner(dir: &Path) -> Result<Self, Failure> {
        unfinished::refuse(dir)?;
        Keys::read(&dir.join(KEY_FILE))
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = Zeroizing::new(fs::read(path).map_err(|e| Failure::project(path, e))?);
        let none = || Failure::project(path, "it is not a key file");
        let text = std::str::from_utf8(&bytes).map_err(|_| none())?;
        let digits = text.strip_prefix(OWNER_MARK).unwrap_or(text);
        let id: Id = digits.trim().parse().map_err(|_| none())?;
        Ok(Keys { root: Key::from_bytes(id.0), member: None })
    }

    /// The owner's keys, or none if they are not there: members have none.
    pub fn load_if_there(dir: &Path) -> Result<Option<Self>, Failure> {
        if dir.join(KEY_FILE).exists() { Keys::load_owner(dir).map(Some) } else { Ok(None) }
    }

    /// The owner's keys or a member's, or none if there are neither.
    pub fn load_any(dir: &Path) -> Result<Option<Self>, Failure> {
        let there = [KEY_FILE, MEMBER_FILE].iter().any(|name| dir.join(name).exists());
        if there { Keys::load(dir).map(Some) } else { Ok(None) }
    }

    /// What requests over HTTP are signed with, by whoever has a key.
    pub fn load_signing(dir: &Path) -> Result<Option<SigningKey>, Failure> {
        Ok(Keys::load_any(dir)?.map(|keys| keys.identity()))
    }

    /// An owner's keys from a file of their own, which has to be there.
    pub fn load_file(path: &Path) -> Result<Self, Failure> {
        Keys::read(path)
    }

    fn save(&self, dir: &Path) -> Result<(), Failure> {
        self.write(&dir.join(if self.member.is_some() { MEMBER_FILE } else { KEY_FILE }))
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        write_keys(path, if self.member.is_some() { "" } else { OWNER_MARK }, &[&self.root])
    }
}

/// A file that other commands wait for until it is dropped.
pub(crate) fn locked(path: &Path) -> Result<fs::File, Failure> {
    let file = fs::File::create(path).and_then(|file| file.lock().map(|()| file));
    file.map_err(|e| Failure::project(path, e))
}

/// The number of the next query that is asked from a directory: greater than those before, whatever the clock says.
pub(crate) fn query_number(dir: &Path) -> Result<u64, Failure> {
    let (path, lock) = (dir.join("query.number"), dir.join("query.lock"));
    let _alone = locked(&lock)?;
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Failure::project(&path, "it is no number"))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Failure::project(&path, e)),
    };
    let number = number_after(last);
    write_file(&path, number.to_string().as_bytes())?;
    Ok(number)
}

/// Whether a directory has what receipts are verified by.
pub(crate) fn has_policy(dir: &Path) -> bool {
    dir.join(POLICY_FILE).exists()
}

/// Writes keys in hexadecimal digits, a line each, below a mark.
fn write_keys(path: &Path, mark: &str, keys: &[&Key]) -> Result<(), Failure> {
    use std::fmt::Write as _;
    let mut text = Zeroizing::new(String::with_capacity(mark.len() + 65 * keys.len()));
    text.push_str(mark);
    for key in keys {
        key.expose().iter().for_each(|b| _ = write!(text, "{b:02x}"));
        text.push('\n');
    }
    write_file(path, text.as_bytes())
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
    pub fn join(&self, terms: Terms, dir: &Path) -> Result<Keys, Failure> {
        // Nothing is written that could not be read again.
        terms.validate().map_err(|e| Failure::Settings(e.to_string()))?;
        let unfinished = Unfinished::begin(dir)?;
        let keys = Keys { root: Key::random(), member: Some(terms) };
        keys.save(dir)?;
        write_file(&dir.join(TERMS_FILE), terms_toml(keys.terms()).as_bytes())?;
        self.attestation.save(dir)?;
        self.save(dir)?;
        unfinished.finish()?;
        Ok(keys)
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
        Ok(project)
    }
}

/// A member's terms as a file: what is bytes elsewhere is hexadecimal here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsFile {
    recipe: String,
    model: String,
    tees: Vec<String>,
    measurements: Vec<String>,
    recipients: Vec<PublicKey>,
    step_rows: u64,
    step_contributors: u32,
    version_rows: u64,
    version_contributors: u32,
    versions: u64,
    metrics_rows: u64,
    #[serde(default)]
    policy: String,
}

fn load_terms(dir: &Path) -> Result<Terms, Failure> {
    let path = dir.join(TERMS_FILE);
    let text = fs::read_to_string(&path).map_err(|e| Failure::project(&path, e))?;
    let file: TermsFile = toml::from_str(&text).map_err(|e| Failure::project(&path, e))?;
    let bytes = |hex: &String| {
        let digits = hex.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let all: Option<Vec<u8>> = digits.0.iter().map(byte).collect();
        all.filter(|_| digits.1.is_empty()).map(Blob)
    };
    let measurements: Option<Vec<Blob>> = file.measurements.iter().map(bytes).collect();
    let commitment = |digits: &str| {
        digits.parse().map_err(|_| Failure::project(&path, "a commitment has 64 hexadecimal digits"))
    };
    let terms = Terms {
        origin: Origin { recipe: commitment(&file.recipe)?, model: commitment(&file.model)? },
        tees: file.tees,
        measurements: measurements
            .ok_or_else(|| Failure::project(&path, "a measurement is not hexadecimal"))?,
        recipients: file.recipients,
        step_rows: file.step_rows,
        step_contributors: file.step_contributors,
        version_rows: file.version_rows,
        version_contributors: file.version_contributors,
        versions: file.versions,
        metrics_rows: file.metrics_rows,
        privacy: 0,
        policy: file.policy,
    };
    terms.validate().map_err(|e| Failure::project(&path, e))?;
    Ok(terms)
}

fn terms_toml(terms: Option<&Terms>) -> String {
    let Some(terms) = terms else { return String::new() };
    let hex = |m: &Blob| m.0.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (tees, recipients) = (&terms.tees, terms.recipients.iter().map(PublicKey::to_string));
    let (measurements, recipients): (Vec<String>, Vec<String>) =
        (terms.measurements.iter().map(hex).collect(), recipients.collect());
    let Terms {
        step_rows,
        step_contributors,
        version_rows,
        version_contributors,
        versions,
        metrics_rows,
        policy,
        origin: Origin { recipe, model },
        ..
    } = terms;
    let policy = match policy.contains("'''") || policy.contains('\r') {
        // Strings of JSON are strings of TOML.
        true => serde_json::Value::from(policy.as_str()).to_string(),
        false => format!("'''\n{policy}'''"),
    };
    format!(
        r#"# What this member accepts for its rows. Every upload names the digest of these terms, and the warden keeps to
# them, whatever the owner asks for. Other terms count for uploads made after `blindsmith join` was run again.

# The commitments to the recipe and to the initial model of the project, as the first receipt has them. The warden takes the
# rows' keys for a project that began with these and for no other.
recipe = "{recipe}"
model = "{model}"
# Kinds of trusted execution environment that may hold the rows' keys. "simulated" protects nothing.
tees = {tees:?}
# Their measurements, in hexadecimal digits; simulated wardens have none.
measurements = {measurements:?}
# Public keys of those who may receive models that were trained on the rows.
recipients = {recipients:?}
# Least rows and contributors of a step of training that uses the rows.
step_rows = {step_rows}
step_contributors = {step_contributors}
# Least rows and contributors of a version that uses them.
version_rows = {version_rows}
version_contributors = {version_contributors}
# Most versions that use them, in the project's life.
versions = {versions}
# The owner sees this member's validation figures from so many judged rows on.
metrics_rows = {metrics_rows}
# By what the warden that holds the rows' keys appraises another one before it passes them on: a policy as in
# attestation.toml, of which this is a copy. Empty: kinds and measurements above are enough.
policy = {policy}
"#
    )
}

/// Reads the policy of a project's directory.
pub fn load_policy(dir: &Path) -> Result<OwnerPolicy, Failure> {
    let path = dir.join(POLICY_FILE);
    let text = fs::read_to_string(&path).map_err(|e| Failure::project(&path, e))?;
    OwnerPolicy::parse(&text).map_err(|e| Failure::project(&path, e))
}

/// Changes the policy of a directory, while no other command does: what one of them remembers is not forgotten by another.
pub(crate) fn change_policy<T>(
    dir: &Path,
    change: impl FnOnce(&mut OwnerPolicy) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let _alone = locked(&dir.join("policy.lock"))?;
    let mut policy = load_policy(dir)?;
    let before = policy.clone();
    let changed = change(&mut policy)?;
    if policy != before { save_policy(&policy, dir).map(|()| changed) } else { Ok(changed) }
}

/// Writes it.
pub fn save_policy(policy: &OwnerPolicy, dir: &Path) -> Result<(), Failure> {
    write_file(&dir.join(POLICY_FILE), policy.to_toml().as_bytes())
}

/// Adds wardens to those of a policy. Simulated ones have no measurement in receipts.
pub fn list(known: &mut Vec<Measured>, wardens: impl IntoIterator<Item = Measured>) {
    for warden in wardens {
        if warden.tee != Tee::Simulated && !known.contains(&warden) {
            known.push(warden);
        }
    }
}

/// Reads what leads from the warden that was given the secrets to the key of the receipts.
pub fn load_trust(dir: &Path) -> Result<Trust, Failure> {
    unfinished::refuse(dir)?;
    let path = dir.join(EVIDENCE_FILE);
    let bytes = fs::read(&path).map_err(|e| Failure::project(&path, e))?;
    from_cbor(&bytes).map_err(|e| Failure::project(&path, e))
}

/// Writes a file that its user alone reads, in one piece. Links and devices are refused.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(std::io::Error::other("it is there, and no plain file: name another one"));
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.new", std::process::id()));
        let beside = path.with_file_name(name);
        // Of a process that was killed before it was renamed.
        _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let done =
            file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
        done.inspect_err(|_| _ = fs::remove_file(&beside))
    };
    write().map_err(|e| Failure::project(path, e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn files_are_their_users_alone_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, target] = ["a.csv", "link.csv", "target"].map(|name| dir.path().join(name));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        for text in ["one", "another"] {
            write_file(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for refused in [&link, dir.path()] {
            assert!(write_file(refused, b"text").unwrap_err().to_string().contains("no plain file"));
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left beside them");
    }
}
