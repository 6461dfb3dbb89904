//! A project as the warden holds it, and the sealed form of that.

use blindsmith_formats::{
    Release, RoundMetrics, VALUES, WORSE, decision_bytes, decode_model, encode_model, metrics_key,
    model_context, session_info,
};
use blindsmith_identity::{Origin, open_release};
use blindsmith_keys::{Key, Sealed};
use blindsmith_learn::{Network, Trainer, TrainerState};
use blindsmith_protocol::{
    AdmittedUpload, Blob, Id, MAX_EPOCHS, MAX_UPLOADS, ProjectSpec, RoundRecord, RoundSummary, append_cbor,
    from_cbor,
};
use blindsmith_receipts::{
    Decision, RECEIPT_VERSION, Receipt, commit, receipt_digest, receipt_signing_key, sign_receipt,
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cloud::Cloud;
use crate::counters::Counter;
use crate::course::{self, Trained};
use crate::fit::check_recipe;
use crate::members::{Host, Members};
use crate::model::opening;
use crate::round::{self, RoundError, Task};
use crate::session::Identity;
use crate::standing::{MAX_LISTED, Place, Standing};

const STATE_MAGIC: &[u8; 8] = b"BSSTATE5";

/// A release, state or model that does not fit.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// The specification.
    #[error(transparent)]
    Spec(#[from] blindsmith_protocol::SpecError),
    /// The release is not signed by the owner.
    #[error("the release: {0}")]
    Signed(#[from] blindsmith_identity::SignedError),
    /// The release does not open, or not in this session.
    #[error("{0}")]
    Release(String),
    /// It opens to something else.
    #[error(transparent)]
    Format(#[from] blindsmith_formats::ReleaseFormatError),
    /// The sealed state or model does not open.
    #[error("{0}: {1}")]
    Sealed(&'static str, blindsmith_keys::SealError),
    /// A state before the newest.
    #[error(
        "the state is that of round {found}, but round {newest} was stored: the refinery went back to an older one"
    )]
    RolledBack {
        /// Its round.
        found: u64,
        /// The newest round that was acknowledged.
        newest: u64,
    },
    /// A second history.
    #[error("this warden has another history of the project: the refinery forked it")]
    Fork,
    /// Another warden goes on with it.
    #[error(
        "this warden handed the project over to warden {0}, which went on with it: start that one, with --take-over"
    )]
    HandedOver(Id),
    /// Counters could not be read.
    #[error("the warden's counters: {0}")]
    Counters(std::io::Error),
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
    /// Its state and its members' tokens are sealed under it, its receipts signed under a key derived from it: whichever
    /// warden holds it goes on with the project.
    pub(crate) vault: Key,
    pub(crate) trainer: Trainer,
    pub(crate) round: u64,
    /// The newest receipt's digest and the one before it; zero where there is none.
    receipts: Receipts,
    /// The newest commitment to the model.
    commitment: [u8; 32],
    /// What it began with, as contributors accept it.
    origin: Origin,
    /// Who contributes.
    pub(crate) members: Members,
    /// What became of uploads, and which version is current.
    pub(crate) standing: Standing,
    /// A version that the owner ordered to be made current, and that is not yet.
    pub(crate) rollback: Option<u64>,
}

/// What a round did, to be recorded.
pub(crate) struct Done<'a> {
    pub summary: RoundSummary,
    /// The uploads that it was given.
    pub given: Vec<Id>,
    /// Those that its model was trained on or judged with.
    pub used: Vec<Id>,
    pub metrics: &'a RoundMetrics,
    pub decision: Decision,
}

/// Digests of receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Receipts {
    newest: [u8; 32],
    before: [u8; 32],
}

pub(crate) fn mismatch(e: impl std::fmt::Display) -> ProjectError {
    ProjectError::Mismatch(e.to_string())
}

