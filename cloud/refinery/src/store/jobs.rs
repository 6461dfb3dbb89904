//! A queue of work that survives the refinery: a job is taken for a time, and comes back unless it is finished.

use std::time::{Duration, SystemTime};

use blindsmith_protocol::Id;
use sqlx::Row;

use super::Store;
use super::error::StoreError;
use super::metadata::{Refusal, bytes, digest, milliseconds, number, some_bytes, some_text, text, time};

/// The longest wait after a failure.
const MOST_WAIT: Duration = Duration::from_secs(3600);

/// A job that was taken. Only who has it can extend, finish or fail it, and only until somebody else took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub project: Id,
    /// What is to be done.
    pub kind: String,
    /// Tells it from others of its project and kind.
    pub key: Vec<u8>,
    /// What it needs.
    pub payload: Vec<u8>,
    /// How often it was taken, with this time.
    pub attempts: u64,
    lease: [u8; 16],
}

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Whose it is.
    pub project: Id,
    /// What is to be done.
    pub kind: String,
    /// Tells it from others of its project and kind.
    pub key: Vec<u8>,
    /// How often it was taken.
    pub attempts: u64,
    /// Not taken before.
    pub not_before: SystemTime,
    /// Until when it is somebody's; None if it is nobody's.
    pub leased_until: Option<SystemTime>,
    /// Why it failed last.
    pub failure: Option<String>,
    /// When it came.
    pub created: SystemTime,
}

/// Which job, if this lease is still the last.
const MINE: &str = "project = $1 AND kind = $2 AND key = $3 AND lease = $4";

impl Store {
    /// Adds a job. One of this project, kind and key that is there stays as it is; whether it was new.
    pub fn enqueue(
        &self,
        project: &Id,
        kind: &str,
        key: &[u8],
        payload: &[u8],
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let insert = sqlx::query(
            "INSERT INTO jobs (project, kind, key, sequence, payload, attempts, not_before, leased_until, created) \
             VALUES ($1, $2, $3, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM jobs), $4, 0, $5, 0, $5) \
             ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(project.0.to_vec()).bind(kind.to_owned()).bind(key.to_vec());
        let insert = insert.bind(payload.to_vec()).bind(milliseconds(now));
        self.metadata.write(async |c| {
            Self::require(c, project).await?;
            Ok(insert.execute(c).await?.rows_affected() == 1)
        })
    }

    /// Takes the next job that is due, of the project that was served longest ago, for a time; None if none is
    /// due. A project's jobs come in order.
    pub fn take_job(&self, now: SystemTime, lease: Duration) -> Result<Option<Lease>, StoreError> {
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|e| StoreError::Io {
            path: self.places.root.clone(),
            source: std::io::Error::other(e.to_string()),
        })?;
        let (now, until) = (milliseconds(now), milliseconds(now + lease));
        self.metadata.write(async |c| {
            let select = sqlx::query(
                "SELECT j.project, j.kind, j.key, j.payload, j.attempts FROM jobs j \
                 JOIN projects p ON p.id = j.project WHERE j.not_before <= $1 AND j.leased_until <= $1 \
                 ORDER BY p.served, j.sequence LIMIT 1",
            );
            let Some(row) = select.bind(now).fetch_optional(&mut *c).await? else { return Ok(None) };
            let taken = Lease {
                project: Id(digest(&row, 0)?),
                kind: text(&row, 1)?,
                key: bytes(&row, 2)?,
                payload: bytes(&row, 3)?,
                attempts: number(&row, 4)? + 1,
                lease: token,
            };
            let update = sqlx::query(
                "UPDATE jobs SET attempts = attempts + 1, leased_until = $1, lease = $2 \
                 WHERE project = $3 AND kind = $4 AND key = $5",
            );
            let update = update.bind(until).bind(token.to_vec()).bind(taken.project.0.to_vec());
            update.bind(taken.kind.clone()).bind(taken.key.clone()).execute(&mut *c).await?;
            let served = sqlx::query(
                "UPDATE projects SET served = (SELECT MAX(served) + 1 FROM projects) WHERE id = $1",
            );
            served.bind(taken.project.0.to_vec()).execute(&mut *c).await?;
            Ok(Some(taken))
        })
    }

