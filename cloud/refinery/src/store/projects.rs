//! Projects, and all that a refinery has in mind of them when it starts.

use blindsmith_project::Verdict;
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader, from_cbor, to_cbor};
use sqlx::any::AnyRow;

use super::columns::{bytes, digest, now};
use super::database::Refusal;
use super::error::{StoreError, damaged};
use super::handle::Store;
use super::uploads::UploadState;

/// A project that was found.
pub struct StoredProject {
    /// Its specification.
    pub spec: ProjectSpec,
    /// Its uploads, in order of arrival, with what stands about each: what the warden found, or a refusal
    /// of one that was withdrawn; and when each arrived, in seconds since 1970.
    pub uploads: Vec<(UploadHeader, Option<Verdict>, u64)>,
    /// Those of them that were withdrawn.
    pub withdrawn: Vec<Id>,
    /// The owner's signed orders, in sequence, and when each was stored, in seconds since 1970.
    pub orders: Vec<(Blob, u64)>,
}

impl Store {
    /// Creates a project; the same specification and model again change nothing.
    pub fn create(&self, spec: &ProjectSpec, model: &[u8]) -> Result<(), StoreError> {
        let id = spec.id();
        let adding = self.blobs.adding()?;
        let same = |initial: [u8; 32]| match initial == *blake3::hash(model).as_bytes() {
            true => Ok(()),
            false => Err(StoreError::Exists(id)),
        };
        if let Some(initial) = self.initial(&id)? {
            return same(initial.0);
        }
        let initial = self.blobs.keep_bytes(&adding, model)?;
        let insert = sqlx::query(
            "INSERT INTO projects (id, spec, initial_blob, created) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(id.0.to_vec()).bind(to_cbor(spec)).bind(initial.0.to_vec()).bind(now());
        if self.metadata.change(insert)? == 0 {
            // Somebody else came first.
            return same(self.initial(&id)?.map_or([0; 32], |i| i.0));
        }
        Ok(())
    }

    fn initial(&self, project: &Id) -> Result<Option<Id>, StoreError> {
        let query = sqlx::query("SELECT initial_blob FROM projects WHERE id = $1").bind(project.0.to_vec());
        match self.metadata.row(query)? {
            Some(row) => Ok(Some(Id(self.decoded(digest(&row, 0))?))),
            None => Ok(None),
        }
    }

    /// The sealed initial model.
    pub fn initial_model(&self, project: &Id) -> Result<Vec<u8>, StoreError> {
        let initial = self.initial(project)?;
        self.blobs.read(&initial.ok_or_else(|| StoreError::Missing(format!("project {project}")))?)
    }

    /// A column's value, or that the database is damaged.
    pub(super) fn decoded<T>(&self, value: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        value.map_err(|e| damaged(&self.metadata.path(), e.to_string()))
    }

    /// CBOR of a column, or that the database is damaged there.
    pub(super) fn parsed<T: serde::de::DeserializeOwned>(
        &self,
        row: &AnyRow,
        column: usize,
        what: &str,
    ) -> Result<T, StoreError> {
        let bytes = self.decoded(bytes(row, column))?;
        from_cbor(&bytes).map_err(|e| damaged(&self.metadata.path(), format!("{what}: {e}")))
    }

    pub(super) fn specs(&self) -> Result<Vec<ProjectSpec>, StoreError> {
        let rows = self.metadata.rows(sqlx::query("SELECT id, spec FROM projects ORDER BY id"))?;
        let spec = |row: &AnyRow| {
            let id = Id(self.decoded(digest(row, 0))?);
            let spec: ProjectSpec = self.parsed(row, 1, &format!("the specification of project {id}"))?;
            let wrong = |why: String| damaged(&self.metadata.path(), format!("project {id}: {why}"));
            spec.validate().map_err(|e| wrong(e.to_string()))?;
            // What stands for the same value in another way is damage too: nobody wrote it so.
            if to_cbor(&spec) != self.decoded(bytes(row, 1))? {
                return Err(wrong("its specification is not as it was written".into()));
            }
            match spec.id() == id {
                true => Ok(spec),
                false => Err(wrong("it has a specification that is not the one that names it".into())),
            }
        };
        rows.iter().map(spec).collect()
    }

    /// Everything that is there but the rounds ([`Store::each_round`]). Rows that are missing or too short are told at once; whether their content is
    /// what was stored, when they are opened.
    pub fn projects(&self) -> Result<Vec<StoredProject>, StoreError> {
        let mut found = Vec::new();
        for spec in self.specs()? {
            let id = spec.id();
            let (mut uploads, mut withdrawn) = (Vec::new(), Vec::new());
            for upload in self.uploads(&id)? {
                if upload.state == UploadState::Withdrawn {
                    withdrawn.push(upload.header.id());
                } else {
                    let expected = upload.header.body_bytes(&spec);
                    let path = || self.blobs.place(&upload.rows);
                    match self.blobs.bytes(&upload.rows)? {
                        Some(bytes) if bytes == expected => {}
                        Some(bytes) => {
                            let why = format!("it has {bytes} bytes where {expected} were stored");
                            return Err(damaged(&path(), why));
                        }
                        None => return Err(damaged(&path(), "it is not there")),
                    }
                }
                let (standing, arrived) = (upload.standing(), upload.created / 1000);
                uploads.push((upload.header, standing, arrived));
            }
            found.push(StoredProject { orders: self.dated_orders(&id)?, spec, uploads, withdrawn });
        }
        Ok(found)
    }

    /// That a project is there, within a transaction.
    pub(super) async fn require(connection: &mut sqlx::AnyConnection, project: &Id) -> Result<(), Refusal> {
        let query = sqlx::query("SELECT 1 FROM projects WHERE id = $1").bind(project.0.to_vec());
        match query.fetch_optional(connection).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::Missing(format!("project {project}")).into()),
        }
    }
}
