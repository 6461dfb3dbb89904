//! Blobs as files of a directory: their places, what is there, and whether somebody uses one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use blindsmith_protocol::Id;

use super::error::{StoreError, io_error};

/// A blob that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlobEntry {
    pub(super) name: Id,
    pub(super) bytes: u64,
    pub(super) written: SystemTime,
}

/// What is said of a blob whose content is not what its name says.
pub(super) const ALTERED: &str = "its content is not what was stored";

pub(super) fn in_directory(dir: &Path, name: &Id) -> PathBuf {
    let name = name.to_string();
    dir.join(&name[..2]).join(name)
}

pub(super) fn list_directory(dir: &Path) -> Result<(Vec<BlobEntry>, Vec<String>), StoreError> {
    let (mut blobs, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let group = entry.map_err(io_error(dir))?.path();
        if !group.is_dir() {
            others.push(group.display().to_string());
            continue;
        }
        for entry in fs::read_dir(&group).map_err(io_error(&group))? {
            let path = entry.map_err(io_error(&group))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<Id>().ok());
            match name.filter(|name| in_directory(dir, name) == path) {
                None => others.push(path.display().to_string()),
                Some(name) => {
                    let found = fs::metadata(&path).map_err(io_error(&path))?;
                    let written = found.modified().map_err(io_error(&path))?;
                    blobs.push(BlobEntry { name, bytes: found.len(), written });
                }
            }
        }
    }
    Ok((blobs, others))
}

/// Whether nobody has the file open who said so by a shared lock.
pub(super) fn is_unused(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}
