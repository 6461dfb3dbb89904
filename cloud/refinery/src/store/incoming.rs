//! Uploads under way: their blocks are checked as they come.

use std::fs::File;

use blindsmith_protocol::{
    Id, MAX_ROWS, ProjectSpec, Role, UploadError, UploadHeader, block_digest, root_digest,
};
use tempfile::NamedTempFile;

use super::error::{StoreError, io_error};
use super::failpoint;
use super::handle::Store;
use super::partial_id::PartialId;

/// What must be known of an upload before its blocks come: they depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// What it is for.
    pub role: Role,
    /// Its rows.
    pub rows: u32,
}

impl From<&UploadHeader> for Extent {
    fn from(header: &UploadHeader) -> Extent {
        Extent { role: header.role, rows: header.rows }
    }
}

/// An upload under way: nothing of it counts before [`Incoming::commit`].
pub struct Incoming<'a> {
    pub(super) store: &'a Store,
    pub(super) spec: ProjectSpec,
    extent: Extent,
    pub(super) file: NamedTempFile,
    /// The resumable upload that it is of: over once it is committed.
    pub(super) partial: Option<PartialId>,
    hash: blake3::Hasher,
    digests: Vec<Id>,
    /// Bytes received.
    bytes: u64,
}

/// Bytes of the largest upload of a project.
pub(crate) fn most_bytes(spec: &ProjectSpec) -> u64 {
    spec.body_bytes(Role::Training, MAX_ROWS)
}

impl Store {
    /// Starts an upload of a project.
    ///
    /// # Errors
    /// [`UploadError::Rows`] for an impossible number of rows, a store that is not reachable, and what the disk says.
    pub fn receive(&self, spec: &ProjectSpec, extent: Extent) -> Result<Incoming<'_>, StoreError> {
        // Not after all of it came.
        self.check()?;
        Incoming::new(self, spec, extent, self.incoming.file()?)
    }
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        store: &'a Store,
        spec: &ProjectSpec,
        extent: Extent,
        file: NamedTempFile,
    ) -> Result<Self, StoreError> {
        if !(1..=MAX_ROWS).contains(&extent.rows) {
            return Err(UploadError::Rows(extent.rows).into());
        }
        let (spec, hash, digests) = (spec.clone(), blake3::Hasher::new(), Vec::new());
        Ok(Incoming { store, spec, extent, file, partial: None, hash, digests, bytes: 0 })
    }

    /// Bytes received.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Blocks received.
    pub fn blocks(&self) -> u32 {
        self.digests.len() as u32
    }

    /// Takes whole blocks, in order; each residue must be below q.
    pub fn blocks_arrived(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.blocks_read(bytes)?;
        let path = self.file.path().to_owned();
        failpoint::write("incoming.write", self.file.as_file_mut(), bytes).map_err(io_error(&path))
    }

    /// Checks blocks that are in the file.
    pub(super) fn blocks_read(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Extent { role, rows } = self.extent;
        let expected = self.spec.body_bytes(role, rows);
        let length = |got| UploadError::Length { got, expected, rows };
        let got = self.bytes + bytes.len() as u64;
        let first = self.digests.len() as u32;
        let ends = self.ends(first, bytes.len());
        if bytes.is_empty() || got > expected || ends.last() != Some(&bytes.len()) {
            return Err(length(got).into());
        }
        let mut start = 0;
        for (index, end) in (first..).zip(ends) {
            let block = &bytes[start..end];
            start = end;
            let layout = self.spec.block_layout(role, self.spec.rows_of_block(rows, index));
            if !blindsmith_compute::check(&block[layout.forms()]) {
                return Err(UploadError::Residue(index).into());
            }
            self.digests.push(block_digest(index, block));
            self.bytes += block.len() as u64;
            self.hash.update(block);
        }
        Ok(())
    }

    /// Where the blocks from `first` on end, as many as `len` bytes have.
    fn ends(&self, first: u32, len: usize) -> Vec<usize> {
        let Extent { role, rows } = self.extent;
        let sizes = (first..self.spec.blocks(rows))
            .map(|index| self.spec.block_bytes(role, self.spec.rows_of_block(rows, index)));
        let ends = sizes.scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        ends.take_while(|end| *end <= len).collect()
    }

    /// Checks content against header.
    pub fn check(&self, header: &UploadHeader) -> Result<(), StoreError> {
        header.validate(&self.spec.id())?;
        let expected = header.body_bytes(&self.spec);
        if self.bytes != expected || self.extent != Extent::from(header) {
            return Err(UploadError::Length { got: self.bytes, expected, rows: header.rows }.into());
        }
        if root_digest(&self.digests) != header.root {
            return Err(UploadError::Digest.into());
        }
        Ok(())
    }

    /// Makes the upload durable, after those that are there. One that is there already stays as it is.
    pub fn commit(self, header: &UploadHeader) -> Result<(), StoreError> {
        self.check(header)?;
        let rows = Id(*self.hash.finalize().as_bytes());
        let bytes = self.bytes;
        let Incoming { store, file, partial, .. } = self;
        store.add_upload(header, file, rows, bytes, partial)
    }

    /// Turns the content into a file without a name, for a query that is answered and forgotten.
    pub fn into_file(self, header: &UploadHeader) -> Result<File, StoreError> {
        self.check(header)?;
        Ok(self.file.into_file())
    }
}
