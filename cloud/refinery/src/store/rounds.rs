//! What rounds leave: records for good, their models too; states until later rounds make them needless.

use std::ops::Range;

use blindsmith_project::add_round;
use blindsmith_protocol::{Blob, Id, RoundRecord, RoundSummary, to_cbor};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{bytes, digest, now, number, some_digest};
use super::database::Refusal;
use super::error::{StoreError, damaged};
use super::handle::Store;
use super::jobs::Lease;
use super::named::{Named, Places};

/// A column of blobs in a numbered table.
struct Column {
    table: &'static str,
    number: &'static str,
    name: &'static str,
}

impl Store {
    /// Stores what a round left. One that has its number already is replaced: a warden ended it again because
    /// it was not told that the first was stored. The job that it ends leaves the queue with the same write.
    pub fn save_round(
        &self,
        project: &Id,
        record: &RoundRecord,
        ends: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let adding = self.blobs.adding()?;
        let state = self.blobs.keep_bytes(&adding, &record.state.0)?;
        let model = self.blobs.keep_bytes(&adding, &record.model.0)?;
        let insert = sqlx::query(
            "INSERT INTO rounds (project, round, summary, used, state_blob, model_blob, receipt, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (project, round) DO UPDATE SET \
             summary = excluded.summary, used = excluded.used, state_blob = excluded.state_blob, \
             model_blob = excluded.model_blob, receipt = excluded.receipt, created = excluded.created",
        );
        let insert = insert
            .bind(project.0.to_vec())
            .bind(record.summary.round as i64)
            .bind(to_cbor(&record.summary))
            .bind(
                Named { given: record.given.clone(), used: record.used.clone() }
                    .encode(&self.places(project)?),
            )
            .bind(state.0.to_vec())
            .bind(model.0.to_vec())
            .bind(record.receipt.0.clone())
            .bind(now());
        self.metadata.write(async |c| {
            Self::require(c, project).await?;
            // Stored before, and the answer was lost: its lease has ended with it, and it is not to be undone.
            let found = sqlx::query("SELECT receipt FROM rounds WHERE project = $1 AND round = $2");
            let found = found.bind(project.0.to_vec()).bind(record.summary.round as i64);
            let stored = match found.fetch_optional(&mut *c).await? {
                Some(row) => bytes(&row, 0)? == record.receipt.0,
                None => false,
            };
            insert.execute(&mut *c).await?;
            match ends {
                Some(lease) if lease.ended().execute(c).await?.rows_affected() == 0 && !stored => {
                    Err(Refusal::Store(StoreError::Lease))
                }
                _ => Ok(()),
            }
        })
    }

    /// The uploads of a project under their places in the order of arrival.
    fn places(&self, project: &Id) -> Result<Places, StoreError> {
        let query =
            sqlx::query("SELECT sequence, id FROM uploads WHERE project = $1 ORDER BY sequence, created, id");
        let mut places = Places::default();
        for row in &self.metadata.rows(query.bind(project.0.to_vec()))? {
            places.add(self.decoded(number(row, 0))?, Id(self.decoded(digest(row, 1))?));
        }
        Ok(places)
    }

    fn read_round(&self, row: &AnyRow, places: &Places) -> Result<RoundRecord, StoreError> {
        let number = self.decoded(number(row, 0))?;
        let summary: RoundSummary = self.parsed(row, 1, &format!("round {number}"))?;
        if summary.round != number {
            return Err(damaged(&self.metadata.path(), format!("round {number} is another round's")));
        }
        let named = Named::decode(&self.decoded(bytes(row, 2))?, places);
        let Named { given, used } = named
            .map_err(|why| damaged(&self.metadata.path(), format!("the uploads of round {number}: {why}")))?;
        let receipt = Blob(self.decoded(bytes(row, 3))?);
        Ok(RoundRecord { summary, given, used, state: Blob::default(), model: Blob::default(), receipt })
    }

