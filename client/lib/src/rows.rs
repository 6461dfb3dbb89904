//! From a user's file to rows that can be encrypted.

use std::path::PathBuf;

use blindsmith_data::{
    Choices, Classes, ColumnRef, Columns, Counted, Dataset, Frame, Identifiers, LabelKind, Permutation,
    Preprocessing, ReadOptions, Standardised, Standardiser, Table, Targets,
};
use blindsmith_learn as learn;
use serde::Serialize;

use crate::failure::Failure;
use crate::project::{ClientProject, Labelling, Task};

/// How a file is written.
#[derive(Debug, Clone)]
pub struct Format {
    /// The first line of a CSV is data; columns are then called by their number: #1, #2, #last.
    pub no_header: bool,
    /// What separates the cells of a CSV.
    pub delimiter: u8,
    /// Numbers of a CSV have a decimal comma.
    pub decimal_comma: bool,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// Cells that mark a missing value, beside empty ones, in place of the usual marks or of those that the project
    /// records.
    pub missing: Option<Vec<String>>,
}

impl Default for Format {
    fn default() -> Self {
        Format { no_header: false, delimiter: b',', decimal_comma: false, ignore: Vec::new(), missing: None }
    }
}

impl Format {
    fn options(&self, task: Task, labels: &[String], columns: Columns) -> ReadOptions {
        let column = |name: &String| ColumnRef::from(name.as_str());
        ReadOptions {
            header: !self.no_header,
            delimiter: self.delimiter,
            decimal_comma: self.decimal_comma,
            labels: labels.iter().map(column).collect(),
            label_kind: if task == Task::Classify { LabelKind::Category } else { LabelKind::Number },
            ignore: self.ignore.iter().map(column).collect(),
            missing: self.missing.clone(),
            columns,
            ..ReadOptions::default()
        }
    }
}

/// A user's file of rows.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// CSV, Parquet, .npy or IDX, gzipped or not; or a directory of .csv or of .parquet files that are one table.
    pub data: PathBuf,
    /// A second .npy or IDX file that holds the labels.
    pub labels: Option<PathBuf>,
    /// How it is written.
    pub format: Format,
}

/// Rows as a new project sees them.
pub struct First {
    /// Features and targets.
    pub data: Dataset,
    /// How later files name the label columns.
    pub labels: Vec<String>,
    /// How features follow from columns.
    pub preprocessing: Preprocessing,
    /// Columns that count rows, as pandas writes its index: they are no features.
    pub left_out: Vec<String>,
}

/// Rows of an existing project.
pub struct Labelled {
    /// Features and targets.
    pub data: Dataset,
    /// What of the columns did not fit.
    pub misfits: Misfits,
    /// See [`First::left_out`].
    pub left_out: Vec<String>,
}

/// Rows of a query.
pub struct QueryRows {
    /// Features.
    pub features: Frame,
    /// The same with labels to compare with, where the file has them.
    pub labelled: Option<Dataset>,
    /// Columns that identify rows, where the file has them.
    pub ids: Vec<Identifiers>,
    /// What of the columns did not fit.
    pub misfits: Misfits,
    /// See [`First::left_out`].
    pub left_out: Vec<String>,
}

/// Where a table comes from.
pub(crate) trait Source {
    fn format(&self) -> &Format;

    /// Whether the labels are no columns of the table, but apart.
    fn labels_apart(&self) -> bool;

    fn table(&self, options: &ReadOptions) -> Result<Table, Failure>;

    /// See [`DataFile::first`].
    fn first(
        &self,
        task: Task,
        labels: &[String],
        classes: Option<&[String]>,
        columns: Choices,
    ) -> Result<First, Failure> {
        if labels.is_empty() && !self.labels_apart() {
            return Err(Failure::Settings("name the label column: --label NAME".into()));
        }
        if classes.is_some() && task != Task::Classify {
            return Err(Failure::Settings("--classes goes with --task classify".into()));
        }
        let options = self.format().options(task, labels, Columns::Inferred(columns));
        let table = self.table(&options)?;
        let (left_out, preprocessing) = (table.left_out.clone(), table.preprocessing.clone());
        // A position holds for this file only: another may order its columns otherwise.
        let labels = match &table.labels {
            Some(columns) if preprocessing.is_named() => columns.names.clone(),
            _ => labels.to_vec(),
        };
        let classes = classes.map(|names| Classes::new(names.to_vec())).transpose()?;
        let data = match task {
            Task::Classify => table.classify(classes.as_ref())?,
            Task::MultiLabel => table.multi_label()?,
            Task::Regress => table.regress()?,
        };
        Ok(First { data, labels, preprocessing, left_out })
    }

