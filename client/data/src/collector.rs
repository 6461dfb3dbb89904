//! Cells on their way into a table: conversion, refusal and bounds, the same for every format.

use std::collections::HashMap;
use std::fmt::{self, Write};

use crate::columns::{Layout, Role};
use crate::error::{CellDefect, Error, FileDefect, Place, Result};
use crate::frame::Frame;
use crate::limits::Limits;
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
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
}

/// Gathers the cells of a table, in any order of rows and columns.
pub(crate) struct Collector<'a> {
    file: &'a str,
    limits: &'a Limits,
    layout: Layout,
    rows: usize,
    features: Vec<f64>,
    labels: Labels,
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
        Ok(Self { file, limits: &options.limits, layout, rows: 0, features: Vec::new(), labels })
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
        let limit = self.limits.rows.min(u64::from(u32::MAX));
        if rows > limit {
            return refuse("rows", rows, limit, "rows");
        }
        let cells = (self.layout.features + self.layout.labels) as u64;
        let bytes = rows.saturating_mul(8 * cells);
        let limit = self.limits.matrix_bytes.min(isize::MAX as u64);
        if bytes > limit {
            return refuse("bytes of features and labels", bytes, limit, "matrix_bytes");
        }
        Ok(())
    }

    /// Stores a cell; `row` and `column` count from 0. The caller adds the place to a defect.
    pub(crate) fn set(&mut self, row: usize, column: usize, value: Value<'_>) -> Result<(), Refused> {
        match self.layout.roles[column] {
            Role::Skip => {}
            Role::Feature(index) => {
                self.features[row * self.layout.features + index] = number(value, self.limits)?;
            }
            Role::Label(index) => match &mut self.labels {
                Labels::None => {}
                Labels::Number(numbers) => {
                    numbers[row * self.layout.labels + index] = number(value, self.limits)?;
                }
                Labels::Category { lookup, distinct, codes, text } => {
                    category(value, self.limits, text)?;
                    codes[row] = match lookup.get(text.as_str()) {
                        Some(&code) => code,
                        None if distinct.len() >= self.limits.classes => return Err(Refused::Classes),
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

    /// The error for a cell refused at `row` and `column`, both from 0.
    pub(crate) fn refuse(&self, row: u64, line: Option<u64>, column: usize, refused: Refused) -> Error {
        match refused {
            Refused::Cell(defect) => Error::Cell {
                place: Place {
                    file: self.file.into(),
                    row: row + 1,
                    line,
                    column: self.layout.display(column),
                },
                defect,
            },
            Refused::Classes => Error::file(
                self.file,
                FileDefect::TooLarge {
                    what: "distinct labels (for a regression, read labels as numbers)",
                    found: self.limits.classes as u64 + 1,
                    limit: self.limits.classes as u64,
                    setting: "classes",
                },
            ),
        }
    }

    /// The table, once all rows are in.
    pub(crate) fn finish(self) -> Result<Table> {
        if self.rows == 0 {
            return Err(Error::file(self.file, FileDefect::NoRows));
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
        Ok(Table { features: Frame::new(file, layout.feature_names(), matrix), labels })
    }
}

/// Why a cell was refused.
#[derive(Debug)]
pub(crate) enum Refused {
    Cell(CellDefect),
    Classes,
}

impl From<CellDefect> for Refused {
    fn from(defect: CellDefect) -> Self {
        Self::Cell(defect)
    }
}

/// A finite number within single precision, in which predictions are given; or why not.
fn number(value: Value<'_>, limits: &Limits) -> Result<f64, CellDefect> {
    match value {
        Value::Null => Err(CellDefect::Missing),
        Value::Text(text) => parse(text, limits),
        Value::Float(x) if x.is_nan() => Err(CellDefect::Missing),
        Value::Float(x) if x.is_infinite() => Err(CellDefect::NotFinite),
        Value::Float(x) => finite(x),
        Value::Signed(n) => Ok(n as f64),
        Value::Unsigned(n) => Ok(n as f64),
        Value::Bool(bit) => Ok(f64::from(u8::from(bit))),
    }
}

fn finite(x: f64) -> Result<f64, CellDefect> {
    if x.abs() <= f64::from(f32::MAX) { Ok(x) } else { Err(CellDefect::OutOfRange) }
}

fn parse(text: &str, limits: &Limits) -> Result<f64, CellDefect> {
    let text = trimmed(text, limits)?;
    match text.parse::<f64>() {
        Ok(x) if x.is_nan() => Err(CellDefect::Missing),
        Ok(_) if !text.bytes().any(|b| b.is_ascii_digit()) => Err(CellDefect::NotFinite),
        Ok(x) => finite(x),
        Err(_) if text.eq_ignore_ascii_case("true") => Ok(1.0),
        Err(_) if text.eq_ignore_ascii_case("false") => Ok(0.0),
        Err(_) if marks_missing(text) || text.eq_ignore_ascii_case("none") => Err(CellDefect::Missing),
        Err(_) => Err(CellDefect::NotANumber { hint: hint(text) }),
    }
}

fn trimmed<'a>(text: &'a str, limits: &Limits) -> Result<&'a str, CellDefect> {
    let limit = limits.cell_bytes;
    if text.len() > limit { Err(CellDefect::TooLong { limit }) } else { Ok(text.trim()) }
}

/// Usual marks of a missing value. "None" is not among them for labels, where it may be a class.
fn marks_missing(text: &str) -> bool {
    matches!(text, "" | "?" | "NA" | "N/A" | "#N/A" | "<NA>")
        || text.eq_ignore_ascii_case("nan")
        || text.eq_ignore_ascii_case("null")
}

fn hint(text: &str) -> &'static str {
    let numeric = |b: u8| b.is_ascii_digit() || b"+-., '_".contains(&b);
    if text.bytes().all(numeric) && text.contains(',') {
        " (use a decimal point, and no separator of thousands)"
    } else {
        ""
    }
}

/// Writes the name of a category into `out`: text as it is, whole numbers without a fraction.
fn category(value: Value<'_>, limits: &Limits, out: &mut String) -> Result<(), CellDefect> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    out.clear();
    match value {
        Value::Null => return Err(CellDefect::Missing),
        Value::Text(text) => {
            let text = trimmed(text, limits)?;
            if marks_missing(text) {
                return Err(CellDefect::Missing);
            }
            out.push_str(text);
            return Ok(());
        }
        Value::Float(x) if x.is_nan() => return Err(CellDefect::Missing),
        Value::Float(x) if x.is_infinite() => return Err(CellDefect::NotFinite),
        Value::Float(x) if x.fract() == 0.0 && x.abs() <= EXACT => write!(out, "{}", x as i64),
        Value::Float(x) => write!(out, "{x}"),
        Value::Signed(n) => write!(out, "{n}"),
        Value::Unsigned(n) => write!(out, "{n}"),
        Value::Bool(bit) => write!(out, "{bit}"),
    }
    .map_err(|_| CellDefect::Missing)
}
