//! From a user's file to rows that can be encrypted.

use std::path::PathBuf;

use blindsmith_data::{
    Classes, ColumnRef, Dataset, Frame, LabelKind, ReadOptions, Standardised, Standardiser, Table, Targets,
};
use blindsmith_learn as learn;
use clap::Args;
use serde::Serialize;

use crate::Failure;
use crate::project::{ClientProject, Labelling, Task};

/// How a file is written.
#[derive(Debug, Clone, Args)]
pub struct FormatArguments {
    /// The first line of a CSV is data. Name columns by their number: #1, #2, #last.
    #[arg(long)]
    pub no_header: bool,
    /// The separator of a CSV's cells: one character, or `tab`.
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    pub delimiter: u8,
    /// Numbers of a CSV have a decimal comma.
    #[arg(long)]
    pub decimal_comma: bool,
    /// A column to leave out; may be repeated.
    #[arg(long, value_name = "COLUMN")]
    pub ignore: Vec<String>,
    /// A cell that marks a missing value, beside empty ones, in place of the usual marks; may be repeated [default: NA,
    /// N/A, #N/A, <NA>, ?, nan, null; those that `init` was given].
    #[arg(long, visible_alias = "na", value_name = "MARK")]
    pub missing_marker: Vec<String>,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("give one character, such as ';', or tab".into()),
    }
}

impl FormatArguments {
    /// The marks of missing values, if they were given.
    pub fn marks(&self) -> Option<Vec<String>> {
        (!self.missing_marker.is_empty()).then(|| self.missing_marker.clone())
    }

    fn options(&self, task: Task, labels: &[String], recorded: Option<&Labelling>) -> ReadOptions {
        let column = |name: &String| ColumnRef::from(name.as_str());
        ReadOptions {
            header: !self.no_header,
            delimiter: self.delimiter,
            decimal_comma: self.decimal_comma,
            labels: labels.iter().map(column).collect(),
            label_kind: if task == Task::Classify { LabelKind::Category } else { LabelKind::Number },
            ignore: self.ignore.iter().map(column).collect(),
            missing: self.marks().or_else(|| recorded.and_then(|labelling| labelling.missing.clone())),
            ..ReadOptions::default()
        }
    }
}

/// Names on one line, as a record of a CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// Reads names that are separated by commas.
pub fn names(text: &str) -> Result<Names, String> {
    let reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
    let record = reader.into_records().next().ok_or("give names, separated by commas")?;
    Ok(Names(record.map_err(|e| e.to_string())?.iter().map(str::to_owned).collect()))
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(&self.0).map_err(|_| std::fmt::Error)?;
        let line = writer.into_inner().map_err(|_| std::fmt::Error)?;
        f.write_str(String::from_utf8_lossy(&line).trim_end())
    }
}

/// Where rows come from.
#[derive(Debug, Clone, Args)]
pub struct DataArguments {
    /// The table: CSV, Parquet, .npy or IDX, gzipped or not.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// A second .npy or IDX file that holds the labels.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    #[command(flatten)]
    pub format: FormatArguments,
}

/// Rows as a new project sees them.
pub struct First {
    /// Features and targets.
    pub data: Dataset,
    /// How later files name the label columns.
    pub labels: Vec<String>,
}

impl DataArguments {
    fn table(&self, options: &ReadOptions) -> Result<Table, Failure> {
        let table = match &self.labels {
            Some(labels) => Table::read_pair(&self.data, labels, options)?,
            None => Table::read(&self.data, options)?,
        };
        for column in &table.left_out {
            let file = self.data.display();
            eprintln!("{file}: column {column:?} counts rows, as pandas writes its index: it is left out");
        }
        Ok(table)
    }

    /// Rows with labels, as a new project sees them; of classes, those of `classes` if there are any, else those found.
    pub fn first(&self, task: Task, labels: &[String], classes: Option<&Names>) -> Result<First, Failure> {
        if labels.is_empty() && self.labels.is_none() {
            return Err(Failure::Settings("name the label column: --label NAME".into()));
        }
        if classes.is_some() && task != Task::Classify {
            return Err(Failure::Settings("--classes goes with --task classify".into()));
        }
        let table = self.table(&self.format.options(task, labels, None))?;
        // A position holds for this file only: another may order its columns otherwise.
        let labels = match (&table.labels, table.features.names()) {
            (Some(columns), Some(_)) => columns.names.clone(),
            _ => labels.to_vec(),
        };
        let classes = classes.map(|Names(names)| Classes::new(names.clone())).transpose()?;
        let data = match task {
            Task::Classify => table.classify(classes.as_ref())?,
            Task::MultiLabel => table.multi_label()?,
            Task::Regress => table.regress()?,
        };
        Ok(First { data, labels })
    }

    fn of(&self, labelling: &Labelling) -> ReadOptions {
        self.format.options(labelling.task, &labelling.columns, Some(labelling))
    }

    /// Rows with labels of an existing project.
    pub fn labelled(&self, project: &ClientProject) -> Result<Dataset, Failure> {
        let labelling = &project.labelling;
        let table = self.table(&self.of(labelling))?;
        dataset(table, labelling)
    }

    /// Rows of a query: labels, where the file has them, are kept apart to compare with.
    pub fn query(&self, project: &ClientProject) -> Result<(Frame, Option<Dataset>), Failure> {
        let labelling = &project.labelling;
        let options = ReadOptions { labels_optional: true, ..self.of(labelling) };
        let table = self.table(&options)?;
        if table.labels.is_none() {
            return Ok((table.features, None));
        }
        let features = table.features.clone();
        Ok((features, Some(dataset(table, labelling)?)))
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
        ];
        let there = kinds.into_iter().filter(|(misfits, _)| !misfits.is_empty());
        there.map(|(misfits, what)| format!("{}: {}", count(misfits, what), listed(misfits))).collect()
    }
}

fn misfits(standardiser: &Standardiser, counts: &[u64]) -> Vec<Misfit> {
    let name = |column: usize| match standardiser.names() {
        Some(names) => names[column].clone(),
        None => format!("#{}", column + 1),
    };
    let there = counts.iter().enumerate().filter(|(_, values)| **values > 0);
    there.map(|(column, &values)| Misfit { column: name(column), values }).collect()
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

    #[test]
    fn names_are_a_record() {
        assert_eq!(names("a, b"), Ok(Names(vec!["a".into(), "b".into()])));
        let odd = Names(vec!["a,b".into(), "c\"d".into(), "e f".into()]);
        assert_eq!(names(&odd.to_string()), Ok(odd));
        assert!(names("").is_err());
    }

    #[test]
    fn delimiters_are_one_character() {
        assert_eq!(delimiter(";"), Ok(b';'));
        assert_eq!(delimiter("tab"), Ok(b'\t'));
        for text in ["", ";;", "\"", "ä", "\n"] {
            assert!(delimiter(text).is_err(), "{text:?}");
        }
    }
}
