//! Standardisation x' = (x - centre) / (factor * scale), fitted once and recorded.
//!
//! Encrypted arithmetic has a fixed range, so standardised values are bounded by 1 in absolute value. With
//! the mean as centre, the standard deviation as scale and a factor of 8, a value is beyond the bound when it
//! is more than eight standard deviations from the mean.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{CellDefect, Error, Result, SettingDefect};
use crate::frame::Frame;
use crate::matrix::Matrix;

/// What becomes of a value whose standardised absolute value exceeds 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beyond {
    /// It becomes -1 or 1, and is counted; so is what differs from the constant of a constant column, and becomes 0.
    Clip,
    /// The rows are refused, naming row and column.
    Refuse,
}

/// Centre and scale of every column, for features or for the targets of a regression.
///
/// The owner fits it once; every contributor and every query uses it, and sees it. It serialises exactly:
/// what is read back (with serde_json's `float_roundtrip`) is equal bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct Standardiser {
    names: Option<Vec<String>>,
    centre: Vec<f64>,
    scale: Vec<f64>,
    factor: f64,
    beyond: Beyond,
}

/// Rows ready to be encrypted.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardised {
    /// Values in `[-1, 1]`, in the recorded order of columns.
    pub matrix: Matrix,
    /// How many values of each column were clipped.
    pub clipped: Vec<u64>,
    /// How many values of each constant column differ from its constant. They became 0 as it does, so they count for
    /// nothing.
    pub differing: Vec<u64>,
}

impl Standardiser {
    /// The usual factor.
    pub const FACTOR: f64 = 8.0;

    /// Fits to data: the mean as centre, the standard deviation (of the population) as scale. A column whose
    /// values are all equal has scale 0 and becomes 0.
    ///
    /// # Errors
    /// [`SettingDefect::NothingToFit`] without a row or column, [`SettingDefect::Factor`], and a cell's error
    /// for a value that is not finite.
    pub fn fit(frame: &Frame, factor: f64, beyond: Beyond) -> Result<Self> {
        let (rows, columns) = frame.matrix().shape();
        if rows == 0 || columns == 0 {
            return Err(SettingDefect::NothingToFit { rows, columns }.into());
        }
        refuse_non_finite(frame)?;
        let (centre, scale) = moments(frame.matrix());
        Self::recorded(frame.names().map(<[String]>::to_vec), centre, scale, factor, beyond)
    }

    /// From published ranges `(low, high)` of each column, which become `[-1, 1]`.
    ///
    /// # Errors
    /// [`SettingDefect::Scale`] unless `low <= high`, both finite; otherwise as [`recorded`](Self::recorded).
    ///
    /// ```
    /// use blindsmith_data::{Beyond, Standardiser};
    ///
    /// let pixels = Standardiser::from_ranges(None, &[(0.0, 255.0); 784], Beyond::Refuse)?;
    /// assert_eq!(pixels.range(0), (0.0, 255.0));
    /// # Ok::<(), blindsmith_data::Error>(())
    /// ```
    pub fn from_ranges(names: Option<Vec<String>>, ranges: &[(f64, f64)], beyond: Beyond) -> Result<Self> {
        let name = |index: usize| column_name(names.as_deref(), index);
        for (index, &(low, high)) in ranges.iter().enumerate() {
            if !(low <= high && low.is_finite() && high.is_finite()) {
                let reason = "a range needs finite bounds, the lower one first";
                return Err(SettingDefect::Scale { column: name(index), reason }.into());
            }
        }
        let centre = ranges.iter().map(|(low, high)| low / 2.0 + high / 2.0).collect();
        let scale = ranges.iter().map(|(low, high)| (high / 2.0 - low / 2.0) / Self::FACTOR).collect();
        Self::recorded(names, centre, scale, Self::FACTOR, beyond)
    }

    /// From centre and scale of each column, as published or as recorded.
    ///
    /// # Errors
    /// [`SettingDefect::Lengths`]; [`SettingDefect::Factor`] unless positive and finite;
    /// [`SettingDefect::Scale`] unless centres are finite, scales finite and not negative, names unique.
    pub fn recorded(
        names: Option<Vec<String>>,
        centre: Vec<f64>,
        scale: Vec<f64>,
        factor: f64,
        beyond: Beyond,
    ) -> Result<Self> {
        Ok(Self { names, centre, scale, factor, beyond }.validated()?)
    }

