//! MLflow's file store: a directory `mlruns` with experiments, runs, and a text file for each metric.
//!
//! Source: `mlflow/store/tracking/file_store.py`. A project is an experiment with one run; a round is a step of the run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Figure;
use crate::failure::Failure;
use crate::files::write_file;
use crate::project::ClientProject;
use crate::report::Report;

/// MLflow's numbers for a run that is finished, and for one whose source is a local program.
const FINISHED: u32 = 3;
const LOCAL: u32 = 4;

/// Writes figures into a file store, which is made if it is not there; an earlier export of the project is replaced, and what
/// belongs to other experiments stays. The run's directory.
///
/// # Errors
/// If a file cannot be written.
pub fn write_mlflow(
    project: &ClientProject,
    report: &Report,
    figures: &[Figure],
    store: &Path,
) -> Result<PathBuf, Failure> {
    made(store)?;
    let store = store.canonicalize().map_err(|e| Failure::project(store, e))?;
    let id = project.id();
    // MLflow's experiments have decimal numbers, its runs 32 hexadecimal digits.
    let number = id.0.iter().take(7).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (experiment, run) = (format!("{number:018}"), id.to_string()[..32].to_owned());
    let experiment_dir = store.join(&experiment);
    let run_dir = experiment_dir.join(&run);
    let place = |dir: &Path| format!("file://{}", dir.display());
    let milliseconds = |at: Option<u64>| at.unwrap_or(0) * 1000;
    let start = milliseconds(figures.first().map(|f| f.at));
    let end = milliseconds(figures.last().map(|f| f.at));
    made(&experiment_dir)?;
    yaml(
        &experiment_dir.join("meta.yaml"),
        &json!({
            "artifact_location": place(&experiment_dir), "creation_time": start, "experiment_id": experiment,
            "last_update_time": end, "lifecycle_stage": "active",
            "name": format!("{} ({})", report.name, &report.project[..16]),
        }),
    )?;
    for folder in ["metrics", "params", "tags", "artifacts"] {
        made(&run_dir.join(folder))?;
    }
    for (name, text) in metrics(figures) {
        let path = run_dir.join("metrics").join(name);
        path.parent().map_or(Ok(()), made)?;
        write_file(&path, text.as_bytes())?;
    }
    for (name, text) in parameters(project, report) {
        write_file(&run_dir.join("params").join(name), text.as_bytes())?;
    }
    write_file(&run_dir.join("tags/mlflow.runName"), report.name.as_bytes())?;
    // Last: MLflow takes a directory for a run by this file.
    yaml(
        &run_dir.join("meta.yaml"),
        &json!({
            "artifact_uri": place(&run_dir.join("artifacts")), "end_time": end, "entry_point_name": "",
            "experiment_id": experiment, "lifecycle_stage": "active", "run_id": run, "run_name": report.name,
            "run_uuid": run, "source_name": "blindsmith", "source_type": LOCAL, "source_version": "",
            "start_time": start, "status": FINISHED, "tags": [], "user_id": "",
        }),
    )?;
    Ok(run_dir)
}

fn made(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|e| Failure::project(dir, e))
}

/// Writes a mapping as YAML: a line for each key, with its value as JSON, which is YAML too.
fn yaml(path: &Path, fields: &Value) -> Result<(), Failure> {
    let mut text = String::new();
    for (key, value) in fields.as_object().into_iter().flatten() {
        _ = writeln!(text, "{key}: {value}");
    }
    write_file(path, text.as_bytes())
}

/// The file of each metric: a line for each round with its time in milliseconds, the value and the step.
fn metrics(figures: &[Figure]) -> BTreeMap<&'static str, String> {
    let mut files = BTreeMap::<_, String>::new();
    for Figure { name, round, at, value } in figures {
        _ = writeln!(files.entry(*name).or_default(), "{} {value} {round}", at * 1000);
    }
    files
}

fn parameters(project: &ClientProject, report: &Report) -> [(&'static str, String); 6] {
    let recipe = &project.recipe;
    [
        ("project", report.project.clone()),
        ("layers", format!("{:?}", recipe.widths)),
        ("epochs", recipe.epochs.to_string()),
        ("batch_rows", recipe.batch_rows.to_string()),
        ("security_bits", project.spec.security.bits().to_string()),
        ("warden", report.warden.clone().unwrap_or_else(|| "none connected".into())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_a_line_for_each_round() {
        let figure = |name, round, value| Figure { name, round, at: 5, value };
        let files = metrics(&[
            figure("validation/loss", 1, 0.5),
            figure("round/rows", 1, 142.0),
            figure("validation/loss", 2, 1e-9),
        ]);
        assert_eq!(files["validation/loss"], "5000 0.5 1\n5000 0.000000001 2\n");
        assert_eq!(files["round/rows"], "5000 142 1\n");
    }

    #[test]
    fn a_name_with_any_characters_is_one_line_of_yaml() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.yaml");
        yaml(&path, &json!({ "name": "a: \"b\"\n- c", "status": 3, "tags": [] })).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, "name: \"a: \\\"b\\\"\\n- c\"\nstatus: 3\ntags: []\n");
    }
}
