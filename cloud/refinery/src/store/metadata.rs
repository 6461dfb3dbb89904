//! The database: who may use it, its version, and transactions on it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migrate, MigrateError};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor};
use tokio::time::timeout;

use super::columns::text;
use super::database::{Kind, Refusal};
use super::error::{StoreError, damaged, io_error};
use super::reach::{Reach, Use};
use super::runtime::Runtime;
use super::writer::{self, Lock, LockLoss, Token, Watch};
use super::{failpoint, schema};

/// Where metadata are.
#[derive(Debug, Clone)]
pub(super) struct Location {
    pub(super) kind: Kind,
    url: String,
    /// As it is named in messages: without a password.
    pub(super) place: String,
}

impl Location {
    /// A SQLite file.
    pub(super) fn file(path: &Path) -> Result<Self, StoreError> {
        let text = path.to_str().ok_or_else(|| {
            StoreError::Place(format!("{} is not UTF-8: choose another directory", path.display()))
        })?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        let quoted: String = text
            .bytes()
            .map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") })
            .collect();
        let url = format!("sqlite://{quoted}?mode=rwc");
        Ok(Location { kind: Kind::Sqlite, url, place: path.display().to_string() })
    }

    /// A PostgreSQL database by URL.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let parsed = url.parse::<url::Url>().ok();
        let Some(parsed) = parsed.filter(|url| ["postgres", "postgresql"].contains(&url.scheme())) else {
            return Err(StoreError::Place(
                "metadata are at postgres://USER:PASSWORD@HOST/DATABASE, or, without a URL, in the store's \
                 directory"
                    .into(),
            ));
        };
        Ok(Location { kind: Kind::Postgres, url: url.into(), place: place_in_postgres(&parsed)? })
    }
}

/// As a database in PostgreSQL is named in messages.
#[cfg(feature = "postgres")]
fn place_in_postgres(url: &url::Url) -> Result<String, StoreError> {
    let options = sqlx::postgres::PgConnectOptions::from_str(url.as_str());
    let options = options.map_err(|e| StoreError::Place(format!("the metadata's URL: {e}")))?;
    let socket = options.get_socket().map(|socket| socket.display().to_string());
    let host = socket.unwrap_or_else(|| options.get_host().to_owned());
    // The server's default is a database of the user's name.
    let name = options.get_database().unwrap_or(options.get_username());
    // Neither user nor password nor parameters, which may hold one.
    Ok(format!("postgres://{host}:{}/{name}", options.get_port()))
}

#[cfg(not(feature = "postgres"))]
fn place_in_postgres(_: &url::Url) -> Result<String, StoreError> {
    let why = "this refinery was built without PostgreSQL: build it with the feature `postgres`, or leave the \
               records in the store's directory";
    Err(StoreError::Place(why.into()))
}

/// Whether a database answers; one in a file that is not there yet would be made.
pub(super) fn try_out(location: &Location, runtime: &Runtime) -> Result<(), StoreError> {
    let Location { kind, url, place } = location;
    if *kind == Kind::Sqlite {
        return Ok(());
    }
    sqlx::any::install_default_drivers();
    let connect = async {
        let mut connection = AnyConnection::connect(url).await?;
        connection.execute("SELECT 1").await?;
        connection.close().await
    };
    let connected = runtime.block_on(async { timeout(writer::PATIENCE, connect).await });
    let late = |_| Reach::new("database", place).unreachable("the server does not answer");
    let connected = connected.map_err(late)?;
    connected.map_err(|source| database_error(*kind, place, source))
}

/// A database that is open.
pub(super) struct Metadata {
    pool: AnyPool,
    /// Whether it can be used.
    pub(super) reach: Arc<Reach>,
    /// What tells the refinery that serves it from others; none for a command beside it.
    token: Option<Token>,
    /// Keeps other refineries out of a database in PostgreSQL.
    watch: Mutex<Option<Watch>>,
    pub(super) location: Location,
    runtime: Arc<Runtime>,
    /// Held by the one that changes something: what a change finds does not change under it.
    writing: Mutex<()>,
}

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By the one that serves it: alone, and brought to the last version.
    Serve,
    /// By a command beside it: of the last version already.
    Beside,
}

