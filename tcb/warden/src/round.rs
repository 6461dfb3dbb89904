//! A round: the uploads it uses, their labels, its metrics.

use std::collections::{HashMap, HashSet};

use blindsmith_keys::{Context, Freshness, Key, Scalars, Secret, UploadContext, UploadKey};
use blindsmith_learn::{
    Batch, Block, Group, Labels, Loss, Matrix, Metrics, Recipe, Rule, Sampler, Targets, TrainError, predict,
};
use blindsmith_protocol::{
    AdmittedUpload, Blob, BlockRef, FrameError, Id, Progress, ProjectSpec, Projection, Role, UploadHeader,
    from_cbor, to_cbor,
};
use blindsmith_ring::{Eval, Poly};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::accelerator::{Encrypted, ProductError, RowKeys};
use crate::admission::{self, AdmissionError, AdmissionKeys, input_scalars};
use crate::cloud::Cloud;
use crate::project::Project;

/// Share of the sampling groups that are held out of training where no validation rows were uploaded.
const HOLD_OUT: f64 = 0.1;

/// What a round found, sealed to the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundMetrics {
    /// The round.
    pub round: u64,
    /// Mean training loss of each epoch.
    pub training_loss: Vec<f64>,
    /// Figures over the validation rows, if there are any.
    pub validation: Option<Metrics>,
    /// For rules whose epsilon follows the noise (Adam, AdamW): of each step the predicted standard deviation
    /// of each layer's gradient noise, so that a twin can take the same steps.
    pub gradient_noise: Vec<Vec<f32>>,
}

impl RoundMetrics {
    /// As sealed: its length (u32, little-endian), CBOR, and zeros up to a length that follows from the numbers
    /// of epochs, steps and layers alone. CBOR writes some values shorter than others.
    pub fn encode(&self) -> Vec<u8> {
        let body = to_cbor(self);
        let noise: usize = self.gradient_noise.iter().map(|layers| 9 + 5 * layers.len()).sum();
        let longest = 512 + 9 * self.training_loss.len() + noise;
        let mut out = (body.len() as u32).to_le_bytes().to_vec();
        out.extend(body);
        out.resize(out.len().max(4 + longest), 0);
        out
    }

    /// Reads what [`RoundMetrics::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let damaged = || FrameError::Malformed("metrics that are none".into());
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let body = rest.get(..u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        from_cbor(body)
    }
}

/// How a row's label is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A class number.
    Class,
    /// So many values.
    Values(usize),
}

impl Label {
    /// The labels of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        match recipe.loss {
            Loss::SoftmaxCrossEntropy => Label::Class,
            _ => Label::Values(recipe.outputs()),
        }
    }

    fn words(self) -> usize {
        match self {
            Label::Class => 1,
            Label::Values(count) => count,
        }
    }
}

/// Bytes of a row's labels: a weight and a class number, or a weight and values; four bytes each,
/// little-endian.
pub fn label_bytes(recipe: &Recipe) -> u32 {
    4 + 4 * Label::of(recipe).words() as u32
}

/// The labels of rows `from..to`, with weight 1 each.
pub fn write_labels(targets: &Targets, from: usize, to: usize) -> Vec<u8> {
    let one = 1f32.to_le_bytes();
    let mut out = Vec::new();
    for row in from..to {
        out.extend(one);
        match targets {
            Targets::Classes(classes) => out.extend(classes[row].to_le_bytes()),
            Targets::Values(values) => out.extend(values.row(row).iter().flat_map(|v| v.to_le_bytes())),
        }
    }
    out
}

/// The labels in `bytes`, of which the first `valid` rows count.
pub fn read_labels(label: Label, bytes: &[u8], valid: usize) -> Option<Labels> {
    let row = 4 + 4 * label.words();
    let rows = bytes.len() / row;
    let words = || bytes.chunks_exact(row).flat_map(|r| r.as_chunks::<4>().0[1..].iter().copied());
    let targets = match label {
        Label::Class => Targets::Classes(words().map(u32::from_le_bytes).collect()),
        Label::Values(count) => {
            Targets::Values(Matrix::from_rows(rows, count, words().map(f32::from_le_bytes).collect())?)
        }
    };
    let weights = bytes.chunks_exact(row).map(|r| f32::from_le_bytes([r[0], r[1], r[2], r[3]]));
    let valid: Vec<bool> = (0..rows).map(|r| r < valid).collect();
    // Padding has the neutral weight; it counts nowhere.
    let weights = weights.zip(&valid).map(|(w, v)| if *v { w } else { 1.0 }).collect();
    Labels::new(targets).with_valid(valid).ok()?.with_weights(weights).ok()
}

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
        match error {
            TrainError::Accelerator(ProductError::Cloud(crate::CloudError::Frame(e))) => RoundError::Frame(e),
            TrainError::Accelerator(ProductError::Fault(instruction)) => RoundError::Fault(instruction),
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

    fn projections(&self, groups: &[Group], which: Projection, sealed: &[u8]) -> Option<Vec<Poly<Eval>>> {
        open_projections(&self.spec, groups, which, sealed, |upload| self.admissions.get(upload as usize))
    }
}

