//! The era of uploads: row masks and a contributor's column secrets are new in each, so that no single mask and no
//! single secret ever serves more rows than the estimates of security allow for (`docs/arithmetic.md`).

use std::fs;
use std::path::Path;

use blindsmith_api::message::ProjectStatus;
use blindsmith_protocol::{MAX_ERAS, Role};

use crate::failure::Failure;
use crate::files::write_file;

/// Rows of a project after which the next era begins.
pub const ROWS: u64 = 1 << 20;

const FILE: &str = "era";

/// Rows that a project stores.
pub fn stored_rows(status: &ProjectStatus) -> u64 {
    let stored = status.uploads.iter().filter(|upload| upload.role != Role::Query);
    stored.map(|upload| u64::from(upload.rows)).sum()
}

/// The era of an upload to a project that stores so many rows: no earlier than `least`, and than that of any upload from
/// this directory before. It is written down before it is used.
///
/// # Errors
/// If the project's directory cannot be read or written, or eras are exhausted.
pub fn next(dir: &Path, stored_rows: u64, least: u32) -> Result<u32, Failure> {
    let path = dir.join(FILE);
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Failure::project(&path, "it is no number of an era"))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Failure::project(&path, e)),
    };
    let due = u32::try_from(stored_rows / ROWS).unwrap_or(u32::MAX);
    let era = due.max(least).max(before);
    if era >= MAX_ERAS {
        return Err(Failure::Settings(format!("era {era}, where eras below {MAX_ERAS} are possible")));
    }
    if era != before {
        write_file(&path, format!("{era}\n").as_bytes())?;
    }
    Ok(era)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_follows_from_the_rows_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let next = |rows, least| next(dir.path(), rows, least).unwrap();
        assert_eq!((next(0, 0), next(ROWS - 1, 0), next(ROWS, 0), next(5 * ROWS + 7, 0)), (0, 0, 1, 5));
        // Rows that were withdrawn, or another refinery: what was used stays.
        assert_eq!((next(0, 0), next(0, 9), next(0, 2)), (5, 9, 9));
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "9\n");
    }

    #[test]
    fn eras_end_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(next(dir.path(), 0, MAX_ERAS).is_err() && next(dir.path(), u64::MAX, 0).is_err());
        assert_eq!(next(dir.path(), 0, MAX_ERAS - 1).unwrap(), MAX_ERAS - 1);
        fs::write(dir.path().join(FILE), "x").unwrap();
        assert!(matches!(next(dir.path(), 0, 0), Err(Failure::Project { .. })));
    }
}
