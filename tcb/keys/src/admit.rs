//! What the warden does with a contributor's ciphertexts when it first reads them: it makes sure that they are
//! well formed and that both forms hold the same rows, and takes the projections by which products with them are checked ever
//! after. Rows are never opened, their sums over secret subsets are. `docs/integrity.md`, *Admission*, has the proofs.

mod forms;
mod subsets;

use std::sync::Arc;

use blindsmith_matrix::Masks;
use blindsmith_ring::{PACKED_BYTES_PER_LANES, backend};

use crate::check::Malformed;
use crate::key::Key;
use crate::secret::Secrets;
use crate::sum::{Projection, Scalars};
use crate::upload::UploadKey;
use forms::Form;
use subsets::{Subsets, TESTS};

/// What tests and projects the uploads of a project, for one era: masks of the row form are the same for all of them.
pub struct RowTests {
    subsets: Subsets,
    /// Sums of the masks over each subset, and over all places.
    masks: Vec<u64>,
}

impl RowTests {
    /// Subsets of the places of the row form under a secret key, and their sums of masks.
    pub fn new(key: &Key, masks: &Masks) -> Self {
        let subsets = Subsets::derive(&key.derive("subsets of features", &[]), masks.count());
        let masks = subsets.sums(masks.as_slice(), masks.dimension());
        RowTests { subsets, masks }
    }
}

/// Scalars by which an upload's blocks are projected.
pub struct UploadScalars {
    /// Of the rows: number of a row in its upload.
    pub rows: Key,
    /// One for each feature: the same for all uploads of a project, whose rows stand in one product.
    pub inputs: Arc<Scalars>,
    /// One for each residue of a mask of the column form: the contributor's.
    pub masks: Arc<Scalars>,
}

/// The reading of one upload.
pub struct Admission<'a> {
    upload: &'a UploadKey,
    rows: &'a RowTests,
    scalars: UploadScalars,
    /// What the subsets of rows derive from, block by block: the same for every reading of an upload.
    subsets: Key,
    columns: Option<Arc<Secrets>>,
}

/// What one block leaves.
pub struct AdmittedBlock {
    /// Over its rows, one residue for each contraction row of the row form, without the masks' part.
    pub rows: Projection,
    /// Over the features and the masks, one residue for each contraction row of the column form; none of a query.
    pub columns: Option<Projection>,
    /// Whether it is well formed, within its bounds, and the same in both forms.
    pub good: bool,
}

impl<'a> Admission<'a> {
    /// Of an upload whose column form, if it has one, stands under these secrets. Subsets of rows derive from `subsets`
    /// alone, so that reading an upload again is no other try; its contributor must not know the key.
    pub fn new(
        upload: &'a UploadKey,
        rows: &'a RowTests,
        scalars: UploadScalars,
        subsets: Key,
        columns: Option<Arc<Secrets>>,
    ) -> Self {
        Admission { upload, rows, scalars, subsets, columns }
    }

    /// Reads block `index` of so many rows: its row form, its column form unless the upload is a query, and the column form's
    /// masks, of which the first is that of the block's first place.
    ///
    /// # Errors
    /// [`Malformed`] for another length, or a residue that is not below q.
    pub fn block(
        &self,
        index: usize,
        rows: usize,
        row_form: &[u8],
        column_form: Option<(&[u8], &Masks)>,
    ) -> Result<AdmittedBlock, Malformed> {
        let context = self.upload.context();
        let bound = context.scale.factor();
        let shape = context.row_shape(rows);
        let stride = shape.padded().next_multiple_of(8);
        let residues = unpack(row_form, rows * stride)?;
        let first = index * context.block_rows;
        let scalars = Scalars::derive(&self.scalars.rows, first..first + rows);
        let mut projection = weighted_rows(&residues, stride, &scalars);
        projection.truncate(shape.padded());
        let projection = Projection::from_residues(projection);

        let secrets = self.upload.block_secrets(index, rows);
        let row_form = Form { shape, bound, secrets: &secrets };
        let opened = row_form.open_rows(&residues, stride, (&self.rows.subsets, &self.rows.masks));
        let mut bad = row_form.beyond(&opened);
        let (Some((packed, masks)), Some(secrets)) = (column_form, &self.columns) else {
            return Ok(AdmittedBlock { rows: projection, columns: None, good: bad == 0 });
        };

        let shape = context.column_shape(rows);
        let residues = unpack(packed, shape.residues())?;
        let column_form = Form { shape, bound, secrets };
        let key = self.subsets.derive("subsets of rows", &[&(index as u64).to_be_bytes()]);
        let subsets = Subsets::derive(&key, shape.places());
        let sums = subsets.sums(&masks.as_slice()[..shape.places() * masks.dimension()], masks.dimension());
        let columns = column_form.open_columns(&residues, (&subsets, &sums));
        bad |= column_form.beyond(&columns);
        bad |= forms::differing((&opened, &self.rows.subsets), (&columns, &subsets));
        let columns = self.project_columns(&residues, shape.stride(), masks);
        Ok(AdmittedBlock { rows: projection, columns: Some(columns), good: bad == 0 })
    }

    /// Features and masks of each contraction row of the column form, weighted.
    fn project_columns(&self, residues: &[u64], stride: usize, masks: &Masks) -> Projection {
        let backend = backend::active();
        let encoding = self.upload.context().column_form;
        let inputs = self.scalars.inputs.as_slice();
        let row = |(i, row): (usize, &[u64])| {
            let (place, root) = (i / encoding.roots(), i % encoding.roots());
            let at = root * encoding.per_root()..(root + 1) * encoding.per_root();
            let of_mask = backend.dot(&masks.place(place)[at.clone()], &self.scalars.masks.as_slice()[at]);
            blindsmith_ring::modulus::add(backend.dot(&row[..inputs.len()], inputs), of_mask)
        };
        Projection::from_residues(residues.chunks_exact(stride).enumerate().map(row).collect())
    }
}

/// The sum over rows of scalar times row.
fn weighted_rows(residues: &[u64], stride: usize, scalars: &Scalars) -> Vec<u64> {
    let backend = backend::active();
    let (mut lo, mut hi, mut out) = (vec![0; stride], vec![0; stride], vec![0; stride]);
    let chain = blindsmith_ring::modulus::MAX_CHAIN;
    for (rows, scalars) in residues.chunks(chain * stride).zip(scalars.as_slice().chunks(chain)) {
        backend.scale_accumulate(&mut lo, &mut hi, rows, scalars);
        let mut part = vec![0; stride];
        backend.reduce_pairs(&mut part, &lo, &hi);
        backend.add_assign(&mut out, &part);
        lo.fill(0);
        hi.fill(0);
    }
    out
}

fn unpack(packed: &[u8], len: usize) -> Result<Vec<u64>, Malformed> {
    if packed.len() * 8 != len * PACKED_BYTES_PER_LANES {
        return Err(Malformed("a block of another size"));
    }
    let mut residues = vec![0; len];
    match backend::active().unpack(&mut residues, packed) {
        true => Ok(residues),
        false => Err(Malformed("a residue is not below the modulus")),
    }
}

/// Tests of each kind that a block undergoes, for documents and figures.
pub const ADMISSION_TESTS: usize = TESTS;
