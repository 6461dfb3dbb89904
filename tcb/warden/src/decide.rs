//! Which uploads a round keeps, and whether its model becomes the current version.
//!
//! Labels that were shuffled give a loss of at least that of a model that knows nothing, in expectation, whatever the
//! model (the mean over classes of -log p is smallest where all p are equal); labels that fit give less. So an upload
//! is screened by its own loss: under the current model before it is trained on, and under the model that was trained
//! on it before that becomes current. What is worse without standing out is found by trying uploads apart: halves,
//! then quarters. Nobody is blamed before a training over old rows alone showed that those do not make it worse too. Rows
//! of few classes make any model worse that is trained on them alone: they wait for rows of others.
//!
//! Losses over a few hundred rows move by chance, near the end of training by more than they fall. A loss counts as
//! larger where it is so by more than [`CERTAINTY`] standard errors; whether training made the model worse is judged
//! by the rows' differences, in which what the rows have in common cancels.

use blindsmith_learn::{Estimate, Losses};
use blindsmith_protocol::Reason;
use blindsmith_receipts::Rules;

use crate::verdict::{Control, Effect, History, Set, Verdict, verdict, verdict_once};

/// What a loss may rise by in any case: a model that knows nothing has about 1.
const FLOOR: f64 = 1e-3;
/// Standard errors beyond which a difference is not taken for chance.
const CERTAINTY: f64 = 2.0;

/// Losses over some rows of an upload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Screening {
    /// Of the model.
    pub loss: Estimate,
    /// Of a model whose outputs are all zero.
    pub uninformed: f64,
    /// What the rows that judge let expect of rows of these classes; none where labels are no classes. Rows of another class
    /// balance than those are not taken for wrong ones.
    pub expected: Option<f64>,
}

impl Screening {
    /// Of rows that the model has no outputs for: they stand out.
    pub const NONE: Screening = Screening {
        loss: Estimate { mean: f64::NAN, error: f64::NAN },
        uninformed: f64::NAN,
        expected: None,
    };
    /// Of rows of classes of which none judge: nothing can be said.
    pub const UNKNOWN: Screening =
        Screening { loss: Estimate { mean: 0.0, error: 0.0 }, uninformed: 0.0, expected: Some(0.0) };
}

/// Losses over the rows that judge.
#[derive(Clone)]
pub(crate) struct Judgement {
    /// Over all of them.
    pub all: Losses,
    /// Over the owner's rows for validation, if it has any beside others' rows: what is worse by them is worse.
    pub own: Option<Losses>,
}

/// A training that ended.
pub(crate) struct Attempt<E> {
    /// New uploads that the terms of their contributors keep out, with no others beside them: they were not trained on.
    pub waiting: Vec<u32>,
    /// Why it stopped, or could not be judged, if values left their range: the model is of no use.
    pub out_of_range: Option<E>,
}

/// A model that can be trained, judged, and taken back.
pub(crate) trait Bench {
    /// All that training changes.
    type State;
    /// Why a round must be abandoned.
    type Error;
    /// The model's loss over each row that judges, if there are any: the same rows until uploads are set aside.
    fn judge(&mut self) -> Result<Option<Judgement>, Self::Error>;
    /// Losses over some rows of an upload.
    fn screen(&mut self, upload: u32) -> Result<Screening, Self::Error>;
    /// Trains on these new uploads, on old ones beside them.
    fn train(&mut self, new: &[u32]) -> Result<Attempt<Self::Error>, Self::Error>;
    /// Whether there are old rows to train on.
    fn has_old(&self) -> bool;
    /// From now on these count as old.
    fn accept(&mut self, uploads: &[u32]);
    /// Whether an upload that was screened has other classes than those that judge, for half of its rows or more: a model
    /// that is trained on it alone becomes worse, be its labels right or wrong.
    fn one_sided(&self, upload: u32) -> bool;
    /// From now on these are not trained on.
    fn set_aside(&mut self, uploads: &[u32]);
    /// What training changes, as it is now.
    fn save(&mut self) -> Self::State;
    /// Goes back to it.
    fn restore(&mut self, state: Self::State) -> Result<(), Self::Error>;
}

