//! Decisions over a model that is as good as its uploads are.

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
    /// Uploads of classes that others lack.
    one_sided: BTreeSet<u32>,
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
        let rows: Vec<f32> =
            (0..100).map(|row| (self.loss + if row % 2 == 0 { scatter } else { -scatter }) as f32).collect();
        let own = self.own_effect.map(|effect| {
            let factor = if self.trained.is_empty() { 1.0 } else { effect };
            Losses::of(&rows.iter().map(|loss| loss * factor as f32).collect::<Vec<_>>())
        });
        Ok(self.judges.then(|| Judgement { all: Losses::of(&rows), own }))
    }

    fn screen(&mut self, upload: u32) -> Result<Screening, ()> {
        let late = self.late.contains(&upload) && self.trained.contains(&upload);
        let mean = if late { 9.0 } else { self.own[upload as usize] };
        Ok(Screening { loss: Estimate { mean, error: self.scatter / 10.0 }, uninformed: 1.0, expected: None })
    }

    fn one_sided(&self, upload: u32) -> bool {
        self.one_sided.contains(&upload)
    }

    fn train(&mut self, new: &[u32]) -> Result<Attempt<()>, ()> {
        let (wait, go): (Vec<u32>, Vec<u32>) = new.iter().partition(|u| self.waiting.contains(u));
        self.loss *= self.training;
        for upload in &go {
            self.loss *= self.effect[*upload as usize];
            self.trained.insert(*upload);
        }
        let left = go.iter().any(|u| self.out_of_range.contains(u)) || go.is_empty() && self.old_out_of_range;
        self.trainings.push(go);
        Ok(Attempt { waiting: wait, out_of_range: left.then_some(()) })
    }

    fn has_old(&self) -> bool {
        self.old
    }

    fn accept(&mut self, _uploads: &[u32]) {}

    fn set_aside(&mut self, uploads: &[u32]) {
        self.aside.extend(uploads);
    }

    fn save(&mut self) -> Self::State {
        (self.loss, self.trained.clone())
    }

    fn restore(&mut self, state: Self::State) -> Result<(), ()> {
        (self.loss, self.trained) = state;
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
        // Old rows alone are tried again once something was accepted.
        assert!(decided.promoted && decided.trials <= if old { 14 } else { 10 }, "{}", decided.trials);
    }
}

/// Training makes the model worse by itself; the upload that leaves the range is found, and the others wait.
#[test]
fn what_leaves_the_range_gets_nobody_else_blamed() {
    let mut bench = fake(4);
    (bench.old, bench.training, bench.out_of_range) = (true, 1.5, [0].into());
    let decided = run(&mut bench);
    assert_eq!((decided.promoted, decided.quarantined), (false, vec![(0, Reason::OutOfRange)]));
}

/// An upload that was set aside before is looked at again, and decides nothing any more.
#[test]
fn attack_one_upload_that_stands_out_blocks_every_round_of_a_fixed_schedule() {
    let mut bench = fake(3);
    bench.late = [1].into();
    let first = decide_once(&mut bench, &[0, 1, 2], &[], &[], &Rules::default()).unwrap();
    assert_eq!((first.promoted, first.quarantined), (false, vec![(1, Reason::ScreenedAfter)]));
    let second = decide_once(&mut bench, &[0, 1, 2], &[], &[1], &Rules::default()).unwrap();
    assert_eq!((second.promoted, second.accepted, second.quarantined), (true, vec![0, 2], vec![]));
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
        fn train(&mut self, new: &[u32]) -> Result<Attempt<()>, ()> {
            self.0.train(new)
        }
        fn has_old(&self) -> bool {
            self.0.has_old()
        }
        fn one_sided(&self, _: u32) -> bool {
            false
        }

        fn accept(&mut self, _uploads: &[u32]) {}
        fn set_aside(&mut self, uploads: &[u32]) {
            self.0.set_aside(uploads);
        }
        fn save(&mut self) -> Self::State {
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
        let decided = decide_once(&mut bench, &[0, 1, 2], &[], &[], &rules).unwrap();
        assert_eq!((decided.promoted, decided.trials), (promoted, 1));
        assert_eq!(bench.trainings.len(), 1, "as many steps whatever happens");
        assert_eq!(decided.quarantined.len(), late.into_iter().count());
        assert_eq!(bench.loss < 0.5, promoted);
    }
    let mut bench = fake(3);
    bench.own[1] = 4.0;
    let decided = decide_once(&mut bench, &[0, 1, 2], &[], &[], &rules).unwrap();
    assert_eq!((decided.promoted, decided.quarantined), (true, vec![(1, Reason::Screened)]));
    assert_eq!(decided.accepted, [0, 2]);
    assert_eq!(bench.trainings, [[0, 1, 2]], "it is asked for and thrown away");
}

#[test]
fn an_upload_of_few_classes_that_makes_the_model_worse_waits_for_others() {
    let mut bench = fake(2);
    bench.effect[1] = 3.0;
    bench.one_sided = [1].into();
    let decided = run(&mut bench);
    assert_eq!((&decided.accepted, &decided.quarantined), (&vec![0], &vec![]));
    assert!(bench.aside.is_empty());
    bench = fake(2);
    bench.effect[1] = 3.0;
    assert_eq!(run(&mut bench).quarantined, [(1, Reason::Worse)]);
}

#[test]
fn next_to_no_loss_is_not_worse_than_less() {
    let mut bench = fake(1);
    (bench.loss, bench.effect[0], bench.own[0]) = (1e-4, 5.0, 1e-4);
    assert!(run(&mut bench).promoted, "nobody sees the difference");
    bench = fake(1);
    (bench.loss, bench.effect[0], bench.own[0]) = (1e-2, 5.0, 1e-2);
    assert!(!run(&mut bench).promoted);
}

#[test]
fn losses_are_compared_with_those_that_the_upload_s_classes_let_expect() {
    let screening =
        |mean, expected| Screening { loss: Estimate { mean, error: 0.0 }, uninformed: 1.0, expected };
    let rules = Rules::default();
    assert!(suspicious(&rules, 0.5, screening(2.0, None)));
    assert!(!suspicious(&rules, 0.5, screening(2.0, Some(1.9))), "rows of a class that is hard");
    assert!(suspicious(&rules, 0.5, screening(4.0, Some(1.9))), "wrong labels of it");
    assert!(!suspicious(&rules, 0.5, Screening::UNKNOWN));
}
