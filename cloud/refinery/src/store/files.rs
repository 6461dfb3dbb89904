//! Files that appear whole or not at all: written beside their place, synchronised, renamed.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use blindsmith_protocol::{Id, MAX_SEALED};
use tempfile::NamedTempFile;

use super::error::{StoreError, damaged, io_error};
use super::failpoint;

/// What the names of files under way begin with: nothing else is removed from `incoming/` at start.
const UNDER_WAY: &str = ".under-way-";

/// The directory of what is under way, on the file system of the store.
#[derive(Debug)]
pub(super) struct Incoming(pub(super) PathBuf);

impl Incoming {
    /// A file under way; it goes with its handle, or at the next start.
    pub(super) fn file(&self) -> Result<NamedTempFile, StoreError> {
        failpoint::refusable("incoming.create").map_err(io_error(&self.0))?;
        tempfile::Builder::new().prefix(UNDER_WAY).tempfile_in(&self.0).map_err(io_error(&self.0))
    }

    /// A second name, under way, for a file.
    pub(super) fn link(&self, path: &Path) -> Result<NamedTempFile, StoreError> {
        let make = |name: &Path| {
            fs::hard_link(path, name)?;
            File::options().read(true).write(true).open(name)
        };
        tempfile::Builder::new().prefix(UNDER_WAY).make_in(&self.0, make).map_err(io_error(path))
    }

    /// Removes what an earlier process left.
    pub(super) fn clear(&self) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.0).map_err(io_error(&self.0))? {
            let path = entry.map_err(io_error(&self.0))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNDER_WAY)) {
                fs::remove_file(&path).map_err(io_error(&path))?;
            }
        }
        Ok(())
    }
}

/// Gives a file its place, durably.
pub(super) fn publish(file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
    let err = io_error(path);
    failpoint::refusable("blob.synchronise").map_err(&err)?;
    file.as_file().sync_all().map_err(&err)?;
    failpoint::refusable("blob.rename").map_err(&err)?;
    let was = file.path().to_owned();
    file.persist(path).map_err(|e| err(e.error))?;
    // Renaming one name of a file over another name of the same file does nothing.
    _ = fs::remove_file(was);
    failpoint::passed("blob.renamed");
    synchronise(path.parent().unwrap_or(path))
}

/// Makes the names in a directory durable.
pub(super) fn synchronise(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error(dir))
}

/// Makes a directory and those above it, for the user alone, durably.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => synchronise(parent),
        _ => Ok(()),
    }
}

/// The whole of a file, of at most [`MAX_SEALED`] bytes.
pub(super) fn read_limited(path: &Path, mut file: &File) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let read = file.by_ref().take(MAX_SEALED as u64 + 1).read_to_end(&mut bytes);
    read.map_err(io_error(path))?;
    match bytes.len() > MAX_SEALED {
        true => Err(damaged(path, "it is too large")),
        false => Ok(bytes),
    }
}

/// The digest of a file's content, from its start; leaves it at its start again.
pub(super) fn digest(path: &Path, mut file: &File) -> Result<Id, StoreError> {
    use std::io::Seek;
    let mut hash = blake3::Hasher::new();
    file.rewind().map_err(io_error(path))?;
    hash.update_reader(file).map_err(io_error(path))?;
    file.rewind().map_err(io_error(path))?;
    Ok(Id(*hash.finalize().as_bytes()))
}
