//! Commands on a store: look for damage, clean up, copy, bring back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use blindsmith_refinery::config::{Config, StoreConfig};
use blindsmith_refinery::{HttpServer, Places, Store};
use clap::{Args, Subcommand};
use serde::Serialize;

/// The exit code of `fsck` where something is damaged or missing.
const DAMAGE: u8 = 3;

/// Where records and blobs are, if not in the store's directory.
#[derive(Args, Clone)]
pub struct Elsewhere {
    /// Database of the records: postgres://USER:PASSWORD@HOST/NAME [default: STORE/refinery.db].
    #[arg(long, value_name = "URL", env = "BLINDSMITH_METADATA", hide_env_values = true)]
    metadata: Option<String>,
    /// Object store of the blobs: s3://BUCKET/PREFIX, gs://..., az://..., file:///... [default: STORE/blobs].
    #[arg(long, value_name = "URL", env = "BLINDSMITH_BLOBS")]
    blobs: Option<String>,
    /// Space for local copies of blobs in an object store, in GiB [default: 16].
    #[arg(long, value_name = "GIB")]
    cache: Option<u64>,
}

impl Elsewhere {
    fn cache_bytes(&self) -> Option<u64> {
        self.cache.map(|gib| gib.saturating_mul(1 << 30))
    }

    /// What is given goes before what a configuration says.
    pub fn put_into(self, config: &mut StoreConfig) {
        config.cache_bytes = self.cache_bytes().unwrap_or(config.cache_bytes);
        config.metadata = self.metadata.or(config.metadata.take());
        config.blobs = self.blobs.or(config.blobs.take());
    }
}

/// Which store, and the form of the output.
#[derive(Args)]
pub struct Which {
    /// The refinery's configuration, of which `[store]` is read. Command-line options take precedence over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the store.
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    store: Option<PathBuf>,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Which {
    fn places(&self) -> anyhow::Result<Places> {
        Ok(configured(self.config.as_deref(), self.store.clone(), &self.elsewhere)?.places())
    }

    fn say(&self, result: &impl Serialize, words: impl FnOnce() -> String) {
        match self.json {
            // Plain data has no parts that JSON lacks.
            true => println!("{}", serde_json::to_string(result).unwrap_or_default()),
            false => println!("{}", words()),
        }
    }
}

/// A configuration, and what is given beside it, which goes before it.
pub fn configured(
    file: Option<&Path>,
    store: Option<PathBuf>,
    elsewhere: &Elsewhere,
) -> anyhow::Result<Config> {
    let mut config = file.map_or_else(|| Ok(Config::default()), Config::load)?;
    config.store.directory = store.unwrap_or(config.store.directory);
    elsewhere.clone().put_into(&mut config.store);
    Ok(config)
}

/// Maintenance of a store.
#[derive(Subcommand)]
pub enum Maintenance {
    /// Reads a configuration, tries database, object store, certificate and key, and prints what a refinery would do.
    /// The refinery may be running.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Reads everything and names damaged and missing data (exit code 3). The refinery may be running.
    Fsck {
        #[command(flatten)]
        which: Which,
    },
    /// Removes blobs to which no record refers. The refinery may be running.
    Gc {
        #[command(flatten)]
        which: Which,
        /// Keep blobs that are younger, in hours.
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        grace: u64,
        /// First drop sealed states of all but the newest N rounds of each project; models and receipts stay.
        #[arg(long, value_name = "N")]
        keep_states: Option<u32>,
    },
    /// Copies the store into an empty directory. The refinery may be running.
    Backup {
        #[command(flatten)]
        which: Which,
        /// The directory for the copy.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Makes a store from a copy, in an empty directory.
    Restore {
        #[command(flatten)]
        which: Which,
        /// The copy.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
}

/// Does it.
pub fn run(command: Maintenance) -> anyhow::Result<ExitCode> {
    match command {
        Maintenance::Check { config, elsewhere } => check(&configured(Some(&config), None, &elsewhere)?),
        Maintenance::Fsck { which } => fsck(&which),
        Maintenance::Gc { which, grace, keep_states } => {
            let store = Store::beside(&which.places()?)?;
            if let Some(keep) = keep_states {
                store.prune_states(keep)?;
            }
            let removed = store.gc(Duration::from_secs(grace.saturating_mul(3600)))?;
            which.say(&removed, || {
                let (blobs, bytes, kept) = (removed.blobs, removed.bytes, removed.kept);
                format!("{blobs} blobs removed, {bytes} bytes; {kept} are too new")
            });
            Ok(ExitCode::SUCCESS)
        }
        Maintenance::Backup { which, to } => {
            let copied = Store::beside(&which.places()?)?.backup(&to)?;
            which.say(&copied, || match copied.metadata {
                true => format!("records and {} blobs copied", copied.blobs),
                false => format!("{} blobs copied; the records are in PostgreSQL's dump", copied.blobs),
            });
            Ok(ExitCode::SUCCESS)
        }
        Maintenance::Restore { which, from } => {
            let made = Store::restore(&from, &which.places()?)?;
            which.say(&made, || format!("{} blobs restored, all as they were stored", made.blobs));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Tries what can be tried without serving, and says what would be served.
fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let places = config.places();
    let (records, blobs) = places.names()?;
    places.try_out()?;
    HttpServer::try_tls(config)?;
    let (clients, warden) = config.sockets();
    println!("version   {}", env!("CARGO_PKG_VERSION"));
    println!("store     {}", places.root.display());
    println!("records   {records}");
    println!("blobs     {blobs}");
    println!("sockets   {}, {}", clients.display(), warden.display());
    match config.http.listen {
        Some(address) if config.http.certificate.is_some() => println!("http      {address}, TLS"),
        Some(address) => println!("http      {address}, in the clear"),
        None => println!("http      none"),
    }
    if let Some(warning) = config.http.warning() {
        println!("warning   {warning}");
    }
    println!("the configuration can be used");
    Ok(ExitCode::SUCCESS)
}

fn fsck(which: &Which) -> anyhow::Result<ExitCode> {
    let found = Store::beside(&which.places()?)?.fsck()?;
    which.say(&found, || {
        let mut lines = Vec::new();
        let lists = [
            ("damaged", &found.damaged),
            ("missing", &found.missing),
            ("orphaned", &found.orphaned),
            ("foreign", &found.foreign),
        ];
        for (word, list) in lists {
            lines.extend(list.iter().map(|what| format!("{word}: {what}")));
        }
        lines.push(format!("{} blobs are as they were stored, {} bytes", found.blobs, found.bytes));
        lines.join("\n")
    });
    Ok(if found.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGE) })
}
