//! The mark in a project's directory that `init` or `join` is making. A process that is killed leaves it, and so the next one
//! knows that what is there is nobody's: no row was sent under its keys, and no model is sealed to anybody else.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::layout::{KEY_FILE, MADE, MEMBER_FILE, POLICY_FILE, PROJECT_FILE};
use crate::trust::Attestation;

const FILE: &str = "unfinished";

/// A directory that is being made, by this process alone.
pub struct Unfinished {
    path: PathBuf,
    interrupted: bool,
    _alone: File,
}

/// Whether the file is there that is written last.
fn is_finished(dir: &Path) -> bool {
    dir.join(if dir.join(MEMBER_FILE).exists() { PROJECT_FILE } else { POLICY_FILE }).exists()
}

fn is_unfinished(dir: &Path) -> bool {
    dir.join(FILE).exists() && !is_finished(dir)
}

/// Refuses a directory that is not finished.
///
/// # Errors
/// Says how it is finished or removed.
pub(crate) fn refuse(dir: &Path) -> Result<(), Failure> {
    if is_unfinished(dir) {
        let message = "init or join was interrupted before this project was finished, or is still at work: run the same command \
                       again, which begins anew, or remove the directory. No row was sent by it";
        return Err(Failure::project(dir, message));
    }
    if is_finished(dir) {
        // Of a process that was killed after its last file. Best effort: whoever cannot write here can read.
        _ = fs::remove_file(dir.join(FILE));
    }
    Ok(())
}

impl Unfinished {
    /// Makes a directory, or begins one anew that was interrupted; one that has a project is left alone.
    ///
    /// # Errors
    /// If it has a project, another process is making one in it, or it cannot be written.
    pub(crate) fn begin(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let fail = |e: std::io::Error| Failure::project(&path, e);
        let taken =
            |path: &Path| Err(Failure::project(path, "there is a project already: choose another directory"));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| Failure::project(dir, e))?;
        let interrupted = is_unfinished(dir);
        // A key without its project may be the only copy there is.
        let mut there = [PROJECT_FILE, KEY_FILE, MEMBER_FILE].into_iter().map(|name| dir.join(name));
        if let Some(found) = there.find(|path| !interrupted && path.exists()) {
            return taken(&found);
        }
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let alone = options.map_err(fail)?;
        match alone.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::project(dir, "another init or join is making a project here"));
            }
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        }
        // Another one may have finished meanwhile.
        if !is_unfinished(dir) {
            _ = fs::remove_file(&path);
            return taken(dir);
        }
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)?;
        if interrupted {
            clear(dir);
        }
        Ok(Unfinished { path, interrupted, _alone: alone })
    }

    /// Whether another one was interrupted here. This one began anew, with a new key; if the refinery has the earlier
    /// project, that stays empty.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Takes the mark away: all files are written.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn finish(self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            // By another command that found all files.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map_err(|e| Failure::project(&self.path, e)),
        }
    }

    /// Takes back all that was written, and the directory if nothing else is in it.
    pub fn remove(self) {
        let Some(dir) = self.path.parent() else { return };
        clear(dir);
        // Best effort: the reason for it is what the user must hear of.
        _ = fs::remove_file(&self.path);
        _ = fs::remove_dir(dir);
    }
}

/// Removes what `init` and `join` write, and what a write that was interrupted left beside it.
fn clear(dir: &Path) {
    for name in MADE {
        _ = fs::remove_file(dir.join(name));
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let beside = |made: &str| name.starts_with(&format!(".{made}.")) && name.ends_with(".new");
        if MADE.iter().any(|made| beside(made)) {
            _ = fs::remove_file(entry.path());
        }
    }
    Attestation::remove(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_interrupted_at_any_file_is_refused_and_begun_anew() {
        for (written, others) in [
            (&[][..], &["rows.csv"][..]),
            (&[".owner.key.17.new"], &["rows.csv"]),
            (&[KEY_FILE], &[]),
            (&[KEY_FILE, "attestation.toml", PROJECT_FILE], &["rows.csv", ".rows.csv.17.new"]),
            (&[KEY_FILE, "attestation.toml", PROJECT_FILE, "evidence.cbor", ".policy.toml.17.new"], &[]),
            (&[MEMBER_FILE, "terms.toml"], &["rows.csv"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for name in written.iter().chain(others).chain(&[FILE]) {
                fs::write(dir.path().join(name), "").unwrap();
            }
            let refused = refuse(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("run the same command again"), "{written:?}: {refused}");
            let begun = Unfinished::begin(dir.path()).unwrap();
            let mut left: Vec<&str> = others.iter().chain(&[FILE]).copied().collect();
            left.sort();
            assert_eq!(files(dir.path()), left, "{written:?}");
            begun.finish().unwrap();
            assert!(refuse(dir.path()).is_ok() && !dir.path().join(FILE).exists());
        }
    }

    #[test]
    fn a_finished_project_is_never_cleared() {
        for written in [&[KEY_FILE, PROJECT_FILE, POLICY_FILE][..], &[MEMBER_FILE, PROJECT_FILE]] {
            for marked in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                for name in written.iter().chain(if marked { &[FILE][..] } else { &[] }) {
                    fs::write(dir.path().join(name), "kept").unwrap();
                }
                let refused = Unfinished::begin(dir.path()).err().unwrap().to_string();
                assert!(refused.contains("there is a project already"), "{refused}");
                refuse(dir.path()).unwrap();
                // Without the mark from now on: a key without its project stays.
                fs::remove_file(dir.path().join(PROJECT_FILE)).unwrap();
                assert!(Unfinished::begin(dir.path()).is_err() && refuse(dir.path()).is_ok());
                assert_eq!(fs::read_to_string(dir.path().join(written[0])).unwrap(), "kept");
            }
        }
    }

    #[test]
    fn one_process_makes_a_directory_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let begun = Unfinished::begin(dir.path()).unwrap();
        fs::write(dir.path().join(KEY_FILE), "kept").unwrap();
        let refused = Unfinished::begin(dir.path()).err().unwrap().to_string();
        assert!(refused.contains("another init or join"), "{refused}");
        assert_eq!(files(dir.path()), [KEY_FILE, FILE]);
        begun.remove();
        assert!(!dir.path().exists());
    }
}
