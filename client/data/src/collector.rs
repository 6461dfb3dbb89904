//! Cells on their way into a table: conversion, refusal and bounds, the same for every format.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use crate::classes::{canonical, of_number};
use crate::columns::{Layout, Role};
use crate::error::{CellDefect, Error, FileDefect, Place, Result};
use crate::frame::Frame;
use crate::matrix::Matrix;
use crate::table::{LabelKind, ReadOptions, Table};

/// Label columns as read. `Debug` shows names and counts alone.
#[derive(Clone, PartialEq)]
pub struct LabelColumns {
    /// The file that the labels came from.
    pub origin: String,
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

/// A cell as a format delivers it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Text(&'a str),
    Float(f64),
    Single(f32),
    /// `units` / 10^`scale`.
    Decimal {
        units: i128,
        scale: u32,
    },
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
}

/// Gathers the cells of a table, in any order of rows and columns.
pub(crate) struct Collector<'a> {
    file: &'a str,
    options: &'a ReadOptions,
    layout: Layout,
    rows: usize,
    features: Vec<f64>,
    labels: Labels,
    /// The first cell that was refused of each column.
    refused: BTreeMap<usize, (Place, CellDefect)>,
}

enum Labels {
    None,
    Category { lookup: HashMap<String, u32>, distinct: Vec<String>, codes: Vec<u32>, text: String },
    Number(Vec<f64>),
}

