//! The `blindsmith` program.

use std::process::ExitCode;

use blindsmith::commands::Cli;
use clap::Parser;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("blindsmith: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
