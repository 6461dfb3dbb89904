//! Cells on their way into a table: conversion, refusal and bounds, the same for every format.

use std::collections::BTreeMap;
use std::fmt;

use crate::choices::Choices;
use crate::columns::{Layout, Role};
use crate::error::{CellDefect, Error, FileDefect, Place, Result};
use crate::input::Content;
use crate::matrix::Matrix;
use crate::origin::Origin;
use crate::preprocessing::InputColumn;
use crate::reading::{Dictionary, Reading, first_readings};
use crate::standardiser::Beyond;
use crate::table::{Columns, LabelKind, ReadOptions};
use crate::value::{Value, category, identifier, number};

/// Label columns as read. `Debug` shows names and counts alone.
#[derive(Clone, PartialEq)]
pub struct LabelColumns {
    /// Where the labels came from.
    pub origin: Origin,
    /// Names of the columns, or `#` and a position where the file has none.
    pub names: Vec<String>,
    /// The labels, one per row and column.
    pub values: LabelValues,
}

/// The cells of label columns.
#[derive(Clone, PartialEq)]
pub enum LabelValues {
    /// One categorical column: row `i` has the label `distinct[codes[i]]`.
    Category {
        /// The labels in order of first occurrence.
        distinct: Vec<String>,
        /// Index into `distinct` of each row.
        codes: Vec<u32>,
    },
    /// Numbers, rows x label columns.
    Number(Matrix<f64>),
}

impl LabelColumns {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match &self.values {
            LabelValues::Category { codes, .. } => codes.len(),
            LabelValues::Number(matrix) => matrix.rows(),
        }
    }
}

impl fmt::Debug for LabelColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelColumns({:?}, {} rows)", self.names, self.rows())
    }
}

/// Gathers the cells of the files of a table, in any order of rows and columns within a file.
pub(crate) struct Collector<'a> {
    options: &'a ReadOptions,
    /// The files so far, each with its first row.
    files: Vec<(String, u64)>,
    /// Of the file that is being read.
    layout: Layout,
    /// Rows of the files before it.
    base: usize,
    left_out: Vec<String>,
    labels: Labels,
    text: String,
    gathered: Gathered,
}

/// What was read, before anything is made of it.
pub(crate) struct Gathered {
    pub(crate) origin: Origin,
    pub(crate) rows: usize,
    /// Whether the first file has names of columns.
    pub(crate) named: bool,
    /// Names of the feature columns, or `#` and positions.
    pub(crate) names: Vec<String>,
    /// How each feature column was read.
    pub(crate) readings: Vec<Reading>,
    /// Which feature columns were named as categories.
    pub(crate) named_categories: Vec<usize>,
    /// For each feature column, the position of the imputation that names it.
    pub(crate) imputed: Vec<Option<usize>>,
    /// The feature columns row by row, as their readings have them.
    pub(crate) cells: Vec<f64>,
    pub(crate) id_names: Vec<String>,
    /// For each column of identifiers, its cells.
    pub(crate) ids: Vec<Vec<String>>,
    /// The first cell that was refused of each column: of features, then of labels.
    pub(crate) refused: BTreeMap<usize, (Place, CellDefect)>,
}

impl Gathered {
    /// A feature column's name in quotes, or `#` and its position.
    pub(crate) fn display(&self, index: usize) -> String {
        match self.named {
            true => format!("{:?}", self.names[index]),
            false => self.names[index].clone(),
        }
    }
}

enum Labels {
    None,
    Category { dictionary: Dictionary, codes: Vec<u32> },
    Number(Vec<f64>),
}