    fn validated(self) -> Result<Self, SettingDefect> {
        let columns = self.centre.len();
        let named = self.names.as_ref().map_or(columns, Vec::len);
        if named != columns || self.scale.len() != columns || columns == 0 {
            return Err(SettingDefect::Lengths { names: named, centres: columns, scales: self.scale.len() });
        }
        if !(self.factor > 0.0 && self.factor.is_finite()) {
            return Err(SettingDefect::Factor { factor: self.factor });
        }
        let mut seen = HashSet::new();
        for index in 0..columns {
            let refuse = |reason| {
                Err(SettingDefect::Scale { column: column_name(self.names.as_deref(), index), reason })
            };
            if !self.centre[index].is_finite() {
                return refuse("the centre must be finite");
            }
            if self.scale[index] < 0.0 || !(self.scale[index] * self.factor).is_finite() {
                return refuse("the scale must be finite and not negative");
            }
            if self.names.as_ref().is_some_and(|names| !seen.insert(names[index].as_str())) {
                return refuse("the name is there twice");
            }
        }
        Ok(self)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.centre.len()
    }

    /// The recorded names, in order, where the data had names.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Centre of each column, in the data's unit.
    pub fn centre(&self) -> &[f64] {
        &self.centre
    }

    /// Scale of each column, in the data's unit; 0 for a constant column.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// The factor that multiplies every scale.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// What happens beyond the bound.
    pub fn beyond(&self) -> Beyond {
        self.beyond
    }

    /// The smallest and the largest value of a column within the bound, in the data's unit.
    ///
    /// # Panics
    /// When `column` is not below [`columns`](Self::columns).
    pub fn range(&self, column: usize) -> (f64, f64) {
        let reach = self.factor * self.scale[column];
        (self.centre[column] - reach, self.centre[column] + reach)
    }

    /// Standardises rows, after putting their columns into the recorded order.
    ///
    /// # Errors
    /// As [`Frame::align`] when the columns are not the recorded ones; [`CellDefect::BeyondBound`] and
    /// [`CellDefect::NotTheConstant`] under [`Beyond::Refuse`], the first cell of every such column at once;
    /// [`CellDefect::NotFinite`]. Nothing comes back then.
    pub fn apply(&self, mut frame: Frame) -> Result<Standardised> {
        frame.align(self.names.as_deref(), self.columns())?;
        refuse_non_finite(&frame)?;
        let columns = self.columns();
        let (mut clipped, mut differing) = (vec![0; columns], vec![0; columns]);
        let mut refused = BTreeMap::new();
        let mut values = Vec::with_capacity(frame.rows() * columns);
        for (row, cells) in frame.matrix().iter_rows().enumerate() {
            for (column, &cell) in cells.iter().enumerate() {
                let value = self.forward(column, cell);
                let differs = self.is_constant(column) && cell != self.centre[column];
                if self.beyond == Beyond::Refuse && (differs || value.abs() > 1.0) {
                    let cell = || (frame.place(row, column), self.outside(column));
                    refused.entry(column).or_insert_with(cell);
                }
                differing[column] += u64::from(differs);
                clipped[column] += u64::from(value.abs() > 1.0);
                // Rounded here and not before.
                values.push(value.clamp(-1.0, 1.0) as f32);
            }
        }
        if !refused.is_empty() {
            return Err(Error::cells(refused));
        }
        let shape = SettingDefect::Width { expected: columns, found: frame.columns() };
        let matrix = Matrix::new(frame.rows(), columns, values).ok_or(shape)?;
        Ok(Standardised { matrix, clipped, differing })
    }

    /// Whether a column had one value only where the standardisation was fitted: whatever it holds becomes 0.
    ///
    /// # Panics
    /// When `column` is not below [`columns`](Self::columns).
    pub fn is_constant(&self, column: usize) -> bool {
        self.scale[column] == 0.0
    }

    /// The column's name in quotes, or `#` and its position counted from 1.
    ///
    /// # Panics
    /// When `column` is not below [`columns`](Self::columns).
    pub fn display(&self, column: usize) -> String {
        column_name(self.names.as_deref(), column)
    }

