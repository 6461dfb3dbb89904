//! What can be wrong with a file, a cell, a setting or a model, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal. Its message says where the defect is and what the caller can do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{file}: {source}")]
    Io {
        /// The file as the caller named it.
        file: String,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The file as a whole cannot be used.
    #[error("{file}: {defect}")]
    File {
        /// The file as the caller named it.
        file: String,
        /// What is wrong with it.
        defect: FileDefect,
    },
    /// A row has another number of cells than the header, or than the first row where there is no header.
    #[error(
        "{file}: row {row}{} has {found} cells where {expected} are expected; \
         quote cells that hold a delimiter, and fill in what is missing", OnLine(*.line)
    )]
    Ragged {
        /// The file as the caller named it.
        file: String,
        /// Data row, counted from 1.
        row: u64,
        /// Line of the text file on which the row ends, counted from 1.
        line: Option<u64>,
        /// Cells of this row.
        found: usize,
        /// Cells of every row before it.
        expected: usize,
    },
    /// One cell cannot be used.
    #[error("{place}: {defect}")]
    Cell {
        /// Where it is.
        place: Place,
        /// What is wrong with it.
        defect: CellDefect,
    },
    /// Several columns cannot be used: the first defect of each, in the order of the columns.
    #[error("{}", Columns(.0))]
    Columns(Vec<Error>),
    /// A setting or a record (standardisation, classes, split) contradicts itself or the data.
    #[error("{0}")]
    Setting(#[from] SettingDefect),
    /// A model file does not hold a sequence of dense layers.
    #[error("{file}: {defect}")]
    Model {
        /// The file as the caller named it.
        file: String,
        /// What is wrong with it.
        defect: ModelDefect,
    },
}

impl Error {
    pub(crate) fn file(file: &str, defect: FileDefect) -> Self {
        Self::File { file: file.into(), defect }
    }

    /// The first refused cells of columns, of which there is at least one.
    pub(crate) fn cells(refused: BTreeMap<usize, (Place, CellDefect)>) -> Self {
        Self::columns(refused.into_values().map(|(place, defect)| Self::Cell { place, defect }).collect())
    }

    /// One error for those of columns, of which there is at least one.
    pub(crate) fn columns(mut errors: Vec<Error>) -> Self {
        if errors.len() == 1 { errors.swap_remove(0) } else { Self::Columns(errors) }
    }

    pub(crate) fn malformed(file: &str, format: &'static str, reason: impl fmt::Display) -> Self {
        Self::file(file, FileDefect::Malformed { format, reason: reason.to_string() })
    }
}

/// Where a cell is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the caller named it.
    pub file: String,
    /// Data row, counted from 1; a header is not counted.
    pub row: u64,
    /// Line of a text file on which the row ends, counted from 1.
    pub line: Option<u64>,
    /// The column's name in quotes, or `#` and its position counted from 1 where it has none.
    pub column: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: row {}{}, column {}", self.file, self.row, OnLine(self.line), self.column)
    }
}

