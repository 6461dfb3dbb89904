//! What the refinery keeps of an upload for the warden, sealed: its projections, and what tells that it was admitted.

use blindsmith_keys::{Key, Projection, Scalars};
use blindsmith_protocol::{Blob, Id, ProjectSpec, Projection as Kept};
use blindsmith_ring::{LANES, PACKED_BYTES_PER_LANES, backend};
use zeroize::Zeroizing;

use crate::accelerator::ColumnOwner;

/// The keys of one admission, under which an upload's scalars are drawn and its projections sealed.
pub struct AdmissionKeys {
    pub(crate) rows: Key,
    sealing: Key,
}

impl AdmissionKeys {
    /// Those of a reading of `upload`: a later one has others, and projections of the one do not open as the
    /// other's.
    pub fn new(project: &Key, upload: &Id, nonce: &[u8; 32]) -> Self {
        let key = project.derive("admission", &[&upload.0, nonce]);
        AdmissionKeys { rows: key.derive("rows", &[]), sealing: key.derive("projections", &[]) }
    }

    /// The scalars of rows, by their numbers in the upload.
    pub fn scalars(&self, rows: impl IntoIterator<Item = usize>) -> Scalars {
        Scalars::derive(&self.rows, rows)
    }

    fn key(&self, block: u32, which: Kept) -> Key {
        let form = if which == Kept::Rows { "row form" } else { "column form" };
        self.sealing.derive(form, &[&block.to_be_bytes()])
    }

    /// Seals a projection of a block; written once under these keys.
    pub(crate) fn seal(&self, block: u32, which: Kept, projection: &Projection) -> Vec<u8> {
        let mut residues = Zeroizing::new(projection.as_slice().to_vec());
        let whole = residues.len().next_multiple_of(LANES);
        residues.resize(whole, 0);
        let mut packed = Zeroizing::new(vec![0; residues.len() / LANES * PACKED_BYTES_PER_LANES]);
        backend::active().pack(&mut packed, &residues);
        self.key(block, which).encrypt_once(b"", &packed)
    }

    /// Opens a sealed projection of so many residues where it lies. None if it is not what was sealed.
    pub fn open(&self, block: u32, which: Kept, sealed: &mut [u8], len: usize) -> Option<Projection> {
        let packed = self.key(block, which).decrypt_once_in_place(b"", sealed).ok()?;
        let mut residues = vec![0; len.next_multiple_of(LANES)];
        if packed.len() != residues.len() / LANES * PACKED_BYTES_PER_LANES {
            return None;
        }
        backend::active().unpack(&mut residues, packed).then_some(())?;
        residues.truncate(len);
        Some(Projection::from_residues(residues))
    }
}

/// The scalars of a project's features: the same for all uploads, whose rows stand in one product.
pub fn input_scalars(project: &Key, spec: &ProjectSpec) -> Scalars {
    Scalars::derive(&project.derive("input scalars", &[]), 0..spec.inputs())
}

/// The scalars of the masks of rows in an era.
pub fn era_scalars(project: &Key, spec: &ProjectSpec, era: u32) -> Scalars {
    let key = project.derive("row mask scalars", &[&era.to_be_bytes()]);
    Scalars::derive(&key, 0..spec.row_form.dimension())
}

/// The scalars of the masks of a contributor's columns in an era.
pub fn column_scalars(project: &Key, spec: &ProjectSpec, owner: &ColumnOwner) -> Scalars {
    let (contributor, era) = owner;
    let key = project.derive("column mask scalars", &[&contributor.0, &era.to_be_bytes()]);
    Scalars::derive(&key, 0..spec.column_form.dimension())
}

/// What tells the warden that it admitted an upload, sealed for itself.
pub(crate) fn token(project: &Key, upload: &Id, nonce: &[u8; 32]) -> Blob {
    Blob(project.derive("admission token", &[&upload.0]).seal("admission", nonce).0)
}

/// The nonce in a token; None if the warden did not make it for this upload.
pub(crate) fn read_token(project: &Key, upload: &Id, token: &Blob) -> Option<[u8; 32]> {
    let opened = project.derive("admission token", &[&upload.0]).unseal("admission", &token.0).ok()?;
    opened.try_into().ok()
}