impl Metadata {
    pub(super) fn open(
        location: Location,
        access: Access,
        runtime: &Arc<Runtime>,
    ) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let Location { kind, url, place } = &location;
        let kind = *kind;
        let err = |source| database_error(kind, place, source);
        let options = AnyConnectOptions::from_str(url).map_err(err)?;
        let options = options.log_slow_statements(log::LevelFilter::Off, Duration::ZERO);
        let reach = Arc::new(Reach::new("database", place));
        let late = || reach.unreachable("the server does not answer");
        let (pool, lock) = runtime.block_on(async {
            let lock = match (kind, access) {
                (Kind::Postgres, Access::Serve) => Some(Lock::take(url).await.map_err(|e| match e {
                    LockLoss::Sql(e) => err(e),
                    LockLoss::Late => late(),
                    LockLoss::Elsewhere | LockLoss::Taken => {
                        StoreError::InUse { what: "database", place: place.clone() }
                    }
                })?),
                _ => None,
            };
            // Outside of the pool, which would try again for long.
            let first = async {
                let mut first = options.connect().await?;
                prepare(&mut first, kind).await?;
                first.close().await
            };
            match kind {
                // It waits for whoever has the file.
                Kind::Sqlite => first.await.map_err(err)?,
                Kind::Postgres => timeout(writer::PATIENCE, first).await.map_err(|_| late())?.map_err(err)?,
            }
            let pool = AnyPoolOptions::new().max_connections(4);
            let pool = match kind {
                Kind::Sqlite => pool,
                Kind::Postgres => pool.acquire_timeout(2 * writer::PATIENCE),
            };
            let pool = pool.after_connect(move |connection, _| Box::pin(prepare(connection, kind)));
            Ok::<_, StoreError>((pool.connect_lazy_with(options), lock))
        })?;
        let metadata = Metadata {
            pool,
            reach,
            token: None,
            watch: Mutex::default(),
            runtime: runtime.clone(),
            writing: Mutex::default(),
            location,
        };
        if metadata.location.kind == Kind::Sqlite {
            metadata.check_file()?;
        }
        metadata.migrate(access)?;
        match access {
            Access::Serve => metadata.take_over(lock),
            Access::Beside => Ok(metadata),
        }
    }

    /// Becomes the one refinery that writes, and watches over its lock.
    fn take_over(mut self, lock: Option<Lock>) -> Result<Self, StoreError> {
        let mut token = Token::default();
        getrandom::fill(&mut token).map_err(|e| StoreError::Place(format!("no randomness: {e}")))?;
        let taken = self.runtime.block_on(async {
            let mut connection = self.pool.acquire().await?;
            match self.location.kind {
                Kind::Sqlite => writer::take_over(&mut connection, &token).await.map(|()| true),
                // A change of the one before that hangs ends with its session.
                Kind::Postgres => {
                    let done = timeout(4 * writer::PATIENCE, writer::take_over(&mut connection, &token));
                    done.await.map_or(Ok(false), |done| done.map(|()| true))
                }
            }
        });
        if !taken.map_err(|e| self.error(e))? {
            return Err(StoreError::InUse { what: "database", place: self.location.place.clone() });
        }
        self.token = Some(token);
        let watch = lock.map(|lock| {
            let reach = self.reach.clone();
            self.runtime.block_on(async { Watch::begin(lock, token, reach) })
        });
        self.watch = Mutex::new(watch);
        Ok(self)
    }

    fn error(&self, source: sqlx::Error) -> StoreError {
        let error = database_error(self.location.kind, &self.location.place, source);
        if matches!(error, StoreError::Unreachable { .. }) {
            self.reach.suspect();
        }
        error
    }

    /// The database as what is named when it is damaged.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.location.place)
    }

    /// SQLite reads pages as they come: a damaged one is looked for before anything is built on it.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        let said = self.rows(sqlx::query("PRAGMA quick_check(1)"));
        let said = said.map_err(|e| damaged(&self.path(), e.to_string()))?;
        let said = said.first().map(|row| text(row, 0)).transpose();
        match said.map_err(|e| self.error(e))?.as_deref() {
            Some("ok") => Ok(()),
            other => Err(damaged(&self.path(), other.unwrap_or("it cannot be checked"))),
        }
    }

    fn migrate(&self, access: Access) -> Result<(), StoreError> {
        let migrator = schema::migrator(self.location.kind);
        let place = self.location.place.clone();
        let newer = |found| StoreError::Newer { place: place.clone(), found, known: schema::KNOWN };
        let done = self.runtime.block_on(async {
            let mut connection = self.pool.acquire().await?;
            if access == Access::Serve {
                return migrator.run_direct(None, &mut *connection, false).await.map(|()| schema::KNOWN);
            }
            let applied = connection.list_applied_migrations(&migrator.table_name).await?;
            Ok(applied.iter().map(|m| m.version).max().unwrap_or(0))
        });
        match done {
            Ok(version) if version < schema::KNOWN => Err(StoreError::Older(place)),
            Ok(version) if version > schema::KNOWN => Err(newer(version)),
            Ok(_) => Ok(()),
            Err(MigrateError::VersionMissing(version)) => Err(newer(version)),
            Err(MigrateError::Execute(e)) => Err(self.error(e)),
            Err(MigrateError::VersionMismatch(_) | MigrateError::Dirty(_)) => {
                Err(damaged(&self.path(), "its tables are not those that any version makes"))
            }
            Err(e) => Err(self.error(sqlx::Error::Migrate(Box::new(e)))),
        }
    }

    /// Reads.
    pub(super) fn read<T>(
        &self,
        look: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let read: Result<T, Refusal> = self.runtime.block_on(self.reach.guard(Use::Read, async {
            let mut connection = self.pool.acquire().await?;
            Ok(look(&mut connection).await?)
        }));
        read.map_err(|e| self.refused(e))
    }

    /// The rows of one statement.
    pub(super) fn rows(&self, query: Query<'_>) -> Result<Vec<AnyRow>, StoreError> {
        self.read(async |c| query.fetch_all(c).await)
    }

    /// The first row of one statement.
    pub(super) fn row(&self, query: Query<'_>) -> Result<Option<AnyRow>, StoreError> {
        self.read(async |c| query.fetch_optional(c).await)
    }

    /// Changes, all or nothing, and durable when it returns.
    pub(super) fn write<T>(
        &self,
        change: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, Refusal>,
    ) -> Result<T, StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let refused = |name| failpoint::refusable(name).map_err(|e| io_error(&self.path())(e));
        refused("metadata.begin")?;
        let done: Result<T, Refusal> = self.runtime.block_on(self.reach.guard(Use::Write, async {
            let mut transaction = match self.location.kind {
                // Waits for its turn here, not at its first change, when it could not wait any more.
                Kind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
                Kind::Postgres => self.pool.begin().await?,
            };
            if let Some(token) = &self.token {
                writer::fence(&mut transaction, self.location.kind, token, &self.reach).await?;
            }
            let value = change(&mut transaction).await?;
            refused("metadata.commit").map_err(Refusal::Store)?;
            transaction.commit().await?;
            Ok(value)
        }));
        let value = done.map_err(|e| self.refused(e))?;
        failpoint::passed("metadata.committed");
        Ok(value)
    }

    fn refused(&self, refusal: Refusal) -> StoreError {
        match refusal {
            Refusal::Sql(source) => self.error(source),
            Refusal::Store(error) => error,
        }
    }

    /// Changes by one statement; the number of rows that it changed.
    pub(super) fn change(&self, query: Query<'_>) -> Result<u64, StoreError> {
        self.write(async |c| Ok(query.execute(c).await?.rows_affected()))
    }

    /// Writes a consistent copy of a SQLite database while it is in use.
    pub(super) fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let text = path.to_str().ok_or_else(|| {
            StoreError::Place(format!("{} is not UTF-8: choose another directory", path.display()))
        })?;
        self.rows(sqlx::query("VACUUM INTO $1").bind(text.to_owned())).map(|_| ())
    }

    /// Ends all connections, so that the next one to open it need not wait.
    pub(super) fn close(&self) {
        let watch = self.watch.lock().unwrap_or_else(|e| e.into_inner()).take();
        self.runtime.block_on(async {
            // A server that is gone is not waited for.
            _ = timeout(super::patience::PATIENCE, self.pool.close()).await;
            if let Some(watch) = watch {
                watch.end().await;
            }
        });
    }
}