    fn of(&self, project: &ClientProject) -> ReadOptions {
        let columns = Columns::Recorded {
            preprocessing: project.preprocessing.clone(),
            beyond: project.standardiser.beyond(),
        };
        let Labelling { task, columns: labels, missing, .. } = &project.labelling;
        let options = self.format().options(*task, labels, columns);
        ReadOptions { missing: options.missing.or_else(|| missing.clone()), ..options }
    }

    /// See [`DataFile::labelled`].
    fn labelled(&self, project: &ClientProject) -> Result<Labelled, Failure> {
        let table = self.table(&self.of(project))?;
        let (left_out, misfits) = (table.left_out.clone(), Misfits::of_columns(&table));
        Ok(Labelled { data: dataset(table, &project.labelling)?, misfits, left_out })
    }

    /// See [`DataFile::query`].
    fn query(&self, project: &ClientProject) -> Result<QueryRows, Failure> {
        let options = ReadOptions { labels_optional: true, ..self.of(project) };
        let mut table = self.table(&options)?;
        let (misfits, ids) = (Misfits::of_columns(&table), std::mem::take(&mut table.ids));
        let (left_out, features) = (table.left_out.clone(), table.features.clone());
        let labelled = match table.labels {
            Some(_) => Some(dataset(table, &project.labelling)?),
            None => None,
        };
        Ok(QueryRows { features, labelled, ids, misfits, left_out })
    }
}

impl Source for DataFile {
    fn format(&self) -> &Format {
        &self.format
    }

    fn labels_apart(&self) -> bool {
        self.labels.is_some()
    }

    fn table(&self, options: &ReadOptions) -> Result<Table, Failure> {
        Ok(match &self.labels {
            Some(labels) => Table::read_pair(&self.data, labels, options)?,
            None => Table::read(&self.data, options)?,
        })
    }
}

impl DataFile {
    /// Rows with labels, as a new project sees them; of classes, those of `classes` if there are any, else those found.
    pub fn first(
        &self,
        task: Task,
        labels: &[String],
        classes: Option<&[String]>,
        columns: Choices,
    ) -> Result<First, Failure> {
        Source::first(self, task, labels, classes, columns)
    }

    /// Rows with labels of an existing project.
    ///
    /// # Errors
    /// If the file cannot be read, or does not fit the project.
    pub fn labelled(&self, project: &ClientProject) -> Result<Labelled, Failure> {
        Source::labelled(self, project)
    }

    /// Rows of a query: labels, where the file has them, are kept apart to compare with.
    ///
    /// # Errors
    /// If the file cannot be read, or does not fit the project.
    pub fn query(&self, project: &ClientProject) -> Result<QueryRows, Failure> {
        Source::query(self, project)
    }
}

fn dataset(table: Table, labelling: &Labelling) -> Result<Dataset, Failure> {
    Ok(match labelling.task {
        Task::Classify => table.classify(labelling.classes.as_ref())?,
        Task::MultiLabel => table.multi_label()?,
        Task::Regress => table.regress()?,
    })
}

/// Values of a column that do not fit its recorded standardisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// The column's name, or `#` and its position among the features.
    pub column: String,
    /// How many.
    pub values: u64,
}

/// Values that do not fit the recorded standardisation, column by column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Misfits {
    /// Features beyond the bound, which were clipped to it.
    pub clipped: Vec<Misfit>,
    /// Targets of a regression beyond the bound, which were clipped to it.
    pub clipped_targets: Vec<Misfit>,
    /// Features that differ from the constant of a constant column, and count for nothing.
    pub differing: Vec<Misfit>,
    /// Values of categories that the first table lacked.
    pub unknown: Vec<Misfit>,
    /// Missing values that another one stands in for.
    pub filled: Vec<Misfit>,
}

impl Misfits {
    /// Those of features.
    pub fn of_features(standardiser: &Standardiser, rows: &Standardised) -> Self {
        Misfits {
            clipped: misfits(standardiser, &rows.clipped),
            differing: misfits(standardiser, &rows.differing),
            ..Misfits::default()
        }
    }

