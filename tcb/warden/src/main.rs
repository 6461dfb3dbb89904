//! `blindsmith-warden`: the trusted process.

mod address;
mod arguments;
mod child;
mod confinement;
mod failure;

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use arguments::{Arguments, Command};
use blindsmith_evidence::{Attester, Configfs, DevicesAt, Gramine, SevGuest, Simulated, Tsm, sealing_secret};
use blindsmith_identity::SigningKey;
use blindsmith_keys::Key;
use blindsmith_protocol::{FrameError, Lane};
use blindsmith_warden::{FileCounters, Identity, MemoryCounters, Projects, Tee, replace_file, serve};
use failure::{Failure, io};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The file of a simulated warden's sealing key.
const SEALING_KEY: &str = "sealing.simulated.key";
/// That of one in an enclave, where the state's directory is encrypted.
const ENCLAVE_KEY: &str = "sealing.key";

fn main() -> ExitCode {
    let done = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(arguments)) => run(&arguments),
        Ok(Command::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(e) => Err(e.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("blindsmith-warden: {e}");
            // As command lines do.
            if let Failure::Arguments(_) = e { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// What whoever starts this warden must know of its kind.
fn notice(tee: Tee) -> &'static str {
    match tee {
        Tee::Simulated => {
            "SIMULATED. No hardware protects this process: whoever runs it can read every secret \
             released to it. Only projects that accept simulation by name should."
        }
        Tee::Tdx => "what this warden holds is gone when it ends: there is no sealing in this kind of guest.",
        Tee::Snp => {
            "sealed to this chip, measurement, policy, security version and firmware: after an update of the \
             firmware what was sealed before is lost."
        }
        Tee::Sgx => "sealed to this enclave on this machine, by Gramine.",
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    eprintln!("blindsmith-warden: {}", notice(arguments.tee));
    let program = program().map_err(io("this program's own file"))?;
    // A program cannot be started from within the sandbox, and this one should see no secret.
    let appraiser = child::appraiser(arguments);
    let sealing = match arguments.tee {
        // Its device is out of reach afterwards.
        Tee::Snp => Some(derived()?),
        _ => None,
    };
    // Before any thread, and before any other secret.
    let _confined = confinement::confine(arguments)?;
    blindsmith_ring::backend::chosen().map_err(Failure::Backend)?;
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let state = &arguments.state;
    // A lock in an enclave is the enclave's own.
    let _alone = if arguments.tee == Tee::Sgx { None } else { Some(alone(state)?) };
    let mut identity = match (arguments.tee, sealing) {
        (Tee::Simulated, _) => simulated(state, program)?,
        (Tee::Sgx, _) => {
            let quotes = Box::new(Gramine::new(DevicesAt::gramine()));
            // Before a key is made that nothing would seal.
            quotes.report(&[0; 64])?;
            sealed(quotes, sealing_key(state, ENCLAVE_KEY)?, state)?
        }
        (Tee::Snp, Some(sealing)) => sealed(kernel(Tee::Snp)?, sealing, state)?,
        // Nothing that it seals outlives it, and so no counter has to.
        (tee, _) => Identity::new(kernel(tee)?, Key::random(), Box::new(MemoryCounters::default()))?,
    };
    identity.take_over = arguments.take_over;
    identity.appraiser = appraiser;
    let projects = Projects::default();
    std::thread::scope(|scope| {
        // Queries are answered beside the rounds.
        let queries = scope.spawn(|| link(&identity, &projects, Lane::Queries, arguments));
        let rounds = link(&identity, &projects, Lane::Rounds, arguments);
        let queries = queries.join().map_err(|_| Failure::Panic);
        rounds.and(queries?)
    })
}

/// A warden that nothing vouches for, whose sealing key and counters are files.
fn simulated(state: &Path, program: [u8; 32]) -> Result<Identity, Failure> {
    let sealing = sealing_key(state, SEALING_KEY)?;
    let key = SigningKey::from_seed(sealing.derive("simulated reports", &[]).expose());
    sealed(Box::new(Simulated::new(key, program)), sealing, state)
}

/// A warden with a sealing key, whose counters are files: who can take the whole directory back takes them back as well, which
/// the owner's chain of receipts shows.
fn sealed(attester: Box<dyn Attester>, sealing: Key, state: &Path) -> Result<Identity, Failure> {
    let counters = FileCounters::open(&state.join("counters"), &sealing)
        .map_err(io(format!("the counters in {}", state.display())))?;
    Ok(Identity::new(attester, sealing, Box::new(counters))?)
}

/// The kernel's reports in a confidential virtual machine.
fn kernel(tee: Tee) -> Result<Box<dyn Attester>, Failure> {
    Ok(Box::new(Tsm::new(Configfs::new(), tee).ok_or(Failure::Kernel)?))
}

/// The sealing key of a warden in a SEV-SNP guest.
fn derived() -> Result<Key, Failure> {
    let report = kernel(Tee::Snp)?.report(&[0; 64]).map_err(Failure::Guest)?.report;
    let secret = sealing_secret(&SevGuest, &report)?;
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
fn link(identity: &Identity, projects: &Projects, lane: Lane, arguments: &Arguments) -> Result<(), Failure> {
    let mut said = String::new();
    loop {
        match connect(identity, projects, lane, arguments) {
            Ok(()) => _ = say("", "the refinery closed the connection".into()),
            Err(source) => {
                let failure = Failure::Link { at: arguments.refinery.clone(), source };
                if arguments.once {
                    return Err(failure);
                }
                said = say(&said, failure.to_string());
            }
        }
        if arguments.once {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Holds the state's directory: two wardens on one would undo each other's counters.
fn alone(dir: &Path) -> Result<fs::File, Failure> {
    let lock = fs::File::create(dir.join("lock")).map_err(io(dir.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Failure::Occupied(dir.to_owned())),
        Err(fs::TryLockError::Error(e)) => Err(io(dir.display())(e)),
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
    let share = arguments.refinery.shares_memory() && arguments.shared_memory;
    serve(identity, projects, lane, arguments.refinery.connect()?, share)
}

/// A sealing key that is a file, which only its user reads, where no hardware derives one.
fn sealing_key(dir: &Path, name: &str) -> Result<Key, Failure> {
    kept_key(dir, name).map_err(io(format!("the sealing key in {}", dir.display())))
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