impl<'a> Collector<'a> {
    pub(crate) fn new(file: &'a str, layout: Layout, options: &'a ReadOptions) -> Result<Self> {
        let labels = match (layout.labels, options.label_kind) {
            (0, _) => Labels::None,
            (1, LabelKind::Category) => Labels::Category {
                lookup: HashMap::new(),
                distinct: Vec::new(),
                codes: Vec::new(),
                text: String::new(),
            },
            (_, LabelKind::Number) => Labels::Number(Vec::new()),
            (found, LabelKind::Category) => {
                return Err(Error::file(file, FileDefect::OneLabelColumn { found }));
            }
        };
        let (features, refused) = (Vec::new(), BTreeMap::new());
        Ok(Self { file, options, layout, rows: 0, features, labels, refused })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Checks a declared number of rows against the limits and takes the memory at once.
    pub(crate) fn reserve(&mut self, rows: u64) -> Result<()> {
        self.check_rows(rows)?;
        let cells = rows as usize * self.layout.features;
        let refused =
            |_| Error::file(self.file, FileDefect::OutOfMemory { bytes: (cells as u64).saturating_mul(8) });
        self.features.try_reserve_exact(cells).map_err(refused)
    }

    /// Makes room for `rows` rows in all.
    pub(crate) fn grow(&mut self, rows: u64) -> Result<()> {
        self.check_rows(rows)?;
        self.rows = rows as usize;
        self.features.resize(self.rows * self.layout.features, 0.0);
        match &mut self.labels {
            Labels::None => {}
            Labels::Category { codes, .. } => codes.resize(self.rows, 0),
            Labels::Number(numbers) => numbers.resize(self.rows * self.layout.labels, 0.0),
        }
        Ok(())
    }

    /// After this, the bytes of features and labels fit an allocation and a row index a `u32`.
    pub(crate) fn check_rows(&self, rows: u64) -> Result<()> {
        let refuse = |what, found, limit, setting| {
            Err(Error::file(self.file, FileDefect::TooLarge { what, found, limit, setting }))
        };
        let limit = self.options.limits.rows.min(u64::from(u32::MAX));
        if rows > limit {
            return refuse("rows", rows, limit, "rows");
        }
        let cells = (self.layout.features + self.layout.labels) as u64;
        let bytes = rows.saturating_mul(8 * cells);
        let limit = self.options.limits.matrix_bytes.min(isize::MAX as u64);
        if bytes > limit {
            return refuse("bytes of features and labels", bytes, limit, "matrix_bytes");
        }
        Ok(())
    }

    /// Stores a cell, or notes why it is refused; `row` and `column` count from 0, and `line` is that of a text.
    ///
    /// # Errors
    /// Where nothing that follows could be used: too many classes, or not a column without a refused cell.
    pub(crate) fn store(
        &mut self,
        (row, line): (u64, Option<u64>),
        column: usize,
        value: Result<Value<'_>, CellDefect>,
    ) -> Result<()> {
        let refused = match value.map_err(Refused::Cell).and_then(|v| self.set(row as usize, column, v)) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let limit = self.options.limits.classes as u64;
        let Refused::Cell(defect) = refused else {
            let what = "distinct labels (for a regression, read labels as numbers)";
            let defect = FileDefect::TooLarge { what, found: limit + 1, limit, setting: "classes" };
            return Err(Error::file(self.file, defect));
        };
        let place =
            || Place { file: self.file.into(), row: row + 1, line, column: self.layout.display(column) };
        self.refused.entry(column).or_insert_with(|| (place(), defect));
        match self.refused.len() == self.layout.features + self.layout.labels {
            true => Err(Error::cells(std::mem::take(&mut self.refused))),
            false => Ok(()),
        }
    }

    fn set(&mut self, row: usize, column: usize, value: Value<'_>) -> Result<(), Refused> {
        match self.layout.roles[column] {
            Role::Skip => {}
            Role::Feature(index) => {
                self.features[row * self.layout.features + index] = number(value, self.options)?;
            }
            Role::Label(index) => match &mut self.labels {
                Labels::None => {}
                Labels::Number(numbers) => {
                    numbers[row * self.layout.labels + index] = number(value, self.options)?;
                }
                Labels::Category { lookup, distinct, codes, text } => {
                    category(value, self.options, text)?;
                    codes[row] = match lookup.get(text.as_str()) {
                        Some(&code) => code,
                        None if distinct.len() >= self.options.limits.classes => {
                            return Err(Refused::Classes);
                        }
                        None => {
                            let code = distinct.len() as u32;
                            lookup.insert(text.clone(), code);
                            distinct.push(text.clone());
                            code
                        }
                    };
                }
            },
        }
        Ok(())
    }

    /// The table, once all rows are in.
    pub(crate) fn finish(self) -> Result<Table> {
        if self.rows == 0 {
            return Err(Error::file(self.file, FileDefect::NoRows));
        }
        if !self.refused.is_empty() {
            return Err(Error::cells(self.refused));
        }
        let Self { file, layout, rows, features, labels, .. } = self;
        let shape = || Error::malformed(file, "table", "cells and shape disagree");
        let matrix = Matrix::new(rows, layout.features, features).ok_or_else(shape)?;
        let values = match labels {
            Labels::None => None,
            Labels::Category { distinct, codes, .. } => Some(LabelValues::Category { distinct, codes }),
            Labels::Number(numbers) => {
                Some(LabelValues::Number(Matrix::new(rows, layout.labels, numbers).ok_or_else(shape)?))
            }
        };
        let labels =
            values.map(|values| LabelColumns { origin: file.into(), names: layout.label_names(), values });
        let features = Frame::new(file, layout.feature_names(), matrix);
        Ok(Table { features, labels, left_out: layout.left_out })
    }
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

/// A finite number within single precision, in which predictions are given; or why not.
fn number(value: Value<'_>, options: &ReadOptions) -> Result<f64, CellDefect> {
    match value {
        Value::Null => Err(CellDefect::Missing),
        Value::Text(text) => parse(text, options),
        Value::Single(x) => float(x.into()),
        Value::Float(x) => float(x),
        Value::Decimal { units, scale } => finite(units as f64 / 10_f64.powi(scale as i32)),
        Value::Signed(n) => Ok(n as f64),
        Value::Unsigned(n) => Ok(n as f64),
        Value::Bool(bit) => Ok(f64::from(u8::from(bit))),
    }
}

fn float(x: f64) -> Result<f64, CellDefect> {
    match x {
        x if x.is_nan() => Err(CellDefect::Missing),
        x if x.is_infinite() => Err(CellDefect::NotFinite),
        x => finite(x),
    }
}

fn finite(x: f64) -> Result<f64, CellDefect> {
    if x.abs() <= f64::from(f32::MAX) { Ok(x) } else { Err(CellDefect::OutOfRange) }
}

fn parse(text: &str, options: &ReadOptions) -> Result<f64, CellDefect> {
    let text = trimmed(text, options)?;
    if marks_missing(text, options) {
        return Err(CellDefect::Missing);
    }
    let refused = || Err(CellDefect::NotANumber { hint: hint(text, options) });
    let parsed = match options.decimal_comma {
        // Where the comma is the decimal mark, a point separates thousands.
        true if text.contains('.') => return refused(),
        true => text.replacen(',', ".", 1).parse(),
        false => text.parse::<f64>(),
    };
    match parsed {
        Ok(x) if x.is_nan() => Err(CellDefect::Missing),
        Ok(_) if !text.bytes().any(|b| b.is_ascii_digit()) => Err(CellDefect::NotFinite),
        Ok(x) => finite(x),
        Err(_) if text.eq_ignore_ascii_case("true") => Ok(1.0),
        Err(_) if text.eq_ignore_ascii_case("false") => Ok(0.0),
        Err(_) if text.eq_ignore_ascii_case("none") => Err(CellDefect::Missing),
        Err(_) => refused(),
    }
}

fn trimmed<'a>(text: &'a str, options: &ReadOptions) -> Result<&'a str, CellDefect> {
    let limit = options.limits.cell_bytes;
    if text.len() > limit { Err(CellDefect::TooLong { limit }) } else { Ok(text.trim()) }
}

