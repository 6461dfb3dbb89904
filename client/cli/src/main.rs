//! The `blindsmith` program.

use std::process::ExitCode;

use blindsmith::commands::Cli;
use clap::Parser;

fn main() -> ExitCode {
    quiet_when_nobody_reads();
    let cli = Cli::parse();
    if let Err(message) = blindsmith_ring::backend::chosen() {
        eprintln!("blindsmith: {message}");
        return ExitCode::from(2);
    }
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("blindsmith: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
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
