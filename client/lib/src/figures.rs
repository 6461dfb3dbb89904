//! Figures of an evaluation as people read them: with their interval, and class by class.

use blindsmith_learn::{Metrics, OutputCounts};
use serde::Serialize;

use crate::project::{ClientProject, Labelling, Task};

/// The quantile of the normal distribution that leaves 2.5 % above it.
const QUANTILE: f64 = 1.959_963_985;

/// Figures over the validation rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// As the warden found them; errors are in the target's unit where there is one target.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Where the accuracy over many such rows lies, with 95 % confidence (Wilson's interval): few rows say little. None where
    /// rows have several labels.
    pub accuracy_interval: Option<[f64; 2]>,
    /// Class by class, or label by label.
    pub classes: Vec<ClassFigures>,
}

/// Figures of one class, or of one label of several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Its name.
    pub class: String,
    /// Rows that have it.
    pub rows: u64,
    /// Rows that are predicted to have it.
    pub predicted: u64,
    /// Of the predicted rows, the share that has it; none of none.
    pub precision: Option<f64>,
    /// Of the rows that have it, the share that is predicted; none of none.
    pub recall: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
}

impl ClassFigures {
    fn of(class: &str, counts: OutputCounts) -> Self {
        let OutputCounts { targets, predictions, both } = counts;
        let share = |of: u64| (of > 0).then(|| both as f64 / of as f64);
        let f1 = (targets + predictions > 0).then(|| 2.0 * both as f64 / (targets + predictions) as f64);
        ClassFigures {
            class: class.to_owned(),
            rows: targets,
            predicted: predictions,
            precision: share(predictions),
            recall: share(targets),
            f1,
        }
    }
}

impl Figures {
    /// Of what the warden found, for a project.
    pub fn of(metrics: Metrics, project: &ClientProject) -> Self {
        let metrics = in_units(metrics, project);
        let names = names(&project.labelling);
        let counts =
            if metrics.confusion.is_empty() { metrics.counts.clone() } else { marginals(&metrics.confusion) };
        let classes = names.iter().zip(counts).map(|(name, counts)| ClassFigures::of(name, counts)).collect();
        let single = project.labelling.task == Task::Classify;
        let accuracy_interval = metrics.accuracy.filter(|_| single).map(|share| wilson(share, metrics.rows));
        Figures { metrics, accuracy_interval, classes }
    }

    /// In a line.
    pub fn words(&self) -> String {
        let m = &self.metrics;
        let mut all = vec![format!("loss {:.4}", m.loss)];
        if let Some(accuracy) = m.accuracy {
            let interval = self.accuracy_interval.map(|[low, high]| format!(" ({low:.2} to {high:.2})"));
            all.push(format!("accuracy {accuracy:.4}{}", interval.unwrap_or_default()));
        }
        let named = [("auc", m.auc), ("f1", m.f1.or(m.f1_macro)), ("rmse", m.rmse), ("r2", m.r2)];
        all.extend(named.iter().filter_map(|(name, v)| v.map(|v| format!("{name} {v:.4}"))));
        all.join("  ")
    }

    /// The figures of each class and how classes are confused, as lines of a table.
    pub fn table(&self) -> Vec<String> {
        /// Beyond so many classes a matrix fits no screen.
        const SHOWN: usize = 12;
        if self.classes.is_empty() {
            return Vec::new();
        }
        let share = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
        let width = self.classes.iter().map(|c| c.class.chars().count()).max().unwrap_or(0).clamp(5, 24);
        let short = |name: &str| name.chars().take(width).collect::<String>();
        let mut lines = vec![format!(
            "{:<width$}  {:>8}  {:>9}  {:>9}  {:>6}  {:>6}",
            "class", "rows", "predicted", "precision", "recall", "f1"
        )];
        lines.extend(self.classes.iter().map(|c| {
            format!(
                "{:<width$}  {:>8}  {:>9}  {:>9}  {:>6}  {:>6}",
                short(&c.class),
                c.rows,
                c.predicted,
                share(c.precision),
                share(c.recall),
                share(c.f1)
            )
        }));
        let confusion = &self.metrics.confusion;
        if (2..=SHOWN).contains(&confusion.len()) {
            lines.push(String::new());
            lines.push("rows of each class (down) by prediction (across)".into());
            let cell = |text: &str| format!("  {:>7}", text.chars().take(7).collect::<String>());
            let head: String = self.classes.iter().map(|c| cell(&c.class)).collect();
            lines.push(format!("{:<width$}{head}", ""));
            lines.extend(self.classes.iter().zip(confusion).map(|(class, row)| {
                let row: String = row.iter().map(|count| cell(&count.to_string())).collect();
                format!("{:<width$}{row}", short(&class.class))
            }));
        }
        lines
    }
}

