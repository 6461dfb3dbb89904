//! A round: the uploads it uses, and what it does with them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use blindsmith_formats::{Label, VALUES, read_labels, upload_context};
use blindsmith_identity::Terms;
use blindsmith_keys::{Key, Projection, Scalars, Secrets, UploadKey, column_secrets, metered};
use blindsmith_learn::{Block, Labels, Recipe, TrainError};
use blindsmith_protocol::{
    AdmittedUpload, Blob, BlockRef, Id, ProjectSpec, Projection as Kept, Role, UploadHeader,
};
use thiserror::Error;

use crate::accelerator::{ColumnOwner, ProductError, RowKeys};
use crate::admission::{
    self, AdmissionError, AdmissionKeys, MOST_REFUSED, Reading, column_scalars, era_scalars, input_scalars,
};
use crate::cloud::Cloud;
use crate::counters::Counter;
use crate::project::Project;
use crate::serving::Serving;
use crate::session::Identity;

/// Share of the blocks that are held out of training where no validation rows were uploaded.
const HOLD_OUT: f64 = 0.1;

/// Why a round or query was refused. It names the instruction or upload, never a value.
#[derive(Debug, Error)]
pub enum RoundError {
    /// Uploads that no contributor of this project made, or that were altered.
    #[error("{} uploads are not authentic", .0.len())]
    Forged(Vec<Id>),
    /// An upload twice in one round.
    #[error("upload {0} was given twice")]
    Twice(Id),
    /// Nothing to train on.
    #[error("no rows to train on")]
    Empty,
    /// The refinery answered wrongly: which instruction.
    #[error("the refinery answered wrongly: {0}")]
    Fault(String),
    /// The query is none.
    #[error("the query was refused")]
    Query,
    /// Values left their range. What happened is the owner's to know: every case looks alike to others.
    #[error("{VALUES}")]
    Values(String),
    /// The project's rules allow no more.
    #[error("the owner's rules do not allow it: {0}")]
    Rules(String),
    /// Counters could not be read or written.
    #[error("the warden's counters: {0}")]
    Counters(#[from] std::io::Error),
    /// Training stopped.
    #[error("training stopped: {0}")]
    Training(String),
    /// The cloud is gone.
    #[error(transparent)]
    Frame(#[from] blindsmith_protocol::FrameError),
}

impl From<TrainError<ProductError>> for RoundError {
    fn from(error: TrainError<ProductError>) -> Self {
        use std::error::Error;
        let e = error;
        match e {
            TrainError::Accelerator(ProductError::Cloud(crate::CloudError::Frame(e))) => RoundError::Frame(e),
            TrainError::Accelerator(ProductError::Fault(instruction)) => RoundError::Fault(instruction),
            TrainError::Diverged { .. }
            | TrainError::Accelerator(ProductError::Overflow(_) | ProductError::OutOfRange(_)) => {
                let cause = e.source().map(|s| format!(": {s}")).unwrap_or_default();
                RoundError::Values(format!("{e}{cause}"))
            }
            e => {
                let cause = e.source().map(|s| format!(": {s}")).unwrap_or_default();
                RoundError::Training(format!("{e}{cause}"))
            }
        }
    }
}

/// The uploads of a round, each under its keys.
pub(crate) struct Uploads {
    pub spec: ProjectSpec,
    pub headers: Vec<UploadHeader>,
    /// What their contributors accepted; none for the owner's.
    pub terms: Vec<Option<Terms>>,
    keys: Vec<UploadKey>,
    seeds: Vec<Key>,
    admissions: Vec<AdmissionKeys>,
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
        let mut known = crate::transport::lock(&self.columns);
        let columns = known.entry(*owner).or_insert_with(|| {
            let (contributor, era) = owner;
            let made_by = |h: &UploadHeader| (&h.contributor, h.era) == (contributor, *era);
            // The owner of a block is that of one of the headers.
            let at = self.headers.iter().position(made_by).unwrap_or(0);
            Columns {
                secrets: column_secrets(&self.seeds[at], self.keys[at].context()).into(),
                scalars: column_scalars(&self.encryption, &self.spec, (contributor, *era)).into(),
            }
        });
        of(columns)
    }
}

impl RowKeys for Uploads {
    fn row_secrets(&self, blocks: &[Block]) -> Vec<Secrets> {
        use rayon::prelude::*;
        let each = |b: &Block| self.keys[b.upload as usize].block_secrets(b.index as usize, b.rows as usize);
        blocks.par_iter().map(each).collect()
    }

