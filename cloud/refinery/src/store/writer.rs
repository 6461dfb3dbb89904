//! One refinery writes a database. In PostgreSQL a lock of a session keeps others out, held by a connection of its own
//! that is watched; in SQLite the lock on the directory does. Whatever becomes of locks, the token in the table `writer`
//! is compared in every change, so that a refinery that lost its lock and does not know it yet cannot write after another
//! took over.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection, Executor, Row};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::columns::now;
use super::database::{Kind, Refusal};
use super::reach::{Reach, Standing};

/// What tells one start of a refinery from all others.
pub(super) type Token = [u8; 16];

/// How often the lock is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// How often it is tried to take it again.
const AGAIN: Duration = Duration::from_millis(250);
/// In this time the server answers, or it is not reachable.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Every session: whoever is cut off is noticed by the server, and holds nothing for long.
pub(super) const SESSION: [&str; 4] = [
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET idle_in_transaction_session_timeout = 60000",
];

/// Why the lock is not held.
pub(super) enum LockLoss {
    /// The server cannot be asked.
    Sql(sqlx::Error),
    /// It did not answer in time.
    Late,
    /// Another session holds it.
    Elsewhere,
    /// Another refinery has written since.
    Taken,
}

impl From<sqlx::Error> for LockLoss {
    fn from(e: sqlx::Error) -> Self {
        LockLoss::Sql(e)
    }
}

/// A lock that is held.
pub(super) struct Lock {
    connection: AnyConnection,
    options: AnyConnectOptions,
}

impl Lock {
    /// Takes the lock of a database, waiting a little for whoever has it to end.
    pub(super) async fn take(url: &str) -> Result<Self, LockLoss> {
        let options = AnyConnectOptions::from_str(url)?.log_slow_statements(log::LevelFilter::Off, PATIENCE);
        let mut connection = timeout(PATIENCE, connect(&options)).await.map_err(|_| LockLoss::Late)??;
        let start = Instant::now();
        // The server may not have noticed yet that who had it is gone.
        while !timeout(PATIENCE, locked(&mut connection)).await.map_err(|_| LockLoss::Late)?? {
            if start.elapsed() >= super::patience::PATIENCE {
                return Err(LockLoss::Elsewhere);
            }
            tokio::time::sleep(super::patience::RETRY).await;
        }
        Ok(Lock { connection, options })
    }

    /// The lock, as long as it is this one's and nobody else has written.
    async fn still(mut self, token: &Token) -> Result<Self, LockLoss> {
        let found = timeout(PATIENCE, written_by(&mut self.connection)).await;
        match found.map_err(|_| LockLoss::Late)?? {
            Some(found) if found == token => Ok(self),
            _ => Err(LockLoss::Taken),
        }
    }

    /// Takes a lock that was lost.
    async fn again(options: &AnyConnectOptions, token: &Token) -> Result<Self, LockLoss> {
        let taken = async {
            let mut connection = connect(options).await?;
            let held = locked(&mut connection).await?;
            // Whoever took it in the meantime has left a token.
            if written_by(&mut connection).await?.is_none_or(|found| found != token) {
                return Err(LockLoss::Taken);
            }
            match held {
                true => Ok(Lock { connection, options: options.clone() }),
                false => Err(LockLoss::Elsewhere),
            }
        };
        timeout(PATIENCE, taken).await.unwrap_or(Err(LockLoss::Late))
    }
}

async fn connect(options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    for setting in SESSION {
        connection.execute(setting).await?;
    }
    Ok(connection)
}

/// One refinery for each schema of a database: the lock goes with its connection.
async fn locked(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let query = "SELECT pg_try_advisory_lock(1112821837, hashtext(current_schema()::text))";
    sqlx::query(query).fetch_one(connection).await?.try_get(0)
}

async fn written_by(connection: &mut AnyConnection) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let row = sqlx::query("SELECT token FROM writer WHERE id = 1").fetch_optional(connection).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Makes this the refinery that writes: changes of any other that have not begun fail from now on, and those that have
/// are waited for.
pub(super) async fn take_over(connection: &mut AnyConnection, token: &Token) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO writer (id, epoch, token, since) VALUES (1, 1, $1, $2) \
                  ON CONFLICT (id) DO UPDATE SET epoch = writer.epoch + 1, token = excluded.token, \
                  since = excluded.since";
    sqlx::query(insert).bind(token.to_vec()).bind(now()).execute(connection).await.map(drop)
}

/// In a change: that this is still the refinery that writes. It stays so until the change has ended.
pub(super) async fn fence(
    connection: &mut AnyConnection,
    kind: Kind,
    token: &Token,
    reach: &Reach,
) -> Result<(), Refusal> {
    let query = match kind {
        // A change has the whole file to itself.
        Kind::Sqlite => "SELECT token FROM writer WHERE id = 1",
        Kind::Postgres => "SELECT token FROM writer WHERE id = 1 FOR SHARE",
    };
    let found = sqlx::query(query).fetch_optional(connection).await?;
    let found: Option<Vec<u8>> = found.map(|row| row.try_get(0)).transpose()?;
    if found.as_deref() != Some(token) {
        reach.found(Standing::Taken);
        return Err(Refusal::Store(reach.taken().await));
    }
    Ok(())
}

/// The watch over a lock.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches a lock, and takes it again when it is lost. Must be called on the runtime that goes on with it.
    pub(super) fn begin(lock: Lock, token: Token, reach: Arc<Reach>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Watch { stop, task: tokio::spawn(watch(lock, token, reach, stopped)) }
    }

    /// Lets the lock go.
    pub(super) async fn end(self) {
        _ = self.stop.send(());
        _ = self.task.await;
    }
}

async fn watch(lock: Lock, token: Token, reach: Arc<Reach>, mut stopped: oneshot::Receiver<()>) {
    let options = lock.options.clone();
    let mut held = Some(lock);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            () = reach.pause(if held.is_some() { BEAT } else { AGAIN }) => {}
        }
        let was_held = held.is_some();
        let found = match held.take() {
            Some(lock) => lock.still(&token).await,
            None => Lock::again(&options, &token).await,
        };
        reach.found(match found {
            Ok(lock) => {
                held = Some(lock);
                Standing::Good
            }
            Err(LockLoss::Taken) => Standing::Taken,
            Err(LockLoss::Elsewhere) => Standing::Unlocked("another session holds it".into()),
            Err(LockLoss::Sql(e)) if was_held => Standing::Unlocked(e.to_string()),
            Err(LockLoss::Late) if was_held => Standing::Unlocked("the server does not answer".into()),
            Err(LockLoss::Sql(e)) => Standing::Unreachable(e.to_string()),
            Err(LockLoss::Late) => Standing::Unreachable("the server does not answer".into()),
        });
        if reach.standing() == Standing::Taken {
            break;
        }
    }
    if let Some(lock) = held {
        _ = timeout(PATIENCE, lock.connection.close()).await;
    }
}
