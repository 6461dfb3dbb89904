//! Every backend against naive oracles, bit for bit.

mod bytes;
mod entries;
mod mixed;
mod modulus;
mod oracle;
mod products;
mod samplers;
mod transforms;
mod transpose;

use blindsmith_ring::backend;

#[test]
fn the_reference_is_always_there_and_last() {
    let names: Vec<_> = backend::available().iter().map(|b| b.name()).collect();
    assert_eq!(names.last(), Some(&"portable"));
    assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len(), "{names:?}");
}

/// Run by [`the_environment_chooses_the_backend`] in a process of its own.
#[test]
#[ignore = "prints the choice for another test"]
fn print_the_choice() {
    println!("choice={}", backend::active().name());
}

#[test]
fn the_environment_chooses_the_backend() {
    let run = |name: &str| {
        let exe = std::env::current_exe().expect("the test has a path");
        std::process::Command::new(exe)
            .args(["--ignored", "--exact", "print_the_choice", "--nocapture"])
            .env("BLINDSMITH_BACKEND", name)
            .output()
            .expect("the test starts")
    };
    for backend in backend::available() {
        let output = run(backend.name());
        assert!(output.status.success());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(&format!("choice={}", backend.name())), "{printed}");
    }
    let fastest = format!("choice={}", backend::available()[0].name());
    assert!(String::from_utf8_lossy(&run("").stdout).contains(&fastest));
    let refused = run("abacus");
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("BLINDSMITH_BACKEND=abacus"), "{message}");
    assert!(message.contains("portable"), "the message names what there is: {message}");
}
