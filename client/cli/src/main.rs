//! The `blindsmith` program.

use std::process::ExitCode;

use blindsmith::commands::Cli;
use blindsmith::exit;
use clap::Parser;

fn main() -> ExitCode {
    quiet_when_nobody_reads();
    let wrong = wrong_usage();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => {
            // If standard error is gone nobody reads it.
            _ = asked.print();
            return if asked.use_stderr() { wrong } else { ExitCode::SUCCESS };
        }
    };
    if let Err(message) = blindsmith_ring::backend::chosen() {
        eprintln!("blindsmith: {message}");
        return wrong;
    }
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("blindsmith: {failure}");
            ExitCode::from(exit::code(&failure))
        }
    }
}

/// What wrong usage is answered by: scripts must be able to tell it from evidence that is refused.
fn wrong_usage() -> ExitCode {
    let attest = std::env::args_os().nth(1).is_some_and(|command| command == "attest");
    ExitCode::from(if attest { exit::USAGE } else { 2 })
}

/// Ends without a word if whoever reads the output has gone, as after `blindsmith status | head -1`.
fn quiet_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            // What a shell reports for a program that SIGPIPE ended.
            std::process::exit(141);
        }
        usual(info);
    }));
}
