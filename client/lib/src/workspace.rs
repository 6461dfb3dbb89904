//! A project's directory with a connection to its refinery: what most operations start from.

use std::path::{Path, PathBuf};

use blindsmith_api::message::ProjectStatus;
use blindsmith_attest::Appraised;
use blindsmith_identity::{Purpose, SigningKey};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::keys::Keys;
use crate::policy::load_trust;
use crate::project::ClientProject;
use crate::trust::appraise_warden;

/// A project that was opened. Operations are methods; each says which keys it needs.
pub struct Workspace {
    /// The project's directory.
    pub dir: PathBuf,
    /// What the directory records.
    pub project: ClientProject,
    /// To its refinery.
    pub connection: Connection,
}

impl Workspace {
    /// Opens a directory and connects to the refinery that it records, or to another one; `ca` has the certificates that
    /// lead to the refinery's, if not the system's do.
    ///
    /// # Errors
    /// If the directory has no finished project, or the refinery cannot be reached.
    pub fn open(dir: &Path, refinery: Option<&str>, ca: Option<&Path>) -> Result<Self, Failure> {
        let project = ClientProject::load(dir)?;
        let refinery = refinery.unwrap_or(&project.refinery);
        let connection = Connection::reach(refinery, Keys::load_signing(dir)?, ca)?;
        Ok(Workspace { dir: dir.to_owned(), project, connection })
    }

    /// What the refinery knows of the project.
    ///
    /// # Errors
    /// If the refinery does not answer, or refuses.
    pub fn fetch_status(&mut self) -> Result<ProjectStatus, Failure> {
        self.connection.status(self.project.id())
    }

    /// Fetches the evidence of the refinery's warden, in a session of this key's, and appraises it as the project says.
    ///
    /// # Errors
    /// If no warden is there, or it is not one to trust.
    pub fn appraise_warden(&mut self, asker: &SigningKey, purpose: Purpose) -> Result<Appraised, Failure> {
        let trust = (self.project.id(), &self.project.attestation, self.project.kem);
        appraise_warden(&mut self.connection, trust, asker, purpose)
    }

    /// See [`warden_of`].
    pub fn warden(&self) -> Option<&'static str> {
        warden_of(&self.dir)
    }
}

/// The kind of the warden that was given the secrets of a directory, as its evidence says; none if none was, or if that
/// cannot be read, which is for the operations that need it to complain of.
pub fn warden_of(dir: &Path) -> Option<&'static str> {
    load_trust(dir).ok()?.opened().ok().map(|(tee, ..)| tee.name())
}
