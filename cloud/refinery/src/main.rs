//! `blindsmith-refinery`: the untrusted service.

mod maintenance;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use blindsmith_refinery::config::{Config, LogFormat};
use blindsmith_refinery::{Addresses, HttpServer, Shared, Store, serve};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// Stores encrypted rows and models, and multiplies them for a warden. Holds no secret.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  blindsmith-refinery --store ./refinery\n  blindsmith-refinery --config refinery.toml\n\nThe operator's clients connect to STORE/refinery.sock, the warden to STORE/warden.sock. Other clients use HTTP, if the\nconfiguration has http.listen. docs/refinery.toml explains every option."
)]
struct Arguments {
    #[command(subcommand)]
    maintenance: Option<maintenance::Maintenance>,
    /// Configuration file. Command-line options take precedence over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory where the refinery stores everything.
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
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

impl Arguments {
    fn config(self) -> anyhow::Result<Config> {
        let mut config = maintenance::configured(self.config.as_deref(), self.store, &self.elsewhere)?;
        config.local.clients = self.socket.or(config.local.clients);
        config.local.warden = self.warden_socket.or(config.local.warden);
        config.threads = self.threads.or(config.threads);
        Ok(config)
    }
}

/// Raises the limit on open files as far as it may be: a round has two of each upload.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn start_log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("BLINDSMITH_LOG");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| config.log.filter.as_str().into()))
        // Colours are for people: files and journals are searched.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if let Some(command) = arguments.maintenance.take() {
        start_log(&Config::default());
        return maintenance::run(command);
    }
    let config = arguments.config()?;
    start_log(&config);
    let (records, blobs) = config.places().names()?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        store = %config.store.directory.display(),
        records,
        blobs,
        listen = config.http.listen.map(tracing::field::display),
        tls = config.http.certificate.is_some(),
        "starting"
    );
    blindsmith_ring::backend::chosen().map_err(anyhow::Error::msg)?;
    if let Some(threads) = config.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    allow_files();
    let store = Store::open_at(&config.places())?;
    let (clients, warden) = config.sockets();
    let shared = Arc::new(Shared::new(store)?.configured(&config));
    // Threads that wait for the disk or the warden are as many as may wait, and some for small things.
    let waiting = config.limits.uploads + config.limits.queries + 32;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(waiting).build()?;
    let done =
        runtime.block_on(run(&config, shared, Addresses { clients, warden, enclave: config.local.enclave }));
    // Threads that wait for the warden are not waited for: like a crash, which the store survives.
    runtime.shutdown_background();
    done
}

/// The exit code of a refinery whose database another one took over.
const TAKEN: u8 = 4;

async fn run(config: &Config, shared: Arc<Shared>, addresses: Addresses) -> anyhow::Result<ExitCode> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (ended, mut local) = tokio::sync::oneshot::channel();
    let http = match config.http.listen {
        Some(address) => Some(HttpServer::bind(shared.clone(), config, address).await?),
        None => None,
    };
    let served = shared.clone();
    std::thread::spawn(move || _ = ended.send(serve(served, &addresses)));
    let mut failed = Ok(ExitCode::SUCCESS);
    let stop = async {
        tokio::select! {
            _ = term.recv() => info!("SIGTERM"),
            _ = int.recv() => info!("SIGINT"),
            taken = shared.store.taken() => {
                error!("{taken}");
                failed = Ok(ExitCode::from(TAKEN));
            }
            ended = &mut local => {
                let ended = ended.unwrap_or(Ok(())).context("the refinery cannot listen");
                failed = ended.map(|()| ExitCode::SUCCESS);
            }
        }
    };
    match http {
        Some(http) => http.run(stop).await,
        None => stop.await,
    }
    failed
}
