//! Uploads that are sent in pieces and go on after a broken connection or a crash.
//!
//! A piece is synchronised before it is counted, so what is counted is there. Bytes beyond are what a crash
//! left, and are written over.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::SystemTime;

use blindsmith_protocol::{Id, ProjectSpec, UploadError};
use sqlx::any::AnyRow;

use super::columns::{digest, milliseconds, now, number};
use super::error::{StoreError, damaged, io_error};
use super::failpoint;
use super::files;
use super::handle::Store;
use super::incoming::{Extent, Incoming, most_bytes};
use super::partial_id::PartialId;

/// A resumable upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// Its name.
    pub id: PartialId,
    /// For which project.
    pub project: Id,
    /// Who sends it.
    pub sender: Id,
    /// Bytes that are there, whatever happens: the next piece starts here.
    pub bytes: u64,
    /// When it began, in milliseconds since 1970.
    pub created: u64,
    /// When its last piece came, in milliseconds since 1970.
    pub updated: u64,
}

/// What the files of resumable uploads end with.
const EXTENSION: &str = "part";

fn read_partial(row: &AnyRow) -> Result<Partial, sqlx::Error> {
    Ok(Partial {
        id: PartialId(digest(row, 0)?),
        project: Id(digest(row, 1)?),
        sender: Id(digest(row, 2)?),
        bytes: number(row, 3)?,
        created: number(row, 4)?,
        updated: number(row, 5)?,
    })
}

const COLUMNS: &str = "id, project, sender, byte_count, created, updated";

impl Store {
    pub(super) fn partial_path(&self, id: &PartialId) -> PathBuf {
        self.incoming.0.join(format!("{id}.{EXTENSION}"))
    }

    /// Begins a resumable upload.
    pub fn begin_partial(&self, project: &Id, sender: &Id) -> Result<PartialId, StoreError> {
        // Not after all of it came.
        self.check()?;
        let mut id = PartialId([0; 16]);
        let random = getrandom::fill(&mut id.0);
        random.map_err(|e| io_error(&self.places.root)(io::Error::other(e.to_string())))?;
        let path = self.partial_path(&id);
        failpoint::refusable("partial.create").map_err(io_error(&path))?;
        File::create_new(&path).map_err(io_error(&path))?;
        files::synchronise(&self.incoming.0)?;
        let insert = sqlx::query(
            "INSERT INTO partials (id, project, sender, byte_count, created, updated) \
             VALUES ($1, $2, $3, 0, $4, $4)",
        );
        let insert = insert.bind(id.0.to_vec()).bind(project.0.to_vec()).bind(sender.0.to_vec()).bind(now());
        let begun = self.metadata.write(async |c| {
            Self::require(c, project).await?;
            insert.execute(c).await?;
            Ok(())
        });
        if begun.is_err() {
            _ = fs::remove_file(&path);
        }
        begun.map(|()| id)
    }

    /// How far a resumable upload is.
    pub fn partial(&self, id: &PartialId) -> Result<Partial, StoreError> {
        let query = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM partials WHERE id = $1"));
        let row = self.metadata.row(sqlx::query(query).bind(id.0.to_vec()))?;
        let missing = || StoreError::Missing("upload under way of that name: begin it again".into());
        self.decoded(read_partial(&row.ok_or_else(missing)?))
    }

    /// All resumable uploads, those first that were quiet for longest.
    pub fn partials(&self) -> Result<Vec<Partial>, StoreError> {
        let query = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM partials ORDER BY updated, id"));
        self.metadata.rows(sqlx::query(query))?.iter().map(|row| self.decoded(read_partial(row))).collect()
    }

