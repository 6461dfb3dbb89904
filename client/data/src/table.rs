//! Reading a file into features and label columns.

use std::fmt;
use std::path::Path;

use crate::cells::Cells;
use crate::choices::Choices;
use crate::classes::Classes;
use crate::collector::{LabelColumns, LabelValues};
use crate::columns::ColumnRef;
use crate::dataset::{Dataset, Targets};
use crate::error::{CellDefect, Error, FileDefect, Result};
use crate::frame::Frame;
use crate::idx::Part;
use crate::input::{Content, Inputs};
use crate::limits::Limits;
use crate::matrix::Matrix;
use crate::preprocessing::{Counted, Preprocessing};
use crate::standardiser::Beyond;
use crate::survey::{decide, second_readings};

/// How a file is to be read. The default is a CSV with a header, or any of the binary formats, all of whose
/// columns are features.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadOptions {
    /// Whether the first record of a CSV holds the columns' names. Default true.
    pub header: bool,
    /// Separator of a CSV's cells. Default `,`.
    pub delimiter: u8,
    /// The label columns. One for a categorical label, one or more numeric ones.
    pub labels: Vec<ColumnRef>,
    /// How the labels are read. Default [`LabelKind::Category`].
    pub label_kind: LabelKind,
    /// Whether a file in which none of the label columns is found is read without labels, instead of
    /// refused: for queries. Default false.
    pub labels_optional: bool,
    /// Columns to leave out. Their cells are not looked at.
    pub ignore: Vec<ColumnRef>,
    /// The only columns to take as features, in this order; the others are left out as by `ignore`: for
    /// queries. Where the file has no names, only the number of columns is checked. Default all.
    pub keep: Option<Vec<String>>,
    /// Whether numbers in text have a decimal comma. Default false, a decimal point.
    pub decimal_comma: bool,
    /// Cells that mark a missing value, beside empty ones, in place of the usual marks. Default none: the usual marks.
    pub missing: Option<Vec<String>>,
    /// What is made of the feature columns. Default [`Columns::Plain`].
    pub columns: Columns,
    /// Bounds on the file.
    pub limits: Limits,
}

/// What is made of feature columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns {
    /// All are numbers, and missing values are refused.
    Plain,
    /// What the owner says of them, and what follows from their cells: truth values and dates where all cells are some,
    /// and categories of text with at most 50 different values in more than twice as many rows.
    Inferred(Choices),
    /// As a project records it; another table's columns may be in another order.
    Recorded {
        /// The record.
        preprocessing: Preprocessing,
        /// Whether categories that are not recorded are counted or refused.
        beyond: Beyond,
    },
}

/// How label columns are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKind {
    /// One column of class names; numbers are names too.
    Category,
    /// Columns of finite numbers: targets of a regression, or 0 and 1 of a multi-label task.
    Number,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            labels: Vec::new(),
            label_kind: LabelKind::Category,
            labels_optional: false,
            ignore: Vec::new(),
            keep: None,
            decimal_comma: false,
            missing: None,
            columns: Columns::Plain,
            limits: Limits::default(),
        }
    }
}

impl ReadOptions {
    /// The default with one categorical label column.
    pub fn labelled(label: impl Into<ColumnRef>) -> Self {
        Self { labels: vec![label.into()], ..Self::default() }
    }
}

/// A file as read: features, all finite, and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What was made of the columns that are neither labels nor left out.
    pub features: Frame,
    /// The label columns, as many rows as the features.
    pub labels: Option<LabelColumns>,
    /// Columns that were left out without being asked for, as they count rows: pandas writes its index so.
    pub left_out: Vec<String>,
    /// How the features follow from the columns.
    pub preprocessing: Preprocessing,
    /// The columns that identify rows.
    pub ids: Vec<Identifiers>,
    /// Categories that are not recorded, by column: all features of the column are 0 there.
    pub unknown: Vec<Counted>,
    /// Missing values that were filled in, by column.
    pub filled: Vec<Counted>,
}

/// A column that identifies rows. `Debug` shows its name and how many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct Identifiers {
    /// The column's name, or `#` and its position.
    pub name: String,
    /// Its cells; empty where there is nothing.
    pub cells: Vec<String>,
}

impl fmt::Debug for Identifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifiers({:?}, {} rows)", self.name, self.cells.len())
    }
}

impl Table {
    /// Reads CSV, Parquet, `.npy` or IDX, gzipped or not; or all `.csv` or all `.parquet` files of a directory, in the
    /// order of their names, as one table of the same columns. The content tells the format, not the name; what is none of
    /// the binary formats is read as CSV.
    ///
    /// Numbers are read in double precision. Memory is that of the matrix, plus about as much while a file grows whose
    /// size is not known beforehand (CSV, gzip) or where columns become several features, plus one column's pages
    /// (Parquet). A first table with columns that may be categories is read twice.
    ///
    /// # Errors
    /// Every non-finite or mis-typed cell of a feature or label is refused, and every missing one for which nothing stands
    /// in, as are a wrong shape and whatever exceeds the limits. Of each column that has such cells the first one is named:
    /// all of these columns at once.
    pub fn read(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        Self::from_inputs(&Inputs::path(path.as_ref(), options)?, options)
    }

    /// As [`read`](Self::read), from memory; `name` stands for the file in errors.
    pub fn read_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Self> {
        Self::from_inputs(&Inputs::memory(name, bytes), options)
    }

