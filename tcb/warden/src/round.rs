//! Rounds: trainings over uploads, and going back to an earlier version.

use std::sync::Arc;

use blindsmith_formats::{VALUES, WORSE, model_context};
use blindsmith_learn::Trainer;
use blindsmith_protocol::{AdmittedUpload, Decision, Id, MAX_EPOCHS, MAX_UPLOADS, RoundRecord, RoundSummary};
use zeroize::Zeroizing;

use crate::cloud::Cloud;
use crate::counters::Counter;
use crate::course::{self, Training};
use crate::error::RoundError;
use crate::identity::Identity;
use crate::model::opening;
use crate::preparation::{Material, Task};
use crate::project::Project;
use crate::record::RoundResult;
use crate::standing::{MAX_LISTED, Place};
use crate::state::network;

/// What a round is given.
pub(crate) struct RoundInput {
    pub round: u64,
    /// None for those of the recipe.
    pub epochs: Option<u32>,
    pub uploads: Vec<AdmittedUpload>,
}

impl Project {
    /// Runs a round. If it is abandoned, the project is what it was, but for the count of attempts.
    pub(crate) fn run_round<C: Cloud>(
        &mut self,
        identity: &Identity,
        cloud: &C,
        input: RoundInput,
    ) -> Result<RoundRecord, RoundError> {
        let given: Vec<Id> = input.uploads.iter().map(|u| u.header.id()).collect();
        let epochs = self.check_input(&input, &given)?;
        // Counted only once it is clear that there is something to do: nothing was asked of the refinery yet.
        self.check_counter(identity)?;
        let material = Material::new(self, input.uploads)?;
        let begun = self.begin(identity)?;
        let task = Task { round: input.round, attempt: begun.attempts, epochs };
        let before = Arc::new(self.trainer.state());
        let trained = match course::run(self, cloud, task, material, before.clone()) {
            // What happened is sealed to the owner; for everybody else the round failed.
            Err(RoundError::Values(cause)) => {
                let mut standing = self.standing.clone();
                given.iter().for_each(|id| _ = standing.uploads.entry(*id).or_insert(Place::Waiting));
                Ok(Training::failed(input.round, cause, standing))
            }
            done => done,
        };
        self.keep_or_restore(before, &trained)?;
        let Training { metrics, rows, steps, promoted, trials, used, standing } = trained?;
        (self.round, self.standing) = (input.round, standing);
        // Going back to an earlier version makes nobody less of a newcomer.
        self.standing.known = self.members.roster.sequence();
        let uploads = used.len() as u32;
        let summary = RoundSummary { uploads, rows, steps, trials, ..RoundSummary::default() };
        let decision = match (&metrics.failure, promoted) {
            (Some(_), _) => Decision::Failed { reason: VALUES.into() },
            (None, true) => Decision::Promoted,
            (None, false) => Decision::RolledBack { reason: WORSE.into() },
        };
        Ok(self.produce(identity, RoundResult { summary, given, used, metrics, decision }, &begun)?)
    }

    /// Whether this is the next round, and can be run; its epochs.
    fn check_input(&self, input: &RoundInput, given: &[Id]) -> Result<u32, RoundError> {
        let epochs = input.epochs.unwrap_or(self.release.recipe.epochs);
        let next = self.round + 1;
        let refused = if input.round != next {
            format!("round {} was asked for, but round {next} is the next", input.round)
        } else if !(1..=MAX_EPOCHS).contains(&epochs) {
            format!("a round has 1 to {MAX_EPOCHS} epochs")
        } else if let Some(version) = self.rollback {
            format!("the owner ordered version {version} back: that comes first")
        } else if given.len() > MAX_UPLOADS || !self.standing.has_room(given) {
            format!(
                "a round is given at most {MAX_UPLOADS} uploads, and all rounds of a project together at most {MAX_LISTED}: \
                 gather rows into larger ones, in a new project that begins with this model"
            )
        } else {
            return Ok(epochs);
        };
        Err(RoundError::refused(refused))
    }

    /// Whether another attempt may be made.
    fn check_counter(&self, identity: &Identity) -> Result<(), RoundError> {
        let counter = self.counter(identity)?;
        // To go on from a round is to take it as stored.
        let counter = if counter.round < self.round { counter.advanced() } else { counter };
        self.allowed(&counter)
    }

    /// Goes back to the state before a round that is not promoted.
    fn keep_or_restore(
        &mut self,
        before: Arc<blindsmith_learn::TrainerState>,
        trained: &Result<Training, RoundError>,
    ) -> Result<(), RoundError> {
        let (fixed, epochs) = (self.fixed_schedule(), self.trainer.epochs());
        let state = match trained {
            Ok(trained) if trained.promoted && !fixed => return Ok(()),
            // Under a fixed schedule a round that is promoted takes as long.
            Ok(trained) if trained.promoted => Arc::new(self.trainer.state()),
            _ => before,
        };
        let failed = |e| RoundError::refused(format!("the model could not be restored: {e}"));
        self.trainer.go_back(&state).map_err(failed)?;
        if fixed && trained.is_ok() {
            // The order of the next round's batches must not tell either.
            self.trainer.resume_at(epochs);
        }
        Ok(())
    }

    /// Makes an earlier version the current one, as the owner ordered; `model` is as that version's record has it.
    pub(crate) fn roll_back(
        &mut self,
        identity: &Identity,
        round: u64,
        version: u64,
        model: &[u8],
    ) -> Result<RoundRecord, RoundError> {
        if round != self.round + 1 || self.rollback != Some(version) {
            return Err(RoundError::refused("the owner did not order this"));
        }
        let other = || RoundError::refused("this is not the model of that version");
        let opened = self.release.owner.unseal(&model_context("model", &self.id, version), model);
        let opened = Zeroizing::new(opened.map_err(|_| other())?);
        let (found, layers) = opened.split_first_chunk::<32>().ok_or_else(other)?;
        // The owner can seal another one, and its rows are not the only ones that were given for this project.
        if *found != opening(&self.vault, version, layers) {
            return Err(other());
        }
        let recipe = self.release.recipe.clone();
        let network = network(&recipe, layers).map_err(RoundError::Refused)?;
        self.check_counter(identity)?;
        let begun: Counter = self.begin(identity)?;
        let epochs = self.trainer.epochs();
        let trainer = Trainer::continue_from(recipe, network);
        self.trainer = trainer.map_err(|e| RoundError::Refused(e.into()))?;
        // The order of the rows goes on where it was.
        self.trainer.resume_at(epochs);
        (self.round, self.standing.current, self.rollback) = (round, version, None);
        let result = RoundResult::untrained(round, Decision::Restored { version });
        Ok(self.produce(identity, result, &begun)?)
    }
}
