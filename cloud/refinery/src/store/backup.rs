//! Copies of a store, taken while it is in use, and the way back.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::blobs::Adding;
use super::database::Kind;
use super::directory::list_directory;
use super::error::{StoreError, damaged, io_error};
use super::files;
use super::handle::Store;
use super::metadata::{Access, Location, Metadata};
use super::places::Places;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Whether the records are in it; those in PostgreSQL are copied by its own tools.
    pub metadata: bool,
    /// Blobs.
    pub blobs: u64,
}

impl Store {
    /// Copies records and blobs into a directory that is not there or empty; the copy is a store. Blobs are
    /// second names for the same files where the file system allows it. Resumable uploads are left out.
    ///
    /// With records in PostgreSQL only blobs are copied: to be taken after `pg_dump`, so that all that the
    /// dump refers to is there.
    pub fn backup(&self, to: &Path) -> Result<Backup, StoreError> {
        empty(to)?;
        // Nothing is removed before it is copied.
        let keeping = self.blobs.adding()?;
        let blobs = to.join("blobs");
        files::make_dir(&blobs)?;
        files::make_dir(&to.join("incoming"))?;
        let sqlite = self.metadata.location.kind == Kind::Sqlite;
        // Under another name until all is there: a copy that broke off is none.
        let (begun, database) = (to.join("refinery.db.under-way"), to.join("refinery.db"));
        if sqlite {
            self.metadata.copy_to(&begun)?;
            let copy = Metadata::open(Location::file(&begun)?, Access::Beside, &self.runtime)?;
            copy.change(sqlx::query("DELETE FROM partials"))?;
            copy.close();
        }
        let count = self.copy_blobs(&keeping, &blobs)?;
        if sqlite {
            fs::File::open(&begun).and_then(|f| f.sync_all()).map_err(io_error(&begun))?;
            fs::rename(&begun, &database).map_err(io_error(&database))?;
        }
        files::synchronise(to)?;
        Ok(Backup { metadata: sqlite, blobs: count })
    }

    /// All blobs that records refer to now, and so all that records referred to when they were copied: nothing is
    /// removed as long as somebody adds.
    fn copy_blobs(&self, _: &Adding, to: &Path) -> Result<u64, StoreError> {
        let (listed, _) = self.blobs.list()?;
        let referred = self.references()?;
        let mut count = 0;
        for name in referred.keys() {
            self.blobs.copy_to(name, to)?;
            count += 1;
        }
        // Withdrawn since the records were copied, but not removed yet.
        for found in listed.iter().filter(|f| !referred.contains_key(&f.name)) {
            self.blobs.copy_to(&found.name, to)?;
            count += 1;
        }
        Ok(count)
    }
}

/// Makes a store of a copy, at places where there is none yet. Every blob is compared with its name.
pub(super) fn restore(from: &Path, to: &Places) -> Result<Backup, StoreError> {
    let source = from.join("blobs");
    if !source.is_dir() {
        return Err(StoreError::Place(format!("{} is no copy of a store", from.display())));
    }
    let database = from.join("refinery.db");
    let sqlite = database.is_file();
    if !sqlite && to.metadata.is_none() {
        let why = format!(
            "{} holds no records: restore them by pg_restore, name them by --metadata",
            from.display()
        );
        return Err(StoreError::Place(why));
    }
    if sqlite && to.metadata.is_some() {
        return Err(StoreError::Place("a copy of records in SQLite is restored without --metadata".into()));
    }
    empty(&to.root)?;
    if sqlite {
        let place = to.root.join("refinery.db");
        fs::copy(&database, &place).map_err(io_error(&place))?;
        fs::File::open(&place).and_then(|f| f.sync_all()).map_err(io_error(&place))?;
        files::synchronise(&to.root)?;
    }
    let store = Store::open_at(to)?;
    let adding = store.blobs.adding()?;
    let (listed, _) = list_directory(&source)?;
    let mut count = 0;
    for found in listed {
        let path = super::directory::in_directory(&source, &found.name);
        let mut original = fs::File::open(&path).map_err(io_error(&path))?;
        let mut file = store.incoming.file()?;
        std::io::copy(&mut original, &mut file).map_err(io_error(file.path()))?;
        if files::digest(file.path(), file.as_file())? != found.name {
            return Err(damaged(&path, super::directory::ALTERED));
        }
        store.blobs.keep(&adding, file, &found.name)?;
        count += 1;
    }
    // Whatever is missing is told before anybody relies on it.
    let missing = store.fsck()?.missing;
    match missing.first() {
        None => Ok(Backup { metadata: sqlite, blobs: count }),
        Some(first) => Err(damaged(from, format!("{} blobs are missing, first {first}", missing.len()))),
    }
}

impl Store {
    /// Makes a store of a copy ([`Store::backup`]), at places where there is none yet.
    pub fn restore(from: &Path, to: &Places) -> Result<Backup, StoreError> {
        restore(from, to)
    }
}

/// Makes a directory, or makes sure that it holds nothing.
fn empty(dir: &Path) -> Result<(), StoreError> {
    files::make_dir(dir)?;
    match fs::read_dir(dir).map_err(io_error(dir))?.next() {
        None => Ok(()),
        Some(_) => {
            Err(StoreError::Place(format!("{} is not empty: choose another directory", dir.display())))
        }
    }
}
