//! Files of a project's directory: `project.json` as an invitation brings it, a member's terms, evidence.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use blindsmith_client::{ClientProject, Keys};
use blindsmith_data::{Preprocessing, Standardiser};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: OnceLock<TempDir> = OnceLock::new();

/// A member's directory with its key.
fn file(name: &str) -> PathBuf {
    let dir = DIR.get_or_init(|| {
        let dir = TempDir::new().expect("a temporary directory");
        blindsmith_fuzz::write(&dir.path().join("member.key"), "07".repeat(32).as_bytes());
        dir
    });
    dir.path().join(name)
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            let path = file("project.json");
            blindsmith_fuzz::write(&path, bytes);
            if let Ok(project) = ClientProject::load_file(&path) {
                project.id();
                project.labelling.outputs();
                project.labelling.loss();
            }
        }
        1 => {
            let path = file("terms.toml");
            blindsmith_fuzz::write(&path, bytes);
            if let Ok(keys) = Keys::load(path.parent().expect("it lies in a directory")) {
                assert!(keys.terms().is_some_and(|terms| terms.validate().is_ok()));
            }
        }
        _ => {
            if let Ok(record) = serde_json::from_slice::<Preprocessing>(bytes) {
                let names = record.feature_names();
                assert!(names.is_none_or(|names| names.len() == record.features()));
            }
            if let Ok(record) = serde_json::from_slice::<Standardiser>(bytes) {
                for column in 0..record.columns() {
                    record.range(column);
                }
            }
        }
    }
});