impl Project {
    /// Takes a project over from its owner.
    pub(crate) fn released(
        spec: ProjectSpec,
        identity: &Identity,
        release: &[u8],
        model: &[u8],
    ) -> Result<(Self, Blob), ProjectError> {
        spec.validate()?;
        let id = spec.id();
        let release = open_release(release, &spec.owner.into())?;
        if release.project != id {
            return Err(ProjectError::Release("the release is for another project".into()));
        }
        let vault = Key::random();
        let (info, sender) = (session_info("release", &release.session), (&id, &spec.owner));
        let receipts = |_: &[u8]| Ok(receipt_signing_key(&vault).verifying());
        let (opened, confirmation) = identity
            .receive(&release.session, sender, &info, &release.envelope.0, receipts)
            .map_err(ProjectError::Release)?;
        let release = Release::decode(&opened)?;
        check_recipe(&spec, &release.recipe)?;
        if identity.counters.load(&id).map_err(ProjectError::Counters)?.is_some() {
            return Err(ProjectError::Fork);
        }
        let sealed = |e| ProjectError::Sealed("the initial model", e);
        let model = release.model.unseal(&model_context("model", &id, 0), model).map_err(sealed)?;
        let layers = decode_model(&model).map_err(mismatch)?;
        let recipe = release.recipe.clone();
        let network = Network::new(layers, recipe.activations.clone(), recipe.input_rms).map_err(mismatch)?;
        let trainer = Trainer::continue_from(recipe, network).map_err(mismatch)?;
        let (encryption, receipts, commitment) = (Key::random(), Receipts::default(), [0; 32]);
        let (members, standing) = (Members::default(), Standing::default());
        let origin = Origin { recipe: release.committed(&id), model: Id::default() };
        let project = Project {
            spec,
            id,
            release,
            encryption,
            vault,
            trainer,
            round: 0,
            receipts,
            commitment,
            origin,
            members,
            standing,
            rollback: None,
        };
        Ok((project, confirmation))
    }

