//! The course of a round: trainings and judgements over encrypted rows, for [`crate::decide`].

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use blindsmith_formats::{ContributorMetrics, MAX_FAILURE, RoundMetrics};
use blindsmith_keys::{Context, Freshness, Key};
use blindsmith_learn::{
    Block, ClassLoss, Estimate, Losses, Matrix, Recipe, Rule, Sampler, Scoreboard, TrainError, Trainer,
    TrainerState,
};
use blindsmith_protocol::{Id, Progress, Quarantined, Reason, Role};
use blindsmith_receipts::Rules;

use crate::accelerator::{Encrypted, ProductError, Round, Spoiled};
use crate::cloud::Cloud;
use crate::decide::{Attempt, Bench, Decided, Judgement, Screening, decide, decide_once, find};
use crate::error::RoundError;
use crate::preparation::{Blocks, Material, Task};
use crate::project::Project;
use crate::standing::{Place, Standing};
use crate::uploads::{Upload, Uploads};

/// Rows of an upload by which it is screened, about.
const SCREENED_ROWS: u64 = 512;
/// Held-out rows that are enough to screen an upload by them alone.
const ENOUGH_HELD_OUT: u64 = 128;
/// Rows of all classes that are added to those of a class where its loss is asked for: a few rows are no measure.
const ROWS_BESIDE_A_CLASS: f64 = 8.0;
/// Rows of a batch where nothing is trained.
const JUDGED_ROWS: usize = 1024;

/// What came of a round's trainings.
pub(crate) struct Training {
    pub metrics: RoundMetrics,
    /// Rows of the trainings that were kept.
    pub rows: u64,
    /// Steps of all trainings.
    pub steps: u64,
    /// Whether the model is another than before.
    pub promoted: bool,
    pub trials: u32,
    /// The uploads that the model was trained on or judged with.
    pub used: Vec<Id>,
    /// How the project stands if this round is kept.
    pub standing: Standing,
}

impl Training {
    /// A round that stopped where its values left their range.
    pub(crate) fn failed(round: u64, cause: String, standing: Standing) -> Self {
        let mut end = cause.len().min(MAX_FAILURE);
        while !cause.is_char_boundary(end) {
            end -= 1;
        }
        let metrics = RoundMetrics { failure: Some(cause[..end].to_owned()), ..RoundMetrics::of(round) };
        Training { metrics, rows: 0, steps: 0, promoted: false, trials: 1, used: vec![], standing }
    }
}

struct Course<'a, 'c, C: Cloud> {
    accelerator: Encrypted<'c, C, Uploads>,
    trainer: &'a mut Trainer,
    uploads: &'c Uploads,
    blocks: Blocks,
    standing: Standing,
    rules: &'a Rules,
    /// Whether the round must show nothing of what it decides.
    fixed: bool,
    /// Members that were invited since the newest round.
    newcomers: BTreeSet<Id>,
    recipe: Recipe,
    /// Draws old rows.
    draw: Key,
    owner: Id,
    round: u64,
    epochs: u32,
    /// Uploads that count as old, of which the contributors' terms allow it.
    old: BTreeSet<u32>,
    aside: BTreeSet<u32>,
    /// Uploads whose rows do not count in the training under way, though they may be asked for.
    silent: BTreeSet<u32>,
    /// The state that the trainer has, while it is known: a copy that is not taken twice.
    state: Option<Arc<TrainerState>>,
    /// What the rows that judge say of the model that was just trained, until somebody asks.
    judged: Option<Judged>,
    /// Of the rows that judge, as they were judged last: the losses of each class.
    classes: Vec<ClassLoss>,
    /// Uploads that have other classes than those.
    one_sided: BTreeSet<u32>,
    /// Of the training under way or the last one.
    run: Run,
    /// Of those that were kept.
    kept: Run,
    steps: u64,
    /// Whether a training diverged that was taken back since.
    diverged: bool,
}

/// What the rows that judge say of a model; nothing where there are none.
struct Judged(Option<Judgement>);

/// What a training found.
#[derive(Default)]
struct Run {
    uploads: BTreeSet<u32>,
    /// Contributors of all rows that were asked for.
    contributors: BTreeSet<Id>,
    rows: u64,
    training_loss: Vec<f64>,
    gradient_noise: Vec<Vec<f32>>,
}