/// Whether a cell marks a missing value: by the usual marks, if no others are set. "None" is not among them for labels,
/// where it may be a class.
fn marks_missing(text: &str, options: &ReadOptions) -> bool {
    match &options.missing {
        Some(marks) => text.is_empty() || marks.iter().any(|mark| mark == text),
        None => {
            matches!(text, "" | "?" | "NA" | "N/A" | "#N/A" | "<NA>")
                || text.eq_ignore_ascii_case("nan")
                || text.eq_ignore_ascii_case("null")
        }
    }
}

fn hint(text: &str, options: &ReadOptions) -> &'static str {
    let numeric = |b: u8| b.is_ascii_digit() || b"+-., '_".contains(&b);
    let digits = |s: &str, count| s.len() == count && s.bytes().all(|b| b.is_ascii_digit());
    let mut date = text.get(..10).unwrap_or_default().split('-');
    if [4, 2, 2].iter().all(|&count| date.next().is_some_and(|part| digits(part, count))) {
        " (a date: turn it into a number, such as days since a day of your choice)"
    } else if !text.bytes().all(numeric) {
        ""
    } else if options.decimal_comma && text.contains('.') {
        " (use the decimal comma that was announced, and no separator of thousands)"
    } else if text.contains(',') {
        " (use a decimal point and no separator of thousands, or say that the decimal mark is a comma)"
    } else {
        ""
    }
}

/// Writes the name of a category into `out`, the same for every format: see [`canonical`].
fn category(value: Value<'_>, options: &ReadOptions, out: &mut String) -> Result<(), CellDefect> {
    out.clear();
    match value {
        Value::Null => return Err(CellDefect::Missing),
        Value::Text(text) => {
            let text = trimmed(text, options)?;
            if marks_missing(text, options) {
                return Err(match text.is_empty() {
                    true => CellDefect::Missing,
                    false => CellDefect::MissingLabel { mark: text.into() },
                });
            }
            match text.replacen(',', ".", 1) {
                number if options.decimal_comma && number.parse::<f64>().is_ok() => {
                    out.push_str(&canonical(&number));
                }
                _ => out.push_str(&canonical(text)),
            }
            return Ok(());
        }
        Value::Float(x) if x.is_nan() => return Err(CellDefect::Missing),
        Value::Float(x) if x.is_infinite() => return Err(CellDefect::NotFinite),
        Value::Single(x) if x.fract() != 0.0 && x.is_finite() => write!(out, "{x}"),
        Value::Single(x) => return category(Value::Float(x.into()), options, out),
        Value::Float(x) => write!(out, "{}", of_number(x)),
        Value::Decimal { units, scale } => {
            let (one, sign) = (10_u128.pow(scale), if units < 0 { "-" } else { "" });
            let (whole, fraction) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
            let text = format!("{sign}{whole}.{fraction:0width$}", width = scale as usize);
            out.push_str(&canonical(&text));
            Ok(())
        }
        Value::Signed(n) => write!(out, "{n}"),
        Value::Unsigned(n) => write!(out, "{n}"),
        Value::Bool(bit) => write!(out, "{bit}"),
    }
    .map_err(|_| CellDefect::Missing)
}