/// SQLite's codes for a file that is malformed, and for one that is no database.
const DAMAGED: [u32; 2] = [11, 26];

fn database_error(kind: Kind, place: &str, source: sqlx::Error) -> StoreError {
    let code = source.as_database_error().and_then(|e| e.code()?.parse::<u32>().ok());
    match code {
        Some(code) if kind == Kind::Sqlite && DAMAGED.contains(&(code & 0xff)) => {
            damaged(Path::new(place), source.to_string())
        }
        _ if kind == Kind::Postgres && is_away(&source) => {
            StoreError::Unreachable { what: "database", place: place.into(), why: source.to_string() }
        }
        _ => StoreError::Metadata { place: place.into(), source },
    }
}

/// Whether the server could not be asked, or is about to end or to begin: all of it may pass.
fn is_away(source: &sqlx::Error) -> bool {
    match source {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            // Connection exceptions, too many connections, and a server's or a session's end.
            code.starts_with("08") || ["53300", "57P01", "57P02", "57P03", "57P05"].contains(&&*code)
        }),
        _ => false,
    }
}

/// What every connection needs.
async fn prepare(connection: &mut AnyConnection, kind: Kind) -> Result<(), sqlx::Error> {
    let settings = match kind {
        Kind::Sqlite => PRAGMAS,
        Kind::Postgres => writer::SESSION,
    };
    for setting in settings {
        (&mut *connection).execute(setting).await?;
    }
    Ok(())
}

/// A statement with its arguments.
pub(super) type Query<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

/// WAL with full synchronisation: what is committed survives a loss of power.
const PRAGMAS: [&str; 4] = [
    "PRAGMA busy_timeout = 60000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
];
