//! The machine's decided cases: `tests/cases/*.txt`, an event a line, and below it what follows.
//!
//! ```text
//! # A comment.
//! > event arguments
//! effect: what the caller does
//! the project's state, in a few lines
//! ```
//!
//! With `REWRITE=1` in the environment the files are written instead of compared.

#[path = "replay/replay.rs"]
mod replay;

use std::path::{Path, PathBuf};

use replay::Replay;

/// The file as it should be: each event, and what follows from it.
fn run(text: &str) -> String {
    let mut replay = Replay::default();
    let mut output = String::new();
    let mut in_expectation = false;
    for line in text.lines() {
        let event = line.strip_prefix("> ");
        if let Some(event) = event {
            output += &format!("{line}\n{}", replay.run(event));
        } else if line.is_empty() || line.starts_with('#') {
            output += &format!("{line}\n");
        } else {
            assert!(in_expectation, "{line:?} follows from no event");
        }
        in_expectation = event.is_some() || (in_expectation && !line.is_empty());
    }
    output
}

/// The first line that differs, if one does.
fn difference(text: &str) -> Option<String> {
    let is = run(text);
    let (mut expected, mut found) = (text.lines(), is.lines());
    for number in 1.. {
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (expected, found) if expected == found => {}
            (expected, found) => {
                let words = |line: Option<&str>| line.unwrap_or("the end of the file").to_owned();
                return Some(format!("line {number}: {} is expected, not {}", words(expected), words(found)));
            }
        }
    }
    None
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_case_is_as_it_was_decided() {
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        match rewrite {
            true => std::fs::write(&file, run(&text)).unwrap(),
            false => wrong.extend(difference(&text).map(|what| format!("{}: {what}", file.display()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files().len() >= 10, "the cases are gone");
}

#[test]
fn a_wrong_expectation_is_found() {
    if std::env::var_os("REWRITE").is_some() {
        // The files are being written.
        return;
    }
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let expectations = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && !line.starts_with("> "));
        let expectations: Vec<usize> = expectations.map(|(at, _)| at).collect();
        assert!(!expectations.is_empty(), "{}", file.display());
        for at in [expectations[0], expectations[expectations.len() / 2]] {
            let mut altered: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
            altered[at] += " and more";
            let found = difference(&altered.join("\n")).unwrap_or_default();
            assert!(found.starts_with(&format!("line {}:", at + 1)), "{}: {found}", file.display());
            altered.remove(at);
            assert!(difference(&altered.join("\n")).is_some(), "{}", file.display());
        }
    }
}
