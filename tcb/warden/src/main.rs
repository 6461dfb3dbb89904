//! `blindsmith-warden`: the trusted process.

mod config;
mod confinement;

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use blindsmith_evidence::{Configfs, Simulated, Tsm};
use blindsmith_identity::SigningKey;
use blindsmith_keys::Key;
use blindsmith_protocol::{FrameError, Lane};
use blindsmith_warden::{FileCounters, Identity, MemoryCounters, Projects, Tee, replace_file, serve};
use clap::{Parser, ValueEnum};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The file of a simulated warden's sealing key.
const SEALING_KEY: &str = "sealing.simulated.key";

/// Holds the secrets of projects and trains their models, with the refinery as its accelerator.
#[derive(Parser)]
#[command(
    version,
    args_override_self = true,
    after_help = "Example:\n  blindsmith-warden --refinery ./refinery/warden.sock --tee simulated --state ./warden"
)]
struct Arguments {
    /// Options from a file, one `option = value` a line with the names of these; what else is given here goes before.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The refinery's socket for wardens.
    #[arg(long, value_name = "PATH")]
    refinery: PathBuf,
    /// The trusted execution environment. `simulated` is none: it protects nothing and proves nothing. In `tdx` and `snp`
    /// guests there is no sealing yet: what the warden holds is gone when it ends.
    #[arg(long, value_enum)]
    tee: TeeArgument,
    /// Directory of the sealing key and of the counters (simulated wardens keep them in files).
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Whether the process gives up all rights that it does not need, as docs/sandbox.md says; only simulated wardens may
    /// keep them.
    #[arg(long, value_enum, default_value = "on")]
    sandbox: Sandbox,
    /// Whether memory has to be locked, so that secrets are not swapped out [default: try for simulated wardens, required
    /// for others].
    #[arg(long, value_enum)]
    memory_lock: Option<Lock>,
    /// Send operands and products through the socket instead of shared memory.
    #[arg(long)]
    no_shared_memory: bool,
    /// Take the projects over from the warden that the refinery has, as far as their owners approved of this one
    /// (blindsmith approve); that one is done with them then.
    #[arg(long)]
    take_over: bool,
    /// End when the refinery closes the connection, instead of connecting again.
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TeeArgument {
    Simulated,
    Tdx,
    Snp,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sandbox {
    On,
    Off,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lock {
    Required,
    Try,
    Off,
}

fn main() -> ExitCode {
    let arguments = config::expand(std::env::args_os()).map(Arguments::parse_from);
    match arguments.and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("blindsmith-warden: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    eprintln!(
        "blindsmith-warden: {}",
        match arguments.tee {
            TeeArgument::Simulated =>
                "SIMULATED. No hardware protects this process: whoever runs it can read every secret \
                 released to it. Only projects that accept simulation by name should.",
            TeeArgument::Tdx | TeeArgument::Snp =>
                "what this warden holds is gone when it ends: there is no sealing in this kind of guest yet.",
        }
    );
    let program = program().map_err(|e| format!("this program's own file: {e}"))?;
    // Before any thread, and before any secret.
    let _confined = confinement::confine(arguments)?;
    blindsmith_ring::backend::chosen()?;
    if let Some(threads) = arguments.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|e| e.to_string())?;
    }
    let _alone = alone(&arguments.state)?;
    let mut identity = match arguments.tee {
        TeeArgument::Simulated => simulated(&arguments.state, program),
        TeeArgument::Tdx => guest(Tee::Tdx),
        TeeArgument::Snp => guest(Tee::Snp),
    }?;
    identity.take_over = arguments.take_over;
    let projects = Projects::default();
    std::thread::scope(|scope| {
        // Queries are answered beside the rounds.
        let queries = scope.spawn(|| link(&identity, &projects, Lane::Queries, arguments));
        let rounds = link(&identity, &projects, Lane::Rounds, arguments);
        let queries = queries.join().map_err(|_| "the link for queries panicked".to_owned());
        rounds.and(queries?)
    })
}

/// A warden that nothing vouches for, whose sealing key and counters are files.
fn simulated(state: &Path, program: [u8; 32]) -> Result<Identity, String> {
    let sealing = sealing_key(state).map_err(|e| format!("the sealing key in {}: {e}", state.display()))?;
    let counters = FileCounters::open(&state.join("counters"), &sealing)
        .map_err(|e| format!("the counters in {}: {e}", state.display()))?;
    let key = SigningKey::from_seed(sealing.derive("simulated reports", &[]).expose());
    let attester = Simulated::new(key, program);
    Identity::new(Box::new(attester), sealing, Box::new(counters)).map_err(|e| e.to_string())
}

/// A warden in a confidential virtual machine. Nothing that it seals outlives it, and so no counter has to.
fn guest(tee: Tee) -> Result<Identity, String> {
    let attester = Tsm::new(Configfs::new(), tee).ok_or("this kind has no reports of the kernel's")?;
    let identity = Identity::new(Box::new(attester), Key::random(), Box::new(MemoryCounters::default()));
    identity.map_err(|e| e.to_string())
}

/// SHA-256 of the program's file: what a simulated report names as its measurement.
fn program() -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open("/proc/self/exe")?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Keeps one link to the refinery.
fn link(identity: &Identity, projects: &Projects, lane: Lane, arguments: &Arguments) -> Result<(), String> {
    let mut said = String::new();
    loop {
        match connect(identity, projects, lane, arguments) {
            Ok(()) => _ = say("", "the refinery closed the connection".into()),
            Err(e) => {
                let message = format!("{}: {e}", arguments.refinery.display());
                if arguments.once {
                    return Err(message);
                }
                said = say(&said, message);
            }
        }
        if arguments.once {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Holds the state's directory: two wardens on one would undo each other's counters.
fn alone(dir: &Path) -> Result<fs::File, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", dir.display());
    let lock = fs::File::create(dir.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(format!(
            "{} is used by another warden: stop that one, or choose another directory",
            dir.display()
        )),
        Err(fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Says what is new: while a refinery is away, every try fails alike.
fn say(said: &str, message: String) -> String {
    if message != said {
        eprintln!("blindsmith-warden: {message}");
    }
    message
}

fn connect(
    identity: &Identity,
    projects: &Projects,
    lane: Lane,
    arguments: &Arguments,
) -> Result<(), FrameError> {
    let stream = UnixStream::connect(&arguments.refinery)?;
    serve(identity, projects, lane, stream, !arguments.no_shared_memory)
}

/// The key of a simulated warden's sealing: a file that only its user reads, where hardware would derive it.
fn sealing_key(dir: &Path) -> std::io::Result<Key> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(SEALING_KEY);
    let mut bytes = Zeroizing::new([0; 32]);
    match fs::File::open(&path) {
        Ok(mut file) => {
            if file.metadata()?.len() != bytes.len() as u64 {
                let message =
                    "it does not have 32 bytes: restore it, or the projects sealed under it are lost";
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
            }
            file.read_exact(bytes.as_mut_slice())?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bytes.copy_from_slice(Key::random().expose());
            replace_file(dir, SEALING_KEY, bytes.as_slice())?;
        }
        Err(e) => return Err(e),
    }
    Ok(Key::from_bytes(*bytes))
}
