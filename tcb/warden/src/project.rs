//! A project as the warden holds it, and the sealed form of that.

use blindsmith_keys::{Key, Recipient, Sealed};
use blindsmith_learn::{Network, Recipe, Trainer, TrainerState};
use blindsmith_protocol::{
    AdmittedUpload, Blob, Id, MAX_BODY, MAX_EPOCHS, ProjectSpec, RoundRecord, RoundSummary, UploadHeader,
    from_cbor, to_cbor,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cloud::Cloud;
use crate::model::{decode_model, encode_model};
use crate::release::{Release, model_context, release_info};
use crate::round::{self, RoundError, RoundMetrics, label_bytes};
use crate::session::Identity;

const STATE_MAGIC: &[u8; 8] = b"BSSTATE1";

/// A release, state or model that does not fit.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// The specification.
    #[error(transparent)]
    Spec(#[from] blindsmith_protocol::SpecError),
    /// The release does not open.
    #[error(transparent)]
    Release(#[from] blindsmith_keys::ReleaseError),
    /// It opens to something else.
    #[error(transparent)]
    Format(#[from] crate::ReleaseFormatError),
    /// The sealed state or model does not open.
    #[error("{0}: {1}")]
    Sealed(&'static str, blindsmith_keys::SealError),
    /// The parts do not belong together.
    #[error("the project does not fit together: {0}")]
    Mismatch(String),
}

/// A project's secrets, its model and how far it is.
pub struct Project {
    pub(crate) spec: ProjectSpec,
    pub(crate) id: Id,
    pub(crate) release: Release,
    /// Everything that the warden encrypts is keyed from it; it never leaves this project.
    pub(crate) encryption: Key,
    pub(crate) trainer: Trainer,
    pub(crate) round: u64,
}

fn mismatch(e: impl std::fmt::Display) -> ProjectError {
    ProjectError::Mismatch(e.to_string())
}

impl Project {
    /// Takes a project over from its owner.
    pub(crate) fn released(
        spec: ProjectSpec,
        identity: &Identity,
        release: &[u8],
        model: &[u8],
    ) -> Result<Self, ProjectError> {
        spec.validate()?;
        let id = spec.id();
        let recipient: Recipient = identity.key.recipient();
        let info = release_info(&id, identity.tee.name(), &recipient);
        let opened = Zeroizing::new(identity.key.open(&info, None, release)?);
        let release = Release::decode(&opened)?;
        check_recipe(&spec, &release.recipe)?;
        let sealed = |e| ProjectError::Sealed("the initial model", e);
        let model = release.model.unseal(&model_context("model", &id, 0), model).map_err(sealed)?;
        let layers = decode_model(&model).map_err(mismatch)?;
        let recipe = release.recipe.clone();
        let network = Network::new(layers, recipe.activations.clone(), recipe.input_rms).map_err(mismatch)?;
        let trainer = Trainer::continue_from(recipe, network).map_err(mismatch)?;
        Ok(Project { spec, id, release, encryption: Key::random(), trainer, round: 0 })
    }

    /// Goes on from a sealed state.
    pub(crate) fn restored(
        spec: ProjectSpec,
        identity: &Identity,
        state: &[u8],
    ) -> Result<Self, ProjectError> {
        spec.validate()?;
        let id = spec.id();
        let error = |e| ProjectError::Sealed("this warden cannot open the project's state", e);
        let opened = Zeroizing::new(identity.sealing.unseal(&format!("state {id}"), state).map_err(error)?);
        let damaged = || mismatch("the sealed state is damaged");
        let rest = opened.strip_prefix(STATE_MAGIC.as_slice()).ok_or_else(damaged)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (release, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (round, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let release = Release::decode(release)?;
        check_recipe(&spec, &release.recipe)?;
        let state: TrainerState = from_cbor(rest).map_err(mismatch)?;
        let trainer = Trainer::restore(release.recipe.clone(), state).map_err(mismatch)?;
        let round = u64::from_le_bytes(*round);
        Ok(Project { spec, id, release, encryption: Key::from_bytes(*key), trainer, round })
    }

    fn sealed_state(&self, identity: &Identity) -> Sealed {
        let release = self.release.encode();
        let state = Zeroizing::new(to_cbor(&self.trainer.state()));
        let mut out = Zeroizing::new(Vec::with_capacity(52 + release.len() + state.len()));
        out.extend_from_slice(STATE_MAGIC);
        out.extend_from_slice(&(release.len() as u32).to_le_bytes());
        out.extend_from_slice(&release);
        out.extend_from_slice(self.encryption.expose());
        out.extend_from_slice(&self.round.to_le_bytes());
        out.extend_from_slice(&state);
        identity.sealing.seal(&format!("state {}", self.id), &out)
    }

    /// What is stored of the project as it is now.
    pub(crate) fn record(
        &self,
        identity: &Identity,
        summary: RoundSummary,
        used: Vec<Id>,
        metrics: &RoundMetrics,
    ) -> RoundRecord {
        let owner = &self.release.owner;
        let seal = |what, bytes: &[u8]| Blob(owner.seal(&model_context(what, &self.id, self.round), bytes).0);
        let model = Zeroizing::new(encode_model(self.trainer.network().layers()));
        RoundRecord {
            summary: RoundSummary {
                round: self.round,
                metrics: seal("metrics", &metrics.encode()),
                ..summary
            },
            used,
            state: Blob(self.sealed_state(identity).0),
            model: seal("model", &model),
            receipt: Blob::default(),
        }
    }

    /// Runs a round. If it fails, the model is what it was.
    pub(crate) fn run_round<C: Cloud>(
        &mut self,
        identity: &Identity,
        cloud: &C,
        (round, attempt): (u64, u32),
        epochs: Option<u32>,
        uploads: Vec<AdmittedUpload>,
    ) -> Result<RoundRecord, RoundError> {
        if round != self.round + 1 {
            return Err(RoundError::Training(format!(
                "round {round} was asked for, but round {} is the next",
                self.round + 1
            )));
        }
        if epochs.is_some_and(|e| !(1..=MAX_EPOCHS).contains(&e)) {
            return Err(RoundError::Training(format!("a round has 1 to {MAX_EPOCHS} epochs")));
        }
        let used: Vec<Id> = uploads.iter().map(|u| u.header.id()).collect();
        let before = self.trainer.state();
        let trained = match round::train(self, cloud, (round, attempt), epochs, uploads) {
            Ok(trained) => trained,
            Err(e) => {
                let recipe = self.release.recipe.clone();
                self.trainer = Trainer::restore(recipe, before)
                    .map_err(|e| RoundError::Training(format!("the model could not be restored: {e}")))?;
                return Err(e);
            }
        };
        self.round = round;
        let summary = RoundSummary {
            uploads: used.len() as u32,
            rows: trained.rows,
            steps: trained.steps,
            ..RoundSummary::default()
        };
        Ok(self.record(identity, summary, used, &trained.metrics))
    }

    /// Answers a query whose envelope holds the querier's seed.
    pub(crate) fn answer<C: Cloud>(
        &self,
        identity: &Identity,
        cloud: &C,
        header: UploadHeader,
        envelope: &[u8],
    ) -> Result<Vec<u8>, RoundError> {
        let query = header.id();
        let info = crate::query_info(&crate::MemberContext { project: &self.id, query: &query });
        let opened = identity.key.open(&info, Some(&self.release.member), envelope);
        let seed = Zeroizing::new(opened.map_err(|_| RoundError::Query)?);
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| RoundError::Query)?;
        round::answer(self, cloud, header, &Key::from_bytes(*seed))
    }
}

/// The recipe is the owner's secret, the specification is public: they must speak of one model.
fn check_recipe(spec: &ProjectSpec, recipe: &Recipe) -> Result<(), ProjectError> {
    let widths: Vec<usize> =
        std::iter::once(spec.inputs()).chain(spec.layers.iter().map(|l| l.outputs as usize)).collect();
    if widths != recipe.widths {
        return Err(mismatch("recipe and specification have different layers"));
    }
    if label_bytes(recipe) != spec.label_bytes {
        return Err(mismatch("recipe and specification have different labels"));
    }
    if recipe.batch_rows != spec.batch_rows as usize {
        return Err(mismatch("recipe and specification have batches of different sizes"));
    }
    check_size(recipe).map_err(mismatch)
}

/// Bytes of a round's record that are left to everything but state and model.
const RECORD_ROOM: usize = 16 << 20;

/// Refuses models whose round records would not fit a frame: sealed state and sealed model, four bytes a value.
///
/// # Errors
/// What is too large and how large it may be.
pub fn check_size(recipe: &Recipe) -> Result<(), String> {
    let (values, most) =
        (recipe.state_values().saturating_add(recipe.parameters()), (MAX_BODY - RECORD_ROOM) / 4);
    if values <= most {
        return Ok(());
    }
    let (parameters, optimiser) =
        (recipe.parameters(), recipe.state_values() / recipe.parameters().max(1) - 1);
    Err(format!(
        "a model of {parameters} parameters is too large: with this optimiser, which keeps {optimiser} value(s) of \
         each, at most {} are possible",
        most / (2 + optimiser)
    ))
}