    /// Changes the job of a lease by a statement whose first arguments are those of [`MINE`].
    fn leased(
        &self,
        lease: &Lease,
        statement: String,
        more: impl for<'q> FnOnce(super::metadata::Query<'q>) -> super::metadata::Query<'q>,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(lease.project.0.to_vec())
            .bind(lease.kind.clone())
            .bind(lease.key.clone())
            .bind(lease.lease.to_vec());
        let query = more(query);
        self.metadata.write(async |c| match query.execute(c).await?.rows_affected() {
            0 => Err(Refusal::Store(StoreError::Lease)),
            _ => Ok(()),
        })
    }

    /// Keeps a job for longer.
    pub fn extend_job(&self, lease: &Lease, until: SystemTime) -> Result<(), StoreError> {
        let statement = format!("UPDATE jobs SET leased_until = $5 WHERE {MINE}");
        self.leased(lease, statement, |query| query.bind(milliseconds(until)))
    }

    /// Ends a job: it leaves the queue.
    pub fn finish_job(&self, lease: &Lease) -> Result<(), StoreError> {
        self.leased(lease, format!("DELETE FROM jobs WHERE {MINE}"), |query| query)
    }

    /// Gives a job back to be tried again, after a wait that doubles with each attempt, up to an hour.
    pub fn fail_job(
        &self,
        lease: &Lease,
        now: SystemTime,
        wait: Duration,
        failure: &str,
    ) -> Result<(), StoreError> {
        let doublings = lease.attempts.saturating_sub(1).min(20) as u32;
        let wait = wait.saturating_mul(1 << doublings).min(MOST_WAIT);
        let statement = format!(
            "UPDATE jobs SET leased_until = 0, lease = NULL, not_before = $5, failure = $6 WHERE {MINE}"
        );
        let failure = failure.to_owned();
        self.leased(lease, statement, |query| query.bind(milliseconds(now + wait)).bind(failure))
    }

    /// Takes a job that nobody has out of the queue; whether it was there and nobody's.
    pub fn cancel_job(
        &self,
        project: &Id,
        kind: &str,
        key: &[u8],
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let delete = sqlx::query(
            "DELETE FROM jobs WHERE project = $1 AND kind = $2 AND key = $3 AND leased_until <= $4",
        );
        let delete = delete.bind(project.0.to_vec()).bind(kind.to_owned()).bind(key.to_vec());
        Ok(self.metadata.change(delete.bind(milliseconds(now)))? == 1)
    }

    /// All jobs, or those of one project, in the order in which they came.
    pub fn jobs(&self, project: Option<&Id>) -> Result<Vec<Queued>, StoreError> {
        const COLUMNS: &str =
            "project, kind, key, attempts, not_before, leased_until, failure, created, lease";
        let of = if project.is_some() { "WHERE project = $1" } else { "" };
        let statement = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM jobs {of} ORDER BY sequence"));
        let query = sqlx::query(statement);
        let query = match project {
            Some(project) => query.bind(project.0.to_vec()),
            None => query,
        };
        let queued = |row: &sqlx::any::AnyRow| {
            let leased = some_bytes(row, 8)?.is_some();
            Ok(Queued {
                project: Id(digest(row, 0)?),
                kind: text(row, 1)?,
                key: bytes(row, 2)?,
                attempts: number(row, 3)?,
                not_before: time(number(row, 4)?),
                leased_until: if leased { Some(time(row.try_get::<i64, _>(5)?.max(0) as u64)) } else { None },
                failure: some_text(row, 6)?,
                created: time(number(row, 7)?),
            })
        };
        self.metadata.rows(query)?.iter().map(|row| self.decoded(queued(row))).collect()
    }
}
