//! Uploads under way: their row blocks are checked as they come.

use std::fs::File;

use blindsmith_protocol::{Id, MAX_ROWS, ProjectSpec, UploadError, UploadHeader, block_digest, root_digest};
use blindsmith_ring::{Lanes, backend, zeroed_lanes};
use tempfile::NamedTempFile;

use super::error::{StoreError, io_error};
use super::partials::PartialId;
use super::{Store, failpoint};

/// An upload under way: nothing of it counts before [`Incoming::commit`].
pub struct Incoming<'a> {
    pub(super) store: &'a Store,
    pub(super) spec: ProjectSpec,
    pub(super) file: NamedTempFile,
    /// The resumable upload that it is of: over once it is committed.
    pub(super) partial: Option<PartialId>,
    hash: blake3::Hasher,
    digests: Vec<Id>,
    check: Vec<Lanes>,
}

/// Bytes of the largest upload of a project.
pub(super) fn most_bytes(spec: &ProjectSpec) -> u64 {
    u64::from(MAX_ROWS.div_ceil(spec.block_rows() as u32)) * spec.block_bytes() as u64
}

impl Store {
    /// Starts an upload of a project.
    pub fn receive(&self, spec: &ProjectSpec) -> Result<Incoming<'_>, StoreError> {
        Ok(Incoming::new(self, spec, self.incoming.file()?, None))
    }
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        store: &'a Store,
        spec: &ProjectSpec,
        file: NamedTempFile,
        partial: Option<PartialId>,
    ) -> Self {
        let check = zeroed_lanes(spec.packed_block_bytes() / 50);
        let hash = blake3::Hasher::new();
        Incoming { store, spec: spec.clone(), file, partial, hash, digests: Vec::new(), check }
    }

    /// Bytes received.
    pub fn bytes(&self) -> u64 {
        self.digests.len() as u64 * self.spec.block_bytes() as u64
    }

    /// Row blocks received.
    pub fn blocks(&self) -> u32 {
        self.digests.len() as u32
    }

    /// Takes whole row blocks, in order; each residue must be below q.
    pub fn blocks_arrived(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.blocks_read(bytes)?;
        let path = self.file.path().to_owned();
        failpoint::write("incoming.write", self.file.as_file_mut(), bytes).map_err(io_error(&path))
    }

    /// Checks row blocks that are in the file.
    pub(super) fn blocks_read(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.spec.block_bytes();
        if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
            let expected = bytes.len().next_multiple_of(size) as u64;
            return Err(UploadError::Length { got: bytes.len() as u64, expected, rows: 0 }.into());
        }
        let most = most_bytes(&self.spec);
        let got = self.bytes() + bytes.len() as u64;
        if got > most {
            return Err(UploadError::Length { got, expected: most, rows: MAX_ROWS }.into());
        }
        for block in bytes.chunks_exact(size) {
            let index = self.digests.len() as u32;
            let packed = &block[self.spec.sealed_label_bytes()..];
            if !backend::active().unpack(bytemuck::cast_slice_mut(&mut self.check), packed) {
                return Err(UploadError::Residue(index).into());
            }
            self.digests.push(block_digest(index, block));
        }
        self.hash.update(bytes);
        Ok(())
    }

    /// Checks content against header.
    pub fn check(&self, header: &UploadHeader) -> Result<(), StoreError> {
        header.validate(&self.spec.id())?;
        let expected = header.body_bytes(&self.spec);
        if self.bytes() != expected {
            return Err(UploadError::Length { got: self.bytes(), expected, rows: header.rows }.into());
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
        let bytes = self.bytes();
        let Incoming { store, file, partial, .. } = self;
        store.add_upload(header, file, (rows, bytes), partial)
    }

    /// Turns the content into a file without a name, for a query that is answered and forgotten.
    pub fn into_file(self, header: &UploadHeader) -> Result<File, StoreError> {
        self.check(header)?;
        Ok(self.file.into_file())
    }
}
