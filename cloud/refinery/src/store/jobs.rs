//! A queue of work that survives the refinery: a job is taken for a time, and stays until it is finished.

use std::time::{Duration, SystemTime};

use blindsmith_protocol::Id;
use sqlx::Row;

use super::columns::{bytes, digest, milliseconds, number, some_bytes, some_text, text, time};
use super::database::Refusal;
use super::error::StoreError;
use super::handle::Store;

/// The kind of the jobs that are rounds.
pub const ROUND_JOB: &str = "round";

/// Which job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// Whose it is.
    pub project: Id,
    /// What is to be done.
    pub kind: String,
    /// Tells it from others of its project and kind.
    pub key: Vec<u8>,
}

/// A job that was taken. Only who has it can extend, finish or give it back, and only until somebody else took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which job.
    pub job: JobName,
    /// What it needs.
    pub payload: Vec<u8>,
    /// How often it was taken, with this time.
    pub attempts: u64,
    lease: [u8; 16],
}

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    /// Which job.
    pub job: JobName,
    /// What it needs.
    pub payload: Vec<u8>,
    /// How often it was taken.
    pub attempts: u64,
    /// Until when it is somebody's; None if it is nobody's.
    pub leased_until: Option<SystemTime>,
    /// Why it was given back last.
    pub failure: Option<String>,
    /// When it came.
    pub created: SystemTime,
}

/// Which job.
const NAMED: &str = "project = $1 AND kind = $2 AND key = $3";
/// Which job, if this lease is still the last.
const MINE: &str = "project = $1 AND kind = $2 AND key = $3 AND lease = $4";

impl Store {
    /// Adds a job. One of this name that is there stays as it is; whether it was new.
    pub fn enqueue(&self, job: &JobName, payload: &[u8], now: SystemTime) -> Result<bool, StoreError> {
        let insert = sqlx::query(
            "INSERT INTO jobs (project, kind, key, sequence, payload, attempts, leased_until, created) \
             VALUES ($1, $2, $3, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM jobs), $4, 0, 0, $5) \
             ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(job.project.0.to_vec()).bind(job.kind.clone()).bind(job.key.clone());
        let insert = insert.bind(payload.to_vec()).bind(milliseconds(now));
        self.metadata.write(async |c| {
            Self::require(c, &job.project).await?;
            Ok(insert.execute(c).await?.rows_affected() == 1)
        })
    }

    /// Takes a job for a time; None if there is none of this name, or somebody has it.
    pub fn take_job(
        &self,
        job: &JobName,
        now: SystemTime,
        lease: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|e| StoreError::Io {
            path: self.places.root.clone(),
            source: std::io::Error::other(e.to_string()),
        })?;
        let (now, until) = (milliseconds(now), milliseconds(now + lease));
        let named = |statement: String| {
            let query = sqlx::query(sqlx::AssertSqlSafe(statement));
            query.bind(job.project.0.to_vec()).bind(job.kind.clone()).bind(job.key.clone())
        };
        self.metadata.write(async |c| {
            let select = format!("SELECT payload, attempts FROM jobs WHERE {NAMED} AND leased_until <= $4");
            let Some(row) = named(select).bind(now).fetch_optional(&mut *c).await? else { return Ok(None) };
            let (payload, attempts) = (bytes(&row, 0)?, number(&row, 1)? + 1);
            let update = format!(
                "UPDATE jobs SET attempts = attempts + 1, leased_until = $4, lease = $5 WHERE {NAMED}"
            );
            named(update).bind(until).bind(token.to_vec()).execute(&mut *c).await?;
            Ok(Some(Lease { job: job.clone(), payload, attempts, lease: token }))
        })
    }

    /// Changes the job of a lease by a statement whose first arguments are those of [`MINE`].
    fn leased(
        &self,
        lease: &Lease,
        statement: String,
        more: impl for<'q> FnOnce(super::metadata::Query<'q>) -> super::metadata::Query<'q>,
    ) -> Result<(), StoreError> {
        let query = more(lease.bound(statement));
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

    /// Gives a job back: somebody else may take it.
    pub fn give_job_back(&self, lease: &Lease, failure: &str) -> Result<(), StoreError> {
        let statement = format!("UPDATE jobs SET leased_until = 0, lease = NULL, failure = $5 WHERE {MINE}");
        let failure = failure.to_owned();
        self.leased(lease, statement, |query| query.bind(failure))
    }

    /// Takes all jobs away from who had them: for the refinery that starts, which has the store to itself.
    pub fn free_jobs(&self) -> Result<u64, StoreError> {
        let statement = "UPDATE jobs SET leased_until = 0, lease = NULL WHERE lease IS NOT NULL";
        self.metadata.change(sqlx::query(statement))
    }

    /// All jobs in the order in which they came.
    pub fn jobs(&self) -> Result<Vec<QueuedJob>, StoreError> {
        let query = sqlx::query(
            "SELECT project, kind, key, attempts, payload, leased_until, failure, created, lease FROM jobs \
             ORDER BY sequence",
        );
        let queued = |row: &sqlx::any::AnyRow| {
            let leased = some_bytes(row, 8)?.is_some();
            Ok(QueuedJob {
                job: JobName { project: Id(digest(row, 0)?), kind: text(row, 1)?, key: bytes(row, 2)? },
                attempts: number(row, 3)?,
                payload: bytes(row, 4)?,
                leased_until: if leased { Some(time(row.try_get::<i64, _>(5)?.max(0) as u64)) } else { None },
                failure: some_text(row, 6)?,
                created: time(number(row, 7)?),
            })
        };
        self.metadata.rows(query)?.iter().map(|row| self.decoded(queued(row))).collect()
    }
}

impl Lease {
    /// A statement whose first arguments are those of [`MINE`].
    fn bound(&self, statement: String) -> super::metadata::Query<'_> {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(self.job.project.0.to_vec())
            .bind(self.job.kind.clone())
            .bind(self.job.key.clone())
            .bind(self.lease.to_vec())
    }

    /// Ends the job together with what else is written: it is done once, whenever the refinery ends.
    pub(super) fn ended(&self) -> super::metadata::Query<'_> {
        self.bound(format!("DELETE FROM jobs WHERE {MINE}"))
    }
}
