//! Reading a file into features and label columns.

use std::path::Path;

use crate::array::Array;
use crate::classes::Classes;
use crate::collector::{LabelColumns, LabelValues};
use crate::columns::ColumnRef;
use crate::dataset::{Dataset, Targets};
use crate::error::{CellDefect, Error, FileDefect, Result};
use crate::frame::Frame;
use crate::idx::{self, Part};
use crate::limits::Limits;
use crate::source::Source;
use crate::{csv, npy, parquet};

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
    /// Bounds on the file.
    pub limits: Limits,
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
    /// The columns that are neither labels nor left out.
    pub features: Frame,
    /// The label columns, as many rows as the features.
    pub labels: Option<LabelColumns>,
    /// Columns that were left out without being asked for, as they count rows: pandas writes its index so.
    pub left_out: Vec<String>,
}

impl Table {
    /// Reads CSV, Parquet, `.npy` or IDX, gzipped or not. The content tells the format, not the name; what is
    /// none of the binary formats is read as CSV.
    ///
    /// Numbers are read in double precision. Memory is that of the matrix, plus about as much while a file grows whose
    /// size is not known beforehand (CSV, gzip), plus one column's pages (Parquet).
    ///
    /// # Errors
    /// Every missing, non-finite or mis-typed cell of a feature or label is refused, as are a wrong shape and
    /// whatever exceeds the limits. Of each column that has such cells the first one is named: all of these columns at
    /// once.
    pub fn read(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        Self::from_source(Source::open(path.as_ref(), &options.limits)?, options)
    }

    /// As [`read`](Self::read), from memory; `name` stands for the file in errors.
    pub fn read_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Self> {
        Self::from_source(Source::memory(name, bytes, &options.limits)?, options)
    }

    /// Reads features and labels from two arrays (`.npy` or IDX, in any combination). All columns of the
    /// second are labels; `options.labels` is not looked at.
    pub fn read_pair(
        features: impl AsRef<Path>,
        labels: impl AsRef<Path>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let features = Source::open(features.as_ref(), &options.limits)?;
        let labels = Source::open(labels.as_ref(), &options.limits)?;
        Self::from_pair(features, labels, options)
    }

    /// As [`read_pair`](Self::read_pair), from memory. Each array comes with a name for errors.
    pub fn read_pair_bytes(
        features: (&str, &[u8]),
        labels: (&str, &[u8]),
        options: &ReadOptions,
    ) -> Result<Self> {
        let features = Source::memory(features.0, features.1, &options.limits)?;
        let labels = Source::memory(labels.0, labels.1, &options.limits)?;
        Self::from_pair(features, labels, options)
    }

    /// Reads one part of a directory of MNIST's standard IDX files, each gzipped or not.
    pub fn read_mnist(directory: impl AsRef<Path>, part: Part, options: &ReadOptions) -> Result<Self> {
        let (images, labels) = part.files(directory.as_ref())?;
        Self::read_pair(images, labels, options)
    }

    fn from_source(source: Source<'_>, options: &ReadOptions) -> Result<Self> {
        if source.head.is_empty() {
            return Err(Error::file(&source.file, FileDefect::Empty));
        }
        if parquet::is(&source.head) {
            parquet::read(source, options)
        } else if npy::is(&source.head) {
            npy::open(source, options)?.into_table(options)
        } else if idx::is(&source.head) {
            idx::open(source, options)?.into_table(options)
        } else {
            csv::read(source, options)
        }
    }

    fn from_pair(features: Source<'_>, labels: Source<'_>, options: &ReadOptions) -> Result<Self> {
        let features = open_array(features, options)?;
        let labels = open_array(labels, options)?;
        let rows = features.rows();
        let unlabelled = ReadOptions { labels: Vec::new(), ..options.clone() };
        let labels = labels.into_labels(rows, options)?;
        Ok(Self { labels: Some(labels), ..features.into_table(&unlabelled)? })
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
                let targets = Frame::new(&labels.origin, Some(labels.names), matrix);
                Ok((self.features, targets))
            }
            LabelValues::Category { .. } => {
                let defect = FileDefect::LabelKind { found: "a category", wanted: "numbers" };
                Err(Error::file(&origin, defect))
            }
        }
    }
}

fn open_array<'a>(source: Source<'a>, options: &ReadOptions) -> Result<Array<'a>> {
    if npy::is(&source.head) {
        npy::open(source, options)
    } else if idx::is(&source.head) {
        idx::open(source, options)
    } else {
        Err(Error::malformed(&source.file, ".npy or IDX", "it begins as neither"))
    }
}
