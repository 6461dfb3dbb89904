//! Uploads: rows and projections as blobs, what is known of them as records.

use std::fs::File;

use blindsmith_project::Verdict;
use blindsmith_protocol::{Id, UploadHeader, from_cbor, to_cbor};
use sqlx::any::AnyRow;
use tempfile::NamedTempFile;

use super::columns::{digest, now, number, some_bytes, some_digest, text};
use super::error::{StoreError, damaged};
use super::files;
use super::handle::Store;
use super::partial_id::PartialId;

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// It is stored.
    Stored,
    /// Its rows are gone; the header stays, as rounds that used them name it.
    Withdrawn,
}

impl UploadState {
    fn name(self) -> &'static str {
        match self {
            UploadState::Stored => "stored",
            UploadState::Withdrawn => "withdrawn",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [UploadState::Stored, UploadState::Withdrawn].into_iter().find(|state| state.name() == name)
    }
}

/// What is known of an upload.
#[derive(Debug, Clone)]
pub struct StoredUpload {
    /// Its header.
    pub header: UploadHeader,
    /// What the warden found when it read it.
    pub verdict: Option<Verdict>,
    /// What became of it.
    pub state: UploadState,
    /// The digest of its rows; zero once they were withdrawn.
    pub rows: Id,
    /// The digest of its projections, if the warden took any.
    pub projections: Option<Id>,
    /// When it was stored, in milliseconds since 1970.
    pub created: u64,
}

impl StoredUpload {
    /// What a round is to make of it: the warden's verdict, unless it is withdrawn.
    pub fn standing(&self) -> Option<Verdict> {
        match self.state {
            UploadState::Stored => self.verdict.clone(),
            UploadState::Withdrawn => Some(Verdict::Refused("withdrawn".into())),
        }
    }
}

const COLUMNS: &str = "id, header, verdict, state, rows_blob, projections_blob, created";

fn missing(project: &Id, upload: &Id) -> StoreError {
    StoreError::Missing(format!("upload {upload} of project {project}"))
}

impl Store {
    fn read_upload(&self, project: &Id, row: &AnyRow) -> Result<StoredUpload, StoreError> {
        let id = Id(self.decoded(digest(row, 0))?);
        let wrong = |why: &str| damaged(&self.metadata.path(), format!("upload {id} {why}"));
        let header: UploadHeader = self.parsed(row, 1, &format!("the header of upload {id}"))?;
        if header.validate(project).is_err() || header.id() != id {
            return Err(wrong("has a header that is not the one that names it"));
        }
        let verdict = self.decoded(some_bytes(row, 2))?;
        let verdict = verdict.map(|v| from_cbor(&v)).transpose();
        let verdict = verdict.map_err(|_| wrong("has a verdict that is none"))?;
        let state = UploadState::parse(&self.decoded(text(row, 3))?);
        let state = state.ok_or_else(|| wrong("is in no state that there is"))?;
        let rows = self.decoded(some_digest(row, 4))?;
        let projections = self.decoded(some_digest(row, 5))?.map(Id);
        // Of one that is withdrawn nothing is told, also while it is still being deleted.
        let (rows, projections) = match (state, rows) {
            (UploadState::Withdrawn, _) => (Id([0; 32]), None),
            (UploadState::Stored, Some(rows)) => (Id(rows), projections),
            (UploadState::Stored, None) => return Err(wrong("has no rows")),
        };
        Ok(StoredUpload { header, verdict, state, rows, projections, created: self.decoded(number(row, 6))? })
    }

    /// The uploads of a project, in order of arrival.
    pub fn uploads(&self, project: &Id) -> Result<Vec<StoredUpload>, StoreError> {
        let query =
            format!("SELECT {COLUMNS} FROM uploads WHERE project = $1 ORDER BY sequence, created, id");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(project.0.to_vec());
        self.metadata.rows(query)?.iter().map(|row| self.read_upload(project, row)).collect()
    }

