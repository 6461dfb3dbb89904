//! Files of collateral: what verifies evidence of hardware.

use std::fs;
use std::path::{Path, PathBuf};

use blindsmith_attest::appraisal::{Collateral, MAX_COLLATERAL};

use crate::failure::Failure;
use crate::files::read_limited;

/// What collateral's files are called; others in a directory are passed over.
const COLLATERAL_EXTENSIONS: [&str; 6] = ["json", "pem", "der", "crt", "cer", "crl"];

/// Reads collateral.
pub fn read_collateral(files: &[PathBuf]) -> Result<Collateral, Failure> {
    let mut collateral = Collateral::default();
    for path in files {
        let bytes = read_limited(path, MAX_COLLATERAL).map_err(|e| Failure::unusable(path, e))?;
        collateral.add(&bytes).map_err(|e| Failure::unusable(path, e))?;
    }
    Ok(collateral)
}

/// Whether a file of a directory is taken for collateral, by its name.
pub fn is_collateral(file: &Path) -> bool {
    let extension = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| COLLATERAL_EXTENSIONS.contains(&e.as_str()))
}

/// The files of collateral, directories opened, in the order of their names.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| Failure::unusable(path, e))? {
            let file = entry.map_err(|e| Failure::unusable(path, e))?.path();
            if is_collateral(&file) {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}
