//! What owners ordered, who is enrolled, and what each member stores here.

use blindsmith_protocol::{Blob, Id};
use sqlx::Row;

use super::columns::{bytes, digest, now, number};
use super::error::{StoreError, damaged};
use super::handle::Store;
use super::metadata::Query;

impl Store {
    /// Keeps an owner's signed order. Orders are numbered from 1 without gaps; the same bytes under a number
    /// that is there change nothing. Signatures are the caller's business.
    pub fn save_order(&self, project: &Id, sequence: u64, signed: &[u8]) -> Result<(), StoreError> {
        self.metadata.write(async |c| {
            Self::require(c, project).await?;
            let found = sqlx::query("SELECT signed FROM orders WHERE project = $1 AND sequence = $2");
            let found = found.bind(project.0.to_vec()).bind(sequence as i64);
            if let Some(row) = found.fetch_optional(&mut *c).await?
                && bytes(&row, 0)? == signed
            {
                return Ok(());
            }
            let last = sqlx::query("SELECT COALESCE(MAX(sequence), 0) FROM orders WHERE project = $1");
            let last: i64 = last.bind(project.0.to_vec()).fetch_one(&mut *c).await?.try_get(0)?;
            let expected = last as u64 + 1;
            if sequence != expected {
                return Err(StoreError::Order { expected, got: sequence }.into());
            }
            let insert = sqlx::query(
                "INSERT INTO orders (project, sequence, signed, created) VALUES ($1, $2, $3, $4)",
            );
            let insert = insert.bind(project.0.to_vec()).bind(sequence as i64).bind(signed.to_vec());
            insert.bind(now()).execute(&mut *c).await?;
            Ok(())
        })
    }

    /// An owner's signed orders, from number 1 on.
    pub fn orders(&self, project: &Id) -> Result<Vec<Blob>, StoreError> {
        Ok(self.dated_orders(project)?.into_iter().map(|(order, _)| order).collect())
    }

    /// The same with the time at which each was stored, in seconds since 1970.
    pub(super) fn dated_orders(&self, project: &Id) -> Result<Vec<(Blob, u64)>, StoreError> {
        let query =
            sqlx::query("SELECT signed, sequence, created FROM orders WHERE project = $1 ORDER BY sequence");
        let rows = self.metadata.rows(query.bind(project.0.to_vec()))?;
        let order = |(i, row)| match self.decoded(number(row, 1))? == i as u64 + 1 {
            true => Ok((Blob(self.decoded(bytes(row, 0))?), self.decoded(number(row, 2))? / 1000)),
            false => {
                Err(damaged(&self.metadata.path(), format!("order {} of project {project} is gone", i + 1)))
            }
        };
        rows.iter().enumerate().map(order).collect()
    }

    /// Keeps what tells this warden that a contributor is enrolled. Tokens of earlier terms stay: uploads under those
    /// still need them.
    pub fn enrol(&self, project: &Id, contributor: &Id, holder: &Id, token: &[u8]) -> Result<(), StoreError> {
        let insert = sqlx::query(
            "INSERT INTO enrolments (project, contributor, token, created, holder) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(project.0.to_vec()).bind(contributor.0.to_vec()).bind(token.to_vec());
        let insert = insert.bind(now()).bind(holder.0.to_vec());
        self.metadata.write(async |c| {
            Self::require(c, project).await?;
            insert.execute(c).await?;
            Ok(())
        })
    }

    /// Keeps what a warden sealed for itself when it took a project over: for the project, and for contributors.
    pub fn taken_over(
        &self,
        project: &Id,
        holder: &Id,
        holding: &[u8],
        tokens: &[(Id, Blob)],
    ) -> Result<(), StoreError> {
        // The holding comes last: without it the hand-over is repeated.
        for (contributor, token) in tokens {
            self.enrol(project, contributor, holder, &token.0)?;
        }
        self.hold(project, holder, holding)
    }

    /// Keeps what a warden sealed for itself when it was given a project; a later one takes its place.
    pub fn hold(&self, project: &Id, holder: &Id, token: &[u8]) -> Result<(), StoreError> {
        let insert = sqlx::query(
            "INSERT INTO holdings (project, holder, token, created) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, holder) DO UPDATE SET token = excluded.token, created = excluded.created",
        );
        let insert = insert.bind(project.0.to_vec()).bind(holder.0.to_vec()).bind(token.to_vec());
        let insert = insert.bind(now());
        self.metadata.write(async |c| {
            Self::require(c, project).await?;
            insert.execute(c).await?;
            Ok(())
        })
    }

    /// What this warden sealed for itself, if it was given the project.
    pub fn holding(&self, project: &Id, holder: &Id) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query("SELECT token FROM holdings WHERE project = $1 AND holder = $2");
        let row = self.metadata.row(query.bind(project.0.to_vec()).bind(holder.0.to_vec()))?;
        row.map(|row| self.decoded(bytes(&row, 0))).transpose()
    }

    /// All contributors of a project that are enrolled with this warden, with their tokens, in order of their keys; those
    /// of one contributor in order of arrival.
    pub fn enrolments(&self, project: &Id, holder: &Id) -> Result<Vec<(Id, Vec<u8>)>, StoreError> {
        let query = sqlx::query(
            "SELECT contributor, token FROM enrolments WHERE project = $1 AND holder = $2 \
             ORDER BY contributor, created",
        );
        self.tokens(query.bind(project.0.to_vec()).bind(holder.0.to_vec()))
    }

    /// Those with any warden.
    pub(super) fn all_enrolments(&self, project: &Id) -> Result<Vec<(Id, Vec<u8>)>, StoreError> {
        let query = sqlx::query("SELECT contributor, token FROM enrolments WHERE project = $1");
        self.tokens(query.bind(project.0.to_vec()))
    }

    fn tokens(&self, query: Query<'_>) -> Result<Vec<(Id, Vec<u8>)>, StoreError> {
        let rows = self.metadata.rows(query)?;
        rows.iter().map(|r| Ok((Id(self.decoded(digest(r, 0))?), self.decoded(bytes(r, 1))?))).collect()
    }
}