/// Runs a round whose trainer has the state `before`. On failure the caller restores it.
pub(crate) fn run<C: Cloud>(
    project: &mut Project,
    cloud: &C,
    task: Task,
    material: Material,
    before: Arc<TrainerState>,
) -> Result<Training, RoundError> {
    let Material { uploads, blocks } = material;
    let fixed = project.fixed_schedule();
    let newcomers = project.members.since(project.standing.known);
    let Project { spec, id, encryption, trainer, standing, release, .. } = project;
    let accelerator = Encrypted::new(Round {
        cloud,
        spec,
        key: encryption,
        rows: &uploads,
        context: Context { attempt: task.attempt, ..Context::of_round(id.0, task.round) },
        input_rms: release.recipe.input_rms,
        freshness: Freshness::Fresh,
    });
    let sets = Sets::of(standing, &uploads, &blocks, fixed);
    trainer.tolerate(fixed);
    let mut course = Course {
        accelerator: accelerator.tolerant(fixed),
        trainer,
        uploads: &uploads,
        blocks,
        standing: standing.clone(),
        rules: &release.rules,
        fixed,
        newcomers,
        recipe: release.recipe.clone(),
        draw: encryption.derive("replay", &[&task.round.to_be_bytes()]),
        owner: spec.owner,
        round: task.round,
        epochs: task.epochs,
        old: sets.old.iter().copied().collect(),
        aside: sets.aside.iter().copied().collect(),
        silent: BTreeSet::new(),
        state: Some(before),
        judged: None,
        classes: vec![],
        one_sided: BTreeSet::new(),
        run: Run::default(),
        kept: Run::default(),
        steps: 0,
        diverged: false,
    };
    let rules = course.rules;
    let decided = match fixed {
        true => decide_once(&mut course, &sets.new, &sets.old, &sets.aside, rules)?,
        false => decide(&mut course, &sets.new, &sets.old, rules)?,
    };
    course.finish(decided, &sets.judging_only)
}

/// Uploads by what a round does with them, by number.
struct Sets {
    old: Vec<u32>,
    new: Vec<u32>,
    /// New ones of which no block is trained on.
    judging_only: Vec<u32>,
    aside: Vec<u32>,
}

impl Sets {
    fn of(standing: &Standing, uploads: &Uploads, blocks: &Blocks, fixed: bool) -> Self {
        let numbers = |keep: &dyn Fn(&Id) -> bool| -> Vec<u32> {
            (0..).zip(uploads.iter()).filter(|(_, u)| keep(&u.header.id())).map(|(i, _)| i).collect()
        };
        let trains = |i: &u32| !blocks.training[*i as usize].is_empty();
        let known = |id: &Id| standing.accepted(id) || standing.quarantined(id).is_some();
        // On a fixed schedule it must not show what was set aside: it is asked for, and does not count.
        let old = |id: &Id| standing.accepted(id) || (fixed && known(id));
        let judges = |id: &Id| fixed || !known(id);
        Sets {
            old: numbers(&old).into_iter().filter(trains).collect(),
            new: numbers(&|id| !known(id)).into_iter().filter(trains).collect(),
            judging_only: numbers(&judges).into_iter().filter(|i| !trains(i)).collect(),
            aside: numbers(&|id| standing.quarantined(id).is_some()),
        }
    }
}

impl<C: Cloud> Course<'_, '_, C> {
    /// The blocks that judge the model: of the owner's uploads for validation, and of what was accepted before,
    /// capped per contributor; to begin with, of the owner's own rows. On a fixed schedule what was accepted must not
    /// show: the owner's rows judge.
    fn judging(&self) -> Vec<Block> {
        let own = |i: &u32| self.uploads.of(*i).header.contributor == self.owner;
        let accepted = |i: &u32| {
            let id = self.uploads.of(*i).header.id();
            self.standing.accepted(&id) && !self.aside.contains(i) && !self.used_up(*i)
        };
        let all = 0..self.uploads.iter().len() as u32;
        let judges = all.clone().filter(|i| self.validates(*i) || (!self.fixed && accepted(i)));
        let found = self.capped(judges);
        if !found.is_empty() { found } else { self.capped(all.filter(own)) }
    }

    /// Whether an upload is the owner's, for validation.
    fn validates(&self, upload: u32) -> bool {
        let header = &self.uploads.of(upload).header;
        header.contributor == self.owner && header.role == Role::Validation
    }

    /// Whether an upload's contributor allows no further version: its rows are neither trained on nor judge.
    fn used_up(&self, upload: u32) -> bool {
        let upload = self.uploads.of(upload);
        let versions = self.standing.versions.get(&upload.header.contributor).copied().unwrap_or(0);
        upload.terms.as_ref().is_some_and(|terms| versions >= terms.versions)
    }