    /// Those of columns, before features are made of them.
    fn of_columns(table: &Table) -> Self {
        let misfit = |Counted { column, cells }: &Counted| Misfit { column: column.clone(), values: *cells };
        let [unknown, filled] =
            [&table.unknown, &table.filled].map(|counted| counted.iter().map(misfit).collect());
        Misfits { unknown, filled, ..Misfits::default() }
    }

    /// The same, with those of columns of `other`.
    pub fn with_columns(self, other: Misfits) -> Self {
        Misfits { unknown: other.unknown, filled: other.filled, ..self }
    }

    /// Adds those of more rows.
    pub fn add(&mut self, more: Misfits) {
        let Misfits { clipped, clipped_targets, differing, unknown, filled } = more;
        for (all, more) in [
            (&mut self.clipped, clipped),
            (&mut self.clipped_targets, clipped_targets),
            (&mut self.differing, differing),
            (&mut self.unknown, unknown),
            (&mut self.filled, filled),
        ] {
            for misfit in more {
                match all.iter_mut().find(|known| known.column == misfit.column) {
                    Some(known) => known.values += misfit.values,
                    None => all.push(misfit),
                }
            }
        }
    }

    /// How many features were clipped.
    pub fn clipped_values(&self) -> u64 {
        self.clipped.iter().map(|misfit| misfit.values).sum()
    }

    /// What there is to say of them, a line each.
    pub fn words(&self) -> Vec<String> {
        let kinds = [
            (&self.clipped, "values lay beyond the recorded bound and were clipped to it"),
            (
                &self.clipped_targets,
                "targets lay beyond the recorded bound and were clipped to it (init --ranges moves it)",
            ),
            (&self.differing, "values count for nothing, as their columns were constant in the first table"),
            (&self.unknown, "values are no recorded category of their column, and count as none"),
            (&self.filled, "missing values were filled in as the project records"),
        ];
        let there = kinds.into_iter().filter(|(misfits, _)| !misfits.is_empty());
        there.map(|(misfits, what)| format!("{}: {}", count(misfits, what), listed(misfits))).collect()
    }
}

/// The name of a column, or `#` and its position where columns have no names.
pub(crate) fn column_name(standardiser: &Standardiser, column: usize) -> String {
    match standardiser.names() {
        Some(names) => names[column].clone(),
        None => format!("#{}", column + 1),
    }
}

fn misfits(standardiser: &Standardiser, counts: &[u64]) -> Vec<Misfit> {
    let there = counts.iter().enumerate().filter(|(_, values)| **values > 0);
    there.map(|(column, &values)| Misfit { column: column_name(standardiser, column), values }).collect()
}

fn count(misfits: &[Misfit], what: &str) -> String {
    format!("{} {what}", misfits.iter().map(|misfit| misfit.values).sum::<u64>())
}

/// Columns and their counts, the largest first, ten at most.
fn listed(misfits: &[Misfit]) -> String {
    const SHOWN: usize = 10;
    let mut sorted: Vec<&Misfit> = misfits.iter().collect();
    sorted.sort_by_key(|misfit| std::cmp::Reverse(misfit.values));
    let shown = sorted.iter().take(SHOWN).map(|misfit| format!("{:?} {}", misfit.column, misfit.values));
    let mut parts: Vec<String> = shown.collect();
    if sorted.len() > SHOWN {
        parts.push(format!("and {} more columns", sorted.len() - SHOWN));
    }
    parts.join(", ")
}

/// Standardised rows and their targets as the training loop takes them.
pub struct Rows {
    /// Rows x features, within -1 and 1.
    pub features: learn::Matrix,
    /// One for each row.
    pub targets: learn::Targets,
    /// What did not fit.
    pub misfits: Misfits,
}

