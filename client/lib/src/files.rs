//! Files of a project's directory: written in one piece, read by their user alone.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failure::Failure;

/// A file that other commands wait for until it is dropped.
pub(crate) fn locked(path: &Path) -> Result<fs::File, Failure> {
    let file = fs::File::create(path).and_then(|file| file.lock().map(|()| file));
    file.map_err(|e| Failure::project(path, e))
}

/// Writes a file that its user alone reads, in one piece. Links and devices are refused.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
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

/// A file, but no more than one byte beyond `most`: readers refuse that.
///
/// # Errors
/// If it cannot be read.
pub fn read_limited(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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
