//! Where a store is.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{StoreError, io_error};
use super::metadata::{self, Location};
use super::objects::Objects;
use super::runtime::Runtime;

/// Where a store is.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its directory: always needed, for its locks and for what is under way.
    pub root: PathBuf,
    /// A PostgreSQL database by URL for the records, instead of a file in the directory.
    pub metadata: Option<String>,
    /// An object store by URL (`s3`, `gs`, `az`, `file`, `memory`) for blobs, instead of the directory.
    pub blobs: Option<String>,
    /// Bytes that local copies of blobs in an object store may take, beside those that are in use.
    pub cache_bytes: u64,
}

/// The local copies' share unless somebody says otherwise: 16 GiB.
pub const CACHE_BYTES: u64 = 16 << 30;

impl Places {
    /// All of it in one directory.
    pub fn directory(root: &Path) -> Self {
        Places { root: root.to_owned(), metadata: None, blobs: None, cache_bytes: CACHE_BYTES }
    }

    pub(super) fn location(&self) -> Result<Location, StoreError> {
        match &self.metadata {
            Some(url) => Location::parse(url),
            None => Location::file(&self.root.join("refinery.db")),
        }
    }

    /// What records and blobs are called in logs: without passwords.
    pub fn names(&self) -> Result<(String, String), StoreError> {
        let blobs = match &self.blobs {
            Some(url) => Objects::parse(url)?.place,
            None => self.root.join("blobs").display().to_string(),
        };
        Ok((self.location()?.place, blobs))
    }

    /// Whether a store could be opened here, or be made: changes nothing but that an object is written and removed
    /// again. May be done beside a refinery.
    pub fn try_out(&self) -> Result<(), StoreError> {
        if self.root.exists() {
            let look = fs::read_dir(&self.root).map_err(io_error(&self.root))?;
            drop(look);
        }
        let runtime = Runtime::new(&self.root)?;
        metadata::try_out(&self.location()?, &runtime)?;
        match &self.blobs {
            Some(url) => runtime.block_on(Objects::parse(url)?.try_out()),
            None => Ok(()),
        }
    }
}
