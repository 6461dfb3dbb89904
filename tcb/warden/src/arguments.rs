//! The program's options, from its command line and from a file, for services that are started without a shell. Strict and
//! small, because it is trusted code and the arguments of hardware images are measured: an option is `--name value` or
//! `--name=value`, and in the file `name = value`, one a line. There is no quoting, and a line means one thing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use blindsmith_evidence::Tee;
use blindsmith_sandbox::MemoryLock;
use thiserror::Error;

use crate::address::Address;

/// What the program is to do.
pub struct Arguments {
    pub refinery: Address,
    pub tee: Tee,
    /// Directory of the counters, and of the sealing key if hardware derives none.
    pub state: PathBuf,
    /// The program that judges other wardens' evidence; none for the one beside this program.
    pub appraiser: Option<PathBuf>,
    /// None for all cores.
    pub threads: Option<usize>,
    pub sandbox: bool,
    /// None for what is usual of this kind of warden.
    pub memory_lock: Option<MemoryLock>,
    pub shared_memory: bool,
    pub take_over: bool,
    pub once: bool,
}

/// What is wrong with the options.
#[derive(Debug, Error)]
pub enum ArgumentError {
    #[error("there is no option {0}: blindsmith-warden --help lists them")]
    Unknown(String),
    #[error("{0} has no value")]
    NoValue(&'static str),
    #[error("{0} takes no value")]
    Value(&'static str),
    #[error("--{0} is needed: blindsmith-warden --help says what it is")]
    Missing(&'static str),
    #[error("{0} is one of {1}")]
    Choice(&'static str, String),
    #[error("threads is a number from 1 on")]
    Threads,
    #[error("refinery: {0}: write tcp:127.0.0.1:PORT")]
    Address(std::net::AddrParseError),
    #[error("it is not `option = value`, nor a comment (#)")]
    Form,
    #[error("{0} is given twice")]
    Twice(&'static str),
    #[error("{0} is true or false")]
    Switch(&'static str),
    #[error("{0}: {1}")]
    File(String, io::Error),
    #[error("{0}, line {1}: {2}")]
    Line(String, usize, Box<ArgumentError>),
}

/// Largest file, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// The file of further options; no option of that file.
const CONFIG: &str = "config";

/// What `--help` prints.
const HELP: &str = include_str!("help.txt");
const VERSION: &str = concat!("blindsmith-warden ", env!("CARGO_PKG_VERSION"), "\n");
/// Options with a value.
const VALUES: [&str; 8] =
    [CONFIG, "refinery", "tee", "state", "appraiser", "threads", "sandbox", "memory-lock"];
/// Options without; in the file they are `true` or `false`.
const SWITCHES: [&str; 3] = ["no-shared-memory", "take-over", "once"];

/// The option of this name, and whether it is a switch.
fn option(name: &str) -> Option<(&'static str, bool)> {
    let found = VALUES.iter().chain(&SWITCHES).find(|known| **known == name)?;
    Some((found, SWITCHES.contains(found)))
}

/// The options that were set, by their names; a later one overrides an earlier one.
type Settings = BTreeMap<&'static str, OsString>;

/// What the command line asks for.
pub enum Command {
    /// To be a warden.
    Run(Box<Arguments>),
    /// To print something, and nothing else.
    Print(&'static str),
}

/// Reads the command line, its first word left out, and the file that it names, whose options come before all others.
///
/// # Errors
/// [`ArgumentError`], of the command line or of the file.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, ArgumentError> {
    let mut settings = Settings::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        match text {
            "-h" | "--help" => return Ok(Command::Print(HELP)),
            "-V" | "--version" => return Ok(Command::Print(VERSION)),
            _ => {}
        }
        let text = text.strip_prefix("--").unwrap_or_default();
        let (name, joined) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let Some((name, switch)) = option(name) else {
            return Err(ArgumentError::Unknown(word.display().to_string()));
        };
        let value = match (joined, switch) {
            (Some(_), true) => return Err(ArgumentError::Value(name)),
            (Some(value), false) => value.into(),
            (None, true) => OsString::new(),
            (None, false) => words.next().ok_or(ArgumentError::NoValue(name))?,
        };
        settings.insert(name, value);
    }
    if let Some(path) = settings.get(CONFIG).map(PathBuf::from) {
        let name = || path.display().to_string();
        let text = read(&path).map_err(|e| ArgumentError::File(name(), e))?;
        let lines = lines(&text);
        let mut all = lines.map_err(|(number, e)| ArgumentError::Line(name(), number, e.into()))?;
        all.extend(settings);
        settings = all;
    }
    Ok(Command::Run(Box::new(Arguments::of(&settings)?)))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    let long = text.len() as u64 > MAX_FILE;
    if long { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// The options of a file, or the number of a line and what is wrong with it.
fn lines(text: &str) -> Result<Settings, (usize, ArgumentError)> {
    let mut seen = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if !line.is_empty() && !line.starts_with('#') {
            let (name, value) = assignment(line).map_err(|e| (number, e))?;
            if seen.insert(name, value).is_some() {
                return Err((number, ArgumentError::Twice(name)));
            }
        }
    }
    Ok(seen.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// An option in a line, and its value; none of a switch that is off.
fn assignment(line: &str) -> Result<(&'static str, Option<OsString>), ArgumentError> {
    let (name, value) = line.split_once('=').ok_or(ArgumentError::Form)?;
    let (name, value) = (name.trim(), value.trim());
    let known = option(name).filter(|(name, _)| *name != CONFIG);
    let (name, switch) = known.ok_or_else(|| ArgumentError::Unknown(name.into()))?;
    match (switch, value) {
        (true, "true") => Ok((name, Some(OsString::new()))),
        (true, "false") => Ok((name, None)),
        (true, _) => Err(ArgumentError::Switch(name)),
        (false, "") => Err(ArgumentError::NoValue(name)),
        (false, value) => Ok((name, Some(value.into()))),
    }
}

impl Arguments {
    fn of(settings: &Settings) -> Result<Self, ArgumentError> {
        let value = |name| settings.get(name);
        let switch = |name| settings.contains_key(name);
        let needed = |name| value(name).ok_or(ArgumentError::Missing(name));
        let threads = value("threads").map(|n| n.to_str().and_then(|n| n.parse().ok()).filter(|n| *n > 0));
        let locks = [("required", MemoryLock::Required), ("try", MemoryLock::Try), ("off", MemoryLock::Off)];
        let sandbox = value("sandbox").map(|word| choice("sandbox", word, &[("on", true), ("off", false)]));
        let memory_lock = value("memory-lock").map(|word| choice("memory-lock", word, &locks));
        Ok(Arguments {
            refinery: Address::parse(needed("refinery")?).map_err(ArgumentError::Address)?,
            tee: choice("tee", needed("tee")?, &Tee::ALL.map(|tee| (tee.name(), tee)))?,
            state: needed("state")?.into(),
            appraiser: value("appraiser").map(PathBuf::from),
            threads: threads.map(|n| n.ok_or(ArgumentError::Threads)).transpose()?,
            sandbox: sandbox.transpose()?.unwrap_or(true),
            memory_lock: memory_lock.transpose()?,
            shared_memory: !switch("no-shared-memory"),
            take_over: switch("take-over"),
            once: switch("once"),
        })
    }
}

fn choice<T: Copy>(
    name: &'static str,
    word: &OsString,
    choices: &[(&'static str, T)],
) -> Result<T, ArgumentError> {
    let names = choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = choices.iter().find(|(name, _)| word == name);
    found.map(|(_, choice)| *choice).ok_or(ArgumentError::Choice(name, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[(&'static str, &str)]) -> Settings {
        words.iter().map(|(name, value)| (*name, value.into())).collect()
    }

    fn arguments(words: &[&str]) -> Result<Arguments, ArgumentError> {
        let needed = ["--refinery", "link.sock", "--tee=simulated", "--state", "state"];
        match parse(needed.iter().chain(words).map(OsString::from))? {
            Command::Run(arguments) => Ok(*arguments),
            Command::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn lines_become_arguments() {
        let text = "# a warden\nrefinery = /run/warden.sock\n\n tee=simulated \nonce = true\nno-shared-memory = false\ntake-over = true\n";
        let expected =
            [("refinery", "/run/warden.sock"), ("tee", "simulated"), ("once", ""), ("take-over", "")];
        assert_eq!(lines(text).unwrap(), settings(&expected));
    }

    #[test]
    fn other_lines_are_refused() {
        for (text, words) in [
            ("refinery", "line 1: it is not"),
            ("\nrefinerie = x", "line 2: there is no option refinerie"),
            ("config = other", "no option config"),
            ("--once = true", "no option --once"),
            ("state =", "state has no value"),
            ("once = yes", "true or false"),
            ("tee = simulated\ntee = simulated", "line 2: tee is given twice"),
        ] {
            let (number, error) = lines(text).unwrap_err();
            let message = format!("line {number}: {error}");
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_command_line_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("warden.conf");
        std::fs::write(&path, "threads = 2\n").unwrap();
        let name = path.to_str().unwrap();
        let threads = |words: &[&str]| arguments(words).unwrap().threads;
        assert_eq!(threads(&["--config", name, "--threads", "3"]), Some(3));
        assert_eq!(threads(&["--threads", "3", "--config", name]), Some(3));
        let joined = [format!("--config={name}")];
        assert_eq!(threads(&[&joined[0]]), Some(2));
        std::fs::remove_file(&path).unwrap();
        let missing = arguments(&[&joined[0]]).err().unwrap().to_string();
        assert!(missing.starts_with(name), "a file that is not there is named: {missing}");
        assert!(arguments(&["--once"]).unwrap().once);
    }

    #[test]
    fn the_last_of_two_counts_and_what_is_no_option_is_refused() {
        assert_eq!(arguments(&["--state", "other", "--state=third"]).unwrap().state, Path::new("third"));
        for (words, message) in [
            (vec!["--tee", "real"], "simulated, sgx, tdx, snp"),
            (vec!["--sandbox", "no"], "on, off"),
            (vec!["--threads", "0"], "a number from 1 on"),
            (vec!["--threads"], "threads has no value"),
            (vec!["--once=true"], "once takes no value"),
            (vec!["--onze"], "no option --onze"),
            (vec!["once"], "no option once"),
            (vec!["--refinery", "tcp:localhost:1"], "tcp:127.0.0.1:PORT"),
        ] {
            let found = arguments(&words).err().unwrap().to_string();
            assert!(found.contains(message), "{words:?}: {found}");
        }
        let missing = parse(["--tee", "simulated"].map(OsString::from)).err().unwrap();
        assert!(missing.to_string().contains("refinery is needed"));
    }

    #[test]
    fn help_lists_every_option() {
        let Command::Print(text) = parse(["--once", "--help"].map(OsString::from)).unwrap() else {
            panic!("help is printed")
        };
        let lists = |name: &&str| text.contains(&format!("      --{name}"));
        assert!(VALUES.iter().chain(&SWITCHES).all(lists), "{text}");
    }
}
