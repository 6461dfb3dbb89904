//! What was pushed from a directory, so that the same rows do not count twice by mistake.
//!
//! A digest says whether rows are the same, in any order. It is keyed, so that nobody can try rows against it who has the
//! file alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use blindsmith_keys::Key;
use blindsmith_learn::{Matrix, Targets};
use blindsmith_protocol::{Id, Role};

use crate::failure::Failure;

const FILE: &str = "pushed";

/// The digest of standardised rows with their targets, whatever their order; `seed` is the contributor's.
pub fn digest(seed: &Key, role: Role, rows: &Matrix, targets: &Targets) -> Id {
    let key = seed.derive("rows that were pushed", &[&[role as u8]]);
    let mut of_rows: Vec<[u8; 32]> = rows
        .iter_rows()
        .enumerate()
        .map(|(index, row)| {
            let mut hasher = blake3::Hasher::new_keyed(key.expose());
            row.iter().for_each(|value| _ = hasher.update(&value.to_le_bytes()));
            match targets {
                Targets::Classes(classes) => _ = hasher.update(&classes[index].to_le_bytes()),
                Targets::Values(values) => {
                    values.row(index).iter().for_each(|value| _ = hasher.update(&value.to_le_bytes()));
                }
            }
            hasher.finalize().into()
        })
        .collect();
    of_rows.sort_unstable();
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    of_rows.iter().for_each(|row| _ = hasher.update(row));
    Id(hasher.finalize().into())
}

/// The upload that has the same rows, if there is one.
///
/// # Errors
/// If the project's directory cannot be read.
pub fn find(dir: &Path, digest: &Id) -> Result<Option<String>, Failure> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::project(&path, e)),
    };
    let digest = digest.to_string();
    let mut uploads = text.lines().rev().filter_map(|line| line.split_once(' '));
    Ok(uploads.find(|(of, _)| *of == digest).map(|(_, upload)| upload.to_owned()))
}

/// Takes note of an upload.
///
/// # Errors
/// If the project's directory cannot be written.
pub fn remember(dir: &Path, digest: &Id, upload: &Id) -> Result<(), Failure> {
    let path = dir.join(FILE);
    let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    // One write, so that lines of two commands do not mix.
    let written = file.and_then(|mut file| file.write_all(format!("{digest} {upload}\n").as_bytes()));
    written.map_err(|e| Failure::project(&path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(role: Role, rows: &[f32], classes: &[u32]) -> Id {
        let matrix = Matrix::from_rows(classes.len(), rows.len() / classes.len(), rows.to_vec()).unwrap();
        digest(&Key::from_bytes([7; 32]), role, &matrix, &Targets::Classes(classes.to_vec()))
    }

    #[test]
    fn a_digest_is_of_rows_and_labels_and_not_of_their_order() {
        let one = of(Role::Training, &[0.1, 0.2, 0.3, 0.4], &[0, 1]);
        assert_eq!(one, of(Role::Training, &[0.3, 0.4, 0.1, 0.2], &[1, 0]));
        for other in [
            of(Role::Training, &[0.1, 0.2, 0.3, 0.4], &[1, 0]),
            of(Role::Training, &[0.1, 0.2, 0.3, 0.5], &[0, 1]),
            of(Role::Training, &[0.1, 0.2, 0.3, 0.4, 0.1, 0.2], &[0, 1, 0]),
            of(Role::Validation, &[0.1, 0.2, 0.3, 0.4], &[0, 1]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn uploads_are_found_by_their_digest() {
        let dir = tempfile::tempdir().unwrap();
        let (digest, upload) = (Id([1; 32]), Id([2; 32]));
        assert_eq!(find(dir.path(), &digest).unwrap(), None);
        remember(dir.path(), &Id([3; 32]), &Id([4; 32])).unwrap();
        remember(dir.path(), &digest, &upload).unwrap();
        assert_eq!(find(dir.path(), &digest).unwrap(), Some(upload.to_string()));
        assert_eq!(find(dir.path(), &Id([5; 32])).unwrap(), None);
    }
}