/// What a round decided.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Decided {
    /// Whether the model is another than before.
    pub promoted: bool,
    /// New uploads that it was trained on.
    pub accepted: Vec<u32>,
    /// Uploads set aside.
    pub quarantined: Vec<(u32, Reason)>,
    /// Trainings.
    pub trials: u32,
    /// Losses over the rows that judge, before and after.
    pub before: Option<f64>,
    /// After; of the current model, whether it changed or not.
    pub after: Option<f64>,
}

/// Whether an upload stands out.
fn suspicious(rules: &Rules, judged: f64, Screening { loss, uninformed, expected }: Screening) -> bool {
    let limit = expected.unwrap_or(judged) * f64::from(rules.screening) / 1000.0 + CERTAINTY * loss.error;
    // A loss that is no number is suspicious too.
    let within = loss.mean <= limit || loss.mean <= uninformed;
    rules.screening != 0 && !within
}

fn mean(judged: &Option<Judgement>) -> Option<f64> {
    judged.as_ref().map(|judged| judged.all.estimate().mean)
}

/// Runs a round over new uploads; `old` are screened again.
pub(crate) fn decide<B: Bench>(
    bench: &mut B,
    new: &[u32],
    old: &[u32],
    rules: &Rules,
) -> Result<Decided, B::Error> {
    let mut current = bench.judge()?;
    let screened = match mean(&current) {
        Some(judged) => find(bench, &[old, new].concat(), rules, judged)?,
        None => Vec::new(),
    };
    bench.set_aside(&screened);
    if screened.iter().any(|upload| old.contains(upload)) {
        // Its rows judge no longer.
        current = bench.judge()?;
    }
    let before = mean(&current);
    let mut decided = Decided { before, after: before, ..Decided::default() };
    let clean: Vec<u32> = new.iter().copied().filter(|u| !screened.contains(u)).collect();
    decided.quarantined.extend(screened.into_iter().map(|u| (u, Reason::Screened)));
    if clean.is_empty() && !new.is_empty() {
        return Ok(decided);
    }
    let mut search = Search {
        sets: vec![clean],
        control: Control::Untried,
        ranged: false,
        in_range: false,
        cause: None,
        out_of_range: vec![],
        current,
    };
    while let Some(set) = search.sets.pop() {
        if decided.trials >= rules.trials {
            // They wait for another round.
            break;
        }
        attempt(bench, set, rules, &mut decided, &mut search)?;
    }
    let Search { in_range, cause, out_of_range, .. } = search;
    if let Some(cause) = cause.filter(|_| !in_range) {
        // No training stayed in the range: nobody can tell whether it is an upload's doing or the recipe's.
        return Err(cause);
    }
    bench.set_aside(&out_of_range);
    decided.quarantined.extend(out_of_range.into_iter().map(|u| (u, Reason::OutOfRange)));
    Ok(decided)
}

/// What is still to be tried.
struct Search<E> {
    sets: Vec<Vec<u32>>,
    /// What a training over old rows alone does to the model, by which it is judged.
    control: Control,
    /// Whether values stayed in their range in one since the last upload was accepted.
    ranged: bool,
    /// Whether values stayed in their range in some training.
    in_range: bool,
    /// Why they did not in the first one in which they left it.
    cause: Option<E>,
    /// Uploads with which alone they left it.
    out_of_range: Vec<u32>,
    /// Losses of the model as it is, without the training under way.
    current: Option<Judgement>,
}

/// Whether the model is good enough after a training.
fn good(rules: &Rules, before: &Option<Judgement>, after: &Option<Judgement>) -> bool {
    let no_worse = |before: &Losses, after: &Losses| {
        let Estimate { mean, error } = after.excess(before, f64::from(rules.tolerance) / 1000.0);
        mean <= CERTAINTY * error + FLOOR
    };
    let (Some(before), Some(after)) = (before, after) else { return true };
    let own = before.own.as_ref().zip(after.own.as_ref());
    no_worse(&before.all, &after.all) && own.is_none_or(|(before, after)| no_worse(before, after))
}

