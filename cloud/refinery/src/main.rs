//! `blindsmith-refinery`: the untrusted service.

mod maintenance;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use blindsmith_refinery::{Addresses, Shared, Store, serve};
use clap::Parser;

/// Stores encrypted rows and models, and multiplies them for a warden. Holds no secret.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  blindsmith-refinery --store ./refinery\n\nClients connect to STORE/refinery.sock, the warden to STORE/warden.sock."
)]
struct Arguments {
    #[command(subcommand)]
    maintenance: Option<maintenance::Maintenance>,
    /// Directory of everything that is kept.
    #[arg(long, value_name = "DIR", required = true)]
    store: Option<PathBuf>,
    #[command(flatten)]
    elsewhere: maintenance::Elsewhere,
    /// Socket for clients [default: STORE/refinery.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Socket for the warden [default: STORE/warden.sock].
    #[arg(long, value_name = "PATH")]
    warden_socket: Option<PathBuf>,
    /// Threads for products [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Raises the limit on open files as far as it may be: a round has two of each upload.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("BLINDSMITH_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    if let Some(command) = arguments.maintenance {
        return Ok(maintenance::run(command)?);
    }
    let root = arguments.store.context("--store says what is served")?;
    blindsmith_ring::backend::chosen().map_err(anyhow::Error::msg)?;
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    allow_files();
    let store = Store::open_at(&arguments.elsewhere.places(root.clone()))?;
    let addresses = Addresses {
        clients: arguments.socket.unwrap_or_else(|| root.join("refinery.sock")),
        warden: arguments.warden_socket.unwrap_or_else(|| root.join("warden.sock")),
    };
    let shared = Arc::new(Shared::new(store)?);
    serve(shared, &addresses).context("the refinery cannot listen")?;
    Ok(ExitCode::SUCCESS)
}
