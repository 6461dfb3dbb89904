//! The sealed form of a project: how it is released, restored and sealed.

use blindsmith_formats::{Reader, Release, decode_model, model_context, session_info};
use blindsmith_identity::{Origin, open_release};
use blindsmith_keys::{Key, Sealed};
use blindsmith_learn::{Network, Recipe, Trainer, TrainerState};
use blindsmith_protocol::{Blob, Id, ProjectSpec, append_cbor, from_cbor};
use zeroize::Zeroizing;

use crate::counters::Counter;
use crate::error::{ProjectError, Refusal, mismatch};
use crate::fit::check_recipe;
use crate::identity::{Delivery, Identity};
use crate::members::Members;
use crate::project::{Project, Receipts};
use crate::standing::Standing;

const STATE_MAGIC: &[u8; 8] = b"BSSTATE5";

impl Project {
    /// Takes a project over from its owner.
    pub(crate) fn release(
        spec: ProjectSpec,
        identity: &Identity,
        release: &[u8],
        model: &[u8],
    ) -> Result<(Self, Blob), ProjectError> {
        spec.validate()?;
        let id = spec.id();
        let release = open_release(release, &spec.owner.into())?;
        if release.project != id {
            return Err(ProjectError::Project);
        }
        let vault = Key::random();
        let info = session_info("release", &release.session);
        let delivery = Delivery {
            session: &release.session,
            project: &id,
            sender: &spec.owner,
            info: &info,
            envelope: &release.envelope.0,
        };
        let (opened, known) = identity.receive(&delivery)?;
        let confirmation = identity.confirm(&delivery, &vault, &known);
        let release = Release::decode(&opened)?;
        check_recipe(&spec, &release.recipe)?;
        if identity.counters.load(&id).map_err(ProjectError::Counters)?.is_some() {
            return Err(ProjectError::Fork);
        }
        let sealed = |e| ProjectError::Sealed("the initial model", e);
        let model = release.model.unseal(&model_context("model", &id, 0), model).map_err(sealed)?;
        let network = network(&release.recipe, &model).map_err(mismatch)?;
        let trainer = Trainer::continue_from(release.recipe.clone(), network).map_err(mismatch)?;
        let origin = Origin { recipe: release.committed(&id), model: Id::default() };
        let project = Project {
            spec,
            id,
            release,
            encryption: Key::random(),
            vault,
            trainer,
            round: 0,
            receipts: Receipts::default(),
            commitment: [0; 32],
            origin,
            members: Members::default(),
            standing: Standing::default(),
            rollback: None,
        };
        Ok((project, confirmation))
    }

    /// Goes on from a sealed state, unless it is older than one that the refinery has acknowledged, or of another
    /// history.
    pub(crate) fn restore(
        spec: ProjectSpec,
        identity: &Identity,
        holding: &[u8],
        state: &[u8],
    ) -> Result<Self, ProjectError> {
        spec.validate()?;
        let id = spec.id();
        let error = |e| ProjectError::Sealed("this warden does not hold the project's secrets", e);
        let vault = identity.sealing.unseal(&format!("holding {id}"), holding).map_err(error)?;
        let vault = vault
            .as_slice()
            .try_into()
            .ok()
            .map(Key::from_bytes)
            .ok_or_else(|| mismatch("the holding is damaged"))?;
        let counter = identity.counters.load(&id).map_err(ProjectError::Counters)?;
        Project::open(spec, counter, vault, state)
    }

    /// The project of which this is the key, unless this state is older than the counter knows, or of another history.
    pub(crate) fn open(
        spec: ProjectSpec,
        counter: Option<Counter>,
        vault: Key,
        state: &[u8],
    ) -> Result<Self, ProjectError> {
        let id = spec.id();
        let error = |e| ProjectError::Sealed("this warden cannot open the project's state", e);
        let opened = Zeroizing::new(vault.unseal(&format!("state {id}"), state).map_err(error)?);
        let damaged = || mismatch("the sealed state is damaged");
        let mut rest = Reader::after(STATE_MAGIC, &opened).ok_or_else(damaged)?;
        let release = rest.part().ok_or_else(damaged)?;
        let encryption = rest.key().ok_or_else(damaged)?;
        let round = rest.count().ok_or_else(damaged)?;
        let mut digest = || rest.digest().ok_or_else(damaged);
        let receipts = Receipts { newest: digest()?, before: digest()? };
        let (commitment, initial) = (digest()?, Id(digest()?));
        let standing = Standing::decode(&mut rest).ok_or_else(damaged)?;
        check_fresh(counter, round, receipts)?;
        let release = Release::decode(release)?;
        check_recipe(&spec, &release.recipe)?;
        let state: TrainerState = from_cbor(rest.part().ok_or_else(damaged)?).map_err(mismatch)?;
        let trainer = Trainer::restore(release.recipe.clone(), state).map_err(mismatch)?;
        let origin = Origin { recipe: release.committed(&id), model: initial };
        Ok(Project {
            spec,
            id,
            release,
            encryption,
            vault,
            trainer,
            round,
            receipts,
            commitment,
            origin,
            members: Members::default(),
            standing,
            rollback: None,
        })
    }

    /// Its state, sealed under its vault.
    pub(crate) fn sealed_state(&self) -> Sealed {
        let release = self.release.encode();
        // Counters are written shorter while they are small: the length must not tell whether they moved.
        let recipe = &self.release.recipe;
        let padded = 4 * recipe.state_values() + 400 * recipe.widths.len() + 512;
        let standing = self.standing.encode();
        let len = 184 + release.len() + standing.len() + padded;
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend_from_slice(STATE_MAGIC);
        out.extend_from_slice(&(release.len() as u32).to_le_bytes());
        out.extend_from_slice(&release);
        out.extend_from_slice(self.encryption.expose());
        out.extend_from_slice(&self.round.to_le_bytes());
        let digests = [&self.receipts.newest, &self.receipts.before, &self.commitment, &self.origin.model.0];
        for digest in digests {
            out.extend_from_slice(digest);
        }
        out.extend_from_slice(&standing);
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        append_cbor(&self.trainer.state(), &mut out);
        let state = out.len() - at - 4;
        out[at..at + 4].copy_from_slice(&(state as u32).to_le_bytes());
        out.resize(at + 4 + padded.max(state), 0);
        self.vault.seal(&format!("state {}", self.id), &out)
    }
}

/// The network of a model's bytes.
pub(crate) fn network(recipe: &Recipe, model: &[u8]) -> Result<Network, Refusal> {
    let layers = decode_model(model)?;
    Ok(Network::new(layers, recipe.activations.clone(), recipe.input_rms)?)
}

/// Refuses a state that is older than what the refinery acknowledged, or of another history.
fn check_fresh(counter: Option<Counter>, round: u64, receipts: Receipts) -> Result<(), ProjectError> {
    let Some(counter) = counter else { return Ok(()) };
    if round < counter.round {
        return Err(ProjectError::RolledBack { found: round, newest: counter.round });
    }
    // What the counter saw must be in this state's history, as far as that reaches back.
    let seen = match round - counter.round {
        0 => receipts.newest == counter.receipt,
        1 => receipts.newest == counter.produced && receipts.before == counter.receipt,
        _ => false,
    };
    match (seen, Id(counter.successor)) {
        (true, _) => Ok(()),
        (false, none) if none == Id::default() => Err(ProjectError::Fork),
        (false, to) => Err(ProjectError::HandedOver(to)),
    }
}
