//! What shells and `man` read of the commands: `blindsmith completions`, `man`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use blindsmith_client::Failure;

/// Prints a script that completes commands, options and their values.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith completions bash > ~/.local/share/bash-completion/completions/blindsmith\n  blindsmith completions zsh > ~/.zfunc/_blindsmith\n  blindsmith completions fish > ~/.config/fish/completions/blindsmith.fish"
)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "blindsmith", &mut script);
        std::io::stdout().write_all(&script).map_err(|e| Failure::Other(e.to_string()))
    }
}

/// Writes a manual page for `blindsmith` and one for each command.
#[derive(Args)]
#[command(after_help = "Example:\n  blindsmith man --out ~/.local/share/man/man1\n  man blindsmith-init")]
pub struct Man {
    /// The directory for them, made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::project(&self.out, e);
        std::fs::create_dir_all(&self.out).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), &self.out).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn every_command_and_option_says_what_it_is_for() {
        fn undescribed(command: &Command, path: &str, found: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            found.extend(command.get_about().is_none().then(|| path.clone()));
            let options = command.get_arguments().filter(|option| option.get_help().is_none());
            found.extend(options.map(|option| format!("{path} {}", option.get_id())));
            command.get_subcommands().for_each(|inner| undescribed(inner, &path, found));
        }
        let mut found = Vec::new();
        undescribed(&Cli::command(), "", &mut found);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn commands_do_not_contradict_themselves() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pages_say_what_is_used_if_nothing_else_is_said() {
        let dir = tempfile::tempdir().unwrap();
        Man { out: dir.path().join("man1") }.run().unwrap();
        let page = std::fs::read_to_string(dir.path().join("man1/blindsmith-init.1")).unwrap();
        for default in ["default: 32", "default: clip", "chosen from the number of rows"] {
            assert!(page.contains(default), "{default}: {page}");
        }
        assert!(dir.path().join("man1/blindsmith.1").is_file());
    }
}