    /// Reads features and labels from two arrays (`.npy` or IDX, in any combination). All columns of the
    /// second are labels; `options.labels` is not looked at.
    pub fn read_pair(
        features: impl AsRef<Path>,
        labels: impl AsRef<Path>,
        options: &ReadOptions,
    ) -> Result<Self> {
        Self::from_inputs(&Inputs::pair(features.as_ref(), labels.as_ref(), options)?, options)
    }

    /// As [`read_pair`](Self::read_pair), from memory. Each array comes with a name for errors.
    pub fn read_pair_bytes(
        features: (&str, &[u8]),
        labels: (&str, &[u8]),
        options: &ReadOptions,
    ) -> Result<Self> {
        Self::from_inputs(&Inputs::memory(features.0, features.1).with_labels(labels.0, labels.1), options)
    }

    /// Reads a table in memory, with its labels among its columns or apart. All columns of `labels` are labels then;
    /// `options.labels` is not looked at.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_cells(
        features: &Cells<'_>,
        labels: Option<&Cells<'_>>,
        options: &ReadOptions,
    ) -> Result<Self> {
        Self::from_inputs(&Inputs::cells(features, labels), options)
    }

    /// Reads one part of a directory of MNIST's standard IDX files, each gzipped or not.
    pub fn read_mnist(directory: impl AsRef<Path>, part: Part, options: &ReadOptions) -> Result<Self> {
        let (images, labels) = part.files(directory.as_ref())?;
        Self::read_pair(images, labels, options)
    }

    fn from_inputs(inputs: &Inputs<'_>, options: &ReadOptions) -> Result<Self> {
        let mut content = inputs.gather(options, None)?;
        let preprocessing = match &options.columns {
            Columns::Inferred(choices) => {
                if let Some(readings) = second_readings(&content.gathered) {
                    content = inputs.gather(options, Some(readings))?;
                }
                decide(&mut content.gathered, options, choices)?
            }
            _ if !content.gathered.refused.is_empty() => return Err(Error::cells(content.gathered.refused)),
            Columns::Recorded { preprocessing, .. } => preprocessing.clone(),
            Columns::Plain => {
                let names = &content.gathered.names;
                Preprocessing::plain(content.gathered.named.then_some(names), names.len())
            }
        };
        Self::of(content, preprocessing, &options.limits)
    }

    fn of(content: Content, preprocessing: Preprocessing, limits: &Limits) -> Result<Self> {
        let Content { gathered, labels, left_out } = content;
        preprocessing.check_size(gathered.rows, &gathered.origin, limits)?;
        let shape = || Error::malformed(gathered.origin.name(), "table", "cells and shape disagree");
        let raw = Matrix::new(gathered.rows, gathered.names.len(), gathered.cells).ok_or_else(shape)?;
        let expanded = preprocessing.expand(raw);
        let ids = gathered.id_names.into_iter().zip(gathered.ids);
        Ok(Self {
            features: Frame::new(gathered.origin, preprocessing.feature_names(), expanded.matrix),
            labels,
            left_out,
            preprocessing,
            ids: ids.map(|(name, cells)| Identifiers { name, cells }).collect(),
            unknown: expanded.unknown,
            filled: expanded.filled,
        })
    }

    /// A dataset of classes: `known` as recorded with the project, or else the classes found here.
    ///
    /// # Errors
    /// [`CellDefect::UnknownLabel`] for a label that is not among `known`; [`FileDefect::OneClass`] where the
    /// classes are to be found and there is one; [`FileDefect::Unlabelled`] and [`FileDefect::LabelKind`].
    pub fn classify(self, known: Option<&Classes>) -> Result<Dataset> {
        let classes = match known {
            Some(known) => known.clone(),
            None => Classes::fit(&self)?,
        };
        let index = classes.encode(&self)?;
        Ok(Dataset { features: self.features, targets: Targets::Classes { classes, index } })
    }

    /// A dataset of bits, one per label column, which were read as [`LabelKind::Number`].
    ///
    /// # Errors
    /// [`CellDefect::NotABit`] for anything but 0 and 1; [`FileDefect::Unlabelled`],
    /// [`FileDefect::LabelKind`].
    pub fn multi_label(self) -> Result<Dataset> {
        let (features, bits) = self.numbers()?;
        let columns = bits.columns();
        if let Some(at) = bits.matrix().as_slice().iter().position(|&bit| bit != 0.0 && bit != 1.0) {
            return Err(Error::Cell {
                place: bits.place(at / columns, at % columns),
                defect: CellDefect::NotABit,
            });
        }
        Ok(Dataset { features, targets: Targets::Bits(bits) })
    }

    /// A dataset of numeric targets, one per label column, which were read as [`LabelKind::Number`].
    ///
    /// # Errors
    /// [`FileDefect::Unlabelled`], [`FileDefect::LabelKind`].
    pub fn regress(self) -> Result<Dataset> {
        let (features, values) = self.numbers()?;
        Ok(Dataset { features, targets: Targets::Values(values) })
    }

    fn numbers(self) -> Result<(Frame, Frame)> {
        let origin = self.features.origin().to_string();
        let labels = self.labels.ok_or_else(|| Error::file(&origin, FileDefect::Unlabelled))?;
        match labels.values {
            LabelValues::Number(matrix) => {
                let targets = Frame::new(labels.origin, Some(labels.names), matrix);
                Ok((self.features, targets))
            }
            LabelValues::Category { .. } => {
                let defect = FileDefect::LabelKind { found: "a category", wanted: "numbers" };
                Err(Error::file(&origin, defect))
            }
        }
    }
}
