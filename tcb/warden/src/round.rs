//! A round: the uploads it uses, and what it does with them.

use std::collections::HashSet;

use blindsmith_identity::Terms;
use blindsmith_keys::{Key, Scalars, Secret, UploadContext, UploadKey, metered};
use blindsmith_learn::{Block, Group, Labels, Recipe, TrainError};
use blindsmith_protocol::{AdmittedUpload, Blob, BlockRef, Id, ProjectSpec, Projection, Role, UploadHeader};
use blindsmith_ring::{Eval, Poly};
use thiserror::Error;

use crate::accelerator::{ProductError, RowKeys};
use crate::admission::{self, AdmissionError, AdmissionKeys, input_scalars};
use crate::cloud::Cloud;
use crate::labels::{Label, read_labels};
use crate::project::Project;
use crate::serving::Serving;

/// Share of the sampling groups that are held out of training where no validation rows were uploaded.
const HOLD_OUT: f64 = 0.1;

/// What is said of a round whose values left their range, whatever happened.
pub(crate) const VALUES: &str = "training stopped: values left their range (it diverged, or they became too large): lower the learning rate \
     or set clip_norm";

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
    admissions: Vec<AdmissionKeys>,
    inputs: Scalars,
    label: Label,
}

impl RowKeys for Uploads {
    fn secrets(&self, blocks: &[Block]) -> Vec<Secret> {
        use rayon::prelude::*;
        blocks
            .par_iter()
            .flat_map_iter(|b| self.keys[b.upload as usize].secrets(std::iter::once(b.index as usize)))
            .collect()
    }

    fn scalars(&self, blocks: &[Block]) -> Scalars {
        let each = |b: &Block| self.admissions[b.upload as usize].scalars([b.index as usize]);
        Scalars::join(&blocks.iter().map(each).collect::<Vec<_>>())
    }

    fn inputs(&self) -> &Scalars {
        &self.inputs
    }

    fn projections(&self, groups: &[Group], which: Projection, sealed: &mut [u8]) -> Option<Vec<Poly<Eval>>> {
        open_projections(&self.spec, groups, which, sealed, |upload| self.admissions.get(upload as usize))
    }
}

