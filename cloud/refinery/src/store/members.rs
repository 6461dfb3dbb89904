//! What owners ordered, contributors enrolled with, and took back.

use std::fs;
use std::path::Path;

use blindsmith_protocol::{Blob, Id};

use super::{Store, StoreError, damaged, files, io_error, read_limited};

impl Store {
    /// Keeps an owner's signed order; orders are numbered from 1 on.
    pub fn save_order(&self, project: &Id, sequence: u64, signed: &[u8]) -> Result<(), StoreError> {
        self.keep(project, "orders", &format!("{sequence}.cose"), signed)
    }

    /// An owner's signed orders, from number 1 on.
    pub fn orders(&self, project: &Id) -> Result<Vec<Blob>, StoreError> {
        let dir = self.project(project).join("orders");
        let count = if dir.exists() { files(&dir, "cose")?.len() } else { 0 };
        (1..=count).map(|n| Ok(Blob(read_limited(&dir.join(format!("{n}.cose")))?))).collect()
    }

    /// Keeps a contributor's signed enrolment, in the place of an earlier one.
    pub fn save_enrolment(&self, project: &Id, contributor: &Id, signed: &[u8]) -> Result<(), StoreError> {
        self.keep(project, "enrolments", &format!("{contributor}.cose"), signed)
    }

    /// The newest enrolment of each contributor, in order of their keys.
    pub fn enrolments(&self, project: &Id) -> Result<Vec<Blob>, StoreError> {
        let dir = self.project(project).join("enrolments");
        let mut paths = if dir.exists() { files(&dir, "cose")? } else { Vec::new() };
        paths.sort();
        paths.iter().map(|path| Ok(Blob(read_limited(path)?))).collect()
    }

    /// Takes an upload out of the store, for good. The contributor's signed withdrawal stays in its place, so that
    /// nobody can bring the upload back, and its number in the order of arrival is not given out again.
    pub fn withdraw(&self, project: &Id, upload: &Id, signed: &[u8]) -> Result<(), StoreError> {
        self.keep(project, "withdrawn", &format!("{upload}.cose"), signed)?;
        // Without its header it is none: what a crash leaves of it is removed at the next start.
        for extension in ["head", "rows", "projections", "verdict"] {
            let path = self.upload(project, upload, extension);
            remove(&path)?;
        }
        Ok(())
    }

    /// The uploads that were withdrawn.
    pub fn withdrawn(&self, project: &Id) -> Result<Vec<Id>, StoreError> {
        let dir = self.project(project).join("withdrawn");
        let paths = if dir.exists() { files(&dir, "cose")? } else { Vec::new() };
        let id = |path: &Path| path.file_stem()?.to_str()?.parse().ok();
        let named = |path: &Path| id(path).ok_or_else(|| damaged(path, "no upload names it"));
        paths.iter().map(|path| named(path)).collect()
    }

    fn keep(&self, project: &Id, folder: &str, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let dir = self.project(project).join(folder);
        fs::create_dir_all(&dir).map_err(io_error(&dir))?;
        self.write(&dir.join(name), bytes)
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error(path)(e)),
        _ => Ok(()),
    }
}
