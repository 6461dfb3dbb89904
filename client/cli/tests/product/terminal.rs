//! What the programs say where the environment is wrong or nobody listens.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::site::programs;

#[test]
fn an_unknown_backend_is_an_error_that_names_those_there_are() {
    programs();
    let directory = tempfile::tempdir().unwrap();
    let own = Path::new(env!("CARGO_BIN_EXE_blindsmith"));
    let at = |name: &str| directory.path().join(name).display().to_string();
    let programs = [
        ("blindsmith", vec!["plan".into(), "--rows=10".into(), "--layers=8,4".into()]),
        ("blindsmith-refinery", vec!["--store".into(), at("store")]),
        (
            "blindsmith-warden",
            vec![
                "--refinery".into(),
                at("warden.sock"),
                "--tee=simulated".into(),
                "--state".into(),
                at("state"),
                "--once".into(),
            ],
        ),
    ];
    for (program, arguments) in programs {
        let mut command = Command::new(own.with_file_name(program));
        let output = command.args(&arguments).env("BLINDSMITH_BACKEND", "abacus").output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{program}");
        assert!(errors.contains("abacus: this machine has") && errors.contains("portable"), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

#[test]
fn output_that_nobody_reads_ends_the_program_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
        .args(["plan", "--rows", "10", "--layers", "8,4", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(141), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}