/// Opens kept projections of groups, see [`RowKeys::projections`].
pub fn open_projections<'k>(
    spec: &ProjectSpec,
    groups: &[Group],
    which: Projection,
    sealed: &mut [u8],
    keys: impl Fn(u32) -> Option<&'k AdmissionKeys> + Sync,
) -> Option<Vec<Poly<Eval>>> {
    use rayon::prelude::*;
    let zeros = |count: usize| -> Vec<Poly<Eval>> {
        (0..count).map(|_| Poly::zero(spec.security.degree())).collect()
    };
    let count = |g: &Group| match which {
        Projection::Group => spec.input_blocks(),
        Projection::Rows => g.blocks as usize,
    };
    let mut rest = sealed;
    let mut parts = Vec::with_capacity(groups.len());
    for group in groups {
        let (part, others) = rest.split_at_mut_checked(spec.projection_bytes(count(group)))?;
        parts.push((group, part));
        rest = others;
    }
    if !rest.is_empty() {
        return None;
    }
    let open = |group: &Group, part: &mut [u8], to: &mut [Poly<Eval>]| {
        let keys = keys(group.upload)?;
        metered(|| keys.open(group.first_block / spec.group_blocks, which, part, to))
    };
    match which {
        Projection::Rows => {
            let opened = parts.into_par_iter().map(|(group, part)| {
                let mut polys = zeros(count(group));
                open(group, part, &mut polys).map(|()| polys)
            });
            Some(opened.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
        }
        Projection::Group => parts
            .into_par_iter()
            .try_fold(
                || zeros(spec.input_blocks()),
                |mut sum, (group, part)| open(group, part, &mut sum).map(|()| sum),
            )
            .try_reduce(
                || zeros(spec.input_blocks()),
                |mut a, b| {
                    a.iter_mut().zip(&b).for_each(|(a, b)| a.add_assign(b));
                    Some(a)
                },
            ),
    }
}

/// The public context of a project's uploads.
pub(crate) fn upload_context(spec: &ProjectSpec, id: &Id) -> UploadContext {
    UploadContext {
        project: id.0,
        mask: spec.mask,
        tile: spec.tile(),
        inputs: spec.inputs(),
        scale: spec.feature_scale,
    }
}

impl Uploads {
    fn new(
        (spec, encryption, recipe): (&ProjectSpec, &Key, &Recipe),
        headers: Vec<UploadHeader>,
        terms: Vec<Option<Terms>>,
        keys: Vec<UploadKey>,
        admissions: Vec<AdmissionKeys>,
    ) -> Self {
        let (spec, label) = (spec.clone(), Label::of(recipe));
        let inputs = input_scalars(encryption, &spec);
        Uploads { spec, headers, terms, keys, admissions, inputs, label }
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
            let key = seed.and_then(|(seed, terms)| Some((verify(&project.spec, &header, seed)?, terms)));
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
        let nonce = admission::admit(cloud, (spec, encryption), (0, &header, &key), |_, _| true).map_err(
            |e| match e {
                AdmissionError::Cloud(crate::CloudError::Frame(e)) => RoundError::Frame(e),
                AdmissionError::Altered => RoundError::Fault(e.to_string()),
                _ => RoundError::Query,
            },
        )?;
        let admission = AdmissionKeys::new(encryption, &header.id(), &nonce);
        let of = (spec, encryption, recipe);
        Ok(Uploads::new(of, vec![header], vec![None], vec![key], vec![admission]))
    }

    /// Rows of a group, without padding.
    pub(crate) fn rows_of(&self, group: &Group) -> u64 {
        let block_rows = self.spec.block_rows() as u64;
        let rows = u64::from(self.headers[group.upload as usize].rows);
        let first = u64::from(group.first_block) * block_rows;
        rows.saturating_sub(first).min(u64::from(group.blocks) * block_rows)
    }

    /// Fetches and opens the labels of groups of row blocks; rows of uploads for which `aside` holds do not count.
    pub(crate) fn labels<C: Cloud>(
        &self,
        cloud: &C,
        groups: &[Group],
        aside: impl Fn(u32) -> bool,
    ) -> Result<Labels, TrainError<ProductError>> {
        let blocks: Vec<Block> = groups.iter().flat_map(|g| g.blocks()).collect();
        let names: Vec<BlockRef> =
            blocks.iter().map(|b| BlockRef { upload: b.upload, block: b.index }).collect();
        let product = |e| TrainError::Accelerator(ProductError::from(e));
        let sealed = cloud.labels(&names).map_err(product)?;
        // They were opened once, when the upload was admitted.
        let refused = || TrainError::Accelerator(ProductError::Fault("labels that do not open".into()));
        let block_rows = self.spec.block_rows();
        let sealed_bytes = self.spec.sealed_label_bytes();
        let mut all: Option<Labels> = None;
        if sealed.len() != blocks.len() * sealed_bytes {
            return Err(refused());
        }
        for (block, sealed) in blocks.iter().zip(sealed.chunks_exact(sealed_bytes)) {
            let at = block.upload as usize;
            let bytes = self.keys[at].open_labels(block.index as u64, sealed).map_err(|_| refused())?;
            let first = block.index as usize * block_rows;
            let valid = (self.headers[at].rows as usize).saturating_sub(first).min(block_rows);
            let valid = if aside(block.upload) { 0 } else { valid };
            let labels = read_labels(self.label, &bytes, valid).ok_or_else(refused)?;
            match &mut all {
                Some(all) => {
                    let range = 0..labels.rows();
                    all.append(&labels, range).map_err(|e| TrainError::Batch(e.into()))?;
                }
                None => all = Some(labels),
            }
        }
        all.ok_or_else(refused)
    }
}

impl Project {
    /// Reads an upload; what tells the warden that it did.
    pub(crate) fn admit<C: Cloud>(&self, cloud: &C, header: &UploadHeader) -> Result<Blob, AdmissionError> {
        let seed = self.members.seed(&self.spec, &self.release.rows, header);
        let key = seed.and_then(|(seed, _)| verify(&self.spec, header, seed));
        let key = key.filter(|_| header.role != Role::Query).ok_or(AdmissionError::Forged)?;
        let (recipe, block_rows) = (&self.release.recipe, self.spec.block_rows());
        let objective = self.trainer.objective();
        let labels = |block: u32, opened: &[u8]| {
            let valid = (header.rows as usize).saturating_sub(block as usize * block_rows).min(block_rows);
            let labels = read_labels(Label::of(recipe), opened, valid);
            labels.is_some_and(|labels| objective.check(&labels).is_ok())
        };
        let of = (&self.spec, &self.encryption);
        let nonce = admission::admit(cloud, of, (0, header, &key), labels)?;
        Ok(admission::token(&self.encryption, &header.id(), &nonce))
    }
}

fn verify(spec: &ProjectSpec, header: &UploadHeader, seed: &Key) -> Option<UploadKey> {
    let id = spec.id();
    header.validate(&id).ok()?;
    let context = upload_context(spec, &id);
    let key = UploadKey::from_nonce(seed, context, header.nonce);
    key.verify(&header.authenticated(), &header.tag).then_some(key)
}

/// The sampling groups of the uploads of a round.
#[derive(Default)]
pub(crate) struct Groups {
    /// To train on, of each upload.
    pub training: Vec<Vec<Group>>,
    /// To judge with, of each upload: all of an upload for validation, and of others those chosen by a keyed hash.
    pub held_out: Vec<Vec<Group>>,
}

impl Groups {
    /// Of every contributor's upload some groups are held out; of the owner's only where it names no rows that judge.
    fn new(project: &Project, uploads: &Uploads) -> Self {
        let spec = &project.spec;
        let own = |h: &UploadHeader| h.contributor == spec.owner;
        let trusted = uploads.headers.iter().any(|h| own(h) && h.role == Role::Validation);
        let held_out = |g: &Group| {
            let upload = uploads.headers[g.upload as usize].id();
            let hash = project.encryption.derive("hold out", &[&upload.0, &g.first_block.to_be_bytes()]);
            let [a, b, c, d, ..] = *hash.expose();
            f64::from(u32::from_be_bytes([a, b, c, d])) < HOLD_OUT * f64::from(u32::MAX)
        };
        let mut groups = Groups::default();
        for (i, header) in uploads.headers.iter().enumerate() {
            let all = Group::of_upload(i as u32, header.blocks(spec), spec.group_blocks);
            let (held, mut rest): (Vec<Group>, Vec<Group>) = match header.role {
                Role::Validation => (all.collect(), vec![]),
                _ if trusted && own(header) => (vec![], all.collect()),
                _ => all.partition(held_out),
            };
            // Too few groups to spare one: all of them are trained on.
            let held = if rest.is_empty() && header.role != Role::Validation {
                rest = held;
                vec![]
            } else {
                held
            };
            groups.training.push(rest);
            groups.held_out.push(held);
        }
        groups
    }
}

/// What a round is to do.
pub(crate) struct Task {
    pub round: u64,
    /// Attempts begun at it, this one included.
    pub attempt: u32,
    pub epochs: u32,
}

/// The uploads of a round, verified, in groups.
pub(crate) struct Prepared {
    pub uploads: Uploads,
    pub groups: Groups,
}

/// Verifies what a round is given; nothing is asked of the refinery.
pub(crate) fn prepare(project: &Project, given: Vec<AdmittedUpload>) -> Result<Prepared, RoundError> {
    let uploads = Uploads::verify(project, given)?;
    let groups = Groups::new(project, &uploads);
    let usable = |(header, groups): (&UploadHeader, &Vec<Group>)| {
        !groups.is_empty() && project.standing.quarantined(&header.id()).is_none()
    };
    if !uploads.headers.iter().zip(&groups.training).any(usable) {
        return Err(RoundError::Empty);
    }
    Ok(Prepared { uploads, groups })
}