/// Opens kept projections of groups, see [`RowKeys::projections`].
pub fn open_projections<'k>(
    spec: &ProjectSpec,
    groups: &[Group],
    which: Projection,
    sealed: &[u8],
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
        let (part, others) = rest.split_at_checked(spec.projection_bytes(count(group)))?;
        parts.push((group, part));
        rest = others;
    }
    if !rest.is_empty() {
        return None;
    }
    let open = |group: &Group, part: &[u8], to: &mut [Poly<Eval>]| {
        keys(group.upload)?.open(group.first_block / spec.group_blocks, which, part, to)
    };
    match which {
        Projection::Rows => {
            let opened = parts.par_iter().map(|(group, part)| {
                let mut polys = zeros(count(group));
                open(group, part, &mut polys).map(|()| polys)
            });
            Some(opened.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
        }
        Projection::Group => parts
            .par_iter()
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
    fn query<C: Cloud>(
        project: &Project,
        cloud: &C,
        header: UploadHeader,
        seed: &Key,
    ) -> Result<Self, RoundError> {
        let key = verify(project, &header, seed).ok_or(RoundError::Query)?;
        let of = (&project.spec, &project.encryption);
        let nonce = admission::admit(cloud, of, (0, &header, &key), |_, _| true).map_err(|e| match e {
            AdmissionError::Cloud(crate::CloudError::Frame(e)) => RoundError::Frame(e),
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

/// Trains the project's model for one round. On failure the caller restores the trainer.
pub(crate) fn train<C: Cloud>(
    project: &mut Project,
    cloud: &C,
    (round, attempt): (u64, u32),
    epochs: Option<u32>,
    given: Vec<AdmittedUpload>,
) -> Result<Trained, RoundError> {
    let uploads = Uploads::verify(project, given)?;
    let (training, validation) = split(project, &uploads);
    if training.is_empty() {
        return Err(RoundError::Empty);
    }
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
    let Project { spec, id, encryption, trainer, .. } = project;
    let context = Context { project: id.0, round, attempt, step: 0, layer: 0, part: 0 };
    let mut accelerator =
        Encrypted::new(cloud, spec, encryption, &uploads, context, recipe.input_rms, Freshness::Fresh);

    let epochs = epochs.unwrap_or(recipe.epochs);
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
    let metrics = RoundMetrics { round, training_loss, validation, gradient_noise };
    Ok(Trained { metrics, rows: trained_rows, steps })
}

/// Answers a query: predictions rounded to 2^-10, sealed to the querier at a size that follows from the
/// number of rows.
pub(crate) fn answer<C: Cloud>(
    project: &Project,
    cloud: &C,
    header: UploadHeader,
    seed: &Key,
) -> Result<Vec<u8>, RoundError> {
    if header.role != Role::Query {
        return Err(RoundError::Query);
    }
    let query = header.id();
    let rows = header.rows as usize;
    let blocks = header.blocks(&project.spec);
    let uploads = Uploads::query(project, cloud, header, seed)?;
    let recipe = &project.release.recipe;
    let block_rows = project.spec.block_rows();
    let fresh = Key::random();
    let context =
        Context { project: project.id.0, round: project.round, attempt: 0, step: 0, layer: 0, part: 0 };
    let mut accelerator =
        Encrypted::new(cloud, &project.spec, &fresh, &uploads, context, recipe.input_rms, Freshness::Fresh);
    let group_blocks = project.spec.group_blocks;
    let per_batch = (recipe.batch_rows.clamp(1, 1024) / (block_rows * group_blocks as usize)).max(1);
    let groups: Vec<Group> = Group::of_upload(0, blocks, group_blocks).collect();
    let mut out = Vec::with_capacity(4 * rows * recipe.outputs());
    for groups in groups.chunks(per_batch) {
        let first_block = groups[0].first_block;
        let batch_rows = groups.iter().map(|g| g.blocks as usize).sum::<usize>() * block_rows;
        let targets = match Label::of(recipe) {
            Label::Class => Targets::Classes(vec![0; batch_rows]),
            Label::Values(count) => Targets::Values(Matrix::zeros(batch_rows, count)),
        };
        let batch = Batch::new(groups.to_vec(), block_rows, Labels::new(targets))
            .map_err(|e| RoundError::Training(e.to_string()))?;
        let outputs =
            predict(project.trainer.network(), project.trainer.objective(), &mut accelerator, &batch)?;
        let valid = rows - first_block as usize * block_rows;
        let rounded =
            outputs.iter_rows().take(valid).flatten().map(|v| (v * 1024.0).round_ties_even() / 1024.0);
        out.extend(rounded.flat_map(f32::to_le_bytes));
    }
    Ok(seed.derive("answer", &[&query.0]).seal("answer", &out).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_metrics_have_a_length_that_their_values_do_not_change() {
        let metrics = |loss: f64, noise: f32, some: Option<f64>| RoundMetrics {
            round: 3,
            training_loss: vec![loss; 5],
            validation: Some(Metrics {
                rows: 1 << 40,
                loss,
                accuracy: some,
                auc: some,
                auc_error: some,
                f1: some,
                f1_macro: some,
                rmse: some,
            }),
            gradient_noise: vec![vec![noise; 3]; 40],
        };
        let (short, long) = (metrics(0.0, 0.0, None), metrics(0.1, 0.1, Some(0.1)));
        assert_eq!(short.encode().len(), long.encode().len());
        for metrics in [short, long] {
            let bytes = metrics.encode();
            assert_eq!(RoundMetrics::decode(&bytes).unwrap(), metrics);
            assert!(RoundMetrics::decode(&bytes[..40]).is_err());
        }
    }
}