    /// Reads the rounds of a project, in order, without states and models; few are in memory at a time.
    pub fn each_round(&self, project: &Id, mut look: impl FnMut(RoundRecord)) -> Result<(), StoreError> {
        /// Rounds that are read at a time: each may name all uploads of a project twice.
        const AT_A_TIME: i64 = 16;
        let mut places = self.places(project)?;
        let mut next = 0;
        loop {
            let query = sqlx::query(
                "SELECT round, summary, used, receipt FROM rounds WHERE project = $1 AND round >= $2 \
                 ORDER BY round LIMIT $3",
            );
            let rows = self.metadata.rows(query.bind(project.0.to_vec()).bind(next).bind(AT_A_TIME))?;
            for row in &rows {
                let record = match self.read_round(row, &places) {
                    Ok(record) => record,
                    // It may name uploads that arrived since the places were read.
                    Err(_) => {
                        places = self.places(project)?;
                        self.read_round(row, &places)?
                    }
                };
                next = record.summary.round as i64 + 1;
                look(record);
            }
            if rows.len() < AT_A_TIME as usize {
                return Ok(());
            }
        }
    }

    /// The rounds that used an upload: from and to, in order.
    pub fn used_in(&self, project: &Id, upload: &Id) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut ranges = Vec::new();
        self.each_round(project, |record| {
            if record.used.contains(upload) {
                add_round(&mut ranges, record.summary.round);
            }
        })?;
        Ok(ranges)
    }

    /// What clients are told of these rounds, from the first on, as many as an answer should have.
    pub fn summaries(&self, project: &Id, rounds: Range<u64>) -> Result<Vec<RoundSummary>, StoreError> {
        /// Bytes after which no more are added.
        const BYTES: usize = 1 << 20;
        /// Rounds that are read at a time.
        const AT_A_TIME: i64 = 256;
        let mut found = Vec::new();
        if rounds.is_empty() {
            return Ok(found);
        }
        let query = sqlx::query(
            "SELECT round, summary FROM rounds WHERE project = $1 AND round >= $2 AND round < $3 \
             ORDER BY round LIMIT $4",
        );
        let [start, end] = [rounds.start, rounds.end].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let query = query.bind(project.0.to_vec()).bind(start).bind(end).bind(AT_A_TIME);
        let mut size = 0;
        for row in &self.metadata.rows(query)? {
            let number = self.decoded(number(row, 0))?;
            size += self.decoded(bytes(row, 1))?.len();
            if size > BYTES && !found.is_empty() {
                break;
            }
            found.push(self.parsed(row, 1, &format!("round {number}"))?);
        }
        Ok(found)
    }

    /// The signed receipts of rounds, from this one on, up to about so many bytes and at least one; whether there are
    /// more.
    pub fn receipts(&self, project: &Id, from: u64, most: usize) -> Result<(Vec<Blob>, bool), StoreError> {
        self.page(Column { table: "rounds", number: "round", name: "receipt" }, project, from, most)
    }

    /// The reports of wrong answers that follow so many of them, in the same way.
    pub fn faults_after(
        &self,
        project: &Id,
        count: u64,
        most: usize,
    ) -> Result<(Vec<Blob>, bool), StoreError> {
        self.page(Column { table: "faults", number: "sequence", name: "report" }, project, count, most)
    }

    /// A column of a table from a number on: what has about so many bytes, and whether there is more.
    fn page(
        &self,
        Column { table, number: number_column, name: column }: Column,
        project: &Id,
        from: u64,
        most: usize,
    ) -> Result<(Vec<Blob>, bool), StoreError> {
        /// Entries that are looked at; each counts as a few bytes more than it has.
        const AT_A_TIME: usize = 4096;
        const EACH: u64 = 16;
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        // Lengths first: of what does not fit nothing is read.
        let query = format!(
            "SELECT {number_column}, CAST(LENGTH({column}) AS BIGINT) FROM {table} \
             WHERE project = $1 AND {number_column} >= $2 ORDER BY {number_column} LIMIT $3"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query));
        let lengths = self.metadata.rows(query.bind(project.0.to_vec()).bind(from).bind(AT_A_TIME as i64))?;
        let (mut size, mut last, mut more) = (0, None, lengths.len() == AT_A_TIME);
        for row in &lengths {
            size += EACH + self.decoded(number(row, 1))?;
            if last.is_some() && size > most as u64 {
                more = true;
                break;
            }
            last = Some(self.decoded(number(row, 0))? as i64);
        }
        let Some(last) = last else { return Ok((Vec::new(), false)) };
        let query = format!(
            "SELECT {column} FROM {table} WHERE project = $1 AND {number_column} >= $2 AND {number_column} <= $3 \
             ORDER BY {number_column}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query));
        let rows = self.metadata.rows(query.bind(project.0.to_vec()).bind(from).bind(last))?;
        let found: Result<Vec<Blob>, StoreError> =
            rows.iter().map(|row| Ok(Blob(self.decoded(bytes(row, 0))?))).collect();
        Ok((found?, more))
    }

    /// Reads a round. Its state is empty once it was dropped ([`Store::prune_states`]).
    pub fn round(&self, project: &Id, round: u64) -> Result<RoundRecord, StoreError> {
        let query = sqlx::query(
            "SELECT round, summary, used, receipt, state_blob, model_blob FROM rounds \
             WHERE project = $1 AND round = $2",
        );
        let row = self.metadata.row(query.bind(project.0.to_vec()).bind(round as i64))?;
        let row = row.ok_or_else(|| StoreError::Missing(format!("round {round} of project {project}")))?;
        let mut record = self.read_round(&row, &self.places(project)?)?;
        if let Some(state) = self.decoded(some_digest(&row, 4))? {
            record.state = Blob(self.blobs.read(&Id(state))?);
        }
        record.model = Blob(self.blobs.read(&Id(self.decoded(digest(&row, 5))?))?);
        Ok(record)
    }

    /// Writes a round's state and model once more, and forgets them: whether one like it could be stored.
    pub fn rehearse(&self, project: &Id, round: u64) -> Result<(), StoreError> {
        let record = self.round(project, round)?;
        self.blobs.rehearse(&[record.state.0, record.model.0].concat())
    }

    /// Drops the sealed states of all but the newest `keep` rounds of each project, at least one. Models and
    /// receipts stay. The number of states that went.
    pub fn prune_states(&self, keep: u32) -> Result<u64, StoreError> {
        let mut pruned = Vec::new();
        for spec in self.specs()? {
            let id = spec.id();
            let old = "project = $1 AND state_blob IS NOT NULL AND round NOT IN \
                       (SELECT round FROM rounds WHERE project = $1 ORDER BY round DESC LIMIT $2)";
            let found = self.metadata.write(async |c| {
                let keep = i64::from(keep.max(1));
                let select = sqlx::AssertSqlSafe(format!("SELECT state_blob FROM rounds WHERE {old}"));
                let select = sqlx::query(select).bind(id.0.to_vec()).bind(keep);
                let found = select.fetch_all(&mut *c).await?;
                let update = sqlx::AssertSqlSafe(format!("UPDATE rounds SET state_blob = NULL WHERE {old}"));
                sqlx::query(update).bind(id.0.to_vec()).bind(keep).execute(&mut *c).await?;
                let names = found.iter().map(|row| digest(row, 0).map(Id));
                Ok(names.collect::<Result<Vec<_>, sqlx::Error>>()?)
            })?;
            pruned.extend(found);
        }
        let count = pruned.len() as u64;
        if count > 0 {
            self.release_blobs(pruned)?;
        }
        Ok(count)
    }

    /// Keeps a report of a wrong answer.
    pub fn save_fault(&self, project: &Id, report: &[u8]) -> Result<(), StoreError> {
        self.metadata.write(async |c| {
            Self::require(c, project).await?;
            let last = sqlx::query("SELECT COALESCE(MAX(sequence), -1) FROM faults WHERE project = $1");
            let last: i64 = last.bind(project.0.to_vec()).fetch_one(&mut *c).await?.try_get(0)?;
            let insert = sqlx::query(
                "INSERT INTO faults (project, sequence, report, created) VALUES ($1, $2, $3, $4)",
            );
            let insert = insert.bind(project.0.to_vec()).bind(last + 1).bind(report.to_vec()).bind(now());
            insert.execute(&mut *c).await?;
            Ok(())
        })
    }

    /// The reports of wrong answers, in order.
    pub fn faults(&self, project: &Id) -> Result<Vec<Blob>, StoreError> {
        let query = sqlx::query("SELECT report FROM faults WHERE project = $1 ORDER BY sequence");
        let rows = self.metadata.rows(query.bind(project.0.to_vec()))?;
        rows.iter().map(|row| Ok(Blob(self.decoded(bytes(row, 0))?))).collect()
    }
}
