//! Build tasks and repository checks: `cargo xtask help`.

mod check;
mod contract;
mod demo;
mod measure;
mod package;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo [ARGS...]  build what the demonstration needs and run `blindsmith demo ARGS`
  check           check the dependency order, the warden's dependencies, sources and documents
  tcb             print how much code is trusted: external crates of the warden, lines of ours
  check-demo      check the outcome of `blindsmith demo --json` that standard input brings
  measure [--out FILE] [--sigstruct FILE] [--tdx FILE] [-- SEV-SNP-MEASURE'S ARGUMENTS...]
                  build the warden twice, compare the programs, and write reference values down
  package [--out DIR] [--programs DIR]
                  make a Debian package and archives of the release, with a bill of materials and checksums
  help            print this";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next();
    let outcome = match command.as_deref().and_then(|c| c.to_str()) {
        Some("demo") => demo::run(arguments),
        Some("check") => check::run(),
        Some("tcb") => check::tcb(),
        Some("check-demo") => contract::run(),
        Some("measure") => measure::run(arguments),
        Some("package") => package::run(arguments),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{HELP}");
            Ok(ExitCode::from(2))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
