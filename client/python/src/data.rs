//! Rows from Python: files by their paths, or columns as arrays, which are read where they are.

use std::path::PathBuf;

use blindsmith_client::cells::DataCells;
use blindsmith_client::predictions::Query;
use blindsmith_client::rows::{DataFile, First, Format, Rows, standardise};
use blindsmith_client::{ClientProject, Failure, Interrupter, Task};
use blindsmith_data::{Cell, Cells, Choices, Values};
use numpy::{PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use serde::Deserialize;

/// How a table is to be read; see the command line's options of these names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    no_header: bool,
    delimiter: Option<String>,
    decimal_comma: bool,
    ignore: Vec<String>,
    missing: Option<Vec<String>>,
}

impl Reading {
    fn format(self) -> Result<Format, PyErr> {
        let delimiter = match self.delimiter.as_deref().map(str::as_bytes) {
            None => b',',
            Some([byte]) if byte.is_ascii() && !b"\"\r\n".contains(byte) => *byte,
            Some(_) => return Err(PyValueError::new_err("delimiter is one character, such as ';'")),
        };
        Ok(Format {
            no_header: self.no_header,
            delimiter,
            decimal_comma: self.decimal_comma,
            ignore: self.ignore,
            missing: self.missing,
        })
    }
}

/// An array whose elements are one after the other.
macro_rules! arrays {
    ($($kind:ident $element:ty),*) => {
        enum Array<'py> {
            $($kind(PyReadonlyArrayDyn<'py, $element>)),*
        }

        impl<'py> Array<'py> {
            fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
                $(if let Ok(array) = value.extract::<PyReadonlyArrayDyn<'py, $element>>() {
                    return Ok(Array::$kind(array));
                })*
                let found = value.cast::<PyUntypedArray>().map(|array| array.dtype().to_string());
                let found = found.unwrap_or_else(|_| value.get_type().to_string());
                Err(PyTypeError::new_err(format!("no array of numbers or truth values: {found}")))
            }

            fn values(&self) -> PyResult<Values<'_>> {
                Ok(match self {
                    $(Array::$kind(array) => Values::$kind(slice(array)?)),*
                })
            }
        }
    };
}

arrays!(Bool bool, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64, F32 f32, F64 f64);

fn slice<'a, T: numpy::Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| PyValueError::new_err("an array whose elements are apart from each other"))
}

/// A column before it is borrowed: kind, values, which are there, and what else belongs to the kind.
type Parts<'py> =
    (String, Bound<'py, PyAny>, Option<PyReadonlyArrayDyn<'py, bool>>, Option<Bound<'py, PyAny>>);

enum Held<'py> {
    Plain(Array<'py>),
    Days(PyReadonlyArrayDyn<'py, i32>),
    Times(PyReadonlyArrayDyn<'py, i64>, i64),
    Text(PyReadonlyArrayDyn<'py, i64>, PyReadonlyArrayDyn<'py, u8>),
    Views(PyReadonlyArrayDyn<'py, u8>, Vec<PyReadonlyArrayDyn<'py, u8>>),
    Codes(PyReadonlyArrayDyn<'py, i64>, Box<Column<'py>>),
}

/// A column that is held while it is read.
struct Column<'py> {
    held: Held<'py>,
    present: Option<PyReadonlyArrayDyn<'py, bool>>,
}

impl<'py> Column<'py> {
    fn of((kind, values, present, more): Parts<'py>) -> PyResult<Self> {
        let lacks = || PyValueError::new_err(format!("a column of the kind {kind} lacks a part"));
        let more = || more.clone().ok_or_else(lacks);
        let held = match kind.as_str() {
            "plain" => Held::Plain(Array::of(&values)?),
            "days" => Held::Days(values.extract()?),
            "times" => Held::Times(values.extract()?, more()?.extract()?),
            "text" => Held::Text(values.extract()?, more()?.extract()?),
            "views" => Held::Views(values.extract()?, more()?.extract()?),
            "codes" => Held::Codes(values.extract()?, Box::new(Column::of(more()?.extract()?)?)),
            other => return Err(PyValueError::new_err(format!("no kind of column: {other}"))),
        };
        Ok(Column { held, present })
    }

    fn cell(&self) -> PyResult<Cell<'_>> {
        let values = match &self.held {
            Held::Plain(array) => array.values()?,
            Held::Days(days) => Values::Days(slice(days)?),
            Held::Times(units, per_second) => Values::Times { units: slice(units)?, per_second: *per_second },
            Held::Text(offsets, bytes) => Values::Text { offsets: slice(offsets)?, bytes: slice(bytes)? },
            Held::Views(views, buffers) => {
                let buffers = buffers.iter().map(slice).collect::<PyResult<_>>()?;
                Values::Views { views: slice(views)?, buffers }
            }
            Held::Codes(codes, names) => {
                Values::Codes { codes: slice(codes)?, names: Box::new(names.cell()?) }
            }
        };
        let present = self.present.as_ref().map(slice).transpose()?;
        Ok(Cell { present, ..Cell::new(values) })
    }
}

/// A table that is held: a matrix in row-major order, or columns.
struct Table<'py> {
    names: Option<Vec<String>>,
    rows: usize,
    matrix: Option<(Array<'py>, usize)>,
    columns: Vec<Column<'py>>,
}

impl<'py> Table<'py> {
    fn of(table: &Bound<'py, PyAny>) -> PyResult<Self> {
        let matrix: Option<Bound<'py, PyAny>> = table.getattr("matrix")?.extract()?;
        let matrix = match matrix {
            Some(matrix) => {
                let width = matrix.getattr("shape")?.get_item(1)?.extract()?;
                Some((Array::of(&matrix)?, width))
            }
            None => None,
        };
        let columns: Vec<Parts<'py>> = table.getattr("columns")?.extract()?;
        Ok(Table {
            names: table.getattr("names")?.extract()?,
            rows: table.getattr("rows")?.extract()?,
            matrix,
            columns: columns.into_iter().map(Column::of).collect::<PyResult<_>>()?,
        })
    }

    fn cells(&self, name: &str) -> PyResult<Cells<'_>> {
        let cells = match &self.matrix {
            Some((array, width)) => Cells::matrix(name, array.values()?, *width),
            None => {
                let columns = self.columns.iter().map(Column::cell).collect::<PyResult<_>>()?;
                Cells::new(name, self.names.clone(), columns, self.rows)
            }
        };
        cells.map_err(|e| PyValueError::new_err(e.to_string()))
    }
}

