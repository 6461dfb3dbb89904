//! Tutorials, command by command, as their documents have them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::site::programs;

/// A block of commands, and the output that the document shows below it.
struct Step {
    commands: String,
    shown: Option<String>,
}

/// The steps of a document. Of its first block, which builds the programs, none is left: the test has built them.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    // Every second part of the text is a block, which begins with its language.
    for block in document.split("```").skip(1).step_by(2) {
        match block.split_once('\n') {
            Some(("sh", commands)) if !commands.starts_with("cargo build") => {
                steps.push(Step { commands: commands.to_owned(), shown: None });
            }
            Some(("text", shown)) => steps.last_mut().unwrap().shown = Some(shown.to_owned()),
            _ => {}
        }
    }
    steps
}

/// Output without what differs from run to run: words with digits, the spaces of tables, bars and paths.
fn shape(output: &str) -> String {
    let word =
        |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".into() } else { word.to_owned() };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    output.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn three_hospitals_train_one_model_by_the_commands_of_the_tutorial() {
    programs();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let steps = steps(&std::fs::read_to_string(repository.join("docs/three-hospitals.md")).unwrap());
    let dir = TempDir::with_prefix("blindsmith-test-").unwrap();
    std::fs::create_dir(dir.path().join("target")).unwrap();
    symlink(repository.join("client"), dir.path().join("client")).unwrap();
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n");
    for (number, step) in steps.iter().enumerate() {
        script.push_str(&format!("echo '=== {number}'\n{}", step.commands));
    }
    let own = Path::new(env!("CARGO_BIN_EXE_blindsmith")).parent().unwrap();
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let done = Command::new("timeout")
        .args(["600", "bash", "-c", &format!("exec 2>&1\n{script}")])
        .env("PATH", path)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{output}");
    let outputs: Vec<&str> = output.split("=== ").skip(1).collect();
    assert_eq!(outputs.len(), steps.len(), "{output}");
    let mut compared = 0;
    for (output, step) in outputs.iter().zip(&steps) {
        let Some(shown) = &step.shown else { continue };
        let (_, printed) = output.split_once('\n').unwrap();
        assert_eq!(shape(printed), shape(shown), "{}\nprinted:\n{printed}", step.commands);
        compared += 1;
    }
    assert!(compared >= 5, "the document shows the output of {compared} blocks only");
}
