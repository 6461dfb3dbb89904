//! The uploads of a round or query, each under its keys: what the accelerator opens and checks their rows with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use blindsmith_formats::{Label, read_labels, upload_context};
use blindsmith_identity::Terms;
use blindsmith_keys::{Key, Projection, Scalars, Secrets, UploadKey, column_secrets, metered};
use blindsmith_learn::{Block, Labels, Recipe, TrainError};
use blindsmith_protocol::{BlockRef, ProjectSpec, Projection as Kept, UploadHeader};
use rayon::prelude::*;

use crate::accelerator::{ColumnOwner, ProductError, RowKeys};
use crate::cloud::Cloud;
use crate::lock::lock;
use crate::projections::{AdmissionKeys, column_scalars, era_scalars, input_scalars};

/// An upload under its keys.
pub(crate) struct Upload {
    pub header: UploadHeader,
    /// What its contributor accepted; none for the owner's.
    pub terms: Option<Terms>,
    pub key: UploadKey,
    /// Its contributor's seed.
    pub seed: Key,
    pub admission: AdmissionKeys,
}

/// The uploads of a round or query, by number.
pub(crate) struct Uploads {
    spec: ProjectSpec,
    uploads: Vec<Upload>,
    inputs: Arc<Scalars>,
    encryption: Key,
    columns: Mutex<HashMap<ColumnOwner, Columns>>,
    label: Label,
}

/// What opens and checks products with a contributor's columns in an era.
struct Columns {
    secrets: Arc<Secrets>,
    scalars: Arc<Scalars>,
}

impl Uploads {
    /// Of an owner's columns, derived once.
    fn columns<T>(&self, owner: &ColumnOwner, of: impl Fn(&Columns) -> T) -> T {
        let mut known = lock(&self.columns);
        let columns = known.entry(*owner).or_insert_with(|| {
            let (contributor, era) = owner;
            let made_by = |u: &&Upload| (&u.header.contributor, u.header.era) == (contributor, *era);
            // The owner of a block is that of one of the headers.
            let made = self.uploads.iter().find(made_by).unwrap_or(&self.uploads[0]);
            Columns {
                secrets: column_secrets(&made.seed, made.key.context()).into(),
                scalars: column_scalars(&self.encryption, &self.spec, owner).into(),
            }
        });
        of(columns)
    }
}

impl RowKeys for Uploads {
    fn row_secrets(&self, blocks: &[Block]) -> Vec<Secrets> {
        let each = |b: &Block| self.of(b.upload).key.block_secrets(b.index as usize, b.rows as usize);
        blocks.par_iter().map(each).collect()
    }

    fn row_scalars(&self, blocks: &[Block]) -> Scalars {
        let each = |b: &Block| self.of(b.upload).admission.scalars(b.range(self.spec.block_rows));
        Scalars::join(&blocks.iter().map(each).collect::<Vec<_>>())
    }

    fn era(&self, block: &Block) -> u32 {
        self.of(block.upload).header.era
    }

    fn era_scalars(&self, era: u32) -> Scalars {
        era_scalars(&self.encryption, &self.spec, era)
    }

    fn owner(&self, block: &Block) -> ColumnOwner {
        let header = &self.of(block.upload).header;
        (header.contributor, header.era)
    }

    fn column_secrets(&self, owner: &ColumnOwner) -> Arc<Secrets> {
        self.columns(owner, |columns| columns.secrets.clone())
    }

    fn column_scalars(&self, owner: &ColumnOwner) -> Arc<Scalars> {
        self.columns(owner, |columns| columns.scalars.clone())
    }

    fn inputs(&self) -> Arc<Scalars> {
        self.inputs.clone()
    }

    fn projections(&self, blocks: &[Block], which: Kept, sealed: &mut [u8]) -> Option<Vec<Projection>> {
        let keys = |upload: u32| self.uploads.get(upload as usize).map(|upload| &upload.admission);
        open_projections(&self.spec, blocks, which, sealed, keys)
    }
}

