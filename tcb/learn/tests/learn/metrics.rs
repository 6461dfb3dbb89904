//! Metrics against naive definitions: sorting, counting, comparing all pairs.

use blindsmith_learn::*;

use crate::gradients::numbers;

const ROWS: usize = 400;

/// Outputs that lean to the targets, the targets, and which rows count.
struct Case {
    z: Matrix,
    labels: Labels,
    targets: Vec<Vec<bool>>,
    valid: Vec<bool>,
}

impl Case {
    /// One class of `outputs` a row.
    fn classes(outputs: usize) -> Self {
        let class = |n: f32| ((n + 1.0) / 2.0 * outputs as f32) as u32;
        let classes: Vec<u32> = numbers(ROWS, 8).into_iter().map(class).collect();
        let targets: Vec<Vec<bool>> =
            classes.iter().map(|&c| (0..outputs as u32).map(|j| j == c).collect()).collect();
        Case::new(targets, Targets::Classes(classes))
    }

    /// Independent labels.
    fn labels(outputs: usize) -> Self {
        let targets: Vec<Vec<bool>> =
            (0..ROWS).map(|r| (0..outputs).map(|j| (r * (j + 1)) % 5 < 2).collect()).collect();
        let values = targets.concat().into_iter().map(f32::from).collect();
        let values = Targets::Values(Matrix::from_rows(ROWS, outputs, values).expect("shape"));
        Case::new(targets, values)
    }

    fn new(targets: Vec<Vec<bool>>, kind: Targets) -> Self {
        let outputs = targets[0].len();
        let noise = numbers(ROWS * outputs, 3);
        let z =
            targets.concat().iter().zip(noise).map(|(&t, n)| 3.0 * n + if t { 1.0 } else { 0.0 }).collect();
        let valid: Vec<bool> = (0..ROWS).map(|r| r % 11 != 5).collect();
        let labels = Labels::new(kind).with_valid(valid.clone()).expect("flags");
        Case { z: Matrix::from_rows(ROWS, outputs, z).expect("shape"), labels, targets, valid }
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], &[bool])> {
        let all = self.z.iter_rows().zip(&self.targets).zip(&self.valid);
        all.filter(|(_, valid)| **valid).map(|((z, t), _)| (z, t.as_slice()))
    }

    /// The metrics, the rows coming in batches.
    fn metrics(&self, loss: Loss) -> Metrics {
        self.metrics_at(loss, 0.5)
    }

    fn metrics_at(&self, loss: Loss, threshold: f32) -> Metrics {
        let objective = Objective::new(loss, self.z.cols(), &[]).expect("objective");
        let mut scores = Scoreboard::new(objective.with_threshold(threshold));
        for part in [0..150, 150..ROWS] {
            let values = self.z.as_slice()[part.start * self.z.cols()..part.end * self.z.cols()].to_vec();
            let mut z = Matrix::from_rows(part.len(), self.z.cols(), values).expect("shape");
            scores.add(&mut z, &self.labels.slice(part).expect("rows"));
        }
        scores.metrics()
    }
}

/// Share of pairs, one positive and one negative, in order; ties count as half.
fn naive_auc(rows: &[(f64, bool)]) -> f64 {
    let (mut ordered, mut pairs) = (0.0, 0.0);
    for (positive, _) in rows.iter().filter(|r| r.1) {
        for (negative, _) in rows.iter().filter(|r| !r.1) {
            ordered += f64::from(positive > negative) + 0.5 * f64::from(positive == negative);
            pairs += 1.0;
        }
    }
    ordered / pairs
}