    /// The held-out blocks of uploads, of each contributor as many rows as the rules allow. Fewer than those from which
    /// its terms show figures of them do not judge: from figures over all rows and over the others' they would follow.
    fn capped(&self, uploads: impl Iterator<Item = u32>) -> Vec<Block> {
        let mut found = BTreeMap::<Id, (u64, u64, Vec<Block>)>::new();
        for i in uploads {
            let upload = self.uploads.of(i);
            let (sum, least, blocks) = found.entry(upload.header.contributor).or_default();
            *least = (*least).max(upload.terms.as_ref().map_or(0, |t| t.metrics_rows));
            for block in &self.blocks.held_out[i as usize] {
                if *sum < self.rules.judging_rows {
                    *sum += u64::from(block.rows);
                    blocks.push(*block);
                }
            }
        }
        let mut judges: Vec<Block> = found
            .into_values()
            .filter(|(sum, least, _)| sum >= least)
            .flat_map(|(_, _, blocks)| blocks)
            .collect();
        // In the order of uploads, whoever sent them.
        judges.sort_by_key(|b| (b.upload, b.index));
        judges
    }

    /// Figures over blocks, and the loss of outputs that are all zero, as rows are judged.
    fn evaluate(&mut self, blocks: Vec<Block>) -> Result<(Scoreboard, f64), RoundError> {
        let sampler = self.sampler(blocks, JUDGED_ROWS.min(self.recipe.batch_rows))?;
        let mut uninformed = Scoreboard::new(self.trainer.objective().clone());
        let (uploads, outputs) = (self.uploads, self.recipe.outputs());
        let scores = self.trainer.judge(&mut self.accelerator, &sampler, |accelerator, blocks| {
            let labels = uploads.labels(accelerator.cloud(), blocks, |_| false)?;
            uninformed.add(&mut Matrix::zeros(labels.rows(), outputs), &labels);
            Ok(labels)
        })?;
        Ok((scores, uninformed.losses().estimate().mean))
    }

    /// An upload's losses beside those that its classes let expect. Classes of which no row judges are left out.
    fn by_class(&mut self, upload: u32, losses: &Losses, uninformed: f64) -> Screening {
        let loss = losses.estimate();
        let (own, judged) = (losses.classes(), &self.classes);
        let rows = |classes: &[ClassLoss]| classes.iter().map(|c| c.rows).sum::<u64>() as f64;
        let (own_rows, judged_rows) = (rows(own), rows(judged));
        if own_rows == 0.0 || judged_rows == 0.0 {
            return Screening { loss, uninformed, expected: None };
        }
        let pairs = || own.iter().zip(judged);
        let apart =
            pairs().map(|(a, b)| (a.rows as f64 / own_rows - b.rows as f64 / judged_rows).abs()).sum::<f64>();
        match apart >= 1.0 {
            true => self.one_sided.insert(upload),
            false => self.one_sided.remove(&upload),
        };
        let known = || pairs().filter(|(own, judged)| own.rows > 0 && judged.rows > 0);
        let known_rows = known().map(|(own, _)| own.rows).sum::<u64>() as f64;
        if known_rows == 0.0 {
            return Screening::UNKNOWN;
        }
        let mean = known().map(|(own, _)| own.sum).sum::<f64>() / known_rows;
        let all = judged.iter().map(|class| class.sum).sum::<f64>() / judged_rows;
        let of_class = |class: &ClassLoss| {
            (class.sum + ROWS_BESIDE_A_CLASS * all) / (class.rows as f64 + ROWS_BESIDE_A_CLASS)
        };
        let expected = known().map(|(own, judged)| own.rows as f64 * of_class(judged));
        let expected = Some(expected.sum::<f64>() / known_rows);
        Screening { loss: Estimate { mean, error: loss.error }, uninformed, expected }
    }

    fn sampler(&self, blocks: Vec<Block>, batch_rows: usize) -> Result<Sampler, RoundError> {
        Sampler::new(blocks, batch_rows, self.recipe.order_seed).map_err(|e| RoundError::Refused(e.into()))
    }