impl Rows {
    /// All rows of several parts, in their order; `rows` is how many there are, about.
    ///
    /// # Errors
    /// The first of the parts that has one, or parts that do not go together.
    pub fn joined(
        rows: usize,
        parts: &mut dyn Iterator<Item = Result<Rows, Failure>>,
    ) -> Result<Self, Failure> {
        let unlike = || Failure::Other("parts of different shapes".into());
        let first = parts.next().ok_or_else(unlike)??;
        if first.features.rows() >= rows {
            return Ok(first);
        }
        let (width, mut misfits) = (first.features.cols(), first.misfits);
        let mut features = Vec::with_capacity(rows * width);
        features.extend_from_slice(first.features.as_slice());
        let mut targets = first.targets;
        for part in parts {
            let part = part?;
            features.extend_from_slice(part.features.as_slice());
            misfits.add(part.misfits);
            match (&mut targets, part.targets) {
                (learn::Targets::Classes(all), learn::Targets::Classes(more)) => all.extend(more),
                (learn::Targets::Values(all), learn::Targets::Values(more)) => {
                    let mut values = std::mem::take(all).into_vec();
                    values.extend_from_slice(more.as_slice());
                    let columns = more.cols().max(1);
                    *all = learn::Matrix::from_rows(values.len() / columns, columns, values)
                        .ok_or_else(unlike)?;
                }
                _ => return Err(unlike()),
            }
        }
        let count = features.len().checked_div(width).unwrap_or(0);
        let features = learn::Matrix::from_rows(count, width, features).ok_or_else(unlike)?;
        Ok(Rows { features, targets, misfits })
    }

    /// Puts the rows into the order that is drawn from `seed`.
    pub fn shuffle(&mut self, seed: &[u8; 32]) {
        let order = Permutation::keyed(self.features.rows(), seed);
        let width = self.features.cols();
        order.permute_rows(self.features.as_mut_slice(), width);
        match &mut self.targets {
            learn::Targets::Classes(classes) => order.permute_rows(classes, 1),
            learn::Targets::Values(values) => {
                let width = values.cols();
                order.permute_rows(values.as_mut_slice(), width);
            }
        }
    }
}

/// Standardises rows and targets as the project records.
pub fn standardise(project: &ClientProject, data: Dataset) -> Result<Rows, Failure> {
    let Dataset { features, targets } = data;
    let standardised = project.standardiser.apply(features)?;
    let mut misfits = Misfits::of_features(&project.standardiser, &standardised);
    let (targets, clipped) = encode_targets(&project.labelling, targets)?;
    misfits.clipped_targets = clipped;
    Ok(Rows { features: matrix_of(standardised.matrix), targets, misfits })
}

/// The training loop's form of a matrix.
pub fn matrix_of(matrix: blindsmith_data::Matrix) -> learn::Matrix {
    let (rows, cols) = matrix.shape();
    // Unwrap safety: the data has this shape by construction.
    learn::Matrix::from_rows(rows, cols, matrix.into_vec()).expect("a matrix of its own shape")
}

/// Targets in the units of training: class numbers, 0 and 1, or values of about unit variance; and those that were
/// clipped.
fn encode_targets(labelling: &Labelling, targets: Targets) -> Result<(learn::Targets, Vec<Misfit>), Failure> {
    let encoded = match targets {
        Targets::Classes { index, .. } if labelling.outputs() == 1 => {
            let values = index.iter().map(|&i| i as f32).collect::<Vec<_>>();
            // Unwrap safety: one column.
            learn::Targets::Values(learn::Matrix::from_rows(values.len(), 1, values).expect("one column"))
        }
        Targets::Classes { index, .. } => learn::Targets::Classes(index),
        Targets::Bits(bits) => learn::Targets::Values(matrix_of(bits.matrix().rounded())),
        Targets::Values(values) => {
            let standardiser = labelling
                .targets
                .as_ref()
                .ok_or_else(|| Failure::Settings("the project is no regression".into()))?;
            let Standardised { matrix, clipped, .. } = standardiser.apply(values)?;
            let mut values = matrix_of(matrix);
            let unit = standardiser.factor() as f32;
            values.as_mut_slice().iter_mut().for_each(|v| *v *= unit);
            return Ok((learn::Targets::Values(values), misfits(standardiser, &clipped)));
        }
    };
    Ok((encoded, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_with_their_counts() {
        let misfit = |column: &str, values| Misfit { column: column.into(), values };
        let clipped = vec![misfit("age", 2), misfit("dose", 30)];
        let differing = (0..12).map(|i| misfit(&format!("c{i}"), 1)).collect();
        let misfits = Misfits { clipped, differing, ..Misfits::default() };
        assert_eq!(misfits.clipped_values(), 32);
        let words = misfits.words();
        assert_eq!(
            words[0],
            "32 values lay beyond the recorded bound and were clipped to it: \"dose\" 30, \"age\" 2"
        );
        assert!(words[1].starts_with("12 values count for nothing"), "{}", words[1]);
        assert!(words[1].ends_with("\"c9\" 1, and 2 more columns"), "{}", words[1]);
        assert_eq!(words.len(), 2);
    }
}
