//! How good predictions are: sums over batches of valid rows, from which the figures follow at the end.
//!
//! The sums take the same time whatever the values. The figures are made of them once an evaluation, with
//! divisions: there, and nowhere else in this crate, a secret is divided by a secret.

use serde::{Deserialize, Serialize};

use crate::auc::Histogram;
use crate::elementary::{at_least, keep, ln, mask};
use crate::labels::{Labels, Targets};
use crate::loss::{Loss, Objective, largest, softmax};
use crate::matrix::Matrix;

/// Above this many outputs no area under the curve is computed.
pub const MAX_AUC_OUTPUTS: usize = 64;

/// Up to this many classes every pair of class and prediction is counted.
pub const MAX_CONFUSION: usize = 32;
/// Up to this many outputs each is counted.
pub const MAX_COUNTED: usize = 256;

/// Figures over the valid rows of an evaluation. Those that the loss does not define are `None`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Valid rows.
    pub rows: u64,
    /// The mean that training minimises, class weights included.
    pub loss: f64,
    /// Share of rows whose largest output is the class; for the logistic loss, share of labels on the right
    /// side of the threshold. Rows count equally.
    pub accuracy: Option<f64>,
    /// Area under the receiver operating characteristic, one output against the rest, the mean over the
    /// outputs that have both kinds of rows. From scores rounded to bins 1/32 wide in log-odds.
    pub auc: Option<f64>,
    /// How far `auc` is at most from that of the unrounded scores.
    pub auc_error: Option<f64>,
    /// F1 of the positive class: with one output, or of class 1 of two.
    pub f1: Option<f64>,
    /// Mean of the F1 over the outputs that occur as target or prediction.
    pub f1_macro: Option<f64>,
    /// Root of the mean squared difference over rows and outputs, in units of the targets.
    pub rmse: Option<f64>,
    /// Share of the targets' variance that the outputs explain, the mean over the outputs whose targets vary: 1 is best, 0 what
    /// their mean achieves.
    pub r2: Option<f64>,
    /// Of up to [`MAX_CONFUSION`] classes: rows of each class (the first index) and prediction. Class 1 of two is the positive
    /// one.
    pub confusion: Vec<Vec<u64>>,
    /// Of several labels, or of classes beyond [`MAX_CONFUSION`], up to [`MAX_COUNTED`] outputs.
    pub counts: Vec<OutputCounts>,
}

/// How often an output is target and prediction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OutputCounts {
    /// Rows in which it is the target, or one of them.
    pub targets: u64,
    /// Rows in which it is predicted.
    pub predictions: u64,
    /// Rows in which it is both.
    pub both: u64,
}

impl Metrics {
    /// Most numbers that [`Metrics::confusion`] and [`Metrics::counts`] have for so many outputs.
    pub fn most_counts(outputs: usize) -> usize {
        let classes = outputs.max(2);
        let confusion = if classes <= MAX_CONFUSION { classes * (classes + 1) } else { 0 };
        confusion.max(4 * outputs.min(MAX_COUNTED))
    }

    /// The same without counts, for those who shall see figures of all rows alone.
    pub fn without_counts(self) -> Self {
        Metrics { confusion: Vec::new(), counts: Vec::new(), ..self }
    }
}

/// Losses row by row, so that those of two models can be compared beyond chance. Each counts for at most eight times that of
/// a model that knows nothing, whatever class weights there are: so a single row decides nothing.
#[derive(Clone, Default)]
pub struct Losses {
    /// 0 of rows that are not valid.
    each: Vec<f32>,
    valid: u64,
    classes: Vec<ClassLoss>,
}

/// Rows of a class.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ClassLoss {
    /// How many are valid.
    pub rows: u64,
    /// The sum of their losses.
    pub sum: f64,
}

/// A mean, and how far chance moves it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The mean over the valid rows.
    pub mean: f64,
    /// Its standard error: the standard deviation of the rows' values, by the root of their number. 0 of fewer than
    /// two rows.
    pub error: f64,
}

impl Losses {
    /// Of rows whose losses are known; all of them are valid.
    pub fn of(each: &[f32]) -> Self {
        Losses { each: each.to_vec(), valid: each.len() as u64, classes: Vec::new() }
    }

    /// Those of these rows and of others.
    pub fn with(mut self, others: &Losses) -> Self {
        self.each.extend_from_slice(&others.each);
        self.valid += others.valid;
        for (class, more) in self.classes.iter_mut().zip(&others.classes) {
            class.rows += more.rows;
            class.sum += more.sum;
        }
        self
    }

    /// Of one class of several, or of two: the losses of each. Empty for other labels.
    pub fn classes(&self) -> &[ClassLoss] {
        &self.classes
    }

    /// The mean loss.
    pub fn estimate(&self) -> Estimate {
        let nothing = Losses { each: vec![0.0; self.each.len()], valid: self.valid, classes: Vec::new() };
        self.excess(&nothing, 0.0)
    }

