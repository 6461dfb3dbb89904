//! A round: the uploads it uses, and what it does with them.

use std::collections::{HashMap, HashSet};

use blindsmith_keys::{Context, Freshness, Key, Scalars, Secret, UploadContext, UploadKey, metered};
use blindsmith_learn::{Block, Group, Labels, Rule, Sampler, TrainError};
use blindsmith_protocol::{
    AdmittedUpload, Blob, BlockRef, Id, Progress, ProjectSpec, Projection, Role, UploadHeader,
};
use blindsmith_ring::{Eval, Poly};
use thiserror::Error;

use crate::accelerator::{Encrypted, ProductError, RowKeys, Spoiled};
use crate::admission::{self, AdmissionError, AdmissionKeys, input_scalars};
use crate::cloud::Cloud;
use crate::labels::{Label, read_labels};
use crate::metrics::{MAX_FAILURE, RoundMetrics};
use crate::project::Project;

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
    spec: ProjectSpec,
    headers: Vec<UploadHeader>,
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
        project: &Project,
        headers: Vec<UploadHeader>,
        keys: Vec<UploadKey>,
        admissions: Vec<AdmissionKeys>,
    ) -> Self {
        let (spec, label) = (project.spec.clone(), Label::of(&project.release.recipe));
        let inputs = input_scalars(&project.encryption, &spec);
        Uploads { spec, headers, keys, admissions, inputs, label }
    }

    /// Checks that this warden admitted every upload, made by a contributor that the release names, and that it is
    /// there once.
    fn verify(project: &Project, given: Vec<AdmittedUpload>) -> Result<Self, RoundError> {
        let (mut headers, mut keys, mut admissions) = (Vec::new(), Vec::new(), Vec::new());
        let (mut seen, mut forged) = (HashSet::new(), Vec::new());
        let seeds: HashMap<&Id, &Key> = project.release.contributors.iter().map(|(id, k)| (id, k)).collect();
        for AdmittedUpload { header, admission } in given {
            let id = header.id();
            if !seen.insert(id) {
                return Err(RoundError::Twice(id));
            }
            let key = seeds.get(&header.contributor).and_then(|seed| verify(project, &header, seed));
            let nonce = admission::read_token(&project.encryption, &id, &admission);
            match (key, nonce) {
                (Some(key), Some(nonce)) => {
                    keys.push(key);
                    admissions.push(AdmissionKeys::new(&project.encryption, &id, &nonce));
                }
                _ => forged.push(id),
            }
            headers.push(header);
        }
        if !forged.is_empty() {
            return Err(RoundError::Forged(forged));
        }
        Ok(Uploads::new(project, headers, keys, admissions))
    }

    /// Reads the rows of a query: they must be as well formed as those that are trained on.
    pub(crate) fn query<C: Cloud>(
        project: &Project,
        cloud: &C,
        header: UploadHeader,
        seed: &Key,
    ) -> Result<Self, RoundError> {
        let key = verify(project, &header, seed).ok_or(RoundError::Query)?;
        let of = (&project.spec, &project.encryption);
        let nonce = admission::admit(cloud, of, (0, &header, &key), |_, _| true).map_err(|e| match e {
            AdmissionError::Cloud(crate::CloudError::Frame(e)) => RoundError::Frame(e),
            AdmissionError::Altered => RoundError::Fault(e.to_string()),
            _ => RoundError::Query,
        })?;
        let admission = AdmissionKeys::new(&project.encryption, &header.id(), &nonce);
        Ok(Uploads::new(project, vec![header], vec![key], vec![admission]))
    }

    /// Fetches and opens the labels of groups of row blocks.
    fn labels<C: Cloud>(
        &self,
        cloud: &C,
        sealed_bytes: usize,
        groups: &[Group],
    ) -> Result<Labels, TrainError<ProductError>> {
        let blocks: Vec<Block> = groups.iter().flat_map(|g| g.blocks()).collect();
        let names: Vec<BlockRef> =
            blocks.iter().map(|b| BlockRef { upload: b.upload, block: b.index }).collect();
        let product = |e| TrainError::Accelerator(ProductError::from(e));
        let sealed = cloud.labels(&names).map_err(product)?;
        // They were opened once, when the upload was admitted.
        let refused = || TrainError::Accelerator(ProductError::Fault("labels that do not open".into()));
        let block_rows = self.spec.block_rows();
        let mut all: Option<Labels> = None;
        if sealed.len() != blocks.len() * sealed_bytes {
            return Err(refused());
        }
        for (block, sealed) in blocks.iter().zip(sealed.chunks_exact(sealed_bytes)) {
            let at = block.upload as usize;
            let bytes = self.keys[at].open_labels(block.index as u64, sealed).map_err(|_| refused())?;
            let first = block.index as usize * block_rows;
            let valid = (self.headers[at].rows as usize).saturating_sub(first).min(block_rows);
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
        let mut contributors = self.release.contributors.iter();
        let seed = contributors.find(|(id, _)| *id == header.contributor);
        let key = seed.and_then(|(_, seed)| verify(self, header, seed));
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

fn verify(project: &Project, header: &UploadHeader, seed: &Key) -> Option<UploadKey> {
    header.validate(&project.id).ok()?;
    let context = upload_context(&project.spec, &project.id);
    let key = UploadKey::from_nonce(seed, context, header.nonce);
    key.verify(&header.authenticated(), &header.tag).then_some(key)
}

/// Splits the uploads' sampling groups into training and validation: validation uploads judge; where there
/// are none, groups chosen by a keyed hash are held out.
fn split(project: &Project, uploads: &Uploads) -> (Vec<Group>, Vec<Group>) {
    let spec = &project.spec;
    let groups = |role: Role| {
        uploads
            .headers
            .iter()
            .enumerate()
            .filter(move |(_, h)| h.role == role)
            .flat_map(|(i, h)| Group::of_upload(i as u32, h.blocks(spec), spec.group_blocks))
            .collect::<Vec<_>>()
    };
    let (training, validation) = (groups(Role::Training), groups(Role::Validation));
    if !validation.is_empty() {
        return (training, validation);
    }
    let held_out = |g: &Group| {
        let upload = uploads.headers[g.upload as usize].id();
        let hash = project.encryption.derive("hold out", &[&upload.0, &g.first_block.to_be_bytes()]);
        let [a, b, c, d, ..] = *hash.expose();
        f64::from(u32::from_be_bytes([a, b, c, d])) < HOLD_OUT * f64::from(u32::MAX)
    };
    let (validation, rest): (Vec<Group>, Vec<Group>) = training.iter().partition(|g| held_out(g));
    // Too few groups to spare one: train on all of them, and report no validation.
    if rest.is_empty() { (training, Vec::new()) } else { (rest, validation) }
}

/// What a round did.
pub(crate) struct Trained {
    pub metrics: RoundMetrics,
    pub rows: u64,
    pub steps: u64,
}

/// What a round is to do.
pub(crate) struct Task {
    pub round: u64,
    /// Attempts begun at it, this one included.
    pub attempt: u32,
    pub epochs: u32,
}

/// The uploads of a round, verified and split.
pub(crate) struct Prepared {
    uploads: Uploads,
    training: Vec<Group>,
    validation: Vec<Group>,
}

/// Verifies what a round is given; nothing is asked of the refinery.
pub(crate) fn prepare(project: &Project, given: Vec<AdmittedUpload>) -> Result<Prepared, RoundError> {
    let uploads = Uploads::verify(project, given)?;
    let (training, validation) = split(project, &uploads);
    if training.is_empty() {
        return Err(RoundError::Empty);
    }
    Ok(Prepared { uploads, training, validation })
}

impl Trained {
    /// A round that stopped where its values left their range.
    pub(crate) fn failed(round: u64, cause: String) -> Self {
        let mut end = cause.len().min(MAX_FAILURE);
        while !cause.is_char_boundary(end) {
            end -= 1;
        }
        let failure = Some(cause[..end].to_owned());
        let metrics =
            RoundMetrics { round, training_loss: vec![], validation: None, failure, gradient_noise: vec![] };
        Trained { metrics, rows: 0, steps: 0 }
    }
}

/// Trains the project's model for one round. On failure the caller restores the trainer.
pub(crate) fn train<C: Cloud>(
    project: &mut Project,
    cloud: &C,
    Task { round, attempt, epochs }: Task,
    Prepared { uploads, training, validation }: Prepared,
) -> Result<Trained, RoundError> {
    let rows = |groups: &[Group]| -> u64 {
        let last = |g: &Group| {
            let rows = uploads.headers[g.upload as usize].rows as u64;
            let first = g.first_block as u64 * project.spec.block_rows() as u64;
            (rows - first).min(g.blocks as u64 * project.spec.block_rows() as u64)
        };
        groups.iter().map(last).sum()
    };
    let trained_rows = rows(&training);
    let recipe = project.release.recipe.clone();
    let sampler = |groups, batch_rows| {
        Sampler::new(groups, project.spec.block_rows(), batch_rows, recipe.order_seed)
            .map_err(|e| RoundError::Training(e.to_string()))
    };
    let sealed = project.spec.sealed_label_bytes();
    let training = sampler(training, recipe.batch_rows)?;
    let validation = match validation.is_empty() {
        true => None,
        false => Some(sampler(validation, recipe.batch_rows.min(1024))?),
    };
    let fixed = project.release.rules.fixed_schedule;
    let Project { spec, id, encryption, trainer, .. } = project;
    let context = Context { project: id.0, round, attempt, step: 0, layer: 0, part: 0 };
    let mut accelerator =
        Encrypted::new(cloud, spec, encryption, &uploads, context, recipe.input_rms, Freshness::Fresh)
            .tolerant(fixed);
    trainer.tolerate(fixed);

    let steps = training.batches_per_epoch() as u64 * epochs as u64;
    let mut step = 0;
    let (mut training_loss, mut gradient_noise) = (Vec::new(), Vec::new());
    trainer.begin_round(&training, epochs);
    for _ in 0..epochs {
        let report = trainer.train_epoch(&mut accelerator, &training, |accelerator, groups| {
            let progress = Progress { round, step, steps };
            step += 1;
            let failed = |e| TrainError::Accelerator(ProductError::from(e));
            accelerator.cloud().progress(progress).map_err(failed)?;
            uploads.labels(accelerator.cloud(), sealed, groups)
        })?;
        training_loss.push(report.loss);
        if matches!(recipe.rule, Rule::Adam(_) | Rule::AdamW(_)) {
            gradient_noise.extend(report.gradient_noise);
        }
    }
    let validation = match &validation {
        None => None,
        Some(batches) => Some(trainer.evaluate(&mut accelerator, batches, |accelerator, groups| {
            uploads.labels(accelerator.cloud(), sealed, groups)
        })?),
    };
    // Known only where nothing stops: under a fixed schedule.
    let failure = match (trainer.diverged(), accelerator.spoiled()) {
        (true, _) => Some("training diverged".to_owned()),
        (_, Some(Spoiled::Overflow)) => Some("values became too large for the modulus".to_owned()),
        (_, Some(Spoiled::OutOfRange)) => Some("a product was out of range".to_owned()),
        (false, None) => None,
    };
    let metrics = RoundMetrics { round, training_loss, validation, failure, gradient_noise };
    Ok(Trained { metrics, rows: trained_rows, steps })
}