/// What can be wrong with a file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileDefect {
    /// No byte, or nothing but blank lines.
    #[error("the file is empty; give a file with at least one data row")]
    Empty,
    /// A header or a shape, but no data row.
    #[error("no data rows; give a file with at least one (or say that the first line is data, not a header)")]
    NoRows,
    /// All columns are labels or skipped.
    #[error("no feature column is left beside labels and ignored columns")]
    NoFeatures,
    /// A directory without a table, where one is wanted.
    #[error("is a directory without a file that ends in .parquet or .csv; name a file in it")]
    Directory,
    /// A directory of files of both formats.
    #[error(
        "has files that end in .csv and others that end in .parquet; keep those of one format, or name one file"
    )]
    MixedDirectory,
    /// Parquet, in a build that does not read it.
    #[error(
        "is Parquet, which this build does not read: build with the feature `parquet`, or save the table as CSV"
    )]
    WithoutParquet,
    /// Beyond one of the [`Limits`](crate::Limits).
    #[error("{what}: {found} exceeds the limit of {limit}; split the file or raise `{setting}`")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How much was found or declared.
        found: u64,
        /// The bound.
        limit: u64,
        /// The field of [`Limits`](crate::Limits) to raise.
        setting: &'static str,
    },
    /// The machine has less memory than the table needs.
    #[error("needs {bytes} bytes of memory, which the system refuses; split the file")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// Damaged, truncated or something else altogether.
    #[error("not a readable {format} file: {reason}")]
    Malformed {
        /// The format expected.
        format: &'static str,
        /// What contradicts it.
        reason: String,
    },
    /// A known format's feature that is not supported.
    #[error("{what} not supported; {instead}")]
    Unsupported {
        /// What was found, with its verb.
        what: String,
        /// What to do.
        instead: String,
    },
    /// A column that was asked for is not there.
    #[error("{}", NoColumn(.name, .near, *.columns))]
    NoSuchColumn {
        /// The name asked for.
        name: String,
        /// Names in the file, the most similar first, ten at most.
        near: Vec<String>,
        /// How many columns the file has.
        columns: usize,
    },
    /// A position beyond the last column.
    #[error("column #{number} was asked for, but there are {columns}; positions count from 1")]
    NoSuchPosition {
        /// The position asked for, counted from 1.
        number: usize,
        /// How many columns the file has.
        columns: usize,
    },
    /// Two columns share a name.
    #[error(
        "columns {first} and {second} are both named {name:?}; rename or ignore one \
         (if the first line is data, say that there is no header)"
    )]
    DuplicateColumn {
        /// The name.
        name: String,
        /// Position of the first, counted from 1.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// A column with an empty name, as the row index that some tools write.
    #[error(
        "column {number} has no name; name it, ignore it as #{number}, or write the file without an index"
    )]
    UnnamedColumn {
        /// Position, counted from 1.
        number: usize,
    },
    /// One column was given two roles.
    #[error(
        "column {name} was given two roles; name it once among labels, ignored columns, identifiers and kinds"
    )]
    TwoRoles {
        /// Name or position.
        name: String,
    },
    /// Labels and features come from two files of different length.
    #[error("{features} rows of features but {labels} labels; give the two files of one set")]
    LabelCount {
        /// Rows of features.
        features: u64,
        /// Labels.
        labels: u64,
    },
    /// More than one column for one categorical label, or a text label where numbers are wanted.
    #[error("{found} label columns for a categorical label; name one, or read them as numbers")]
    OneLabelColumn {
        /// Label columns found.
        found: usize,
    },
    /// Labels are needed and the table has none.
    #[error("has no labels; name the label column")]
    Unlabelled,
    /// The labels were read as the other kind.
    #[error("labels were read as {found}, but this task needs {wanted}; set the kind of label when reading")]
    LabelKind {
        /// How they were read.
        found: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// Feature columns that were recorded are not there.
    #[error("lacks the feature columns {}; every table must have the recorded features", List(.names))]
    MissingFeatures {
        /// Their names.
        names: Vec<String>,
    },
    /// Feature columns that were not recorded.
    #[error(
        "has columns that are no recorded feature: {}; ignore them explicitly or remove them",
        List(.names)
    )]
    ExtraFeatures {
        /// Their names.
        names: Vec<String>,
    },
    /// Another number of features, where one side has no names.
    #[error("has {found} feature columns where {expected} are recorded")]
    FeatureCount {
        /// As recorded.
        expected: usize,
        /// In the file.
        found: usize,
    },
    /// All labels are equal.
    #[error("every row has the label {class:?}; a classifier needs at least two classes")]
    OneClass {
        /// The only label.
        class: String,
    },
}

