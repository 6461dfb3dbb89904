//! `blindsmith-warden`: the trusted process.

mod address;
mod child;
mod config;
mod confinement;

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use address::Address;
use blindsmith_evidence::{Attester, Configfs, DevicesAt, Gramine, SevGuest, Simulated, Tsm, sealing_secret};
use blindsmith_identity::SigningKey;
use blindsmith_keys::Key;
use blindsmith_protocol::{FrameError, Lane};
use blindsmith_warden::{FileCounters, Identity, MemoryCounters, Projects, Tee, replace_file, serve};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The file of a simulated warden's sealing key.
const SEALING_KEY: &str = "sealing.simulated.key";
/// That of one in an enclave, where the state's directory is encrypted.
const ENCLAVE_KEY: &str = "sealing.key";

/// Holds the secrets of projects and trains their models, with the refinery as its accelerator.
#[derive(Parser)]
#[command(
    version,
    args_override_self = true,
    after_help = "Example:\n  blindsmith-warden --refinery ./refinery/warden.sock --tee simulated --state ./warden"
)]
struct Arguments {
    /// Read options from a file, one `option = value` a line, with the names of these options. Command-line options
    /// take precedence over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The refinery's socket for wardens; `tcp:ADDRESS:PORT` in an enclave, or without a sandbox.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(Address::parse))]
    refinery: Address,
    /// The trusted execution environment. `simulated` is none: it protects nothing and proves nothing. A `tdx` guest
    /// has no sealing: the warden's secrets are gone when it ends. `sgx`, `tdx` and `snp` never ran on hardware.
    #[arg(long, value_enum)]
    tee: TeeArgument,
    /// Directory of the counters, and of the sealing key if hardware derives none.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The program that judges the evidence of wardens that take projects over [default: blindsmith-appraiser in the folder
    /// of this program]. Without it, or in an enclave, no project is handed over.
    #[arg(long, value_name = "PATH")]
    appraiser: Option<PathBuf>,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Whether the process gives up all rights that it does not need (docs/sandbox.md). Only simulated wardens may
    /// keep them.
    #[arg(long, value_enum, default_value = "on")]
    sandbox: Sandbox,
    /// Whether memory must be locked, so that secrets are not swapped out [default: try for simulated wardens,
    /// required for others].
    #[arg(long, value_enum)]
    memory_lock: Option<Lock>,
    /// Send operands and products through the socket instead of shared memory.
    #[arg(long)]
    no_shared_memory: bool,
    /// Take over the projects of the refinery's present warden whose owners approved of this warden (blindsmith
    /// approve). The present warden then gives them up.
    #[arg(long)]
    take_over: bool,
    /// End when the refinery closes the connection, instead of reconnecting.
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TeeArgument {
    Simulated,
    Sgx,
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
            TeeArgument::Tdx =>
                "what this warden holds is gone when it ends: there is no sealing in this kind of guest.",
            TeeArgument::Snp =>
                "sealed to this chip, measurement, policy, security version and firmware: after an update of the \
                 firmware what was sealed before is lost.",
            TeeArgument::Sgx => "sealed to this enclave on this machine, by Gramine.",
        }
    );
    let program = program().map_err(|e| format!("this program's own file: {e}"))?;
    // A program cannot be started from within the sandbox, and this one should see no secret.
    let appraiser = child::appraiser(arguments);
    let sealing = match arguments.tee {
        // Its device is out of reach afterwards.
        TeeArgument::Snp => Some(derived()?),
        _ => None,
    };
    // Before any thread, and before any other secret.
    let _confined = confinement::confine(arguments)?;
    blindsmith_ring::backend::chosen()?;
    if let Some(threads) = arguments.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|e| e.to_string())?;
    }
    let state = &arguments.state;
    // A lock in an enclave is the enclave's own.
    let _alone = match arguments.tee {
        TeeArgument::Sgx => None,
        _ => Some(alone(state)?),
    };
    let mut identity = match arguments.tee {
        TeeArgument::Simulated => simulated(state, program),
        TeeArgument::Sgx => {
            let quotes = Box::new(Gramine::new(DevicesAt::gramine()));
            // Before a key is made that nothing would seal.
            quotes.report(&[0; 64]).map_err(|e| e.to_string())?;
            sealed(quotes, sealing_key(state, ENCLAVE_KEY)?, state)
        }
        TeeArgument::Snp => sealed(kernel(Tee::Snp)?, sealing.ok_or("no sealing key was derived")?, state),
        TeeArgument::Tdx => {
            // Nothing that it seals outlives it, and so no counter has to.
            let counters = Box::new(MemoryCounters::default());
            Identity::new(kernel(Tee::Tdx)?, Key::random(), counters).map_err(|e| e.to_string())
        }
    }?;
    identity.take_over = arguments.take_over;
    identity.appraiser = appraiser;
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
    let sealing = sealing_key(state, SEALING_KEY)?;
    let key = SigningKey::from_seed(sealing.derive("simulated reports", &[]).expose());
    sealed(Box::new(Simulated::new(key, program)), sealing, state)
}

/// A warden with a sealing key, whose counters are files: who can take the whole directory back takes them back as well, which
/// the owner's chain of receipts shows.
fn sealed(attester: Box<dyn Attester>, sealing: Key, state: &Path) -> Result<Identity, String> {
    let counters = FileCounters::open(&state.join("counters"), &sealing)
        .map_err(|e| format!("the counters in {}: {e}", state.display()))?;
    Identity::new(attester, sealing, Box::new(counters)).map_err(|e| e.to_string())
}

/// The kernel's reports in a confidential virtual machine.
fn kernel(tee: Tee) -> Result<Box<dyn Attester>, String> {
    let attester = Tsm::new(Configfs::new(), tee).ok_or("this kind has no reports of the kernel's")?;
    Ok(Box::new(attester))
}

/// The sealing key of a warden in a SEV-SNP guest.
fn derived() -> Result<Key, String> {
    let report = kernel(Tee::Snp)?.report(&[0; 64]);
    let report = report
        .map_err(|e| format!("{e}: start it in a SEV-SNP guest, mount configfs, load sev_guest"))?
        .report;
    let secret = sealing_secret(&SevGuest, &report).map_err(|e| e.to_string())?;
    Ok(Key::from_bytes(*secret).derive("sealing", &[b"snp"]))
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
                let message = format!("{}: {e}", arguments.refinery);
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
    let share = arguments.refinery.shares_memory() && !arguments.no_shared_memory;
    serve(identity, projects, lane, arguments.refinery.connect()?, share)
}

/// A sealing key that is a file, which only its user reads, where no hardware derives one.
fn sealing_key(dir: &Path, name: &str) -> Result<Key, String> {
    kept_key(dir, name).map_err(|e| format!("the sealing key in {}: {e}", dir.display()))
}

fn kept_key(dir: &Path, name: &str) -> std::io::Result<Key> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(name);
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
            replace_file(dir, name, bytes.as_slice())?;
        }
        Err(e) => return Err(e),
    }
    Ok(Key::from_bytes(*bytes))
}