    /// By how much the loss is above `ratio` times that of another model over the same rows: the mean of the rows'
    /// differences. Rows that both models find hard do not add to the error. Over other rows than these nothing can be
    /// said: the result is not a number then.
    pub fn excess(&self, other: &Losses, ratio: f64) -> Estimate {
        if (self.each.len(), self.valid) != (other.each.len(), other.valid) {
            return Estimate { mean: f64::NAN, error: f64::NAN };
        }
        let rows = self.valid.max(1) as f64;
        let differences =
            || self.each.iter().zip(&other.each).map(|(a, b)| f64::from(*a) - ratio * f64::from(*b));
        let mean = differences().sum::<f64>() / rows;
        // Rows that are not valid add the mean's square, which is taken away.
        let invalid = self.each.len() as f64 - self.valid as f64;
        let squares = differences().map(|d| (d - mean) * (d - mean)).sum::<f64>() - invalid * mean * mean;
        Estimate { mean, error: (squares.max(0.0) / ((rows - 1.0).max(1.0) * rows)).sqrt() }
    }
}

/// Sums from which [`Metrics`] follow.
pub struct Scoreboard {
    objective: Objective,
    unweighted: Objective,
    rows: u64,
    loss: f64,
    losses: Losses,
    hits: u64,
    outputs: Vec<Tally>,
    confusion: Vec<Vec<u64>>,
}

/// Sums of one output.
#[derive(Clone, Default)]
struct Tally {
    counts: OutputCounts,
    scores: Option<Box<Histogram>>,
    /// Of the differences squared, of the targets, and of the targets squared.
    squares: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Scoreboard {
    /// Sums of nothing yet.
    pub fn new(objective: Objective) -> Self {
        let outputs = objective.outputs();
        let wants_auc = objective.loss() != Loss::MeanSquaredError && outputs <= MAX_AUC_OUTPUTS;
        let tally = Tally { scores: wants_auc.then(|| Box::new(Histogram::new())), ..Tally::default() };
        let classes = match (objective.loss(), outputs) {
            (Loss::SoftmaxCrossEntropy, several) => several,
            (Loss::Logistic, 1) => 2,
            _ => 0,
        };
        let several = if classes <= MAX_CONFUSION { classes } else { 0 };
        let losses = Losses { classes: vec![ClassLoss::default(); classes], ..Losses::default() };
        Scoreboard {
            unweighted: objective.unweighted(),
            objective,
            rows: 0,
            loss: 0.0,
            losses,
            hits: 0,
            outputs: vec![tally; outputs],
            confusion: vec![vec![0; several]; several],
        }
    }

    /// Adds a batch: the last layer's outputs, which become the error, and labels for as many rows that
    /// have passed [`Objective::check`].
    pub fn add(&mut self, outputs: &mut Matrix, labels: &Labels) {
        self.rows += u64::from(labels.valid_rows());
        let mut scores = vec![0.0; outputs.cols()];
        let least = self.objective.least_logit();
        for (row, z) in outputs.iter_rows().enumerate() {
            let valid = mask(labels.valid[row]);
            match &labels.targets {
                Targets::Classes(classes) => self.add_class(z, classes[row], valid, &mut scores),
                Targets::Values(values) => self.add_values(z, values.row(row), (least, valid)),
            }
        }
        // The mean over the outputs, as in the figures.
        let labels_a_row = match self.objective.loss() {
            Loss::SoftmaxCrossEntropy => 1.0,
            Loss::Logistic | Loss::MeanSquaredError => self.outputs.len() as f32,
        };
        let first = self.losses.each.len();
        let (each, clip) = (&mut self.losses.each, self.unweighted.clip());
        let mut judged = outputs.clone();
        // What is no number counts for most.
        let push = |loss: f32| {
            let loss = loss / labels_a_row;
            let within = mask(loss <= clip);
            each.push(keep(within, loss) + keep(!within, clip));
        };
        self.unweighted.error_by_row(&mut judged, labels, push);
        for (row, loss) in self.losses.each[first..].iter().enumerate() {
            let class = match &labels.targets {
                Targets::Classes(classes) => classes[row],
                Targets::Values(values) => mask(values.row(row)[0] >= 0.5) & 1,
            };
            // All classes are looked at, whichever it is.
            for (j, found) in self.losses.classes.iter_mut().enumerate() {
                let is = mask(labels.valid[row]) & mask(j as u32 == class);
                found.rows += u64::from(is & 1);
                found.sum += f64::from(keep(is, *loss));
            }
        }
        self.loss += self.objective.error(outputs, labels);
        self.losses.valid = self.rows;
    }

    /// The loss of each row, in the order in which they were added.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    fn add_class(&mut self, z: &[f32], class: u32, valid: u32, probabilities: &mut [f32]) {
        probabilities.copy_from_slice(z);
        softmax(probabilities);
        let top = largest(z);
        // The first of the largest outputs is the prediction.
        let (mut open, mut prediction) = (valid, 0);
        for (j, (tally, (&z, &p))) in self.outputs.iter_mut().zip(z.iter().zip(&*probabilities)).enumerate() {
            let predicted = open & mask(z == top);
            open &= !predicted;
            prediction |= predicted & j as u32;
            let target = valid & mask(j as u32 == class);
            self.hits += u64::from(target & predicted & 1);
            tally.add(target, predicted);
            if let Some(scores) = &mut tally.scores {
                let log_odds = ln(at_least(p, 1e-18)) - ln(at_least(1.0 - p, 1e-18));
                scores.add(log_odds, target, valid);
            }
        }
        self.confuse(class, prediction, valid);
    }