    /// Trains for the round's epochs, or until the rows that judge show no progress any more.
    fn epochs(&mut self, sampler: &Sampler) -> Result<(), RoundError> {
        self.trainer.begin_round(sampler, self.epochs);
        let steps = sampler.batches_per_epoch() as u64 * u64::from(self.epochs);
        let patience = if self.fixed { 0 } else { self.rules.patience };
        let mut best: Option<(f64, Arc<TrainerState>)> = None;
        let (mut without, mut step) = (0, 0);
        for _ in 0..self.epochs {
            let (uploads, silent, round) = (self.uploads, &self.silent, self.round);
            let load = |accelerator: &mut Encrypted<'_, C, Uploads>, blocks: &[Block]| {
                let progress = Progress { round, step, steps };
                step += 1;
                let failed = |e| TrainError::Accelerator(ProductError::from(e));
                accelerator.cloud().progress(progress).map_err(failed)?;
                uploads.labels(accelerator.cloud(), blocks, |upload| silent.contains(&upload))
            };
            let report = self.trainer.train_epoch(&mut self.accelerator, sampler, load)?;
            self.steps += report.steps;
            self.run.training_loss.push(report.loss);
            if matches!(self.recipe.rule, Rule::Adam(_) | Rule::AdamW(_)) {
                self.run.gradient_noise.extend(report.gradient_noise);
            }
            if patience == 0 {
                continue;
            }
            let Some(loss) = self.judge()?.map(|judged| judged.all.estimate().mean) else { continue };
            if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                (best, without) = (Some((loss, self.trainer.state().into())), 0);
            } else {
                without += 1;
                if without >= patience {
                    break;
                }
            }
        }
        match best {
            Some((_, state)) => self.restore(state),
            None => Ok(()),
        }
    }

    /// What is said of the round, and how the project stands after it.
    fn finish(mut self, mut decided: Decided, judging_only: &[u32]) -> Result<Training, RoundError> {
        let failure = self.failure();
        // A training in which no row counted is no progress.
        let promoted = decided.promoted && failure.is_none() && !self.kept.uploads.is_empty();
        let judges = self.judging();
        let validation = match judges.is_empty() {
            true => None,
            false => {
                let scores = self.evaluate(judges.clone())?.0;
                self.classes = scores.losses().classes().to_vec();
                Some(scores.metrics())
            }
        };
        let contributors = self.by_contributor(&judges)?;
        let mut used: BTreeSet<u32> = judges.iter().map(|b| b.upload).collect();
        let accepted = self.screened(judging_only, &mut decided)?;
        if promoted {
            used.extend(&self.kept.uploads);
        }
        // Its rows may have judged, for want of others: a receipt says one thing of an upload.
        decided.quarantined.iter().for_each(|(i, _)| _ = used.remove(i));
        let accepted = if promoted { [accepted, decided.accepted].concat() } else { vec![] };
        let standing = self.standing_after(promoted, &accepted, &decided.quarantined);
        let id = |i: u32| self.uploads.of(i).header.id();
        let ids: Vec<Id> = self.uploads.iter().map(|upload| upload.header.id()).collect();
        // On a fixed schedule the refinery remembers none: the owner is told of all that are.
        let all = ids.iter().filter_map(|id| Some((*id, standing.quarantined(id)?)));
        let new = decided.quarantined.iter().map(|(i, reason)| (id(*i), *reason));
        let listed: Vec<(Id, Reason)> = if self.fixed { all.collect() } else { new.collect() };
        let quarantined = listed.into_iter().map(|(upload, reason)| Quarantined { upload, reason }).collect();
        // What was used must not tell what was not.
        let used = if self.fixed { ids } else { used.into_iter().map(id).collect() };
        // Also where values that left their range, found at the end, keep it from becoming current: that must not show.
        let run = if decided.promoted { self.kept } else { self.run };
        let metrics = RoundMetrics {
            training_loss: run.training_loss,
            validation,
            before: decided.before,
            contributors,
            quarantined,
            failure,
            gradient_noise: run.gradient_noise,
            ..RoundMetrics::of(self.round)
        };
        let (rows, steps, trials) = (run.rows, self.steps, decided.trials);
        Ok(Training { metrics, rows, steps, promoted, trials, used, standing })
    }

    /// Why the round failed, where that is known only at its end because nothing stops: under a fixed schedule.
    fn failure(&self) -> Option<String> {
        let failure = match (self.diverged || self.trainer.diverged(), self.accelerator.spoiled()) {
            (true, _) => "training diverged",
            (_, Some(Spoiled::Overflow)) => "values became too large for the modulus",
            (_, Some(Spoiled::OutOfRange)) => "a product was out of range",
            (false, None) => return None,
        };
        Some(failure.to_owned())
    }

    /// How the project stands after the round.
    fn standing_after(
        &mut self,
        promoted: bool,
        accepted: &[u32],
        quarantined: &[(u32, Reason)],
    ) -> Standing {
        let mut standing = std::mem::take(&mut self.standing);
        // Every upload is listed from now on, whatever became of it.
        for Upload { header, .. } in self.uploads.iter() {
            standing.uploads.entry(header.id()).or_insert(Place::Waiting);
            standing.versions.entry(header.contributor).or_default();
        }
        if promoted {
            standing.current = self.round;
        }
        // On a fixed schedule rounds count as versions: what the next one asks for must not tell promotions.
        let (fixed, mut counted) = (self.fixed, BTreeSet::<Id>::new());
        counted.extend(self.run.contributors.iter().filter(|_| fixed));
        counted.extend(self.kept.contributors.iter().filter(|_| fixed || promoted));
        counted.iter().for_each(|id| *standing.versions.entry(*id).or_default() += 1);
        let accepted = accepted.iter().map(|i| (*i, Place::Accepted));
        let aside = quarantined.iter().map(|(i, reason)| (*i, Place::Quarantined(*reason)));
        for (i, place) in accepted.chain(aside) {
            standing.uploads.insert(self.uploads.of(i).header.id(), place);
        }
        standing
    }

    /// Of new uploads that only judge, those that do not stand out; members' wait until there is something to compare
    /// them with.
    fn screened(&mut self, uploads: &[u32], decided: &mut Decided) -> Result<Vec<u32>, RoundError> {
        let own = |i: &u32| self.uploads.of(*i).header.contributor == self.owner;
        let (mut good, others): (Vec<u32>, Vec<u32>) = uploads.iter().partition(|i| own(i));
        let Some(after) = decided.after else { return Ok(good) };
        let mut found = find(self, &others, self.rules, after)?;
        good.extend(others.into_iter().filter(|i| !found.contains(i)));
        // On a fixed schedule those that were set aside before are looked at as well, and stay so.
        good.retain(|i| !self.aside.contains(i));
        found.retain(|i| !self.aside.contains(i));
        decided.quarantined.extend(found.into_iter().map(|i| (i, Reason::ScreenedAfter)));
        Ok(good)
    }

    /// Figures of each contributor over its rows that judge.
    fn by_contributor(&mut self, judges: &[Block]) -> Result<Vec<ContributorMetrics>, RoundError> {
        let mut all = BTreeMap::<Id, (u64, Vec<Block>)>::new();
        for header in self.uploads.iter().map(|upload| &upload.header) {
            all.entry(header.contributor).or_default().0 += u64::from(header.rows);
        }
        for block in judges {
            let contributor = self.uploads.of(block.upload).header.contributor;
            all.entry(contributor).or_default().1.push(*block);
        }
        let alone = all.len() == 1;
        let mut found = Vec::new();
        for (contributor, (rows, blocks)) in all {
            // Of a single contributor the figures over all rows are its own.
            let shown = !alone && !blocks.is_empty() && !self.fixed;
            let figures = shown.then(|| self.evaluate(blocks)).transpose()?;
            let validation = figures.map(|(board, ..)| board.metrics().without_counts());
            found.push(ContributorMetrics { contributor, rows, validation });
        }
        Ok(found)
    }
}