    /// One upload.
    pub fn upload(&self, project: &Id, upload: &Id) -> Result<StoredUpload, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM uploads WHERE project = $1 AND id = $2");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(project.0.to_vec()).bind(upload.0.to_vec());
        let row = self.metadata.row(query)?.ok_or_else(|| missing(project, upload))?;
        self.read_upload(project, &row)
    }

    /// Makes an upload durable whose rows have this digest and so many bytes.
    pub(super) fn add_upload(
        &self,
        header: &UploadHeader,
        file: NamedTempFile,
        rows: Id,
        bytes: u64,
        partial: Option<PartialId>,
    ) -> Result<(), StoreError> {
        let (project, upload) = (header.project, header.id());
        match self.upload(&project, &upload) {
            Ok(found) if found.state == UploadState::Withdrawn => return Err(StoreError::Withdrawn(upload)),
            Ok(_) => return partial.map_or(Ok(()), |id| self.abandon_partial(&id)),
            Err(StoreError::Missing(_)) => {}
            Err(e) => return Err(e),
        }
        let adding = self.blobs.adding()?;
        self.blobs.keep(&adding, file, &rows)?;
        let insert = sqlx::query(
            "INSERT INTO uploads (project, id, sequence, header, contributor, row_count, byte_count, rows_blob, \
             state, created) VALUES ($1, $2, \
             (SELECT COALESCE(MAX(sequence) + 1, 0) FROM uploads WHERE project = $1), \
             $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        );
        let insert = insert
            .bind(project.0.to_vec())
            .bind(upload.0.to_vec())
            .bind(to_cbor(header))
            .bind(header.contributor.0.to_vec())
            .bind(i64::from(header.rows))
            .bind(bytes as i64)
            .bind(rows.0.to_vec())
            .bind(UploadState::Stored.name())
            .bind(now());
        self.metadata.write(async |c| {
            Self::require(c, &project).await?;
            insert.execute(&mut *c).await?;
            if let Some(id) = &partial {
                let over = sqlx::query("DELETE FROM partials WHERE id = $1").bind(id.0.to_vec());
                over.execute(&mut *c).await?;
            }
            Ok(())
        })?;
        if let Some(id) = partial {
            // If it stays, the next start removes it.
            _ = std::fs::remove_file(self.partial_path(&id));
        }
        Ok(())
    }

    /// The rows of an upload, for reading.
    pub fn rows(&self, project: &Id, upload: &Id) -> Result<File, StoreError> {
        let found = self.upload(project, upload)?;
        match found.state {
            UploadState::Withdrawn => Err(StoreError::Withdrawn(*upload)),
            _ => self.blobs.open(&found.rows),
        }
    }

    /// The projections of an admitted upload, for reading.
    pub fn kept(&self, project: &Id, upload: &Id) -> Result<File, StoreError> {
        let found = self.upload(project, upload)?;
        let projections = found
            .projections
            .ok_or_else(|| StoreError::Missing(format!("projections of upload {upload}")))?;
        self.blobs.open(&projections)
    }

    /// Makes a verdict on an upload durable, with the projections of an admitted one.
    pub fn judge(
        &self,
        project: &Id,
        upload: &Id,
        projections: NamedTempFile,
        verdict: &Verdict,
    ) -> Result<(), StoreError> {
        let adding = self.blobs.adding()?;
        let kept = match verdict {
            Verdict::Admitted(_) => {
                let name = files::digest(projections.path(), projections.as_file())?;
                self.blobs.keep(&adding, projections, &name)?;
                Some(name.0.to_vec())
            }
            Verdict::Refused(_) => None,
        };
        // Projections of an earlier verdict stay with a refusal: another warden may still use them.
        let update = sqlx::query(
            "UPDATE uploads SET verdict = $1, projections_blob = COALESCE($2, projections_blob) \
             WHERE project = $3 AND id = $4 AND state <> 'withdrawn'",
        );
        let update = update.bind(to_cbor(verdict)).bind(kept);
        self.changed(update.bind(project.0.to_vec()).bind(upload.0.to_vec()), project, upload)
    }

    /// Changes an upload that is stored.
    fn changed(
        &self,
        update: super::metadata::Query<'_>,
        project: &Id,
        upload: &Id,
    ) -> Result<(), StoreError> {
        if self.metadata.change(update)? == 1 {
            return Ok(());
        }
        match self.upload(project, upload)?.state {
            UploadState::Withdrawn => Err(StoreError::Withdrawn(*upload)),
            _ => Err(missing(project, upload)),
        }
    }

    /// Deletes an upload's rows and projections, unless another upload has the same. Its header stays. Again, it
    /// changes nothing but what was left of it.
    pub fn withdraw(&self, project: &Id, upload: &Id) -> Result<(), StoreError> {
        self.mark_withdrawn(project, upload)?;
        self.finish_withdrawal(project, upload)
    }

    /// From here on the upload is withdrawn, and its rows are nobody's. What they are called stays until they are gone.
    pub fn mark_withdrawn(&self, project: &Id, upload: &Id) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE uploads SET state = 'withdrawn' WHERE project = $1 AND id = $2");
        let update = update.bind(project.0.to_vec()).bind(upload.0.to_vec());
        match self.metadata.change(update)? {
            0 => Err(missing(project, upload)),
            _ => Ok(()),
        }
    }

    /// Deletes the rows and projections of an upload that is withdrawn, if they are there.
    pub fn finish_withdrawal(&self, project: &Id, upload: &Id) -> Result<(), StoreError> {
        let query = sqlx::query(
            "SELECT rows_blob, projections_blob FROM uploads WHERE project = $1 AND id = $2 AND state = 'withdrawn'",
        );
        let query = query.bind(project.0.to_vec()).bind(upload.0.to_vec());
        let Some(row) = self.metadata.row(query)? else { return Ok(()) };
        let names = [self.decoded(some_digest(&row, 0))?, self.decoded(some_digest(&row, 1))?];
        if names == [None, None] {
            return Ok(());
        }
        self.release_blobs(names.into_iter().flatten().map(Id))?;
        let update = sqlx::query(
            "UPDATE uploads SET rows_blob = NULL, projections_blob = NULL \
             WHERE project = $1 AND id = $2 AND state = 'withdrawn'",
        );
        self.metadata.change(update.bind(project.0.to_vec()).bind(upload.0.to_vec())).map(drop)
    }

    /// Goes on with withdrawals whose rows could not be deleted.
    pub fn finish_withdrawals(&self) -> Result<(), StoreError> {
        let query = sqlx::query(
            "SELECT project, id FROM uploads WHERE state = 'withdrawn' \
             AND (rows_blob IS NOT NULL OR projections_blob IS NOT NULL)",
        );
        self.metadata.rows(query)?.iter().try_for_each(|row| {
            let (project, upload) = (self.decoded(digest(row, 0))?, self.decoded(digest(row, 1))?);
            self.finish_withdrawal(&Id(project), &Id(upload))
        })
    }

    /// Removes those of these blobs that nothing refers to any more.
    pub(super) fn release_blobs(&self, names: impl IntoIterator<Item = Id>) -> Result<(), StoreError> {
        let removing = self.blobs.removing()?;
        let referred = self.references()?;
        for name in names {
            if !referred.contains_key(&name) {
                self.blobs.remove(&removing, &name)?;
            }
        }
        Ok(())
    }
}
