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
pub(crate) struct Training<E> {
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
    fn train(&mut self, new: &[u32]) -> Result<Training<Self::Error>, Self::Error>;
    /// Whether there are old rows to train on.
    fn has_old(&self) -> bool;
    /// From now on these count as old.
    fn accept(&mut self, uploads: &[u32]);
    /// Whether an upload that was screened has other classes than those that judge, for half of its rows or more: a model
    /// that is trained on it alone becomes worse, be its labels right or wrong.
    fn one_sided(&self, upload: u32) -> bool;
    /// From now on these are not trained on.
    fn set_aside(&mut self, uploads: &[u32]);
    /// A copy of what training changes.
    fn save(&self) -> Self::State;
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
        control: None,
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
    /// Whether a training over old rows alone makes the model worse, if it was tried.
    control: Option<bool>,
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

/// Whether training makes the model worse without any new upload. Where there are no old rows, nobody can tell.
fn worse_anyway<B: Bench>(
    bench: &mut B,
    rules: &Rules,
    current: &Option<Judgement>,
    decided: &mut Decided,
) -> Result<bool, B::Error> {
    if !bench.has_old() {
        return Ok(false);
    }
    let before = bench.save();
    let training = bench.train(&[])?;
    decided.trials += 1;
    if let Some(cause) = training.out_of_range {
        bench.restore(before)?;
        return Err(cause);
    }
    let judged = bench.judge()?;
    bench.restore(before)?;
    Ok(!good(rules, current, &judged))
}

/// One training, kept or taken back.
fn attempt<B: Bench>(
    bench: &mut B,
    set: Vec<u32>,
    rules: &Rules,
    decided: &mut Decided,
    search: &mut Search<B::Error>,
) -> Result<(), B::Error> {
    let before = bench.save();
    let Training { waiting, out_of_range } = bench.train(&set)?;
    let trained: Vec<u32> = set.iter().copied().filter(|u| !waiting.contains(u)).collect();
    if trained.is_empty() && !set.is_empty() {
        return bench.restore(before);
    }
    decided.trials += 1;
    if let Some(cause) = out_of_range {
        bench.restore(before)?;
        return apart_by_range(bench, trained, cause, rules, decided, search);
    }
    search.in_range = true;
    let judged = bench.judge()?;
    let found = match mean(&judged) {
        Some(judged) => find(bench, &trained, rules, judged)?,
        None => Vec::new(),
    };
    if !found.is_empty() {
        bench.restore(before)?;
        bench.set_aside(&found);
        let rest: Vec<u32> = trained.into_iter().filter(|u| !found.contains(u)).collect();
        decided.quarantined.extend(found.into_iter().map(|u| (u, Reason::ScreenedAfter)));
        if !rest.is_empty() {
            search.sets.push(rest);
        }
        return Ok(());
    }
    if good(rules, &search.current, &judged) {
        bench.accept(&trained);
        decided.promoted = true;
        decided.accepted.extend(trained);
        decided.after = mean(&judged);
        search.current = judged;
        search.ranged = false;
        return Ok(());
    }
    bench.restore(before)?;
    if !trained.is_empty() && search.control.is_none() {
        search.control = Some(worse_anyway(bench, rules, &search.current, decided)?);
    }
    if search.control == Some(true) {
        // It is not their doing: they wait. What leaves the range is still looked for.
        if search.cause.is_none() {
            search.sets.clear();
        }
        return Ok(());
    }
    // One whose classes are few of those that judge waits for rows of others.
    if let Some(one) = search.halves(&trained).filter(|one| !bench.one_sided(*one)) {
        bench.set_aside(&[one]);
        decided.quarantined.push((one, Reason::Worse));
    }
    Ok(())
}

impl<E> Search<E> {
    /// Has halves of some uploads tried, or gives the single one.
    fn halves(&mut self, uploads: &[u32]) -> Option<u32> {
        if uploads.len() <= 1 {
            return uploads.first().copied();
        }
        let (first, second) = uploads.split_at(uploads.len() / 2);
        self.sets.push(second.to_vec());
        self.sets.push(first.to_vec());
        None
    }
}

/// Looks for what made values leave their range, as for what makes the model worse. Old rows alone are tried first: if
/// values leave their range with them as well, no new upload is to blame, and the round fails as a whole.
fn apart_by_range<B: Bench>(
    bench: &mut B,
    trained: Vec<u32>,
    cause: B::Error,
    rules: &Rules,
    decided: &mut Decided,
    search: &mut Search<B::Error>,
) -> Result<(), B::Error> {
    if trained.is_empty() {
        return Err(cause);
    }
    if bench.has_old() && !std::mem::replace(&mut search.ranged, true) {
        match worse_anyway(bench, rules, &search.current, decided) {
            Ok(worse) => _ = search.control.get_or_insert(worse),
            // What was accepted in this round brought the values so far: nobody new is to blame.
            Err(_) if decided.promoted => {
                search.sets.clear();
                return Ok(());
            }
            Err(cause) => return Err(cause),
        }
        search.in_range = true;
    }
    search.cause.get_or_insert(cause);
    let one = search.halves(&trained);
    search.out_of_range.extend(one);
    Ok(())
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
    let Training { waiting, out_of_range } = bench.train(new)?;
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
    let good = found.is_empty() && good(rules, &current, &judged);
    let mut decided = Decided { promoted: good, trials: 1, before, after, ..Decided::default() };
    if good {
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