/// What can be wrong with a cell.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CellDefect {
    /// Empty, null, NaN or a usual mark of a missing value.
    #[error("missing value; fill it in or remove the row")]
    Missing,
    /// Missing values of a first table, about which nothing was said.
    #[error(
        "missing value, as are {cells} of this column in all; fill them in, remove the rows, or have the median stand in \
         for them with --impute median (another value with --impute COLUMN=VALUE)"
    )]
    MissingCells {
        /// How many are missing.
        cells: u64,
    },
    /// No cell of a column has a value.
    #[error("no row has a value in this column; leave the column out with --ignore COLUMN")]
    NoValue,
    /// A label that marks a missing value.
    #[error(
        "missing value, which is what {mark:?} marks; fill it in or remove the row; if it is a class, say what marks \
         missing values"
    )]
    MissingLabel {
        /// The label found.
        mark: String,
    },
    /// Text where a number is wanted.
    #[error("not a number{hint}; convert the column to numbers, or ignore it")]
    NotANumber {
        /// A guess at the cause, or empty.
        hint: &'static str,
    },
    /// Infinite.
    #[error("not finite; replace it or remove the row")]
    NotFinite,
    /// Finite, but beyond f32's range (about 3.4e38).
    #[error("too large for single precision; rescale the column")]
    OutOfRange,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 text; save the file as UTF-8")]
    NotUtf8,
    /// Longer than a cell may be.
    #[error("longer than {limit} bytes; look for an unbalanced quote, or raise `cell_bytes`")]
    TooLong {
        /// The bound in bytes.
        limit: usize,
    },
    /// No date where one is wanted.
    #[error(
        "no date such as 2024-05-31, nor one with a time such as 2024-05-31T12:30:00Z; correct it, or ignore the column"
    )]
    NotADate,
    /// No truth value where one is wanted.
    #[error("neither true nor false, yes nor no, 1 nor 0; correct it, or ignore the column")]
    NotABoolean,
    /// A date or a time where a name of a class or a category is wanted.
    #[error("a date as a name is not supported; convert the column to text")]
    NotAName,
    /// Text of too many values to be a category.
    #[error(
        "text with {}{found} different values in {rows} rows; leave the column out with --ignore COLUMN, pass it \
         through to predictions with --id COLUMN, or make a feature of each value with --category COLUMN",
        if *.more { "more than " } else { "" }
    )]
    ManyCategories {
        /// Values that were counted.
        found: u64,
        /// Rows of the table.
        rows: u64,
        /// Whether there are more than were counted.
        more: bool,
    },
    /// A category that is not among the recorded ones, under the policy that refuses.
    #[error(
        "not among the recorded categories of this column; correct it, or record the project with the policy that clips"
    )]
    UnknownCategory,
    /// A multi-label column holds something else than 0 and 1.
    #[error("a multi-label column holds 0 or 1 only")]
    NotABit,
    /// Beyond the standardised range, under the policy that refuses.
    #[error(
        "outside the recorded range {low}..={high}; check the value, or record the project with \
         the policy that clips"
    )]
    BeyondBound {
        /// Smallest value accepted.
        low: f64,
        /// Largest value accepted.
        high: f64,
    },
    /// Another value than the only one that the column was recorded with, under the policy that refuses.
    #[error(
        "differs from {constant}, the only value that the column had in the table that was recorded; \
         record the project with this column's range"
    )]
    NotTheConstant {
        /// The only value.
        constant: f64,
    },
    /// A label that is not among the recorded classes.
    #[error(
        "label {label:?} is not among the recorded classes {}; correct it or remove the row",
        List(.known)
    )]
    UnknownLabel {
        /// The label found.
        label: String,
        /// The recorded classes.
        known: Vec<String>,
    },
}