    /// Counts a row; all counts are looked at, whichever it is.
    fn confuse(&mut self, class: u32, prediction: u32, valid: u32) {
        for (i, row) in self.confusion.iter_mut().enumerate() {
            let is_class = valid & mask(i as u32 == class);
            for (j, count) in row.iter_mut().enumerate() {
                *count += u64::from(is_class & mask(j as u32 == prediction) & 1);
            }
        }
    }

    fn add_values(&mut self, z: &[f32], targets: &[f32], (least, valid): (f32, u32)) {
        for (tally, (&z, &t)) in self.outputs.iter_mut().zip(z.iter().zip(targets)) {
            let (difference, t_valid) = (f64::from(keep(valid, z - t)), f64::from(keep(valid, t)));
            tally.squares += difference * difference;
            tally.sum += t_valid;
            tally.sum_of_squares += t_valid * t_valid;
            let (target, predicted) = (valid & mask(t >= 0.5), valid & mask(z > least));
            self.hits += u64::from(valid & !(target ^ predicted) & 1);
            tally.add(target, predicted);
            if let Some(scores) = &mut tally.scores {
                scores.add(z, target, valid);
            }
        }
        if let ([z], [t]) = (z, targets) {
            self.confuse(mask(*t >= 0.5) & 1, mask(*z > least) & 1, valid);
        }
    }

    /// The figures; those of no row are not finite and hence `None`, the loss is then 0.
    pub fn metrics(&self) -> Metrics {
        let loss = self.objective.loss();
        let outputs = self.outputs.len() as f64;
        let rows = self.rows as f64;
        let labels = if loss == Loss::SoftmaxCrossEntropy { rows } else { rows * outputs };
        let classifies = loss != Loss::MeanSquaredError;
        let finite = |defined: bool, x: f64| (defined & x.is_finite()).then_some(x);
        let f1: Vec<f64> = self.outputs.iter().map(Tally::f1).collect();
        let areas: Vec<(f64, f64)> =
            self.outputs.iter().filter_map(|t| Some(t.scores.as_ref()?.area())).collect();
        let positive = match (loss, f1.as_slice()) {
            (Loss::SoftmaxCrossEntropy, [_, f1]) | (Loss::Logistic, [f1]) => *f1,
            _ => f64::NAN,
        };
        let squares: f64 = self.outputs.iter().map(|tally| tally.squares).sum();
        let explained = self.outputs.iter().map(|tally| tally.explained(rows));
        let counted = (classifies & self.confusion.is_empty() & (self.outputs.len() <= MAX_COUNTED))
            .then(|| self.outputs.iter().map(|tally| tally.counts).collect());
        Metrics {
            rows: self.rows,
            loss: self.loss / labels.max(1.0),
            accuracy: finite(classifies, self.hits as f64 / labels),
            auc: finite(classifies, mean_of_finite(areas.iter().map(|a| a.0))),
            auc_error: finite(classifies, mean_of_finite(areas.iter().map(|a| a.1))),
            f1: finite(classifies, positive),
            f1_macro: finite(classifies, mean_of_finite(f1.iter().copied())),
            rmse: finite(!classifies, (squares / labels).sqrt()),
            r2: finite(!classifies, mean_of_finite(explained)),
            confusion: self.confusion.clone(),
            counts: counted.unwrap_or_default(),
        }
    }
}

impl Tally {
    fn add(&mut self, target: u32, predicted: u32) {
        self.counts.both += u64::from(target & predicted & 1);
        self.counts.targets += u64::from(target & 1);
        self.counts.predictions += u64::from(predicted & 1);
    }

    /// 1 minus the differences' squares by those of the targets from their mean; not finite if the targets do not vary.
    fn explained(&self, rows: f64) -> f64 {
        1.0 - self.squares / (self.sum_of_squares - self.sum * self.sum / rows)
    }

    /// 2 TP / (2 TP + FP + FN); not finite if the output is neither target nor prediction.
    fn f1(&self) -> f64 {
        2.0 * self.counts.both as f64 / (self.counts.targets + self.counts.predictions) as f64
    }
}

fn mean_of_finite(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), x| {
        let good = u64::from(x.is_finite());
        (sum + f64::from_bits(x.to_bits() & good.wrapping_neg()), count + good as f64)
    });
    sum / count
}