/// Figures in the unit of the target, where there is one: the warden knows standard deviations alone.
pub fn in_units(figures: Metrics, project: &ClientProject) -> Metrics {
    let unit = project.labelling.targets.as_ref().filter(|targets| targets.columns() == 1);
    let unit = unit.map_or(1.0, |targets| targets.scale()[0]);
    Metrics { rmse: figures.rmse.map(|rmse| rmse * unit), ..figures }
}

fn names(labelling: &Labelling) -> Vec<String> {
    match (&labelling.classes, labelling.task) {
        (Some(classes), Task::Classify) => classes.names().to_vec(),
        (_, Task::MultiLabel) => labelling.columns.clone(),
        _ => Vec::new(),
    }
}

fn marginals(confusion: &[Vec<u64>]) -> Vec<OutputCounts> {
    let class = |j: usize| OutputCounts {
        targets: confusion[j].iter().sum(),
        predictions: confusion.iter().filter_map(|row| row.get(j)).sum(),
        both: confusion[j].get(j).copied().unwrap_or(0),
    };
    (0..confusion.len()).map(class).collect()
}

/// Wilson's score interval of a share of so many rows, with 95 % confidence (E. B. Wilson, Journal of the American
/// Statistical Association 22, 1927).
fn wilson(share: f64, rows: u64) -> [f64; 2] {
    let n = rows.max(1) as f64;
    let z = QUANTILE * QUANTILE / n;
    let middle = share + z / 2.0;
    let half = (z * (share * (1.0 - share) + z / 4.0)).sqrt();
    [(middle - half) / (1.0 + z), (middle + half) / (1.0 + z)].map(|bound: f64| bound.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_say_little() {
        // Known answers: 14 of 14, and 81 of 263 (Newcombe, Statistics in Medicine 17, 1998, table I).
        let [low, high] = wilson(1.0, 14);
        assert!((low - 0.7847).abs() < 1e-4 && high == 1.0, "{low} {high}");
        let [low, high] = wilson(81.0 / 263.0, 263);
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn classes_are_counted_from_the_matrix() {
        let counts = marginals(&[vec![90, 8], vec![1, 1]]);
        let rare = ClassFigures::of("ill", counts[1]);
        assert_eq!((rare.rows, rare.predicted), (2, 9));
        assert_eq!((rare.precision, rare.recall), (Some(1.0 / 9.0), Some(0.5)));
        assert_eq!(rare.f1, Some(2.0 / 11.0));
        let none = ClassFigures::of("none", OutputCounts::default());
        assert_eq!((none.precision, none.recall, none.f1), (None, None, None));
    }

    #[test]
    fn the_table_shows_classes_and_how_they_are_confused() {
        let metrics = Metrics {
            rows: 100,
            confusion: vec![vec![90, 8], vec![1, 1]],
            accuracy: Some(0.91),
            ..Metrics::default()
        };
        let classes = ["well", "ill"].iter().zip(marginals(&metrics.confusion));
        let classes = classes.map(|(name, counts)| ClassFigures::of(name, counts)).collect();
        let figures = Figures { accuracy_interval: Some(wilson(0.91, 100)), metrics, classes };
        let lines = figures.table();
        assert_eq!(lines[1], "well         98         91     0.9890  0.9184  0.9524");
        assert_eq!(lines.last().unwrap(), "ill          1        1");
        assert_eq!(figures.words(), "loss 0.0000  accuracy 0.9100 (0.84 to 0.95)");
    }
}
