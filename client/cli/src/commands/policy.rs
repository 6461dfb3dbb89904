//! `blindsmith policy`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use blindsmith_attest::appraisal::EXAMPLE;
use blindsmith_attest::{MAX_REFERENCE, Reference};
use clap::{Args, Subcommand};

use super::attest::{read, read_policy};
use blindsmith_client::Failure;

/// Policies for the appraisal of evidence.
#[derive(Args)]
#[command(disable_version_flag = true)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a policy that explains every field and accepts nothing yet. It replaces no file.
    #[command(
        after_help = "Examples:\n  blindsmith policy init trusted.toml\n  blindsmith policy init --reference reference-values.toml trusted.toml"
    )]
    Init {
        /// Reference values of a release, as cargo xtask measure writes them. The policy gets their measurements, and
        /// has no section for environments without a measurement.
        #[arg(long, value_name = "FILE")]
        reference: Option<PathBuf>,
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
            Command::Init { reference: None, file } => {
                write(&file, EXAMPLE)?;
                println!(
                    "{}: written. Replace its zeros by what you trust; as it is, it accepts nothing",
                    file.display()
                );
            }
            Command::Init { reference: Some(from), file } => {
                let reference = reference(&from)?;
                write(&file, &reference.policy())?;
                println!(
                    "{}: written, with the measurements of {}. List the machines, and look at the least versions of firmware; \
                     as it is, it accepts nothing",
                    file.display(),
                    reference.environments().join(", ")
                );
            }
            Command::Explain { file } => print!("{}", blindsmith_attest::explain(&read_policy(&file)?)),
        }
        Ok(())
    }
}

/// Writes a file that is not there yet.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written = File::create_new(file).and_then(|mut to| to.write_all(text.as_bytes()));
    written.map_err(|e| Failure::project(file, e))
}

fn reference(path: &Path) -> Result<Reference, Failure> {
    let text = String::from_utf8(read(path, MAX_REFERENCE)?)
        .map_err(|_| Failure::unusable(path, "not usable as reference values: it is not text (UTF-8)"))?;
    Reference::parse(&text).map_err(|e| Failure::unusable(path, e))
}