impl<'a> Collector<'a> {
    /// A collector that reads feature columns in these ways, or as the options say of a first file.
    pub(crate) fn new(options: &'a ReadOptions, readings: Option<Vec<Reading>>) -> Self {
        let gathered = Gathered {
            origin: Origin::file(""),
            rows: 0,
            named: false,
            names: Vec::new(),
            readings: readings.unwrap_or_default(),
            named_categories: Vec::new(),
            imputed: Vec::new(),
            cells: Vec::new(),
            id_names: Vec::new(),
            ids: Vec::new(),
            refused: BTreeMap::new(),
        };
        let (files, left_out, layout) = (Vec::new(), Vec::new(), Layout::default());
        Self {
            options,
            files,
            layout,
            base: 0,
            left_out,
            labels: Labels::None,
            text: String::new(),
            gathered,
        }
    }

    /// Begins a file of `count` columns, those of `index` being row indices as the file says.
    pub(crate) fn begin(
        &mut self,
        file: &str,
        names: Option<Vec<String>>,
        count: usize,
        index: &[String],
    ) -> Result<()> {
        let first = self.files.is_empty();
        let recorded = match &self.options.columns {
            Columns::Recorded { preprocessing, .. } => preprocessing.names(),
            _ if !first && self.gathered.named => Some(self.gathered.names.clone()),
            _ => None,
        };
        let layout = Layout::resolve(file, (names, count), (self.options, recorded.as_deref()), index)?;
        if first {
            self.begin_table(file, &layout)?;
        } else if (layout.features, layout.labels) != (self.gathered.names.len(), self.layout.labels) {
            let (expected, found) = (self.gathered.names.len(), layout.features);
            return Err(Error::file(file, FileDefect::FeatureCount { expected, found }));
        }
        layout.left_out.iter().for_each(|name| {
            if !self.left_out.contains(name) {
                self.left_out.push(name.clone());
            }
        });
        self.layout = layout;
        self.base = self.gathered.rows;
        self.files.push((file.into(), self.base as u64));
        Ok(())
    }

    /// Begins a file all of whose columns are labels.
    pub(crate) fn begin_labels(&mut self, file: &str, count: usize) -> Result<()> {
        let layout = Layout::labels_only(count);
        self.labels = labels(file, layout.labels, self.options)?;
        self.layout = layout;
        self.files.push((file.into(), 0));
        Ok(())
    }

    /// What the first file says of the table.
    fn begin_table(&mut self, file: &str, layout: &Layout) -> Result<()> {
        self.labels = labels(file, layout.labels, self.options)?;
        let gathered = &mut self.gathered;
        let names = layout.feature_names();
        gathered.named = names.is_some();
        gathered.names = names.unwrap_or_else(|| layout.feature_positions());
        gathered.id_names = layout.id_names();
        gathered.ids = vec![Vec::new(); gathered.id_names.len()];
        gathered.imputed = vec![None; layout.features];
        let readings = match &self.options.columns {
            Columns::Plain => vec![Reading::plain(); layout.features],
            Columns::Recorded { preprocessing, beyond } => {
                if layout.features != preprocessing.columns().len() {
                    let (expected, found) = (preprocessing.columns().len(), layout.features);
                    return Err(Error::file(file, FileDefect::FeatureCount { expected, found }));
                }
                // Errors name columns as the record does.
                preprocessing.columns().iter().map(|column| recorded(column, *beyond)).collect()
            }
            Columns::Inferred(choices) => self.chosen(file, layout, choices)?,
        };
        if self.gathered.readings.is_empty() {
            self.gathered.readings = readings;
        }
        Ok(())
    }

    fn chosen(&mut self, file: &str, layout: &Layout, choices: &Choices) -> Result<Vec<Reading>> {
        let feature = |reference| layout.feature(file, reference);
        let categories = choices.categories.iter().map(feature).collect::<Result<Vec<_>>>()?;
        let dates = choices.dates.iter().map(feature).collect::<Result<Vec<_>>>()?;
        if let Some(both) = dates.iter().find(|index| categories.contains(index)) {
            let name = self.gathered.names[*both].clone();
            return Err(Error::file(file, FileDefect::TwoRoles { name }));
        }
        for (position, imputation) in choices.imputations.iter().enumerate() {
            if let Some(column) = &imputation.column {
                self.gathered.imputed[feature(column)?] = Some(position);
            }
        }
        let readings = first_readings(layout.features, (&categories, &dates), self.options.limits.columns);
        self.gathered.named_categories = categories;
        Ok(readings)
    }