    /// Its members, and to whom they hand their seeds.
    pub(crate) fn host<'a>(&'a mut self, identity: &'a Identity) -> (&'a mut Members, Host<'a>) {
        let Project { members, spec, vault, origin, .. } = self;
        (members, Host { spec, identity, vault, origin: *origin })
    }

    /// Whether rounds must show nothing of what they decide.
    pub(crate) fn fixed_schedule(&self) -> bool {
        self.release.rules.fixed_schedule.holds(self.members.roster.shared())
    }

    /// What lets this warden go on with the project after a start, sealed by it for itself.
    pub(crate) fn holding(&self, identity: &Identity) -> Blob {
        Blob(identity.sealing.seal(&format!("holding {}", self.id), self.vault.expose()).0)
    }

    /// Goes on from a sealed state, unless it is older than one that the refinery has acknowledged, or of another
    /// history.
    pub(crate) fn restored(
        spec: ProjectSpec,
        identity: &Identity,
        holding: &[u8],
        state: &[u8],
    ) -> Result<Self, ProjectError> {
        spec.validate()?;
        let id = spec.id();
        let error = |e| ProjectError::Sealed("this warden does not hold the project's secrets", e);
        let vault = identity.sealing.unseal(&format!("holding {id}"), holding).map_err(error)?;
        let vault = key_of(&vault).ok_or_else(|| mismatch("the holding is damaged"))?;
        let counter = identity.counters.load(&id).map_err(ProjectError::Counters)?;
        Project::opened(spec, counter, vault, state)
    }

    /// The project of which this is the key, unless this state is older than the counter knows, or of another history.
    pub(crate) fn opened(
        spec: ProjectSpec,
        counter: Option<Counter>,
        vault: Key,
        state: &[u8],
    ) -> Result<Self, ProjectError> {
        let id = spec.id();
        let error = |e| ProjectError::Sealed("this warden cannot open the project's state", e);
        let opened = Zeroizing::new(vault.unseal(&format!("state {id}"), state).map_err(error)?);
        let damaged = || mismatch("the sealed state is damaged");
        let rest = opened.strip_prefix(STATE_MAGIC.as_slice()).ok_or_else(damaged)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (release, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (round, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (newest, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (before, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (commitment, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (initial, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (standing, rest) = Standing::decode(rest).ok_or_else(damaged)?;
        let (round, receipts) = (u64::from_le_bytes(*round), Receipts { newest: *newest, before: *before });
        check_fresh(counter, round, receipts)?;
        let release = Release::decode(release)?;
        check_recipe(&spec, &release.recipe)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let state = rest.get(..u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        let state: TrainerState = from_cbor(state).map_err(mismatch)?;
        let trainer = Trainer::restore(release.recipe.clone(), state).map_err(mismatch)?;
        let (encryption, commitment) = (Key::from_bytes(*key), *commitment);
        let origin = Origin { recipe: release.committed(&id), model: Id(*initial) };
        let members = Members::default();
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
            members,
            standing,
            rollback: None,
        })
    }

    fn sealed_state(&self) -> Sealed {
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

    /// Signs what became of a round, and makes what is stored of it.
    pub(crate) fn record(&mut self, identity: &Identity, done: Done<'_>, counter: &Counter) -> RoundRecord {
        let Done { summary, given, used, metrics, decision } = done;
        let (owner, round) = (&self.release.owner, self.round);
        let context = |what| model_context(what, &self.id, round);
        let seal = |key: &Key, what, bytes: &[u8]| Blob(key.seal(&context(what), bytes).0);
        let (after, model) = {
            let layers = Zeroizing::new(encode_model(self.trainer.network().layers()));
            let opening = opening(&self.vault, round, &layers);
            let model = Zeroizing::new([opening.as_slice(), layers.as_slice()].concat());
            (commit(&opening, &layers), seal(owner, "model", &model))
        };
        let fixed = self.fixed_schedule();
        let aside = if fixed { given.len() } else { metrics.quarantined.len() };
        let figures = metrics.encode(aside, self.release.recipe.outputs());
        let sealed_metrics = seal(&metrics_key(owner), "metrics", &figures);
        let sealed = || Decision::Sealed(seal(owner, "decision", &decision_bytes(&decision)));
        let decision = if fixed { sealed() } else { decision };
        let quarantined = if fixed { vec![] } else { metrics.quarantined.clone() };
        // Which version is current would tell what was decided.
        let current = if fixed { round } else { self.standing.current };
        let roster = &self.members.roster;
        self.standing.orders = roster.sequence();
        let (orders, orders_digest, trials) = (roster.sequence(), roster.digest(), summary.trials);
        if round == 0 {
            self.origin.model = Id(after);
        }
        let receipt = Receipt {
            version: RECEIPT_VERSION,
            project: self.id,
            tee: identity.tee().name().into(),
            measurement: Blob(identity.measurement.clone()),
            rules: self.release.rules.digest(),
            round,
            attempts: counter.attempts.max(1),
            faults: counter.faults,
            previous: (round > 0).then_some(self.receipts.newest),
            orders,
            orders_digest,
            recipe: self.origin.recipe,
            current,
            trials,
            uploads: used.clone(),
            quarantined: quarantined.clone(),
            rows: summary.rows,
            steps: summary.steps,
            before: if round == 0 { after } else { self.commitment },
            after,
            decision,
            metrics: Sha256::digest(&sealed_metrics.0).into(),
        };
        let signed = sign_receipt(&receipt, &receipt_signing_key(&self.vault));
        self.receipts = Receipts { newest: receipt_digest(&signed), before: self.receipts.newest };
        self.commitment = after;
        let state = Blob(self.sealed_state().0);
        let decision = receipt.decision;
        let summary = RoundSummary {
            round,
            metrics: sealed_metrics,
            decision,
            current,
            quarantined,
            orders,
            ..summary
        };
        RoundRecord { summary, given, used, state, model, receipt: Blob(signed) }
    }

    /// Runs a round. If it is abandoned, the project is what it was, but for the count of attempts.
    pub(crate) fn run_round<C: Cloud>(
        &mut self,
        identity: &Identity,
        cloud: &C,
        round: u64,
        epochs: Option<u32>,
        uploads: Vec<AdmittedUpload>,
    ) -> Result<RoundRecord, RoundError> {
        if round != self.round + 1 {
            return Err(RoundError::Training(format!(
                "round {round} was asked for, but round {} is the next",
                self.round + 1
            )));
        }
        let epochs = epochs.unwrap_or(self.release.recipe.epochs);
        if !(1..=MAX_EPOCHS).contains(&epochs) {
            return Err(RoundError::Training(format!("a round has 1 to {MAX_EPOCHS} epochs")));
        }
        if let Some(version) = self.rollback {
            return Err(RoundError::Training(format!(
                "the owner ordered version {version} back: that comes first"
            )));
        }
        let given: Vec<Id> = uploads.iter().map(|u| u.header.id()).collect();
        if given.len() > MAX_UPLOADS || !self.standing.has_room(&given) {
            return Err(RoundError::Training(format!(
                "a round is given at most {MAX_UPLOADS} uploads, and all rounds of a project together at most {MAX_LISTED}: \
                 gather rows into larger ones, in a new project that begins with this model"
            )));
        }
        let before = self.trainer.state();
        // Counted only once it is clear that there is something to do: nothing was asked of the refinery yet.
        let counter = self.counter(identity)?;
        // To go on from a round is to take it as stored.
        let counter = if counter.round < self.round { counter.advanced() } else { counter };
        self.allowed(&counter)?;
        let prepared = round::prepare(self, uploads)?;
        let begun = self.begin(identity)?;
        let task = Task { round, attempt: begun.attempts, epochs };
        let fixed = self.fixed_schedule();
        let trained = match course::run(self, cloud, task, prepared) {
            // What happened is sealed to the owner; for everybody else the round failed.
            Err(RoundError::Values(cause)) => {
                let mut standing = self.standing.clone();
                given.iter().for_each(|id| _ = standing.uploads.entry(*id).or_insert(Place::Waiting));
                Ok(Trained::failed(round, cause, standing))
            }
            done => done,
        };
        let good = matches!(&trained, Ok(trained) if trained.promoted);
        let before = (!good).then_some(before);
        if !good || fixed {
            // Under a fixed schedule a round that is promoted takes as long.
            let state = before.unwrap_or_else(|| self.trainer.state());
            let recipe = self.release.recipe.clone();
            let done = self.trainer.epochs();
            self.trainer = Trainer::restore(recipe, state)
                .map_err(|e| RoundError::Training(format!("the model could not be restored: {e}")))?;
            if fixed && trained.is_ok() {
                // The order of the next round's batches must not tell either.
                self.trainer.resume_at(done);
            }
        }
        let Trained { metrics, rows, steps, promoted, trials, used, standing } = trained?;
        (self.round, self.standing) = (round, standing);
        // Going back to an earlier version makes nobody less of a newcomer.
        self.standing.known = self.members.roster.sequence();
        let uploads = used.len() as u32;
        let summary = RoundSummary { uploads, rows, steps, trials, ..RoundSummary::default() };
        let decision = match (&metrics.failure, promoted) {
            (Some(_), _) => Decision::Failed { reason: VALUES.into() },
            (None, true) => Decision::Promoted,
            (None, false) => Decision::RolledBack { reason: WORSE.into() },
        };
        let done = Done { summary, given, used, metrics: &metrics, decision };
        Ok(self.produce(identity, done, &begun)?)
    }

    /// The record of a round, which the counters know before it leaves: of all attempts, the last one alone can be gone
    /// on from. Queries may have counted meanwhile.
    fn produce(
        &mut self,
        identity: &Identity,
        done: Done<'_>,
        begun: &Counter,
    ) -> std::io::Result<RoundRecord> {
        let record = self.record(identity, done, begun);
        let (produced, reported) = (self.receipts.newest, begun.faults);
        let place = Counter::at(self.round, produced);
        identity
            .count(&self.id, place, |now| Ok::<_, std::io::Error>(Counter { produced, reported, ..now }))?;
        Ok(record)
    }

    /// Counts an attempt. What an earlier one produced is not taken back any more.
    fn begin(&self, identity: &Identity) -> std::io::Result<Counter> {
        let place = Counter::at(self.round, self.receipts.newest);
        identity.count(&self.id, place, |now| {
            let now = if now.round < self.round { now.advanced() } else { now };
            Ok(Counter { attempts: now.attempts + 1, produced: [0; 32], reported: 0, ..now })
        })
    }

    /// The digest of the newest receipt.
    pub(crate) fn newest(&self) -> [u8; 32] {
        self.receipts.newest
    }

    /// Makes an earlier version the current one, as the owner ordered; `model` is as that version's record has it.
    pub(crate) fn roll_back(
        &mut self,
        identity: &Identity,
        round: u64,
        version: u64,
        model: &[u8],
    ) -> Result<RoundRecord, RoundError> {
        let refused = |why: &str| RoundError::Training(why.into());
        if round != self.round + 1 || self.rollback != Some(version) {
            return Err(refused("the owner did not order this"));
        }
        let opened = self.release.owner.unseal(&model_context("model", &self.id, version), model);
        let opened = Zeroizing::new(opened.map_err(|_| refused("this is not the model of that version"))?);
        let other = || refused("this is not the model of that version");
        let (found, layers) = opened.split_first_chunk::<32>().ok_or_else(other)?;
        // The owner can seal another one, and its rows are not the only ones that were given for this project.
        if *found != opening(&self.vault, version, layers) {
            return Err(other());
        }
        let layers = decode_model(layers).map_err(|e| refused(&e.to_string()))?;
        let recipe = self.release.recipe.clone();
        let network = Network::new(layers, recipe.activations.clone(), recipe.input_rms)
            .map_err(|e| refused(&e.to_string()))?;
        let counter = self.counter(identity)?;
        let counter = if counter.round < self.round { counter.advanced() } else { counter };
        self.allowed(&counter)?;
        let begun = self.begin(identity)?;
        let epochs = self.trainer.epochs();
        self.trainer = Trainer::continue_from(recipe, network).map_err(|e| refused(&e.to_string()))?;
        // The order of the rows goes on where it was.
        self.trainer.resume_at(epochs);
        (self.round, self.standing.current, self.rollback) = (round, version, None);
        let metrics = RoundMetrics::of(round);
        let decision = Decision::Restored { version };
        let done = Done {
            summary: RoundSummary::default(),
            given: vec![],
            used: vec![],
            metrics: &metrics,
            decision,
        };
        Ok(self.produce(identity, done, &begun)?)
    }

    /// The project's counter, which must speak of this history.
    pub(crate) fn counter(&self, identity: &Identity) -> Result<Counter, RoundError> {
        let newest = self.receipts.newest;
        match identity.counters.load(&self.id)? {
            None => Ok(Counter::at(self.round, newest)),
            Some(c) if c.round == self.round && c.receipt == newest => Ok(c),
            Some(c) if c.round + 1 == self.round && c.produced == newest => Ok(c),
            Some(_) => Err(RoundError::Rules("this warden has gone on with another history".into())),
        }
    }

    fn allowed(&self, counter: &Counter) -> Result<(), RoundError> {
        let rules = &self.release.rules;
        if let Some(why) = counter.handed_over() {
            return Err(RoundError::Rules(why));
        }
        self.told_all(counter).map_err(RoundError::Rules)?;
        if counter.faults > rules.faults {
            return Err(RoundError::Rules(format!(
                "this refinery answered wrongly {} times since the last round, {} are survived",
                counter.faults, rules.faults
            )));
        }
        if counter.attempts >= rules.attempts {
            return Err(RoundError::Rules(format!(
                "{} attempts were made at this round, and {} are allowed",
                counter.attempts, rules.attempts
            )));
        }
        Ok(())
    }

    /// The record of a round is stored for good: from now on no state before it is taken.
    pub(crate) fn stored(&self, identity: &Identity, round: u64) -> std::io::Result<()> {
        let _counting = identity.counting();
        let newest = self.receipts.newest;
        let counter = match identity.counters.load(&self.id)? {
            _ if round != self.round => return Ok(()),
            None => Counter::at(round, newest),
            Some(c) if c.round + 1 == round && c.produced == newest => c.advanced(),
            // It is known already, or of another history.
            Some(_) => return Ok(()),
        };
        identity.counters.store(&self.id, &counter)
    }

    /// The warden to which it was handed over; counters that cannot be read refuse what is asked later.
    pub(crate) fn successor(&self, identity: &Identity) -> Option<Id> {
        let counter = identity.counters.load(&self.id).ok().flatten()?;
        (counter.successor != [0; 32]).then_some(Id(counter.successor))
    }

    /// Whether it was not handed over to another warden.
    pub(crate) fn active(&self, identity: &Identity) -> Result<(), String> {
        let counter = identity.counters.load(&self.id).map_err(|e| e.to_string())?;
        counter.and_then(|counter| counter.handed_over()).map_or(Ok(()), Err)
    }

    /// Whether the refinery may still be worked with.
    pub(crate) fn trusted(&self, identity: &Identity) -> Result<(), RoundError> {
        let counter = self.counter(identity)?;
        self.allowed(&Counter { attempts: 0, ..counter })
    }
}

/// The key in these bytes.
fn key_of(bytes: &[u8]) -> Option<Key> {
    bytes.try_into().ok().map(Key::from_bytes)
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
