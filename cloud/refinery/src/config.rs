//! The refinery's configuration: `refinery.toml`, every option with a default, checked before anything starts.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use blindsmith_api::MAX_CHUNK;
use blindsmith_identity::PublicKey;
use blindsmith_protocol::MAX_BODY;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::ROW_BYTES;
use crate::store::{CACHE_BYTES, Places};

/// A configuration that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(String);

/// Everything that can be set. `docs/refinery.toml` explains each option.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Threads for products; all cores if none.
    pub threads: Option<usize>,
    /// Where everything is kept.
    pub store: StoreConfig,
    /// Sockets of this machine.
    pub local: LocalConfig,
    /// The HTTP service.
    pub http: HttpConfig,
    /// What clients may use of it.
    pub limits: LimitsConfig,
    /// The log.
    pub log: LogConfig,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The directory of everything that is kept.
    pub directory: PathBuf,
    /// A PostgreSQL database by URL for the records; `refinery.db` in the directory if none.
    pub metadata: Option<String>,
    /// An object store by URL for the blobs; the directory if none.
    pub blobs: Option<String>,
    /// Bytes that local copies of blobs in an object store may take.
    pub cache_bytes: u64,
}

/// `[local]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// The operator's socket; `refinery.sock` in the store if none.
    pub clients: Option<PathBuf>,
    /// The warden's socket; `warden.sock` in the store if none.
    pub warden: Option<PathBuf>,
    /// Port on loopback for a warden in an SGX enclave; none if none.
    pub enclave: Option<SocketAddr>,
    /// Directory of the collateral that verifies wardens in hardware when one takes over; `collateral` in the store if none.
    pub collateral: Option<PathBuf>,
    /// Seconds for which a warden that would take projects over waits for the one that has them; then it serves without.
    pub take_over_wait: u64,
}

/// Who may create projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Owners {
    /// Only `anyone`.
    Word(String),
    /// These keys.
    Keys(Vec<PublicKey>),
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port; no HTTP service if none.
    pub listen: Option<SocketAddr>,
    /// The certificate and those that lead to its root, PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub key: Option<PathBuf>,
    /// Names, with port if not the scheme's own, under which clients reach the service; any if empty.
    pub authorities: Vec<String>,
    /// Who may create projects; anyone on loopback addresses, if none.
    pub owners: Option<Owners>,
    /// Whether `/metrics` answers.
    pub metrics: bool,
    /// Seconds by which a request's time may differ from the refinery's.
    pub max_clock_skew: u64,
    /// Seconds in which a request's headers must arrive, and a TLS handshake end.
    pub header_timeout: u64,
    /// Seconds in which a body must arrive, besides what it may take at `minimum_rate`.
    pub body_timeout: u64,
    /// Bytes a second at which a body must arrive at least.
    pub minimum_rate: u64,
    /// Seconds without progress after which an answer is given up.
    pub write_timeout: u64,
    /// Seconds in which requests may end once the service was told to.
    pub shutdown_timeout: u64,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at a time.
    pub connections: usize,
    /// Of them, those from one address.
    pub connections_per_address: usize,
    /// Bytes of bodies and answers in memory at a time.
    pub bytes_in_flight: u64,
    /// Largest chunk of an upload or query.
    pub chunk_bytes: u64,
    /// Largest sealed initial model.
    pub model_bytes: u64,
    /// Bytes of rows that a round keeps in memory.
    pub row_bytes: usize,
    /// Chunks and commits worked on at a time.
    pub uploads: usize,
    /// Queries, releases and requests for evidence that wait for the warden at a time.
    pub queries: usize,
    /// Clients that follow events at a time.
    pub watchers: usize,
    /// Of them, those with one key.
    pub watchers_per_key: usize,
    /// Uploads and queries that a member may have under way in a project.
    pub sessions: usize,
    /// Bytes of queries that a member may have under way in a project.
    pub query_bytes: u64,
    /// Hours after which what nothing was appended to is forgotten.
    pub session_hours: u64,
    /// Requests a second of one key.
    pub requests_per_second: u32,
    /// Requests of one key at once.
    pub request_burst: u32,
    /// Bytes a second that one key sends.
    pub bytes_per_second: u64,
    /// Bytes that one key sends at once.
    pub byte_burst: u64,
    /// Nonces remembered, of all keys.
    pub nonces: usize,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, such as `info` or `blindsmith_refinery=debug`; `BLINDSMITH_LOG` goes before it.
    pub filter: String,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            directory: PathBuf::from("refinery"),
            metadata: None,
            blobs: None,
            cache_bytes: CACHE_BYTES,
        }
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        LocalConfig { clients: None, warden: None, enclave: None, collateral: None, take_over_wait: 60 }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: None,
            certificate: None,
            key: None,
            authorities: Vec::new(),
            owners: None,
            metrics: true,
            max_clock_skew: 300,
            header_timeout: 10,
            body_timeout: 30,
            minimum_rate: 16 << 10,
            write_timeout: 60,
            shutdown_timeout: 30,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            connections: 1024,
            connections_per_address: 256,
            bytes_in_flight: 1 << 30,
            chunk_bytes: MAX_CHUNK as u64,
            model_bytes: MAX_BODY as u64,
            row_bytes: ROW_BYTES,
            uploads: 16,
            queries: 32,
            watchers: 256,
            watchers_per_key: 16,
            sessions: 8,
            query_bytes: 4 << 30,
            session_hours: 24,
            requests_per_second: 50,
            request_burst: 200,
            bytes_per_second: 128 << 20,
            byte_burst: 512 << 20,
            nonces: 1_000_000,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { format: LogFormat::Text, filter: "info".into() }
    }
}

