//! A table in memory, such as an array or a data frame: its cells are read where they are, and in the way in which those of
//! a file are.

use std::ops::Range;

use crate::collector::Collector;
use crate::columns::Role;
use crate::error::{CellDefect, Error, FileDefect, Result};
use crate::instant::Instant;
use crate::value::Value;

/// What errors call the format.
const FORMAT: &str = "table in memory";
/// Rows for which memory is taken at a time.
const ROWS: usize = 1 << 12;

/// The values of a column, one after the other.
///
/// An entry below counts from the start of the slices that are given, whatever part of a table is read.
#[derive(Clone)]
pub enum Values<'a> {
    /// Truth values.
    Bool(&'a [bool]),
    /// Integers.
    I8(&'a [i8]),
    /// Integers.
    I16(&'a [i16]),
    /// Integers.
    I32(&'a [i32]),
    /// Integers.
    I64(&'a [i64]),
    /// Integers.
    U8(&'a [u8]),
    /// Integers.
    U16(&'a [u16]),
    /// Integers.
    U32(&'a [u32]),
    /// Integers.
    U64(&'a [u64]),
    /// Numbers; NaN is a missing one.
    F32(&'a [f32]),
    /// Numbers; NaN is a missing one.
    F64(&'a [f64]),
    /// Days since 1970-01-01.
    Days(&'a [i32]),
    /// Times since 1970-01-01.
    Times {
        /// How many units.
        units: &'a [i64],
        /// How many of them make a second: 1, 1,000, 1,000,000 or 1,000,000,000.
        per_second: i64,
    },
    /// Text in UTF-8, one cell behind the other.
    Text {
        /// Where each begins, and where the last one ends: one entry more than there are cells.
        offsets: &'a [i64],
        /// All of it.
        bytes: &'a [u8],
    },
    /// Text in UTF-8 as Arrow's string views have it: 16 bytes a cell, which are the length and either the text itself or
    /// four bytes of it, the number of a buffer and the place in that.
    Views {
        /// The views.
        views: &'a [u8],
        /// Where longer texts are.
        buffers: Vec<&'a [u8]>,
    },
    /// Names by their numbers.
    Codes {
        /// For each cell the number of its name.
        codes: &'a [i64],
        /// The names.
        names: Box<Cell<'a>>,
    },
}

/// A column, or one of a matrix in row-major order.
#[derive(Clone)]
pub struct Cell<'a> {
    /// Its values; of a matrix, all of them.
    pub values: Values<'a>,
    /// Whether each is there; all are, if it is not said.
    pub present: Option<&'a [bool]>,
    /// Where in the values the first row is.
    pub first: usize,
    /// How far apart rows are.
    pub stride: usize,
}

impl<'a> Cell<'a> {
    /// A column whose values are all there, one after the other.
    pub fn new(values: Values<'a>) -> Self {
        Self { values, present: None, first: 0, stride: 1 }
    }

    /// How many values there are.
    fn len(&self) -> usize {
        match &self.values {
            Values::Bool(values) => values.len(),
            Values::I8(values) => values.len(),
            Values::I16(values) => values.len(),
            Values::I32(values) | Values::Days(values) => values.len(),
            Values::I64(values)
            | Values::Times { units: values, .. }
            | Values::Codes { codes: values, .. } => values.len(),
            Values::U8(values) => values.len(),
            Values::U16(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::U64(values) => values.len(),
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::Text { offsets, .. } => offsets.len().saturating_sub(1),
            Values::Views { views, .. } => views.len() / 16,
        }
    }

    /// Whether there is a value for each of so many rows.
    fn has(&self, rows: usize) -> bool {
        let sound = match &self.values {
            Values::Times { per_second, .. } => {
                matches!(*per_second, 1 | 1_000 | 1_000_000 | 1_000_000_000)
            }
            _ => true,
        };
        let Some(last) = rows.checked_sub(1) else { return sound };
        let last = last.checked_mul(self.stride).and_then(|last| last.checked_add(self.first));
        let there = |last| last < self.len() && self.present.is_none_or(|present| last < present.len());
        sound && last.is_some_and(there)
    }

    fn value(&self, row: usize) -> Result<Value<'a>, CellDefect> {
        let at = self.first + row * self.stride;
        if self.present.is_some_and(|present| !present[at]) {
            return Ok(Value::Null);
        }
        Ok(match &self.values {
            Values::Bool(values) => Value::Bool(values[at]),
            Values::I8(values) => Value::Signed(values[at].into()),
            Values::I16(values) => Value::Signed(values[at].into()),
            Values::I32(values) => Value::Signed(values[at].into()),
            Values::I64(values) => Value::Signed(values[at]),
            Values::U8(values) => Value::Unsigned(values[at].into()),
            Values::U16(values) => Value::Unsigned(values[at].into()),
            Values::U32(values) => Value::Unsigned(values[at].into()),
            Values::U64(values) => Value::Unsigned(values[at]),
            Values::F32(values) => Value::Single(values[at]),
            Values::F64(values) => Value::Float(values[at]),
            Values::Days(values) => Value::Instant(Instant::of_days(values[at])),
            Values::Times { units, per_second } => Value::Instant(Instant::of_units(units[at], *per_second)),
            Values::Text { offsets, bytes } => text(span(bytes, offsets[at], offsets[at + 1])?)?,
            Values::Views { views, buffers } => text(viewed(&views[16 * at..][..16], buffers)?)?,
            Values::Codes { codes, names } => match usize::try_from(codes[at]) {
                Ok(code) if names.has(code.saturating_add(1)) => names.value(code)?,
                _ => return Err(CellDefect::NotUtf8),
            },
        })
    }
}

fn text(bytes: &[u8]) -> Result<Value<'_>, CellDefect> {
    str::from_utf8(bytes).map(Value::Text).map_err(|_| CellDefect::NotUtf8)
}

fn span(bytes: &[u8], from: i64, to: i64) -> Result<&[u8], CellDefect> {
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    range.and_then(|(from, to)| bytes.get(from..to)).ok_or(CellDefect::NotUtf8)
}

/// The text of a view of 16 bytes.
fn viewed<'a>(view: &'a [u8], buffers: &[&'a [u8]]) -> Result<&'a [u8], CellDefect> {
    let number =
        |at: usize| i64::from(i32::from_le_bytes([view[at], view[at + 1], view[at + 2], view[at + 3]]));
    let length = number(0);
    if length <= 12 {
        return span(&view[4..], 0, length);
    }
    let buffer = usize::try_from(number(8)).ok().and_then(|buffer| buffers.get(buffer));
    span(buffer.ok_or(CellDefect::NotUtf8)?, number(12), number(12) + length)
}

/// A table in memory, or some of its rows.
#[derive(Clone)]
pub struct Cells<'a> {
    name: String,
    /// Of the columns; none of an array.
    names: Option<Vec<String>>,
    columns: Vec<Cell<'a>>,
    rows: Range<usize>,
}

impl<'a> Cells<'a> {
    /// A table of so many rows. `name` stands for a file in errors; there is a name for each column, or none at all.
    ///
    /// # Errors
    /// If a column has fewer values than there are rows, or columns and names differ in number.
    pub fn new(name: &str, names: Option<Vec<String>>, columns: Vec<Cell<'a>>, rows: usize) -> Result<Self> {
        let malformed = |reason: String| Error::malformed(name, FORMAT, reason);
        if let Some(names) = names.as_ref().filter(|names| names.len() != columns.len()) {
            return Err(malformed(format!("{} names for {} columns", names.len(), columns.len())));
        }
        if let Some(short) = columns.iter().position(|column| !column.has(rows)) {
            return Err(malformed(format!("column {} has no value for each of {rows} rows", short + 1)));
        }
        Ok(Self { name: name.into(), names, columns, rows: 0..rows })
    }

    /// A matrix of `columns` columns in row-major order.
    ///
    /// # Errors
    /// If its values do not fill whole rows.
    pub fn matrix(name: &str, values: Values<'a>, columns: usize) -> Result<Self> {
        let length = Cell::new(values.clone()).len();
        let rows = length.checked_div(columns).unwrap_or(0);
        if rows * columns != length {
            return Err(Error::malformed(name, FORMAT, format!("{length} values in rows of {columns}")));
        }
        let column = |first| Cell { values: values.clone(), present: None, first, stride: columns };
        Self::new(name, None, (0..columns).map(column).collect(), rows)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The name that stands for a file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Some of the rows, counted from 0.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn part(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows.len(), "rows that are there");
        Self { rows: self.rows.start + rows.start..self.rows.start + rows.end, ..self.clone() }
    }

    /// Reads it as a table.
    pub(crate) fn read(&self, collector: &mut Collector<'_>) -> Result<()> {
        let limit = collector.options().limits.columns;
        if self.columns.len() > limit {
            let (found, limit) = (self.columns.len() as u64, limit as u64);
            let defect = FileDefect::TooLarge { what: "columns", found, limit, setting: "columns" };
            return Err(Error::file(&self.name, defect));
        }
        if self.rows.is_empty() || self.columns.is_empty() {
            return Err(Error::file(&self.name, FileDefect::NoRows));
        }
        collector.begin(&self.name, self.names.clone(), self.columns.len(), &[])?;
        self.collect(collector)
    }

    /// Reads it as label columns, which must be as many as there are `features` rows.
    pub(crate) fn read_labels(&self, features: u64, collector: &mut Collector<'_>) -> Result<()> {
        let labels = self.rows.len() as u64;
        if labels != features {
            return Err(Error::file(&self.name, FileDefect::LabelCount { features, labels }));
        }
        collector.begin_labels(&self.name, self.columns.len())?;
        self.collect(collector)
    }

    fn collect(&self, collector: &mut Collector<'_>) -> Result<()> {
        collector.reserve(self.rows.len() as u64)?;
        let wanted = |(column, role): (usize, &Role)| (*role != Role::Skip).then_some(column);
        let columns: Vec<usize> = collector.layout().roles.iter().enumerate().filter_map(wanted).collect();
        for (row, at) in self.rows.clone().enumerate() {
            if row % ROWS == 0 {
                collector.grow((row + ROWS).min(self.rows.len()) as u64)?;
            }
            for &column in &columns {
                collector.store((row as u64, None), column, self.columns[column].value(at))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_from_offsets_and_from_views() {
        let long = "a text that is longer than twelve bytes";
        let (bytes, offsets) = (format!("Rome{long}"), [0, 4, 4, 4 + long.len() as i64]);
        let cell = Cell::new(Values::Text { offsets: &offsets, bytes: bytes.as_bytes() });
        let mut views = Vec::new();
        views.extend(4_i32.to_le_bytes());
        views.extend(b"Rome\0\0\0\0\0\0\0\0");
        views.extend(0_i32.to_le_bytes());
        views.extend([0; 12]);
        views.extend((long.len() as i32).to_le_bytes());
        views.extend(&long.as_bytes()[..4]);
        views.extend(1_i32.to_le_bytes());
        views.extend(4_i32.to_le_bytes());
        let viewed = Cell::new(Values::Views { views: &views, buffers: vec![b"", bytes.as_bytes()] });
        for cell in [cell, viewed] {
            assert!(cell.has(3) && !cell.has(4));
            let texts = ["Rome", "", long].map(|text| format!("{:?}", Value::Text(text)));
            for (row, text) in texts.iter().enumerate() {
                assert_eq!(format!("{:?}", cell.value(row).unwrap()), *text);
            }
        }
    }

    #[test]
    fn what_lies_outside_is_refused_and_not_read() {
        let offsets = [0, 9, 2, -1];
        let cell = Cell::new(Values::Text { offsets: &offsets, bytes: b"abc" });
        assert!((0..3).all(|row| cell.value(row).is_err()));
        let mut view = 13_i32.to_le_bytes().to_vec();
        view.extend([0; 4]);
        view.extend(7_i32.to_le_bytes());
        view.extend([0; 4]);
        assert!(Cell::new(Values::Views { views: &view, buffers: vec![b"abc"] }).value(0).is_err());
        let names = Box::new(Cell::new(Values::I64(&[7, 8])));
        let codes = Cell::new(Values::Codes { codes: &[1, 2, -1], names });
        assert!(codes.value(0).is_ok() && codes.value(1).is_err() && codes.value(2).is_err());
        for (columns, rows) in [
            (vec![Cell::new(Values::I8(&[1, 2]))], 3),
            (vec![Cell { present: Some(&[true]), ..Cell::new(Values::I8(&[1, 2])) }], 2),
            (vec![Cell { stride: usize::MAX, ..Cell::new(Values::I8(&[1, 2])) }], 3),
            (vec![Cell::new(Values::Times { units: &[1], per_second: 0 })], 1),
        ] {
            assert!(Cells::new("t", None, columns, rows).is_err());
        }
        assert!(Cells::matrix("t", Values::F32(&[1.0; 5]), 2).is_err());
        assert!(Cells::matrix("t", Values::F32(&[1.0; 5]), 0).is_err());
    }
}