/// What a training over old rows alone does, and why values left their range if they did. Where there are no old rows,
/// nobody can tell.
fn try_old<B: Bench>(
    bench: &mut B,
    rules: &Rules,
    current: &Option<Judgement>,
    decided: &mut Decided,
) -> Result<(Control, Option<B::Error>), B::Error> {
    if !bench.has_old() {
        return Ok((Control::NoWorse, None));
    }
    let before = bench.save();
    let training = bench.train(&[])?;
    decided.trials += 1;
    let judged = if training.out_of_range.is_none() { bench.judge()? } else { None };
    bench.restore(before)?;
    Ok(match training.out_of_range {
        Some(cause) => (Control::OutOfRange, Some(cause)),
        None if good(rules, current, &judged) => (Control::NoWorse, None),
        None => (Control::Worse, None),
    })
}

/// A training, and what it did.
struct Trial {
    /// New uploads that it went over.
    uploads: Vec<u32>,
    effect: Effect,
    /// Those that stand out under the new model.
    outstanding: Vec<u32>,
    judged: Option<Judgement>,
}

impl Trial {
    /// Looks at a model that was just trained, within its range or not.
    fn of<B: Bench>(
        bench: &mut B,
        uploads: Vec<u32>,
        in_range: bool,
        rules: &Rules,
        current: &Option<Judgement>,
    ) -> Result<Self, B::Error> {
        if !in_range {
            return Ok(Trial { uploads, effect: Effect::OutOfRange, outstanding: vec![], judged: None });
        }
        let judged = bench.judge()?;
        let outstanding = match mean(&judged) {
            Some(loss) => find(bench, &uploads, rules, loss)?,
            None => Vec::new(),
        };
        let effect = Effect::of(&outstanding, good(rules, current, &judged));
        Ok(Trial { uploads, effect, outstanding, judged })
    }
}

impl Effect {
    fn of(outstanding: &[u32], good: bool) -> Self {
        match good {
            _ if !outstanding.is_empty() => Effect::StandsOut,
            true => Effect::NoWorse,
            false => Effect::Worse,
        }
    }
}

/// One training, and what the table says of it.
fn attempt<B: Bench>(
    bench: &mut B,
    set: Vec<u32>,
    rules: &Rules,
    decided: &mut Decided,
    search: &mut Search<B::Error>,
) -> Result<(), B::Error> {
    let before = bench.save();
    let Attempt { waiting, out_of_range: mut cause } = bench.train(&set)?;
    let trained: Vec<u32> = set.iter().copied().filter(|u| !waiting.contains(u)).collect();
    if trained.is_empty() && !set.is_empty() {
        return bench.restore(before);
    }
    decided.trials += 1;
    search.in_range |= cause.is_none();
    let trial = Trial::of(bench, trained, cause.is_none(), rules, &search.current)?;
    let effect = trial.effect;
    if effect != Effect::NoWorse {
        bench.restore(before)?;
    }
    let set = match trial.uploads.as_slice() {
        [] => Set::Old,
        [one] if bench.one_sided(*one) => Set::OneSided,
        [_] => Set::One,
        _ => Set::Several,
    };
    let history = History { promoted: decided.promoted, searching: search.cause.is_some() };
    let mut said = verdict(effect, set, search.known(effect, bench.has_old()), history);
    if said == Verdict::TryOld {
        let (control, why) = try_old(bench, rules, &search.current, decided)?;
        search.learn(effect, control);
        cause = why.or(cause);
        said = verdict(effect, set, control, history);
    }
    if said == Verdict::Fail {
        return cause.map_or(Ok(()), Err);
    }
    if matches!(said, Verdict::Halve | Verdict::Quarantine(_)) {
        search.cause = search.cause.take().or(cause);
    }
    search.carry_out(bench, said, trial, decided);
    Ok(())
}