    fn row_scalars(&self, blocks: &[Block]) -> Scalars {
        let each = |b: &Block| self.admissions[b.upload as usize].scalars(b.range(self.spec.block_rows));
        Scalars::join(&blocks.iter().map(each).collect::<Vec<_>>())
    }

    fn era(&self, block: &Block) -> u32 {
        self.headers[block.upload as usize].era
    }

    fn era_scalars(&self, era: u32) -> Scalars {
        era_scalars(&self.encryption, &self.spec, era)
    }

    fn owner(&self, block: &Block) -> ColumnOwner {
        let header = &self.headers[block.upload as usize];
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
        open_projections(&self.spec, blocks, which, sealed, |upload| self.admissions.get(upload as usize))
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
    use rayon::prelude::*;
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
    fn new(
        (spec, encryption, recipe): (&ProjectSpec, &Key, &Recipe),
        headers: Vec<UploadHeader>,
        terms: Vec<Option<Terms>>,
        keys: Vec<(UploadKey, Key)>,
        admissions: Vec<AdmissionKeys>,
    ) -> Self {
        let (spec, label) = (spec.clone(), Label::of(recipe));
        let inputs = input_scalars(encryption, &spec).into();
        let (keys, seeds) = keys.into_iter().unzip();
        let (encryption, columns) = (encryption.duplicate(), Mutex::default());
        Uploads { spec, headers, terms, keys, seeds, admissions, inputs, encryption, columns, label }
    }

    /// Checks that this warden admitted every upload, made by the owner or an enrolled member, and that it is there
    /// once.
    fn verify(project: &Project, given: Vec<AdmittedUpload>) -> Result<Self, RoundError> {
        let (mut headers, mut keys, mut admissions, mut all_terms) = (vec![], vec![], vec![], vec![]);
        let (mut seen, mut forged) = (HashSet::new(), Vec::new());
        for AdmittedUpload { header, admission } in given {
            let id = header.id();
            if !seen.insert(id) {
                return Err(RoundError::Twice(id));
            }
            let seed = project.members.seed(&project.spec, &project.release.rows, &header);
            let key = seed.and_then(|(seed, terms)| {
                Some(((verify(&project.spec, &header, seed)?, seed.duplicate()), terms))
            });
            let nonce = admission::read_token(&project.encryption, &id, &admission);
            match (key, nonce) {
                (Some((key, terms)), Some(nonce)) => {
                    keys.push(key);
                    all_terms.push(terms.cloned());
                    admissions.push(AdmissionKeys::new(&project.encryption, &id, &nonce));
                }
                _ => forged.push(id),
            }
            headers.push(header);
        }
        if !forged.is_empty() {
            return Err(RoundError::Forged(forged));
        }
        let of = (&project.spec, &project.encryption, &project.release.recipe);
        Ok(Uploads::new(of, headers, all_terms, keys, admissions))
    }

    /// Reads the rows of a query: they must be as well formed as those that are trained on.
    pub(crate) fn query<C: Cloud>(
        serving: &Serving,
        cloud: &C,
        header: UploadHeader,
        seed: &Key,
    ) -> Result<Self, RoundError> {
        let Serving { spec, encryption, recipe, .. } = serving;
        let key = verify(spec, &header, seed).ok_or(RoundError::Query)?;
        let reading = Reading { index: 0, header: &header, key: &key, seed };
        let read = admission::admit(cloud, (spec, encryption), &reading, |_, _| true);
        let nonce = read.map_err(|e| match e {
            AdmissionError::Cloud(crate::CloudError::Frame(e)) => RoundError::Frame(e),
            AdmissionError::Altered => RoundError::Fault(e.to_string()),
            _ => RoundError::Query,
        })?;
        let admission = AdmissionKeys::new(encryption, &header.id(), &nonce);
        let of = (spec, encryption, recipe);
        let keys = vec![(key, seed.duplicate())];
        Ok(Uploads::new(of, vec![header], vec![None], keys, vec![admission]))
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
            let at = block.upload as usize;
            let bytes = self.keys[at].open_labels(block.index as u64, sealed).map_err(|_| refused())?;
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

impl Project {
    /// Reads an upload; what tells the warden that it did.
    pub(crate) fn admit<C: Cloud>(
        &self,
        identity: &Identity,
        cloud: &C,
        header: &UploadHeader,
    ) -> Result<Blob, AdmissionError> {
        let seed = self.members.seed(&self.spec, &self.release.rows, header);
        let key = seed.and_then(|(seed, _)| Some((verify(&self.spec, header, seed)?, seed)));
        let key = key.filter(|_| header.role != Role::Query).ok_or(AdmissionError::Forged)?;
        let recipe = &self.release.recipe;
        let objective = self.trainer.objective();
        let labels = |block: u32, opened: &[u8]| {
            let rows = header.rows_of_block(&self.spec, block) as usize;
            let labels = read_labels(Label::of(recipe), opened, rows);
            labels.is_some_and(|labels| objective.check(&labels).is_ok())
        };
        let reading = Reading { index: 0, header, key: &key.0, seed: key.1 };
        // Counted before it is known to fail, so that nobody who stops the warden gets another try.
        let failures = self.encryption.derive("refused uploads", &[&header.contributor.0]);
        let count = |change: fn(u32) -> Option<u32>| {
            identity.count(&Id(*failures.expose()), Counter::default(), |counter| {
                let attempts = change(counter.attempts).ok_or(AdmissionError::Exhausted)?;
                Ok::<_, AdmissionError>(Counter { attempts, ..counter })
            })
        };
        count(|refused| (refused < MOST_REFUSED).then_some(refused + 1))?;
        let read = admission::admit(cloud, (&self.spec, &self.encryption), &reading, labels);
        if !matches!(read, Err(AdmissionError::Malformed(_))) {
            count(|refused| Some(refused.saturating_sub(1)))?;
        }
        let nonce = read?;
        Ok(admission::token(&self.encryption, &header.id(), &nonce))
    }
}

fn verify(spec: &ProjectSpec, header: &UploadHeader, seed: &Key) -> Option<UploadKey> {
    let id = spec.id();
    header.validate(&id).ok()?;
    let context = upload_context(spec, &id, header.era);
    let key = UploadKey::from_nonce(seed, context, header.nonce);
    key.verify(&header.authenticated(), &header.tag).then_some(key)
}

/// The blocks of the uploads of a round.
#[derive(Default)]
pub(crate) struct Blocks {
    /// To train on, of each upload.
    pub training: Vec<Vec<Block>>,
    /// To judge with, of each upload: all of an upload for validation, and of others those chosen by a keyed hash.
    pub held_out: Vec<Vec<Block>>,
}

impl Blocks {
    /// Of every contributor's upload some blocks are held out; of the owner's only where it names no rows that judge.
    fn new(project: &Project, uploads: &Uploads) -> Self {
        let spec = &project.spec;
        let own = |h: &UploadHeader| h.contributor == spec.owner;
        let trusted = uploads.headers.iter().any(|h| own(h) && h.role == Role::Validation);
        let held_out = |b: &Block| {
            let upload = uploads.headers[b.upload as usize].id();
            let hash = project.encryption.derive("hold out", &[&upload.0, &b.index.to_be_bytes()]);
            let [a, b, c, d, ..] = *hash.expose();
            f64::from(u32::from_be_bytes([a, b, c, d])) < HOLD_OUT * f64::from(u32::MAX)
        };
        let mut blocks = Blocks::default();
        for (i, header) in uploads.headers.iter().enumerate() {
            let all = Block::of_upload(i as u32, header.rows, spec.block_rows);
            let (held, mut rest): (Vec<Block>, Vec<Block>) = match header.role {
                Role::Validation => (all.collect(), vec![]),
                _ if trusted && own(header) => (vec![], all.collect()),
                _ => all.partition(held_out),
            };
            // Too few blocks to spare one: all of them are trained on.
            let held = if rest.is_empty() && header.role != Role::Validation {
                rest = held;
                vec![]
            } else {
                held
            };
            blocks.training.push(rest);
            blocks.held_out.push(held);
        }
        blocks
    }
}

/// What a round is to do.
pub(crate) struct Task {
    pub round: u64,
    /// Attempts begun at it, this one included.
    pub attempt: u32,
    pub epochs: u32,
}

/// The uploads of a round, verified, in blocks.
pub(crate) struct Prepared {
    pub uploads: Uploads,
    pub blocks: Blocks,
}

/// Verifies what a round is given; nothing is asked of the refinery.
pub(crate) fn prepare(project: &Project, given: Vec<AdmittedUpload>) -> Result<Prepared, RoundError> {
    let uploads = Uploads::verify(project, given)?;
    let blocks = Blocks::new(project, &uploads);
    // On a fixed schedule it must not show that everything was set aside.
    let fixed = project.fixed_schedule();
    let usable = |(header, blocks): (&UploadHeader, &Vec<Block>)| {
        !blocks.is_empty() && (fixed || project.standing.quarantined(&header.id()).is_none())
    };
    if !uploads.headers.iter().zip(&blocks.training).any(usable) {
        return Err(RoundError::Empty);
    }
    Ok(Prepared { uploads, blocks })
}