    /// The same with another centre and scale of a column: published ones, or those of an earlier fit.
    ///
    /// # Errors
    /// As [`recorded`](Self::recorded).
    ///
    /// # Panics
    /// When `column` is not below [`columns`](Self::columns).
    pub fn with(mut self, column: usize, centre: f64, scale: f64) -> Result<Self> {
        self.centre[column] = centre;
        self.scale[column] = scale;
        Ok(self.validated()?)
    }

    /// Why a value outside a column's range is refused.
    fn outside(&self, column: usize) -> CellDefect {
        match self.is_constant(column) {
            true => CellDefect::NotTheConstant { constant: self.centre[column] },
            false => {
                let (low, high) = self.range(column);
                CellDefect::BeyondBound { low, high }
            }
        }
    }

    /// Takes standardised values, predictions for instance, back to the data's unit, in which they may need double
    /// precision.
    ///
    /// # Errors
    /// [`SettingDefect::Width`] when `matrix` has another number of columns.
    pub fn invert(&self, matrix: &Matrix) -> Result<Matrix<f64>> {
        let (expected, found) = (self.columns(), matrix.columns());
        let width = SettingDefect::Width { expected, found };
        if found != expected {
            return Err(width.into());
        }
        let back = |(column, value): (usize, &f32)| {
            f64::from(*value) * self.factor * self.scale[column] + self.centre[column]
        };
        let values = matrix.iter_rows().flat_map(|row| row.iter().enumerate().map(back)).collect();
        Ok(Matrix::new(matrix.rows(), expected, values).ok_or(width)?)
    }

    fn forward(&self, column: usize, value: f64) -> f64 {
        let reach = self.factor * self.scale[column];
        if reach == 0.0 { 0.0 } else { (value - self.centre[column]) / reach }
    }
}

/// Mean and population standard deviation of every column: two passes in f64 (T. F. Chan, G. H. Golub,
/// R. J. LeVeque, Algorithms for Computing the Sample Variance, 1983, the corrected two-pass algorithm).
/// A constant column is told by its values, so that rounding cannot give it a scale.
fn moments(matrix: &Matrix<f64>) -> (Vec<f64>, Vec<f64>) {
    let (rows, columns) = matrix.shape();
    let count = rows as f64;
    let first = matrix.row(0);
    let mut mean = vec![0.0; columns];
    let mut varies = vec![false; columns];
    for row in matrix.iter_rows() {
        for column in 0..columns {
            mean[column] += row[column];
            varies[column] |= row[column] != first[column];
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    let mut sum = vec![0.0; columns];
    let mut squares = vec![0.0; columns];
    for row in matrix.iter_rows() {
        for column in 0..columns {
            let deviation = row[column] - mean[column];
            sum[column] += deviation;
            squares[column] += deviation * deviation;
        }
    }
    let moments = |column: usize| {
        if !varies[column] {
            return (first[column], 0.0);
        }
        let variance = (squares[column] - sum[column] * sum[column] / count) / count;
        (mean[column] + sum[column] / count, variance.max(0.0).sqrt())
    };
    (0..columns).map(moments).unzip()
}

fn refuse_non_finite(frame: &Frame) -> Result<()> {
    let columns = frame.columns();
    match frame.matrix().as_slice().iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let place = frame.place(at / columns, at % columns);
            Err(Error::Cell { place, defect: CellDefect::NotFinite })
        }
    }
}

fn column_name(names: Option<&[String]>, index: usize) -> String {
    match names {
        Some(names) => format!("{:?}", names[index]),
        None => format!("#{}", index + 1),
    }
}

/// The recorded form, version 1.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    factor: f64,
    beyond: Beyond,
    names: Option<Vec<String>>,
    centre: Vec<f64>,
    scale: Vec<f64>,
}

impl From<Standardiser> for Record {
    fn from(s: Standardiser) -> Self {
        let Standardiser { names, centre, scale, factor, beyond } = s;
        Record { version: 1, factor, beyond, names, centre, scale }
    }
}

impl TryFrom<Record> for Standardiser {
    type Error = SettingDefect;

    fn try_from(record: Record) -> Result<Self, SettingDefect> {
        let Record { version, factor, beyond, names, centre, scale } = record;
        if version != 1 {
            return Err(SettingDefect::Version { version });
        }
        Self { names, centre, scale, factor, beyond }.validated()
    }
}