impl<E> Search<E> {
    /// Does what was decided of a training.
    fn carry_out<B: Bench>(&mut self, bench: &mut B, verdict: Verdict, trial: Trial, decided: &mut Decided) {
        let Trial { uploads, outstanding, judged, .. } = trial;
        match verdict {
            Verdict::Promote => {
                bench.accept(&uploads);
                decided.promoted = true;
                decided.accepted.extend(uploads);
                decided.after = mean(&judged);
                self.current = judged;
                self.ranged = false;
            }
            Verdict::Quarantine(Reason::OutOfRange) => self.out_of_range.extend(uploads),
            Verdict::Quarantine(reason) => {
                let aside = if outstanding.is_empty() { uploads.clone() } else { outstanding };
                let rest: Vec<u32> = uploads.into_iter().filter(|u| !aside.contains(u)).collect();
                self.sets.extend((!rest.is_empty()).then_some(rest));
                bench.set_aside(&aside);
                decided.quarantined.extend(aside.into_iter().map(|u| (u, reason)));
            }
            Verdict::Halve => {
                let (first, second) = uploads.split_at(uploads.len() / 2);
                self.sets.extend([second.to_vec(), first.to_vec()]);
            }
            Verdict::Stop => self.sets.clear(),
            Verdict::Wait | Verdict::TryOld | Verdict::Fail => {}
        }
    }

    /// What is known of a training over old rows alone, as far as it matters for this effect.
    fn known(&self, effect: Effect, has_old: bool) -> Control {
        match effect {
            // What was accepted since may have moved the values.
            Effect::OutOfRange if has_old && !self.ranged => Control::Untried,
            Effect::OutOfRange => Control::NoWorse,
            _ => self.control,
        }
    }

    /// Remembers what such a training did.
    fn learn(&mut self, effect: Effect, control: Control) {
        self.ranged |= effect == Effect::OutOfRange;
        if control != Control::OutOfRange {
            self.in_range |= effect == Effect::OutOfRange;
            if self.control == Control::Untried {
                self.control = control;
            }
        }
    }
}

/// Runs a round that takes the same steps whatever it achieves: one training on everything that was not set aside
/// before it, promoted or taken back as a whole.
pub(crate) fn decide_once<B: Bench>(
    bench: &mut B,
    new: &[u32],
    old: &[u32],
    aside: &[u32],
    rules: &Rules,
) -> Result<Decided, B::Error> {
    let current = bench.judge()?;
    let before = mean(&current);
    let mut all = [old, new].concat();
    all.sort_unstable();
    let screened = find(bench, &all, rules, before.unwrap_or(f64::INFINITY))?;
    bench.set_aside(&screened);
    let saved = bench.save();
    // On a fixed schedule a training goes on whatever its values.
    let Attempt { waiting, out_of_range } = bench.train(new)?;
    if let Some(cause) = out_of_range {
        return Err(cause);
    }
    let judged = bench.judge()?;
    let after = mean(&judged);
    let found = find(bench, &all, rules, after.unwrap_or(f64::INFINITY))?;
    // What did not count in the training is looked at like the rest, and decides nothing.
    let counted = |u: &u32| ![&waiting[..], &screened, aside].iter().any(|list| list.contains(u));
    let found: Vec<u32> = found.into_iter().filter(counted).collect();
    let kept = |u: &&u32| counted(u) && !found.contains(u);
    let effect = Effect::of(&found, good(rules, &current, &judged));
    let promoted = verdict_once(effect) == Verdict::Promote;
    let mut decided = Decided { promoted, trials: 1, before, after, ..Decided::default() };
    if promoted {
        decided.accepted = new.iter().filter(kept).copied().collect();
        bench.accept(&decided.accepted);
    } else {
        bench.restore(saved)?;
        decided.after = before;
    }
    let screened = screened.into_iter().filter(|u| !aside.contains(u));
    decided.quarantined.extend(screened.map(|u| (u, Reason::Screened)));
    decided.quarantined.extend(found.into_iter().map(|u| (u, Reason::ScreenedAfter)));
    Ok(decided)
}

/// Those that stand out.
pub(crate) fn find<B: Bench>(
    bench: &mut B,
    uploads: &[u32],
    rules: &Rules,
    judged: f64,
) -> Result<Vec<u32>, B::Error> {
    let mut found = Vec::new();
    if rules.screening == 0 {
        return Ok(found);
    }
    for upload in uploads {
        if suspicious(rules, judged, bench.screen(*upload)?) {
            found.push(*upload);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
