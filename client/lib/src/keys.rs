//! The keys of an owner or of a member.

use std::fs;
use std::path::Path;

use blindsmith_formats::metrics_key;
use blindsmith_identity::{SigningKey, Terms};
use blindsmith_keys::Key;
use blindsmith_protocol::Id;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::write_file;
use crate::layout::{KEY_FILE, MEMBER_FILE};
use crate::terms::load_terms;
use crate::unfinished;

/// The first line of an owner's key file: the page of a refinery refuses such a file by it.
const OWNER_MARK: &str =
    "# The owner's key, which opens every model: give it to no page, and to no program but blindsmith.\n";

/// The keys of an owner or of a member, derived from one root.
pub struct Keys {
    root: Key,
    member: Option<Terms>,
}

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

    /// A member's new keys, for these terms.
    pub(crate) fn of_member(terms: Terms) -> Self {
        Keys { root: Key::random(), member: Some(terms) }
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

    pub(crate) fn save(&self, dir: &Path) -> Result<(), Failure> {
        self.write(&dir.join(if self.member.is_some() { MEMBER_FILE } else { KEY_FILE }))
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        write_keys(path, if self.member.is_some() { "" } else { OWNER_MARK }, &[&self.root])
    }
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