impl HttpConfig {
    /// Whether listener, TLS, owners and names go together.
    fn check(&self) -> Result<(), ConfigError> {
        if self.certificate.is_some() != self.key.is_some() {
            return fail("http.certificate and http.key go together: give both for TLS, or none");
        }
        if let Some(Owners::Word(word)) = &self.owners
            && word != "anyone"
        {
            return fail("http.owners is a list of public keys (64 hexadecimal digits each), or \"anyone\"");
        }
        if let Some(address) = self.listen
            && !address.ip().is_loopback()
        {
            if self.owners.is_none() {
                return fail(
                    "http.owners must say who may create projects, because http.listen is not a loopback address: a \
                     list of public keys, or \"anyone\"",
                );
            }
            if self.authorities.is_empty() {
                return fail(
                    "http.authorities must name the service, because http.listen is not a loopback address: else a \
                     request signed for another refinery could be sent on to this one",
                );
            }
        }
        if self
            .authorities
            .iter()
            .any(|name| name.is_empty() || name.contains('/') || *name != name.to_lowercase())
        {
            return fail("http.authorities are names in small letters, with :PORT if not the scheme's own");
        }
        Ok(())
    }
}

impl LimitsConfig {
    fn check_sizes(&self) -> Result<(), ConfigError> {
        if self.chunk_bytes == 0 || self.chunk_bytes > MAX_CHUNK as u64 {
            return Err(ConfigError(format!("limits.chunk_bytes must be 1 to {MAX_CHUNK}")));
        }
        if self.model_bytes == 0 || self.model_bytes > MAX_BODY as u64 {
            return Err(ConfigError(format!("limits.model_bytes must be 1 to {MAX_BODY}")));
        }
        if self.row_bytes > 1 << 40 {
            return Err(ConfigError(format!("limits.row_bytes must be 0 to {}", 1_u64 << 40)));
        }
        // Models go out as large as rounds leave them.
        let least = 2 * MAX_BODY as u64;
        if !(least..=1 << 40).contains(&self.bytes_in_flight) {
            return Err(ConfigError(format!("limits.bytes_in_flight must be {least} to {}", 1_u64 << 40)));
        }
        Ok(())
    }
}