/// Opens kept projections of blocks, see [`RowKeys::projections`].
pub fn open_projections<'k>(
    spec: &ProjectSpec,
    blocks: &[Block],
    which: Kept,
    sealed: &mut [u8],
    keys: impl Fn(u32) -> Option<&'k AdmissionKeys> + Sync,
) -> Option<Vec<Projection>> {
    let mut rest = sealed;
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        let (len, bytes) = match which {
            Kept::Rows => (spec.row_shape(1).padded(), spec.kept_row_bytes()),
            Kept::Columns => (spec.column_shape(block.rows).padded(), spec.kept_column_bytes(block.rows)),
        };
        let (part, others) = rest.split_at_mut_checked(bytes)?;
        parts.push((block, part, len));
        rest = others;
    }
    if !rest.is_empty() {
        return None;
    }
    let open = |(block, part, len): (&Block, &mut [u8], usize)| {
        metered(|| keys(block.upload)?.open(block.index, which, part, len))
    };
    parts.into_par_iter().map(open).collect()
}

impl Uploads {
    /// No uploads yet, of a project with these keys.
    pub(crate) fn new(spec: &ProjectSpec, encryption: &Key, recipe: &Recipe) -> Self {
        Uploads {
            spec: spec.clone(),
            uploads: Vec::new(),
            inputs: input_scalars(encryption, spec).into(),
            encryption: encryption.duplicate(),
            columns: Mutex::default(),
            label: Label::of(recipe),
        }
    }

    /// Adds an upload, which gets the next number.
    pub(crate) fn push(&mut self, upload: Upload) {
        self.uploads.push(upload);
    }

    /// An upload by its number, as blocks name it.
    pub(crate) fn of(&self, number: u32) -> &Upload {
        &self.uploads[number as usize]
    }

    /// The uploads in the order of their numbers.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Upload> {
        self.uploads.iter()
    }

    /// Fetches and opens the labels of blocks; rows of uploads for which `aside` holds do not count.
    pub(crate) fn labels<C: Cloud>(
        &self,
        cloud: &C,
        blocks: &[Block],
        aside: impl Fn(u32) -> bool,
    ) -> Result<Labels, TrainError<ProductError>> {
        let names: Vec<BlockRef> =
            blocks.iter().map(|b| BlockRef { upload: b.upload, block: b.index }).collect();
        let product = |e| TrainError::Accelerator(ProductError::from(e));
        let sealed = cloud.labels(&names).map_err(product)?;
        // They were opened once, when the upload was admitted.
        let refused = || TrainError::Accelerator(ProductError::Fault("labels that do not open".into()));
        let mut all: Option<Labels> = None;
        let mut rest = &sealed[..];
        for block in blocks {
            let (sealed, others) =
                rest.split_at_checked(self.spec.sealed_label_bytes(block.rows)).ok_or_else(refused)?;
            rest = others;
            let key = &self.of(block.upload).key;
            let bytes = key.open_labels(block.index as u64, sealed).map_err(|_| refused())?;
            let rows = block.rows as usize;
            let valid = if aside(block.upload) { 0 } else { rows };
            let labels = read_labels(self.label, &bytes, valid).ok_or_else(refused)?;
            match &mut all {
                Some(all) => {
                    let range = 0..labels.rows();
                    all.append(&labels, range).map_err(|e| TrainError::Batch(e.into()))?;
                }
                None => all = Some(labels),
            }
        }
        all.filter(|_| rest.is_empty()).ok_or_else(refused)
    }
}

/// The key of an upload that the contributor with this seed authenticated for this project.
pub(crate) fn upload_key(spec: &ProjectSpec, header: &UploadHeader, seed: &Key) -> Option<UploadKey> {
    let id = spec.id();
    header.validate(&id).ok()?;
    let context = upload_context(spec, &id, header.era);
    let key = UploadKey::from_nonce(seed, context, header.nonce);
    key.verify(&header.authenticated(), &header.tag).then_some(key)
}