fn naive_f1(rows: &[(bool, bool)]) -> f64 {
    let count = |predicted, target| rows.iter().filter(|r| **r == (predicted, target)).count() as f64;
    2.0 * count(true, true) / (2.0 * count(true, true) + count(true, false) + count(false, true))
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn assert_close(found: Option<f64>, expected: f64, within: f64) {
    assert!(found.is_some_and(|f| (f - expected).abs() <= within), "{found:?} for {expected}");
}

fn check_classes(outputs: usize) {
    let case = Case::classes(outputs);
    let found = case.metrics(Loss::SoftmaxCrossEntropy);
    let largest = |z: &[f32]| (0..z.len()).rev().max_by(|&a, &b| z[a].total_cmp(&z[b])).expect("outputs");
    let rows: Vec<(usize, usize)> =
        case.rows().map(|(z, t)| (largest(z), t.iter().position(|&t| t).expect("class"))).collect();
    assert_eq!(found.rows, rows.len() as u64);
    assert_close(found.accuracy, mean(rows.iter().map(|r| f64::from(r.0 == r.1))), 1e-12);
    let f1 = |j: usize| naive_f1(&rows.iter().map(|r| (r.0 == j, r.1 == j)).collect::<Vec<_>>());
    assert_close(found.f1_macro, mean((0..outputs).map(f1)), 1e-12);
    assert_eq!(found.f1.is_some(), outputs == 2);
    if outputs == 2 {
        assert_close(found.f1, f1(1), 1e-12);
    }
    let share =
        |z: &[f32], j: usize| f64::from(z[j]).exp() / z.iter().map(|&z| f64::from(z).exp()).sum::<f64>();
    let auc = |j: usize| naive_auc(&case.rows().map(|(z, t)| (share(z, j), t[j])).collect::<Vec<_>>());
    let error = found.auc_error.expect("a bound");
    assert_close(found.auc, mean((0..outputs).map(auc)), error + 1e-9);
    assert!(error < 0.01, "a bound of {error} would say little");
    let log = |(z, t): (&[f32], &[bool])| -share(z, t.iter().position(|&t| t).expect("class")).ln();
    assert!((found.loss - mean(case.rows().map(log).collect::<Vec<_>>().into_iter())).abs() < 1e-6);
    assert_eq!((found.rmse, found.r2), (None, None));
    let counted = |i: usize, j: usize| rows.iter().filter(|r| (r.1, r.0) == (i, j)).count() as u64;
    let naive: Vec<Vec<u64>> = (0..outputs).map(|i| (0..outputs).map(|j| counted(i, j)).collect()).collect();
    if outputs <= MAX_CONFUSION {
        assert_eq!((found.confusion, found.counts.len()), (naive, 0));
    } else {
        let counts = |j: usize| OutputCounts {
            targets: naive[j].iter().sum(),
            predictions: naive.iter().map(|row| row[j]).sum(),
            both: naive[j][j],
        };
        assert_eq!((found.counts, found.confusion.len()), ((0..outputs).map(counts).collect(), 0));
    }
}

#[test]
fn metrics_of_classes_match_their_definitions() {
    check_classes(2);
    check_classes(5);
    check_classes(MAX_CONFUSION + 1);
}

fn check_labels(outputs: usize, threshold: f32) {
    let case = Case::labels(outputs);
    let found = case.metrics_at(Loss::Logistic, threshold);
    let least = f64::from(threshold / (1.0 - threshold)).ln();
    let pairs = |j: usize| case.rows().map(|(z, t)| (f64::from(z[j]) > least, t[j])).collect::<Vec<_>>();
    let accuracy = |j: usize| mean(pairs(j).into_iter().map(|(p, t)| f64::from(p == t)));
    assert_close(found.accuracy, mean((0..outputs).map(accuracy)), 1e-12);
    assert_close(found.f1_macro, mean((0..outputs).map(|j| naive_f1(&pairs(j)))), 1e-12);
    assert_eq!(found.f1, (outputs == 1).then(|| naive_f1(&pairs(0))));
    let scores = |j: usize| case.rows().map(|(z, t)| (f64::from(z[j]), t[j])).collect::<Vec<_>>();
    let error = found.auc_error.expect("a bound");
    assert_close(found.auc, mean((0..outputs).map(|j| naive_auc(&scores(j)))), error + 1e-9);
    assert!(error < 0.01);
    let counted = |j: usize, predicted: bool, target: bool| {
        pairs(j).iter().filter(|pair| **pair == (predicted, target)).count() as u64
    };
    let [tn, fp, fne, tp] =
        [(false, false), (true, false), (false, true), (true, true)].map(|(p, t)| counted(0, p, t));
    if outputs == 1 {
        assert_eq!((found.confusion, found.counts.len()), (vec![vec![tn, fp], vec![fne, tp]], 0));
    } else {
        assert_eq!((found.confusion.len(), found.counts.len()), (0, outputs));
        assert_eq!(found.counts[0], OutputCounts { targets: fne + tp, predictions: fp + tp, both: tp });
    }
}

#[test]
fn metrics_of_labels_match_their_definitions() {
    check_labels(1, 0.5);
    check_labels(4, 0.5);
}

#[test]
fn a_threshold_moves_what_counts_as_predicted() {
    check_labels(1, 0.2);
    check_labels(3, 0.9);
    let at = |threshold| Case::labels(1).metrics_at(Loss::Logistic, threshold).confusion;
    let predicted = |confusion: Vec<Vec<u64>>| confusion[0][1] + confusion[1][1];
    assert!(predicted(at(0.2)) > predicted(at(0.5)) && predicted(at(0.5)) > predicted(at(0.9)));
}

#[test]
fn root_mean_squared_error_matches_its_definition() {
    let case = Case::labels(3);
    let found = case.metrics(Loss::MeanSquaredError);
    let square = |(z, t): (&f32, &bool)| (f64::from(*z) - f64::from(*t)).powi(2);
    let squares = case.rows().flat_map(|(z, t)| z.iter().zip(t).map(square)).collect::<Vec<_>>();
    let expected = mean(squares.into_iter());
    assert_close(found.rmse, expected.sqrt(), 1e-6);
    let explained = |j: usize| {
        let pairs: Vec<(f64, f64)> =
            case.rows().map(|(z, t)| (f64::from(z[j]), f64::from(u8::from(t[j])))).collect();
        let middle = mean(pairs.iter().map(|pair| pair.1));
        let residual: f64 = pairs.iter().map(|(z, t)| (z - t).powi(2)).sum();
        1.0 - residual / pairs.iter().map(|(_, t)| (t - middle).powi(2)).sum::<f64>()
    };
    assert_close(found.r2, mean((0..3).map(explained)), 1e-6);
    assert!((found.loss - expected).abs() < 1e-6);
    assert_eq!((found.accuracy, found.auc, found.f1, found.f1_macro), (None, None, None, None));
}

#[test]
fn perfect_and_reversed_scores_have_areas_one_and_zero() {
    let area = |z: Vec<f32>| {
        let mut scores = Scoreboard::new(Objective::new(Loss::Logistic, 1, &[]).expect("objective"));
        let targets = Matrix::from_rows(4, 1, vec![0.0, 0.0, 1.0, 1.0]).expect("shape");
        scores.add(&mut Matrix::from_rows(4, 1, z).expect("shape"), &Labels::new(Targets::Values(targets)));
        (scores.metrics().auc, scores.metrics().auc_error)
    };
    assert_eq!(area(vec![-100.0, -0.2, 0.2, 100.0]), (Some(1.0), Some(0.0)));
    assert_eq!(area(vec![3.0, 2.0, 1.0, 0.0]), (Some(0.0), Some(0.0)));
    assert_eq!(area(vec![0.0; 4]), (Some(0.5), Some(0.5)));
}

#[test]
fn figures_that_one_kind_of_rows_leaves_undefined_are_none() {
    let objective = Objective::new(Loss::Logistic, 1, &[]).expect("objective");
    let mut scores = Scoreboard::new(objective.clone());
    let targets = Targets::Values(Matrix::zeros(2, 1));
    scores.add(&mut Matrix::from_rows(2, 1, vec![-1.0, -2.0]).expect("shape"), &Labels::new(targets));
    let metrics = scores.metrics();
    assert_eq!((metrics.accuracy, metrics.auc, metrics.f1, metrics.f1_macro), (Some(1.0), None, None, None));
    let nothing = Scoreboard::new(objective).metrics();
    assert_eq!((nothing.rows, nothing.loss, nothing.accuracy, nothing.auc), (0, 0.0, None, None));
}

#[test]
fn the_first_of_equal_outputs_is_the_prediction() {
    let mut scores = Scoreboard::new(Objective::new(Loss::SoftmaxCrossEntropy, 3, &[]).expect("objective"));
    let z = vec![1.0, 1.0, 1.0, 0.0, 2.0, 2.0];
    let labels = Labels::new(Targets::Classes(vec![0, 2]));
    scores.add(&mut Matrix::from_rows(2, 3, z).expect("shape"), &labels);
    assert_eq!(scores.metrics().accuracy, Some(0.5));
}

#[test]
fn differences_of_losses_have_the_error_of_their_mean() {
    // Rows of 3, 1, 2 against 1, 1, 1: differences 2, 0, 1; mean 1, standard deviation 1, its error 1 / sqrt(3).
    let (new, old) = (Losses::of(&[3.0, 1.0, 2.0]), Losses::of(&[1.0, 1.0, 1.0]));
    let excess = new.excess(&old, 1.0);
    assert!((excess.mean - 1.0).abs() < 1e-12 && (excess.error - 3f64.sqrt().recip()).abs() < 1e-12);
    assert_eq!(new.excess(&old, 2.0).mean, 0.0);
    assert_eq!(new.estimate().mean, 2.0);
    assert_eq!(Losses::of(&[4.0]).estimate(), Estimate { mean: 4.0, error: 0.0 });
    assert!(new.excess(&Losses::of(&[1.0]), 1.0).mean.is_nan(), "over other rows nothing can be said");
    assert_eq!(Losses::of(&[f32::INFINITY, 1.0]).estimate().mean, f64::INFINITY);
}

fn filled(rows: usize, cols: usize, of: impl Fn(usize, usize) -> f32) -> Matrix {
    let values = (0..rows * cols).map(|i| of(i / cols, i % cols)).collect();
    Matrix::from_rows(rows, cols, values).expect("as many values")
}

#[test]
fn losses_row_by_row_have_the_mean_of_the_figures() {
    for (loss, outputs) in [(Loss::SoftmaxCrossEntropy, 3), (Loss::Logistic, 2), (Loss::MeanSquaredError, 2)]
    {
        let mut scores = Scoreboard::new(Objective::new(loss, outputs, &[]).expect("objective"));
        let targets = match loss {
            Loss::SoftmaxCrossEntropy => Targets::Classes(vec![2, 0, 1, 0]),
            _ => Targets::Values(filled(4, outputs, |row, col| ((row + col) % 2) as f32)),
        };
        // The last row is padding.
        let labels = Labels::new(targets).with_valid(vec![true, true, true, false]).expect("four rows");
        let z = |rows| filled(rows, outputs, |row, col| (row as f32 - 1.5) * (col as f32 + 0.5));
        scores.add(&mut z(4), &labels);
        let (all, metrics) = (scores.losses().estimate(), scores.metrics());
        assert!((all.mean - metrics.loss).abs() < 1e-6, "{loss:?}: {} {}", all.mean, metrics.loss);
        // As without the padding.
        let mut without = Scoreboard::new(Objective::new(loss, outputs, &[]).expect("objective"));
        without.add(&mut z(3), &labels.slice(0..3).expect("three rows"));
        assert!((without.losses().estimate().error - all.error).abs() < 1e-6);
    }
}

/// Of wrong labels most rows lose a lot; one whose loss is beyond all measure must not hide that in a large standard error.
#[test]
fn attack_one_row_with_a_huge_loss_decides_nothing() {
    let squares = Objective::new(Loss::MeanSquaredError, 1, &[]).expect("objective");
    let judged = |targets: &[f32]| {
        let labels = Labels::new(Targets::Values(
            Matrix::from_rows(targets.len(), 1, targets.to_vec()).expect("shape"),
        ));
        let mut scores = Scoreboard::new(squares.clone());
        scores.add(&mut Matrix::zeros(targets.len(), 1), &labels);
        scores.losses().estimate()
    };
    let mut targets = vec![2.0; 512];
    let without = judged(&targets);
    targets[17] = 1e6;
    let with = judged(&targets);
    assert_eq!((without.mean, without.error), (4.0, 0.0));
    assert!(with.mean < 4.2 && with.error < 0.2, "{} {}", with.mean, with.error);

    // Nor do class weights, or a loss that is no number.
    let weighted = Objective::new(Loss::SoftmaxCrossEntropy, 2, &[64.0, 1.0]).expect("objective");
    let labels = Labels::new(Targets::Classes(vec![0, 0, 1]));
    let mut scores = Scoreboard::new(weighted);
    let logits = vec![0.0, 0.0, f32::NAN, 0.0, 50.0, -50.0];
    scores.add(&mut Matrix::from_rows(3, 2, logits).expect("shape"), &labels);
    let most = 8.0 * 2f64.ln();
    let mean = (2f64.ln() + most + most) / 3.0;
    assert!((scores.losses().estimate().mean - mean).abs() < 1e-5, "{}", scores.losses().estimate().mean);
}