    /// How many resumable uploads a sender has in a project, and their bytes.
    pub fn partial_totals(&self, project: &Id, sender: &Id) -> Result<(u64, u64), StoreError> {
        let query = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(byte_count), 0) AS BIGINT) FROM partials \
             WHERE project = $1 AND sender = $2",
        );
        let row = self.metadata.row(query.bind(project.0.to_vec()).bind(sender.0.to_vec()))?;
        match row {
            Some(row) => self.decoded(number(&row, 0).and_then(|count| Ok((count, number(&row, 1)?)))),
            None => Ok((0, 0)),
        }
    }

    fn appending(&self, id: &PartialId) -> MutexGuard<'_, ()> {
        let lock = &self.appending[usize::from(id.0[0]) % self.appending.len()];
        lock.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds bytes at `offset`, which is how many are there; how many there are then, durably. Bytes that are there
    /// already may come again.
    ///
    /// # Errors
    /// [`StoreError::Offset`] if they start elsewhere, or are not those that are there.
    pub fn append_partial(&self, id: &PartialId, offset: u64, bytes: &[u8]) -> Result<u64, StoreError> {
        let _alone = self.appending(id);
        let found = self.partial(id)?;
        let path = self.partial_path(id);
        let err = io_error(&path);
        let end = offset.saturating_add(bytes.len() as u64);
        if end <= found.bytes {
            return match self.holds(&path, offset, bytes)? {
                true => Ok(found.bytes),
                false => Err(StoreError::Offset { durable: found.bytes }),
            };
        }
        if offset != found.bytes {
            return Err(StoreError::Offset { durable: found.bytes });
        }
        let spec = self.spec_of(&found.project)?;
        let most = most_bytes(&spec);
        if end > most {
            return Err(UploadError::Length { got: end, expected: most, rows: 0 }.into());
        }
        self.unshare(&path)?;
        let mut file = File::options().write(true).open(&path).map_err(&err)?;
        file.seek(SeekFrom::Start(offset)).map_err(&err)?;
        failpoint::write("partial.write", &mut file, bytes).map_err(&err)?;
        failpoint::refusable("partial.synchronise").map_err(&err)?;
        file.sync_all().map_err(&err)?;
        let update = sqlx::query("UPDATE partials SET byte_count = $1, updated = $2 WHERE id = $3");
        self.metadata.change(update.bind(end as i64).bind(now()).bind(id.0.to_vec()))?;
        Ok(end)
    }

    fn spec_of(&self, project: &Id) -> Result<ProjectSpec, StoreError> {
        let query = sqlx::query("SELECT spec FROM projects WHERE id = $1").bind(project.0.to_vec());
        let row = self.metadata.row(query)?;
        let row = row.ok_or_else(|| StoreError::Missing(format!("project {project}")))?;
        self.parsed(&row, 0, &format!("the specification of project {project}"))
    }

    /// Whether these bytes are there.
    fn holds(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<bool, StoreError> {
        let file = File::open(path).map_err(io_error(path))?;
        let mut stored = vec![0; bytes.len().min(1 << 20)];
        for (i, piece) in bytes.chunks(stored.len().max(1)).enumerate() {
            let stored = &mut stored[..piece.len()];
            let at = offset + ((i as u64) << 20);
            file.read_exact_at(stored, at).map_err(io_error(path))?;
            if stored != piece {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A crash while an upload was committed can leave a blob that is this file: what is written from now on
    /// must not be the blob's.
    fn unshare(&self, path: &Path) -> Result<(), StoreError> {
        let err = io_error(path);
        if fs::metadata(path).map_err(&err)?.nlink() == 1 {
            return Ok(());
        }
        let mut copy = self.incoming.file()?;
        io::copy(&mut File::open(path).map_err(&err)?, &mut copy).map_err(&err)?;
        files::publish(copy, path)
    }

    /// The upload that has come, read again and checked, ready for [`Incoming::check`] and
    /// [`Incoming::commit`]. It stays resumable until it is committed.
    pub fn open_partial(
        &self,
        id: &PartialId,
        spec: &ProjectSpec,
        extent: Extent,
    ) -> Result<Incoming<'_>, StoreError> {
        let _alone = self.appending(id);
        let found = self.partial(id)?;
        if found.project != spec.id() {
            return Err(UploadError::OtherProject.into());
        }
        let path = self.partial_path(id);
        let err = io_error(&path);
        self.unshare(&path)?;
        // What came beyond the durable bytes was never acknowledged.
        let own = File::options().write(true).open(&path).map_err(&err)?;
        own.set_len(found.bytes).map_err(&err)?;
        let file = self.incoming.link(&path)?;
        let mut incoming = Incoming::new(self, spec, extent, file)?;
        incoming.partial = Some(*id);
        // Pieces of whole blocks: the last block alone may have fewer rows.
        let size = spec.block_bytes(extent.role, spec.block_rows);
        let piece = size * (8 << 20 >> size.ilog2().min(23)).max(1);
        let mut buffer = vec![0; piece.min(found.bytes as usize)];
        let mut at = 0;
        while at < found.bytes {
            let len = buffer.len().min((found.bytes - at) as usize);
            incoming.file.as_file().read_exact_at(&mut buffer[..len], at).map_err(&err)?;
            incoming.blocks_read(&buffer[..len])?;
            at += len as u64;
        }
        Ok(incoming)
    }

    /// Forgets a resumable upload; one that is not there is forgotten already.
    pub fn abandon_partial(&self, id: &PartialId) -> Result<(), StoreError> {
        let _alone = self.appending(id);
        self.metadata.change(sqlx::query("DELETE FROM partials WHERE id = $1").bind(id.0.to_vec()))?;
        let path = self.partial_path(id);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(&path)(e)),
            _ => Ok(()),
        }
    }

    /// Forgets resumable uploads whose last piece came before this time; how many.
    pub fn expire_partials(&self, before: SystemTime) -> Result<u64, StoreError> {
        let before = milliseconds(before) as u64;
        let old: Vec<_> = self.partials()?.into_iter().filter(|p| p.updated < before).collect();
        old.iter().try_for_each(|p| self.abandon_partial(&p.id))?;
        Ok(old.len() as u64)
    }

    /// At start: files that nothing tells of go, and so do uploads whose file is not all there.
    pub(super) fn clear_partials(&self) -> Result<(), StoreError> {
        let known = self.partials()?;
        for entry in fs::read_dir(&self.incoming.0).map_err(io_error(&self.incoming.0))? {
            let path = entry.map_err(io_error(&self.incoming.0))?.path();
            let name = path.file_stem().and_then(|n| n.to_str()).and_then(|n| n.parse::<PartialId>().ok());
            let ours = path.extension().is_some_and(|e| e == EXTENSION);
            if let Some(id) = name.filter(|_| ours)
                && !known.iter().any(|p| p.id == id)
            {
                fs::remove_file(&path).map_err(io_error(&path))?;
            }
        }
        for partial in known {
            if self.check_partial(&partial).is_err() {
                tracing::warn!(upload = %partial.id, "an upload under way is not all there any more: it begins again");
                self.abandon_partial(&partial.id)?;
            }
        }
        Ok(())
    }

    /// Whether the bytes that were acknowledged are there.
    pub(super) fn check_partial(&self, partial: &Partial) -> Result<(), StoreError> {
        let path = self.partial_path(&partial.id);
        let found = fs::metadata(&path).map_err(io_error(&path))?.len();
        match found >= partial.bytes {
            true => Ok(()),
            false => Err(damaged(&path, format!("it has {found} bytes where {} were stored", partial.bytes))),
        }
    }
}