impl<C: Cloud> Bench for Course<'_, '_, C> {
    type State = Arc<TrainerState>;
    type Error = RoundError;

    fn judge(&mut self) -> Result<Option<Judgement>, RoundError> {
        if let Some(Judged(judgement)) = self.judged.take() {
            return Ok(judgement);
        }
        let (own, others): (Vec<Block>, _) =
            self.judging().into_iter().partition(|b| self.validates(b.upload));
        // Of a few rows chance would decide.
        let enough = own.iter().map(|b| u64::from(b.rows)).sum::<u64>() >= ENOUGH_HELD_OUT;
        let mut losses = |blocks: Vec<Block>| -> Result<Option<Losses>, RoundError> {
            let some = (!blocks.is_empty()).then(|| self.evaluate(blocks)).transpose()?;
            Ok(some.map(|(scores, _)| scores.losses().clone()))
        };
        let judgement = match (losses(own)?, losses(others)?) {
            (Some(own), Some(others)) => {
                Some(Judgement { all: own.clone().with(&others), own: enough.then_some(own) })
            }
            (own, others) => own.or(others).map(|all| Judgement { all, own: None }),
        };
        self.classes = judgement.as_ref().map_or(vec![], |judgement| judgement.all.classes().to_vec());
        Ok(judgement)
    }