fn fail(why: &str) -> Result<(), ConfigError> {
    Err(ConfigError(why.to_owned()))
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read, has an option that there is not, or a value that is not possible.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let named = |e: &dyn std::fmt::Display| ConfigError(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
        Self::parse(&text).map_err(|e| named(&e))
    }

    /// Parses and checks.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|e| ConfigError(e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError`] names the first that is not possible.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.threads == Some(0) {
            return fail("threads must be at least 1; leave it out to use all cores");
        }
        if self.local.enclave.is_some_and(|address| !address.ip().is_loopback()) {
            return fail(
                "local.enclave must be an address on loopback, such as 127.0.0.1:7411: whoever reaches it may \
                         keep the warden's place",
            );
        }
        self.http.check()?;
        self.check_counts()?;
        self.check_times()?;
        self.limits.check_sizes()
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let (http, limits) = (&self.http, &self.limits);
        let positive = [
            ("http.max_clock_skew", http.max_clock_skew),
            ("http.header_timeout", http.header_timeout),
            ("http.body_timeout", http.body_timeout),
            ("http.minimum_rate", http.minimum_rate),
            ("http.write_timeout", http.write_timeout),
            ("limits.connections", limits.connections as u64),
            ("limits.connections_per_address", limits.connections_per_address as u64),
            ("limits.uploads", limits.uploads as u64),
            ("limits.queries", limits.queries as u64),
            ("limits.watchers", limits.watchers as u64),
            ("limits.watchers_per_key", limits.watchers_per_key as u64),
            ("limits.sessions", limits.sessions as u64),
            ("limits.query_bytes", limits.query_bytes),
            ("limits.session_hours", limits.session_hours),
            ("limits.requests_per_second", limits.requests_per_second.into()),
            ("limits.request_burst", limits.request_burst.into()),
            ("limits.bytes_per_second", limits.bytes_per_second),
            ("limits.byte_burst", limits.byte_burst),
            ("limits.nonces", limits.nonces as u64),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError(format!("{name} must be at least 1")));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let (http, limits) = (&self.http, &self.limits);
        let seconds = [http.max_clock_skew, http.header_timeout, http.body_timeout, http.write_timeout];
        if seconds.iter().chain([&http.shutdown_timeout]).any(|s| *s > 86_400) || limits.session_hours > 8760
        {
            return fail(
                "times in [http] are at most a day (86400 seconds), limits.session_hours at most a year",
            );
        }
        if self.local.take_over_wait > 24 * 60 * 60 {
            return fail("local.take_over_wait is at most a day (86400 seconds)");
        }
        Ok(())
    }

    /// Where the store is.
    pub fn places(&self) -> Places {
        let StoreConfig { directory, metadata, blobs, cache_bytes } = self.store.clone();
        Places { root: directory, metadata, blobs, cache_bytes }
    }

    /// A place that was given, or one in the store's directory.
    fn place(&self, given: &Option<PathBuf>, name: &str) -> PathBuf {
        given.clone().unwrap_or_else(|| self.store.directory.join(name))
    }

    /// The operator's socket and the warden's.
    pub fn sockets(&self) -> (PathBuf, PathBuf) {
        let LocalConfig { clients, warden, .. } = &self.local;
        (self.place(clients, "refinery.sock"), self.place(warden, "warden.sock"))
    }

    /// The directory of collateral.
    pub fn collateral(&self) -> PathBuf {
        self.place(&self.local.collateral, "collateral")
    }
}

impl HttpConfig {
    /// What an operator is warned of: requests and answers that strangers may read on the way, as there is no TLS and
    /// other networks may reach the address.
    pub fn warning(&self) -> Option<String> {
        let public = |address: IpAddr| match address {
            IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local()),
            IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
        };
        let listen = self.listen.filter(|at| self.certificate.is_none() && public(at.ip().to_canonical()))?;
        Some(format!(
            "http.listen = \"{listen}\" is HTTP in the clear on an address that other networks may reach: give \
             http.certificate and http.key, or put a proxy with TLS before it"
        ))
    }

    /// Whether this key may create projects.
    pub fn may_create(&self, key: &PublicKey) -> bool {
        match &self.owners {
            Some(Owners::Keys(keys)) => keys.contains(key),
            Some(Owners::Word(_)) => true,
            None => self.listen.is_some_and(|address| address.ip().is_loopback()),
        }
    }
}
