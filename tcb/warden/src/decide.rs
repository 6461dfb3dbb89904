//! Which uploads a round keeps, and whether its model becomes the current version.
//!
//! Labels that were shuffled give a loss of at least that of a model that knows nothing, in expectation, whatever the
//! model (the mean over classes of -log p is smallest where all p are equal); labels that fit give less. So an upload
//! is screened by its own loss: under the current model before it is trained on, and under the model that was trained
//! on it before that becomes current. What is worse without standing out is found by trying uploads apart: halves,
//! then quarters. Nobody is blamed before a training over old rows alone showed that those do not make it worse too.
//!
//! Losses over a few hundred rows move by chance, near the end of training by more than they fall. A loss counts as
//! larger where it is so by more than [`CERTAINTY`] standard errors; whether training made the model worse is judged
//! by the rows' differences, in which what the rows have in common cancels.

use blindsmith_learn::{Estimate, Losses};
use blindsmith_protocol::Reason;
use blindsmith_receipts::Rules;

/// Standard errors beyond which a difference is not taken for chance.
const CERTAINTY: f64 = 2.0;

/// Losses over some rows of an upload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Screening {
    /// Of the model.
    pub loss: Estimate,
    /// Of a model whose outputs are all zero.
    pub uninformed: f64,
}

impl Screening {
    /// Of rows that the model has no outputs for: they stand out.
    pub const NONE: Screening =
        Screening { loss: Estimate { mean: f64::NAN, error: f64::NAN }, uninformed: f64::NAN };
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
    /// Why it stopped, if values left their range: the model is of no use.
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
fn suspicious(rules: &Rules, judged: f64, Screening { loss, uninformed }: Screening) -> bool {
    let limit = judged * f64::from(rules.screening) / 1000.0 + CERTAINTY * loss.error;
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
        controlled: false,
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
        // Every training left the range: it is not one upload's doing.
        return Err(cause);
    }
    bench.set_aside(&out_of_range);
    decided.quarantined.extend(out_of_range.into_iter().map(|u| (u, Reason::OutOfRange)));
    Ok(decided)
}