/// What can be wrong with a setting or a record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingDefect {
    /// Nothing to fit on.
    #[error("cannot fit a standardisation on {rows} rows of {columns} columns")]
    NothingToFit {
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// What is said of a column cannot be.
    #[error("preprocessing, column {column:?}: {reason}")]
    Preprocessing {
        /// Name of the column.
        column: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A standardisation's numbers are unusable.
    #[error("standardisation, column {column}: {reason}")]
    Scale {
        /// Name or position of the column.
        column: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The factor is not a positive finite number.
    #[error("standardisation factor {factor} must be positive and finite")]
    Factor {
        /// As given.
        factor: f64,
    },
    /// Lists that must have one entry per column differ in length.
    #[error("standardisation lists differ in length: {names} names, {centres} centres, {scales} scales")]
    Lengths {
        /// Names.
        names: usize,
        /// Centres.
        centres: usize,
        /// Scales.
        scales: usize,
    },
    /// A record of a later or unknown version.
    #[error("record of version {version}; this program reads version 1")]
    Version {
        /// As found.
        version: u32,
    },
    /// Fewer than two classes, or a class twice or empty.
    #[error("classes: {reason}")]
    Classes {
        /// What is wrong.
        reason: String,
    },
    /// A matrix of another width than the record.
    #[error("{found} columns where the record has {expected}")]
    Width {
        /// As recorded.
        expected: usize,
        /// As given.
        found: usize,
    },
    /// A split that would leave one side empty.
    #[error("cannot hold out a share of {share} of {rows} rows; both sides need at least one row")]
    Split {
        /// Rows to split.
        rows: usize,
        /// Share to hold out.
        share: f64,
    },
}

/// What can be wrong with a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelDefect {
    /// Not a safetensors file, or a damaged one.
    #[error("not a readable safetensors file: {reason}; write it with safetensors.torch.save_file")]
    Malformed {
        /// What contradicts the format.
        reason: String,
    },
    /// Larger than the bound.
    #[error("{found} bytes exceed the limit of {limit} for a model file")]
    TooLarge {
        /// Bytes found.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// No tensor at all.
    #[error("holds no layer; save the state_dict of an nn.Sequential of nn.Linear")]
    NoLayers,
    /// More layers than the bound.
    #[error("holds {found} layers; at most {limit} are supported")]
    TooManyLayers {
        /// Layers found.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// A tensor that is no weight or bias of a numbered module.
    #[error(
        "tensor {name:?} is no weight or bias of a numbered module (\"0.weight\", \"0.bias\", ...); \
         only nn.Sequential of nn.Linear and activations is supported"
    )]
    UnknownTensor {
        /// Its name.
        name: String,
    },
    /// A bias without its weight, or the other way round.
    #[error(
        "tensor {name:?} is missing; every nn.Linear needs weight and bias \
         (for bias=False store a bias of zeros: refinement learns biases)"
    )]
    MissingTensor {
        /// The name of the tensor that is not there.
        name: String,
    },
    /// A shape that is no dense layer's, or that does not fit its neighbour's.
    #[error("tensor {name:?} has shape {found:?}; expected {expected}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: String,
    },
    /// An element type that is not a float.
    #[error("tensor {name:?} is of type {found}; F32, F16, BF16 and F64 are supported")]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// NaN, infinite or beyond f32.
    #[error("tensor {name:?} holds a value at index {index} that is not finite in single precision")]
    NotFinite {
        /// Its name.
        name: String,
        /// Row-major index of the value.
        index: usize,
    },
}

/// One error a line, twenty at most.
struct Columns<'a>(&'a [Error]);

impl fmt::Display for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        write!(f, "{} columns cannot be used", self.0.len())?;
        self.0.iter().take(SHOWN).try_for_each(|error| write!(f, "\n  {error}"))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

struct OnLine(Option<u64>);

impl fmt::Display for OnLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

/// Names in quotes, ten at most.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        for (index, name) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name:?}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

struct NoColumn<'a>(&'a str, &'a [String], usize);

impl fmt::Display for NoColumn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, near, columns) = self;
        write!(f, "no column is named {name:?}")?;
        if near.is_empty() {
            return write!(f, ": the {columns} columns have no names; give a position such as #1 or #last");
        }
        let similar = if near.len() < *columns { "the most similar are " } else { "there are " };
        write!(f, "; {similar}{}", List(near))?;
        if *columns == 1 {
            write!(f, " (is the delimiter another than a comma?)")?;
        }
        Ok(())
    }
}
