//! The database: who may use it, its version, and transactions on it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migrate, MigrateError};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Row};

use super::error::{StoreError, damaged, io_error};
use super::runtime::Runtime;
use super::{failpoint, schema};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

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
        // Neither user nor password nor parameters, which may hold one.
        let place = format!("postgres://{}{}", parsed.host_str().unwrap_or(""), parsed.path());
        Ok(Location { kind: Kind::Postgres, url: url.into(), place })
    }
}

/// A database that is open.
pub(super) struct Metadata {
    pool: AnyPool,
    /// Keeps other refineries out as long as it is open.
    lock: Mutex<Option<AnyConnection>>,
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
        root: &Path,
    ) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let Location { kind, place, .. } = &location;
        let err = |source| database_error(*kind, place, source);
        let options = AnyConnectOptions::from_str(&location.url).map_err(err)?;
        let options = options.log_slow_statements(log::LevelFilter::Off, Duration::ZERO);
        let opened = runtime.block_on(async {
            let lock = match (kind, access) {
                (Kind::Postgres, Access::Serve) => Some(advisory_lock(&options, root).await?),
                _ => None,
            };
            let kind = *kind;
            // Outside of the pool, which would try again for long.
            let mut first = options.connect().await?;
            if kind == Kind::Sqlite {
                for pragma in PRAGMAS {
                    (&mut first).execute(pragma).await?;
                }
            }
            first.close().await?;
            let pool = AnyPoolOptions::new().max_connections(4).after_connect(move |connection, _| {
                Box::pin(async move {
                    if kind == Kind::Sqlite {
                        for pragma in PRAGMAS {
                            (&mut *connection).execute(pragma).await?;
                        }
                    }
                    Ok(())
                })
            });
            Ok::<_, Opening>((pool.connect_lazy_with(options), lock))
        });
        let (pool, lock) = opened.map_err(|e| match e {
            Opening::Sql(source) => err(source),
            Opening::InUse(path) => StoreError::InUse(path),
        })?;
        let metadata = Metadata {
            pool,
            lock: Mutex::new(lock),
            runtime: runtime.clone(),
            writing: Mutex::default(),
            location,
        };
        if metadata.location.kind == Kind::Sqlite {
            metadata.check_file()?;
        }
        metadata.migrate(access)?;
        Ok(metadata)
    }

    fn error(&self, source: sqlx::Error) -> StoreError {
        database_error(self.location.kind, &self.location.place, source)
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
        let read = self.runtime.block_on(async {
            let mut connection = self.pool.acquire().await?;
            look(&mut connection).await
        });
        read.map_err(|e| self.error(e))
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
        let done: Result<T, Refusal> = self.runtime.block_on(async {
            let mut transaction = match self.location.kind {
                // Waits for its turn here, not at its first change, when it could not wait any more.
                Kind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
                Kind::Postgres => self.pool.begin().await?,
            };
            let value = change(&mut transaction).await?;
            refused("metadata.commit").map_err(Refusal::Store)?;
            transaction.commit().await?;
            Ok(value)
        });
        let value = done.map_err(|e| match e {
            Refusal::Sql(source) => self.error(source),
            Refusal::Store(error) => error,
        })?;
        failpoint::passed("metadata.committed");
        Ok(value)
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
        let lock = self.lock.lock().unwrap_or_else(|e| e.into_inner()).take();
        self.runtime.block_on(async {
            self.pool.close().await;
            if let Some(lock) = lock {
                _ = lock.close().await;
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
        _ => StoreError::Metadata { place: place.into(), source },
    }
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

enum Opening {
    Sql(sqlx::Error),
    InUse(PathBuf),
}

impl From<sqlx::Error> for Opening {
    fn from(e: sqlx::Error) -> Self {
        Opening::Sql(e)
    }
}

/// One refinery for each schema of a database: the lock goes with its connection.
async fn advisory_lock(options: &AnyConnectOptions, root: &Path) -> Result<AnyConnection, Opening> {
    let mut connection = options.connect().await?;
    let query = "SELECT pg_try_advisory_lock(1112821837, hashtext(current_schema()::text))";
    let start = Instant::now();
    loop {
        let taken: bool = sqlx::query(query).fetch_one(&mut connection).await?.try_get(0)?;
        if taken {
            return Ok(connection);
        }
        if start.elapsed() >= super::PATIENCE {
            return Err(Opening::InUse(root.to_owned()));
        }
        // The server may not have noticed yet that who had it is gone.
        tokio::time::sleep(super::RETRY).await;
    }
}

/// Why a transaction is rolled back.
pub(super) enum Refusal {
    Sql(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for Refusal {
    fn from(e: sqlx::Error) -> Self {
        Refusal::Sql(e)
    }
}

impl From<StoreError> for Refusal {
    fn from(e: StoreError) -> Self {
        Refusal::Store(e)
    }
}

pub(super) fn bytes(row: &AnyRow, column: usize) -> Result<Vec<u8>, sqlx::Error> {
    row.try_get(column)
}

pub(super) fn some_bytes(row: &AnyRow, column: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    row.try_get(column)
}

pub(super) fn text(row: &AnyRow, column: usize) -> Result<String, sqlx::Error> {
    row.try_get(column)
}

pub(super) fn some_text(row: &AnyRow, column: usize) -> Result<Option<String>, sqlx::Error> {
    row.try_get(column)
}

/// A count or a time: never negative, as it was never written so.
pub(super) fn number(row: &AnyRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|n| n.max(0) as u64)
}

pub(super) fn some_digest<const N: usize>(
    row: &AnyRow,
    column: usize,
) -> Result<Option<[u8; N]>, sqlx::Error> {
    let wrong = |_| sqlx::Error::Decode(format!("column {column} has not {N} bytes").into());
    some_bytes(row, column)?.map(|b| b.try_into().map_err(wrong)).transpose()
}

pub(super) fn digest<const N: usize>(row: &AnyRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    some_digest(row, column)?.ok_or_else(|| sqlx::Error::Decode(format!("column {column} is empty").into()))
}

/// Milliseconds since 1970: what the tables keep of a time.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The other way.
pub(super) fn time(milliseconds: u64) -> SystemTime {
    // A time that the clock cannot express was never stored; the epoch is then as good as any.
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

pub(super) fn now() -> i64 {
    milliseconds(SystemTime::now())
}
