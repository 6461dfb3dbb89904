//! Stores at every place where one can be, and the servers that they need.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Weak};

use blindsmith_refinery::Places;
use tempfile::TempDir;

/// A PostgreSQL server in a directory of its own, reached by a socket there.
pub struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    server: Option<Child>,
    databases: AtomicU32,
}

/// One server for the tests that run at once; it ends with the last of them.
static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

/// The directory of PostgreSQL's programs: those on the path, or where distributions put them.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|found| found.flatten().map(|e| e.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    let mut places = versions.into_iter().rev().chain(std::env::split_paths(&on_path));
    places.find(|dir| ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file()))
}

/// The server refuses to run as root: it gets a user that owns its directory and nothing else.
fn user() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(65534)
}

/// Waits until something holds that must hold soon.
pub fn eventually(failure: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{failure}");
        std::thread::yield_now();
    }
}

impl Postgres {
    /// A server; None, said loudly, where there is no PostgreSQL and nobody requires it.
    pub fn start() -> Option<Arc<Self>> {
        let mut shared = SERVER.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let server = Arc::new(Self::own()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// A server for one test, which may stop it; None as above.
    pub fn own() -> Option<Self> {
        let Some(programs) = programs() else {
            let required = std::env::var("BLINDSMITH_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
            assert!(!required, "no initdb and postgres found: install postgresql");
            eprintln!(
                "\n*** NOT TESTED: no initdb and postgres found. Install postgresql to test with it. ***\n"
            );
            return None;
        };
        let dir = TempDir::new().unwrap();
        let user = user();
        let own = |path: &Path| {
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
            if let Some(user) = user {
                std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
            }
        };
        own(dir.path());
        let mut server = Postgres { server: None, dir, programs, databases: AtomicU32::new(0) };
        let options = ["--auth=trust", "--username=test", "--no-sync", "--encoding=UTF8", "--pgdata", "data"];
        assert!(server.program("initdb").args(options).status().unwrap().success());
        server.serve();
        Some(server)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        let quiet = command.current_dir(self.dir.path()).stdin(Stdio::null());
        quiet.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = user() {
            command.uid(user).gid(user);
        }
        command
    }

    /// Starts it, again after [`Postgres::stop`].
    pub fn serve(&mut self) {
        let mut server = self.program("postgres");
        server.args(["-D", "data", "-k"]).arg(self.dir.path()).args(["-c", "listen_addresses="]);
        server.args(["-c", "fsync=off", "-c", "max_connections=200"]);
        self.server = Some(server.spawn().unwrap());
        eventually("PostgreSQL does not answer", || self.execute("postgres", "SELECT 1"));
    }

    /// An immediate end; what was committed is there when it serves again.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let id = rustix::process::Pid::from_child(&server);
            _ = rustix::process::kill_process(id, rustix::process::Signal::QUIT);
            _ = server.wait();
        }
    }

    pub fn url(&self, database: &str) -> String {
        let socket = self.dir.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://test@{socket}/{database}")
    }

    /// Whether a statement succeeded.
    pub fn execute(&self, database: &str, statement: &str) -> bool {
        use sqlx::{Connection, Executor};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Ok(mut connection) = sqlx::PgConnection::connect(&self.url(database)).await else {
                return false;
            };
            let done = connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.is_ok();
            _ = connection.close().await;
            done
        })
    }

    /// A new database.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        assert!(self.execute("postgres", &format!("CREATE DATABASE {name}")));
        self.url(&name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Places for one store; they go with it.
pub struct Site {
    pub dir: TempDir,
    pub places: Places,
    _postgres: Option<Arc<Postgres>>,
}

/// Records and blobs in a directory.
pub fn directory() -> Option<Site> {
    let dir = TempDir::new().unwrap();
    let places = Places::directory(&dir.path().join("store"));
    Some(Site { dir, places, _postgres: None })
}

/// Records in PostgreSQL.
pub fn postgres() -> Option<Site> {
    let mut site = directory()?;
    let server = Postgres::start()?;
    site.places.metadata = Some(server.database());
    site._postgres = Some(server);
    Some(site)
}

/// Blobs in an object store, with room for few copies.
pub fn objects() -> Option<Site> {
    let mut site = directory()?;
    let objects = site.dir.path().join("objects");
    std::fs::create_dir(&objects).unwrap();
    site.places.blobs = Some(format!("file://{}", objects.display()));
    site.places.cache_bytes = 1000;
    Some(site)
}

/// Blobs in this bucket of an S3 server, each time under another prefix; None but in a child that has one.
pub fn s3(bucket: &str) -> Option<Site> {
    static SITES: AtomicU32 = AtomicU32::new(0);
    std::env::var_os(crate::s3::ENDPOINT)?;
    let mut site = directory()?;
    let number = SITES.fetch_add(1, Ordering::Relaxed);
    site.places.blobs = Some(format!("s3://{bucket}/site-{number}"));
    site.places.cache_bytes = 1000;
    Some(site)
}