/// What is still to be tried.
struct Search<E> {
    sets: Vec<Vec<u32>>,
    /// Whether a training over old rows alone was tried.
    controlled: bool,
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
        mean <= CERTAINTY * error
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
        return Ok(());
    }
    bench.restore(before)?;
    if !trained.is_empty()
        && !std::mem::replace(&mut search.controlled, true)
        && worse_anyway(bench, rules, &search.current, decided)?
    {
        // It is not their doing: they wait.
        search.sets.clear();
        return Ok(());
    }
    if let Some(one) = search.halves(&trained) {
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
    if bench.has_old() && !std::mem::replace(&mut search.controlled, true) {
        worse_anyway(bench, rules, &search.current, decided)?;
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
    rules: &Rules,
) -> Result<Decided, B::Error> {
    let current = bench.judge()?;
    let before = mean(&current);
    let all = [old, new].concat();
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
    let found: Vec<u32> = found.into_iter().filter(|u| !screened.contains(u)).collect();
    let kept = |u: &&u32| ![&waiting, &screened, &found].iter().any(|list| list.contains(*u));
    let good = found.is_empty() && good(rules, &current, &judged);
    let mut decided = Decided { promoted: good, trials: 1, before, after, ..Decided::default() };
    if good {
        decided.accepted = new.iter().filter(kept).copied().collect();
        bench.accept(&decided.accepted);
    } else {
        bench.restore(saved)?;
        decided.after = before;
    }
    decided.quarantined.extend(screened.into_iter().map(|u| (u, Reason::Screened)));
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A model that is as good as its uploads are: each moves the loss, and may stand out before or after.
    #[derive(Default)]
    struct Fake {
        loss: f64,
        judges: bool,
        /// By how much training on an upload multiplies the loss.
        effect: Vec<f64>,
        /// Their own losses; those of a model that knows nothing are 1.
        own: Vec<f64>,
        /// How far the rows' losses scatter around the model's, after a training and in uploads.
        scatter: f64,
        /// Uploads that stand out only once they were trained on.
        late: BTreeSet<u32>,
        waiting: BTreeSet<u32>,
        trained: BTreeSet<u32>,
        aside: Vec<u32>,
        trainings: Vec<Vec<u32>>,
        /// Whether there are old rows, and what training multiplies the loss with by itself.
        old: bool,
        training: f64,
        /// Uploads with which values leave their range, and whether they do with old rows alone.
        out_of_range: BTreeSet<u32>,
        old_out_of_range: bool,
        /// By how much training multiplies the loss over the owner's own rows, if those judge beside others'.
        own_effect: Option<f64>,
    }

    impl Bench for Fake {
        type State = (f64, BTreeSet<u32>);
        type Error = ();

        fn judge(&mut self) -> Result<Option<Judgement>, ()> {
            let scatter = if self.trainings.is_empty() { 0.0 } else { self.scatter };
            let rows: Vec<f32> = (0..100)
                .map(|row| (self.loss + if row % 2 == 0 { scatter } else { -scatter }) as f32)
                .collect();
            let own = self.own_effect.map(|effect| {
                let factor = if self.trained.is_empty() { 1.0 } else { effect };
                Losses::of(&rows.iter().map(|loss| loss * factor as f32).collect::<Vec<_>>())
            });
            Ok(self.judges.then(|| Judgement { all: Losses::of(&rows), own }))
        }

        fn screen(&mut self, upload: u32) -> Result<Screening, ()> {
            let late = self.late.contains(&upload) && self.trained.contains(&upload);
            let mean = if late { 9.0 } else { self.own[upload as usize] };
            Ok(Screening { loss: Estimate { mean, error: self.scatter / 10.0 }, uninformed: 1.0 })
        }

        fn train(&mut self, new: &[u32]) -> Result<Training<()>, ()> {
            let (wait, go): (Vec<u32>, Vec<u32>) = new.iter().partition(|u| self.waiting.contains(u));
            self.loss *= self.training;
            for upload in &go {
                self.loss *= self.effect[*upload as usize];
                self.trained.insert(*upload);
            }
            let left =
                go.iter().any(|u| self.out_of_range.contains(u)) || go.is_empty() && self.old_out_of_range;
            self.trainings.push(go);
            Ok(Training { waiting: wait, out_of_range: left.then_some(()) })
        }

        fn has_old(&self) -> bool {
            self.old
        }

        fn accept(&mut self, _uploads: &[u32]) {}

        fn set_aside(&mut self, uploads: &[u32]) {
            self.aside.extend(uploads);
        }

        fn save(&self) -> Self::State {
            (self.loss, self.trained.clone())
        }

        fn restore(&mut self, (loss, trained): Self::State) -> Result<(), ()> {
            (self.loss, self.trained) = (loss, trained);
            Ok(())
        }
    }

    fn fake(count: usize) -> Fake {
        Fake {
            loss: 0.5,
            judges: true,
            training: 0.9,
            effect: vec![1.0; count],
            own: vec![0.5; count],
            ..Fake::default()
        }
    }

    fn run(bench: &mut Fake) -> Decided {
        let new: Vec<u32> = (0..bench.effect.len() as u32).collect();
        decide(bench, &new, &[], &Rules::default()).unwrap()
    }

    #[test]
    fn good_uploads_are_taken_together() {
        let mut bench = fake(5);
        let decided = run(&mut bench);
        assert!(decided.promoted && decided.quarantined.is_empty());
        assert_eq!((&decided.accepted, decided.trials), (&vec![0, 1, 2, 3, 4], 1));
        let after = decided.after.unwrap();
        assert!(decided.before == Some(0.5) && (after - 0.45).abs() < 1e-6, "{decided:?}");
    }

    #[test]
    fn what_stands_out_is_set_aside_before_it_is_trained_on() {
        let mut bench = fake(4);
        bench.own[2] = 4.0;
        let decided = run(&mut bench);
        assert_eq!(decided.quarantined, [(2, Reason::Screened)]);
        assert_eq!(bench.trainings, [[0, 1, 3]]);
        assert_eq!(bench.aside, [2]);
    }

    #[test]
    fn more_wrong_than_the_judging_rows_but_better_than_chance_does_not_stand_out() {
        let mut bench = fake(2);
        (bench.loss, bench.own[1]) = (0.01, 0.9);
        assert_eq!(run(&mut bench).quarantined, []);
        for none in [Screening { uninformed: 1.0, ..Screening::NONE }, Screening::NONE] {
            assert!(suspicious(&Rules::default(), 0.5, none));
            assert!(!suspicious(&Rules { screening: 0, ..Rules::default() }, 0.5, none));
        }
    }

    #[test]
    fn what_stands_out_afterwards_is_set_aside_and_the_rest_trained_without_it() {
        let mut bench = fake(3);
        bench.late = [1].into();
        let decided = run(&mut bench);
        assert_eq!(decided.quarantined, [(1, Reason::ScreenedAfter)]);
        assert_eq!(bench.trainings, [vec![0, 1, 2], vec![0, 2]]);
        assert!(decided.promoted && bench.trained == [0, 2].into());
    }

    #[test]
    fn an_upload_that_makes_the_model_worse_is_found_by_halves() {
        for culprit in 0..9 {
            let mut bench = fake(9);
            bench.effect[culprit] = 2.0;
            let decided = run(&mut bench);
            assert_eq!(decided.quarantined, [(culprit as u32, Reason::Worse)]);
            assert_eq!(decided.accepted.len(), 8);
            assert!(decided.trials <= 9, "{}", decided.trials);
            assert!(bench.loss < 0.5 && !bench.trained.contains(&(culprit as u32)));
        }
    }

    #[test]
    fn attack_rows_that_leave_the_range_in_training_stop_nobody_else() {
        for (culprit, old) in (0..9).flat_map(|culprit| [(culprit, false), (culprit, true)]) {
            let mut bench = fake(9);
            (bench.old, bench.out_of_range) = (old, [culprit].into());
            let decided = run(&mut bench);
            assert_eq!(decided.quarantined, [(culprit, Reason::OutOfRange)]);
            assert_eq!((decided.accepted.len(), bench.aside), (8, vec![culprit]));
            assert!(decided.promoted && decided.trials <= 10, "{}", decided.trials);
        }
    }

    #[test]
    fn nobody_is_blamed_where_every_training_leaves_the_range() {
        for (count, old) in [(1, false), (4, false), (4, true)] {
            let mut bench = fake(count);
            (bench.old, bench.old_out_of_range) = (old, old);
            bench.out_of_range = (0..count as u32).collect();
            let new: Vec<u32> = (0..count as u32).collect();
            assert!(decide(&mut bench, &new, &[], &Rules::default()).is_err());
            assert!(bench.aside.is_empty() && bench.trained.is_empty());
        }
        // Too few trainings to find out.
        let mut bench = fake(4);
        bench.out_of_range = [0].into();
        assert!(decide(&mut bench, &[0, 1, 2, 3], &[], &Rules { trials: 1, ..Rules::default() }).is_err());
    }

    #[test]
    fn attack_rows_of_others_outvote_the_owners_validation_rows() {
        for (own_effect, promoted) in [(1.0, true), (1.5, false)] {
            let mut bench = fake(1);
            bench.own_effect = Some(own_effect);
            let decided = run(&mut bench);
            assert_eq!(decided.promoted, promoted, "the loss over all rows fell in either case");
            assert_eq!(decided.quarantined.is_empty(), promoted);
        }
    }

    #[test]
    fn what_chance_explains_is_neither_rolled_back_nor_blamed() {
        // The loss rises from 0.5 to 0.65, by 0.1 more than is tolerated; its standard error over a hundred rows is a
        // tenth of the scatter.
        for (scatter, promoted) in [(1.0, true), (0.1, false)] {
            let mut bench = fake(1);
            (bench.scatter, bench.training, bench.effect[0]) = (scatter, 1.0, 1.3);
            let decided = run(&mut bench);
            assert_eq!((decided.promoted, decided.quarantined.is_empty()), (promoted, promoted));
        }
        // An upload with three times the loss of the rows that judge, give or take a tenth of the scatter.
        for (scatter, aside) in [(10.0, 0), (0.5, 1)] {
            let mut bench = fake(2);
            (bench.scatter, bench.own[1]) = (scatter, 1.5);
            assert_eq!(run(&mut bench).quarantined.len(), aside);
        }
    }

    #[test]
    fn rows_of_an_upload_that_was_set_aside_judge_neither_before_nor_after() {
        struct Judging(Fake);
        impl Bench for Judging {
            type State = (f64, BTreeSet<u32>);
            type Error = ();
            fn judge(&mut self) -> Result<Option<Judgement>, ()> {
                // Its rows are hard: with them the loss before is large, and training can do what it will.
                let rows = if self.0.aside.is_empty() { vec![0.5, 9.0] } else { vec![self.0.loss as f32] };
                Ok(Some(Judgement { all: Losses::of(&rows), own: None }))
            }
            fn screen(&mut self, upload: u32) -> Result<Screening, ()> {
                self.0.screen(upload)
            }
            fn train(&mut self, new: &[u32]) -> Result<Training<()>, ()> {
                self.0.train(new)
            }
            fn has_old(&self) -> bool {
                self.0.has_old()
            }
            fn accept(&mut self, _uploads: &[u32]) {}
            fn set_aside(&mut self, uploads: &[u32]) {
                self.0.set_aside(uploads);
            }
            fn save(&self) -> Self::State {
                self.0.save()
            }
            fn restore(&mut self, state: Self::State) -> Result<(), ()> {
                self.0.restore(state)
            }
        }
        let mut bench = Judging(fake(2));
        (bench.0.own[0], bench.0.effect[1]) = (99.0, 3.0);
        let decided = decide(&mut bench, &[1], &[0], &Rules::default()).unwrap();
        assert_eq!(decided.quarantined, [(0, Reason::Screened), (1, Reason::Worse)]);
        assert_eq!((decided.promoted, decided.before), (false, Some(0.5)));
    }

    #[test]
    fn two_culprits_are_found() {
        let mut bench = fake(8);
        (bench.effect[1], bench.effect[6]) = (3.0, 2.0);
        let mut quarantined = run(&mut bench).quarantined;
        quarantined.sort_unstable();
        assert_eq!(quarantined, [(1, Reason::Worse), (6, Reason::Worse)]);
    }

    #[test]
    fn trainings_are_limited_and_what_is_undecided_waits() {
        let mut bench = fake(8);
        bench.effect.fill(2.0);
        let rules = Rules { trials: 3, ..Rules::default() };
        let decided = decide(&mut bench, &[0, 1, 2, 3, 4, 5, 6, 7], &[], &rules).unwrap();
        assert_eq!((decided.trials, decided.promoted, decided.accepted.len()), (3, false, 0));
        assert!(decided.quarantined.len() < 8);
        assert_eq!((bench.loss, decided.after), (0.5, Some(0.5)), "the model is what it was");
    }

    #[test]
    fn a_worse_round_over_old_rows_is_rolled_back_and_blames_nobody() {
        let mut bench = fake(0);
        (bench.old, bench.training) = (true, 1.5);
        let decided = decide(&mut bench, &[], &[], &Rules::default()).unwrap();
        assert_eq!((decided.promoted, decided.after, decided.trials), (false, Some(0.5), 1));
        assert_eq!(decided.quarantined, []);
    }

    #[test]
    fn new_uploads_are_not_blamed_where_old_rows_alone_make_it_worse() {
        let mut bench = fake(4);
        (bench.old, bench.training) = (true, 1.2);
        let decided = run(&mut bench);
        assert_eq!((decided.promoted, decided.quarantined, decided.trials), (false, vec![], 2));
        // Where they do not, the one that does is found.
        let mut bench = fake(4);
        (bench.old, bench.effect[3]) = (true, 2.0);
        let decided = run(&mut bench);
        assert_eq!((decided.promoted, decided.quarantined), (true, vec![(3, Reason::Worse)]));
    }

    #[test]
    fn uploads_kept_out_by_terms_wait_and_are_not_blamed() {
        let mut bench = fake(3);
        bench.waiting = [0].into();
        let decided = run(&mut bench);
        assert_eq!((decided.accepted, decided.quarantined.len()), (vec![1, 2], 0));
        let mut bench = fake(1);
        bench.waiting = [0].into();
        let decided = run(&mut bench);
        assert!(!decided.promoted && decided.trials == 0);
        assert_eq!(bench.loss, 0.5);
    }

    #[test]
    fn old_uploads_that_stand_out_now_are_set_aside() {
        let mut bench = fake(3);
        bench.own[0] = 7.0;
        let decided = decide(&mut bench, &[1, 2], &[0], &Rules::default()).unwrap();
        assert_eq!(decided.quarantined, [(0, Reason::Screened)]);
        assert_eq!(decided.accepted, [1, 2]);
    }

    #[test]
    fn without_rows_that_judge_everything_is_taken() {
        let mut bench = fake(3);
        (bench.judges, bench.own[1], bench.effect[2]) = (false, 9.0, 5.0);
        let decided = run(&mut bench);
        assert_eq!((decided.accepted, decided.after), (vec![0, 1, 2], None));
    }

    #[test]
    fn on_a_fixed_schedule_one_training_is_promoted_or_taken_back() {
        let rules = Rules::default();
        for (late, effect, promoted) in [(None, 1.0, true), (Some(1), 1.0, false), (None, 2.0, false)] {
            let mut bench = fake(3);
            bench.late = late.into_iter().collect();
            bench.effect[0] = effect;
            let decided = decide_once(&mut bench, &[0, 1, 2], &[], &rules).unwrap();
            assert_eq!((decided.promoted, decided.trials), (promoted, 1));
            assert_eq!(bench.trainings.len(), 1, "as many steps whatever happens");
            assert_eq!(decided.quarantined.len(), late.into_iter().count());
            assert_eq!(bench.loss < 0.5, promoted);
        }
        let mut bench = fake(3);
        bench.own[1] = 4.0;
        let decided = decide_once(&mut bench, &[0, 1, 2], &[], &rules).unwrap();
        assert_eq!((decided.promoted, decided.quarantined), (true, vec![(1, Reason::Screened)]));
        assert_eq!(decided.accepted, [0, 2]);
        assert_eq!(bench.trainings, [[0, 1, 2]], "it is asked for and thrown away");
    }
}
