//! `blindsmith policy`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use blindsmith_attest::appraisal::EXAMPLE;
use clap::{Args, Subcommand};

use super::attest::read_policy;
use crate::Failure;

/// Policies for the appraisal of evidence.
#[derive(Args)]
#[command(disable_version_flag = true)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a policy that explains every field. As written it accepts nothing; no file is replaced.
    Init {
        /// The file to write.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Says in words what a policy accepts.
    Explain {
        /// The policy.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Policy {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Init { file } => {
                let written = File::create_new(&file).and_then(|mut to| to.write_all(EXAMPLE.as_bytes()));
                written.map_err(|e| Failure::project(&file, e))?;
                println!(
                    "{}: written. Replace its zeros by what you trust; as it is, it accepts nothing",
                    file.display()
                );
            }
            Command::Explain { file } => print!("{}", blindsmith_attest::explain(&read_policy(&file)?)),
        }
        Ok(())
    }
}