    fn screen(&mut self, upload: u32) -> Result<Screening, RoundError> {
        let (held_out, training) =
            (&self.blocks.held_out[upload as usize], &self.blocks.training[upload as usize]);
        // Rows that it was not trained on tell more, where there are enough of them.
        let held_out_rows = held_out.iter().map(|b| u64::from(b.rows)).sum::<u64>();
        let most =
            if held_out_rows < ENOUGH_HELD_OUT { SCREENED_ROWS } else { held_out_rows.min(SCREENED_ROWS) };
        let mut rows = 0;
        let sample = held_out.iter().chain(training).copied().take_while(|b| {
            let take = rows < most;
            rows += u64::from(b.rows);
            take
        });
        let sample = sample.collect();
        match self.evaluate(sample) {
            Ok((scores, uninformed)) => Ok(self.by_class(upload, scores.losses(), uninformed)),
            // Its own rows alone were multiplied: that they left their range is its fault.
            Err(RoundError::Values(_)) => Ok(Screening::NONE),
            Err(e) => Err(e),
        }
    }

    fn train(&mut self, new: &[u32]) -> Result<Attempt<RoundError>, RoundError> {
        let (blocks, mut waiting) = self.allowed(new)?;
        let nothing_new = !new.is_empty() && waiting.len() == new.len();
        if blocks.is_empty() || nothing_new && !self.fixed {
            let waiting = new.to_vec();
            // On a fixed schedule it must not show what counts as new.
            return if new.is_empty() && !self.fixed {
                Err(RoundError::Empty)
            } else {
                Ok(Attempt { waiting, out_of_range: None })
            };
        }
        self.silent = self.silenced(&blocks)?;
        let counts = |b: &&Block| !self.silent.contains(&b.upload);
        let contributor = |b: &Block| self.uploads.of(b.upload).header.contributor;
        let asked: BTreeSet<u32> = blocks.iter().map(|b| b.upload).collect();
        waiting.extend(new.iter().filter(|i| asked.contains(i) && self.silent.contains(i)));
        self.run = Run {
            uploads: blocks.iter().filter(counts).map(|b| b.upload).collect(),
            contributors: blocks.iter().map(contributor).collect(),
            rows: blocks.iter().map(|b| u64::from(b.rows)).sum(),
            ..Run::default()
        };
        let sampler = self.sampler(blocks, self.recipe.batch_rows)?;
        self.state = None;
        // A model with which values leave their range as soon as it is judged is of no use either.
        match self.epochs(&sampler).and_then(|()| self.judge()) {
            Ok(judgement) => {
                self.judged = Some(Judged(judgement));
                Ok(Attempt { waiting, out_of_range: None })
            }
            Err(cause @ RoundError::Values(_)) => Ok(Attempt { waiting, out_of_range: Some(cause) }),
            Err(e) => Err(e),
        }
    }

    fn has_old(&self) -> bool {
        self.allowed(&[]).is_ok_and(|(blocks, _)| !blocks.is_empty())
    }

    fn one_sided(&self, upload: u32) -> bool {
        self.one_sided.contains(&upload)
    }

    fn accept(&mut self, uploads: &[u32]) {
        self.old.extend(uploads);
        let run = std::mem::take(&mut self.run);
        self.kept.uploads.extend(run.uploads);
        self.kept.contributors.extend(run.contributors);
        self.kept.rows += run.rows;
        self.kept.training_loss.extend(run.training_loss);
        self.kept.gradient_noise.extend(run.gradient_noise);
    }

    fn set_aside(&mut self, uploads: &[u32]) {
        self.aside.extend(uploads);
        if !self.fixed {
            uploads.iter().for_each(|u| _ = self.old.remove(u));
        }
    }

    fn save(&mut self) -> Arc<TrainerState> {
        self.state.get_or_insert_with(|| self.trainer.state().into()).clone()
    }

    fn restore(&mut self, state: Arc<TrainerState>) -> Result<(), RoundError> {
        let failed = |e| RoundError::refused(format!("the model could not be restored: {e}"));
        self.judged = None;
        self.diverged |= self.trainer.diverged();
        let epochs = self.trainer.epochs();
        self.trainer.go_back(&state).map_err(failed)?;
        self.trainer.tolerate(self.fixed);
        if self.fixed {
            // The order of the next round's batches must not tell that this one was taken back.
            self.trainer.resume_at(epochs);
        } else {
            self.state = Some(state);
        }
        Ok(())
    }
}