    pub(crate) fn options(&self) -> &'a ReadOptions {
        self.options
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether text is of use in a column.
    pub(crate) fn takes_text(&self, column: usize) -> bool {
        match self.layout.roles[column] {
            Role::Skip | Role::Id(_) => true,
            Role::Label(_) => self.options.label_kind == LabelKind::Category,
            Role::Feature(_) => self.options.columns != Columns::Plain,
        }
    }

    /// Whether dates and times are of use in a column.
    pub(crate) fn takes_instants(&self, column: usize) -> bool {
        match self.layout.roles[column] {
            Role::Skip | Role::Id(_) => true,
            Role::Label(_) => false,
            Role::Feature(index) => self.gathered.readings[index].takes_instants(),
        }
    }

    fn file(&self) -> &str {
        self.files.last().map_or("", |(file, _)| file)
    }

    /// Checks a declared number of rows of the file against the limits and takes the memory at once.
    pub(crate) fn reserve(&mut self, rows: u64) -> Result<()> {
        self.check_rows(rows)?;
        let cells = rows as usize * self.layout.features;
        let bytes = (cells as u64).saturating_mul(8);
        match self.gathered.cells.try_reserve_exact(cells) {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::file(self.file(), FileDefect::OutOfMemory { bytes })),
        }
    }

    /// Makes room for `rows` rows of the file in all.
    pub(crate) fn grow(&mut self, rows: u64) -> Result<()> {
        self.check_rows(rows)?;
        let rows = self.base + rows as usize;
        self.gathered.rows = rows;
        self.gathered.cells.resize(rows * self.layout.features, 0.0);
        self.gathered.ids.iter_mut().for_each(|ids| ids.resize(rows, String::new()));
        match &mut self.labels {
            Labels::None => {}
            Labels::Category { codes, .. } => codes.resize(rows, 0),
            Labels::Number(numbers) => numbers.resize(rows * self.layout.labels, 0.0),
        }
        Ok(())
    }

    /// After this, the bytes of features and labels fit an allocation and a row index a `u32`.
    pub(crate) fn check_rows(&self, rows: u64) -> Result<()> {
        let refuse = |what, found, limit, setting| {
            Err(Error::file(self.file(), FileDefect::TooLarge { what, found, limit, setting }))
        };
        let rows = rows.saturating_add(self.base as u64);
        let limit = self.options.limits.rows.min(u64::from(u32::MAX));
        if rows > limit {
            return refuse("rows", rows, limit, "rows");
        }
        // An identifier takes the room of an empty one at least; the texts are bounded as the file is.
        let ids = (size_of::<String>() / 8 * self.gathered.ids.len()) as u64;
        let cells = (self.layout.features + self.layout.labels) as u64 + ids;
        let bytes = rows.saturating_mul(8 * cells);
        let limit = self.options.limits.matrix_bytes.min(isize::MAX as u64);
        if bytes > limit {
            return refuse("bytes of features and labels", bytes, limit, "matrix_bytes");
        }
        Ok(())
    }

    /// Stores a cell, or notes why it is refused; `row` and `column` count from 0 within the file, and `line` is that of a
    /// text.
    ///
    /// # Errors
    /// Where nothing that follows could be used: too many classes, or not a column without a refused cell.
    pub(crate) fn store(
        &mut self,
        (row, line): (u64, Option<u64>),
        column: usize,
        value: Result<Value<'_>, CellDefect>,
    ) -> Result<()> {
        let refused = match value.map_err(Refused::Cell).and_then(|v| self.set((row, line), column, v)) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let limit = self.options.limits.classes as u64;
        let Refused::Cell(defect) = refused else {
            let what = "distinct labels (for a regression, read labels as numbers)";
            let defect = FileDefect::TooLarge { what, found: limit + 1, limit, setting: "classes" };
            return Err(Error::file(self.file(), defect));
        };
        let key = match self.layout.roles[column] {
            Role::Feature(index) => index,
            Role::Label(index) => self.layout.features + index,
            Role::Id(index) => self.layout.features + self.layout.labels + index,
            Role::Skip => return Ok(()),
        };
        let place =
            Place { file: self.file().into(), row: row + 1, line, column: self.layout.display(column) };
        let refused = &mut self.gathered.refused;
        refused.entry(key).or_insert((place, defect));
        match refused.len() == self.layout.features + self.layout.labels {
            true => Err(Error::cells(std::mem::take(refused))),
            false => Ok(()),
        }
    }

    fn set(
        &mut self,
        (row, line): (u64, Option<u64>),
        column: usize,
        value: Value<'_>,
    ) -> Result<(), Refused> {
        let at = self.base + row as usize;
        let (layout, options) = (&self.layout, self.options);
        match layout.roles[column] {
            Role::Skip => {}
            Role::Id(index) => self.gathered.ids[index][at] = identifier(value, options)?,
            Role::Feature(index) => {
                let files = &self.files;
                let place = || Place {
                    file: files.last().map_or_else(String::new, |(file, _)| file.clone()),
                    row: row + 1,
                    line,
                    column: layout.display(column),
                };
                let reading = &mut self.gathered.readings[index];
                self.gathered.cells[at * layout.features + index] =
                    reading.read(value, options, &mut self.text, place)?;
            }
            Role::Label(index) => match &mut self.labels {
                Labels::None => {}
                Labels::Number(numbers) => numbers[at * layout.labels + index] = number(value, options)?,
                Labels::Category { dictionary, codes } => {
                    category(value, options, &mut self.text)?;
                    codes[at] = dictionary.position(&self.text).ok_or(Refused::Classes)?;
                }
            },
        }
        Ok(())
    }

    /// What was gathered, once all rows are in; `name` stands for all files together.
    pub(crate) fn finish(self, name: &str) -> Result<Content> {
        let Self { files, layout, labels, mut gathered, left_out, .. } = self;
        if gathered.rows == 0 {
            return Err(Error::file(name, FileDefect::NoRows));
        }
        gathered.origin = match files.as_slice() {
            [(file, _)] => Origin::file(file),
            _ => Origin::files(name, files),
        };
        let values = match labels {
            Labels::None => None,
            Labels::Category { dictionary, codes } => {
                Some(LabelValues::Category { distinct: dictionary.into_names(), codes })
            }
            Labels::Number(numbers) => {
                Matrix::new(gathered.rows, layout.labels, numbers).map(LabelValues::Number)
            }
        };
        let (origin, names) = (gathered.origin.clone(), layout.label_names());
        let labels = values.map(|values| LabelColumns { origin, names, values });
        Ok(Content { gathered, labels, left_out })
    }
}

/// Room for label columns.
fn labels(file: &str, count: usize, options: &ReadOptions) -> Result<Labels> {
    match (count, options.label_kind) {
        (0, _) => Ok(Labels::None),
        (1, LabelKind::Category) => {
            Ok(Labels::Category { dictionary: Dictionary::new(options.limits.classes), codes: Vec::new() })
        }
        (_, LabelKind::Number) => Ok(Labels::Number(Vec::new())),
        (found, LabelKind::Category) => Err(Error::file(file, FileDefect::OneLabelColumn { found })),
    }
}

fn recorded(column: &InputColumn, beyond: Beyond) -> Reading {
    Reading::recorded(&column.kind, column.missing.is_some(), beyond == Beyond::Refuse)
}

/// Why a cell was refused.
enum Refused {
    Cell(CellDefect),
    Classes,
}

impl From<CellDefect> for Refused {
    fn from(defect: CellDefect) -> Self {
        Self::Cell(defect)
    }
}