enum Origin<'py> {
    File { data: PathBuf, labels: Option<PathBuf> },
    Memory { data: Table<'py>, labels: Option<Table<'py>> },
}

/// What `blindsmith._data.Source` holds.
pub struct Source<'py> {
    name: String,
    origin: Origin<'py>,
    format: Format,
}

/// Rows that are borrowed for one operation, in which the interpreter may do something else.
pub enum Borrowed<'a> {
    File(DataFile),
    Memory(Box<DataCells<'a>>),
}

impl<'py> Source<'py> {
    /// Holds what is there.
    pub fn of(source: &Bound<'py, PyAny>) -> PyResult<Self> {
        let reading: String = source.getattr("reading")?.extract()?;
        let reading: Reading =
            serde_json::from_str(&reading).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        let path: Option<PathBuf> = source.getattr("path")?.extract()?;
        let labels: Option<Bound<'py, PyAny>> = source.getattr("labels")?.extract()?;
        let origin = match path {
            Some(data) => Origin::File { data, labels: labels.map(|path| path.extract()).transpose()? },
            None => Origin::Memory {
                data: Table::of(&source.getattr("table")?)?,
                labels: labels.as_ref().map(Table::of).transpose()?,
            },
        };
        Ok(Source { name: source.getattr("name")?.extract()?, origin, format: reading.format()? })
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The marks of missing values, if they were given.
    pub fn missing(&self) -> Option<Vec<String>> {
        self.format.missing.clone()
    }

    /// Borrows what is held.
    pub fn borrowed(&self) -> PyResult<Borrowed<'_>> {
        let format = self.format.clone();
        Ok(match &self.origin {
            Origin::File { data, labels } => {
                Borrowed::File(DataFile { data: data.clone(), labels: labels.clone(), format })
            }
            Origin::Memory { data, labels } => Borrowed::Memory(Box::new(DataCells {
                data: data.cells(&self.name)?,
                labels: labels.as_ref().map(|labels| labels.cells(&self.name)).transpose()?,
                format,
            })),
        })
    }
}

impl Borrowed<'_> {
    /// See [`DataFile::first`].
    pub fn first(
        &self,
        task: Task,
        labels: &[String],
        classes: Option<&[String]>,
        columns: Choices,
    ) -> Result<First, Failure> {
        match self {
            Borrowed::File(file) => file.first(task, labels, classes, columns),
            Borrowed::Memory(cells) => cells.first(task, labels, classes, columns),
        }
    }

    /// Rows with labels, standardised.
    pub fn rows(&self, project: &ClientProject, interrupter: &Interrupter) -> Result<Rows, Failure> {
        match self {
            Borrowed::File(file) => {
                let labelled = file.labelled(project)?;
                let mut rows = standardise(project, labelled.data)?;
                rows.misfits = rows.misfits.with_columns(labelled.misfits);
                Ok(rows)
            }
            Borrowed::Memory(cells) => cells.rows(project, interrupter),
        }
    }

    /// Rows of a query, standardised.
    pub fn query(&self, project: &ClientProject, interrupter: &Interrupter) -> Result<Query, Failure> {
        match self {
            Borrowed::File(file) => project.query(file.query(project)?),
            Borrowed::Memory(cells) => cells.query(project, interrupter),
        }
    }
}
