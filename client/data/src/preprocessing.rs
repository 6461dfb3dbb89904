//! From columns of a file to features: what the project records of every column, and what it makes of cells.
//!
//! The owner's first table decides it once ([`crate::survey`]); every contributor's rows and every query pass through it.
//! A number, a date (as days since 1970-01-01) and a truth value (0 or 1) become one feature each; a category becomes one
//! feature of 0 or 1 for each of its recorded values. A column whose missing values are filled in may have one more
//! feature, which is 1 where the value was missing.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, FileDefect, Result, SettingDefect};
use crate::frame::Frame;
use crate::limits::Limits;
use crate::matrix::Matrix;
use crate::origin::Origin;
use crate::standardiser::{Beyond, Standardiser};

/// In the raw matrix, a category that is not among those recorded. A missing value is NaN there.
pub(crate) const UNKNOWN: f64 = -1.0;

/// What the cells of a column are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Numbers: one feature.
    Number,
    /// True or false: one feature, 1 or 0.
    Boolean,
    /// Dates, with or without a time of day: one feature, days since 1970-01-01.
    Date,
    /// Names: for each of these, in this order, a feature that is 1 where the cell has that name and 0 elsewhere.
    Category(Vec<String>),
}

/// What becomes of missing values of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filling {
    /// What stands in for the value: a number, days since 1970-01-01, 0 or 1, or the position of a category. None: no
    /// category, so that all features of the column are 0.
    pub value: Option<f64>,
    /// Whether a further feature is 1 where the value was missing, and 0 elsewhere.
    pub indicator: bool,
}

/// A column of the file that features are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputColumn {
    /// Its name, or `#` and its position counted from 1 where the first table has no names.
    pub name: String,
    /// What its cells are.
    pub kind: ColumnKind,
    /// What becomes of missing values; without, they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Filling>,
}

/// What is made of the columns of every table of a project, in the order of the features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct Preprocessing {
    named: bool,
    columns: Vec<InputColumn>,
    ids: Vec<String>,
}

/// How many cells of a column something befell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The column's name, or `#` and its position.
    pub column: String,
    /// How many cells.
    pub cells: u64,
}

/// Features before standardisation.
pub(crate) struct Expanded {
    pub(crate) matrix: Matrix<f64>,
    /// Categories that were not recorded, by column.
    pub(crate) unknown: Vec<Counted>,
    /// Missing values that were filled in, by column.
    pub(crate) filled: Vec<Counted>,
}

impl InputColumn {
    /// How many features it becomes.
    pub fn features(&self) -> usize {
        let indicator = usize::from(self.missing.as_ref().is_some_and(|filling| filling.indicator));
        indicator
            + match &self.kind {
                ColumnKind::Category(categories) => categories.len(),
                _ => 1,
            }
    }

    /// Whether it is a number whose missing values are refused.
    pub fn is_plain(&self) -> bool {
        self.kind == ColumnKind::Number && self.missing.is_none()
    }

    /// What is made of it, in words; nothing of a plain number.
    pub fn words(&self) -> Option<String> {
        const SHOWN: usize = 10;
        let kind = match &self.kind {
            ColumnKind::Number => "numbers".to_owned(),
            ColumnKind::Boolean => "true or false, 1 or 0".into(),
            ColumnKind::Date => "dates, as days since 1970-01-01".into(),
            ColumnKind::Category(names) => {
                let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
                let more = if names.len() > SHOWN { ", ..." } else { "" };
                format!("a category, one feature for each of {}: {}{more}", names.len(), shown.join(", "))
            }
        };
        let Some(Filling { value, indicator }) = &self.missing else {
            return (self.kind != ColumnKind::Number).then(|| format!("column {:?}: {kind}", self.name));
        };
        let value = match (&self.kind, value) {
            (ColumnKind::Category(names), Some(value)) => {
                names.get(*value as usize).map_or_else(String::new, |name| format!("{name:?}"))
            }
            (_, Some(value)) => value.to_string(),
            (_, None) => "no category".into(),
        };
        let told = if *indicator { ", and a feature tells where" } else { "" };
        Some(format!("column {:?}: {kind}; {value} stands in for missing values{told}", self.name))
    }

    fn names(&self) -> Vec<String> {
        let mut names = match &self.kind {
            ColumnKind::Category(categories) => {
                categories.iter().map(|category| format!("{}={category}", self.name)).collect()
            }
            _ => vec![self.name.clone()],
        };
        if self.missing.as_ref().is_some_and(|filling| filling.indicator) {
            names.push(format!("{} is missing", self.name));
        }
        names
    }

    /// For each feature, whether it is 0 or 1.
    fn flags(&self) -> impl Iterator<Item = bool> {
        let first = !matches!(self.kind, ColumnKind::Number | ColumnKind::Date);
        (0..self.features()).map(move |index| first || index > 0)
    }

    fn validate(&self) -> Result<(), SettingDefect> {
        let refuse = |reason| Err(SettingDefect::Preprocessing { column: self.name.clone(), reason });
        if self.name.is_empty() {
            return refuse("a column needs a name");
        }
        if let ColumnKind::Category(categories) = &self.kind {
            let mut seen = HashSet::new();
            if categories.is_empty() || categories.iter().any(|name| name.is_empty() || !seen.insert(name)) {
                return refuse("categories need names that differ");
            }
        }
        let Some(filling) = &self.missing else { return Ok(()) };
        let fits = match (&self.kind, filling.value) {
            (ColumnKind::Category(_), None) => true,
            (_, None) => false,
            (ColumnKind::Number | ColumnKind::Date, Some(value)) => value.is_finite(),
            (ColumnKind::Boolean, Some(value)) => value == 0.0 || value == 1.0,
            (ColumnKind::Category(categories), Some(value)) => {
                value.fract() == 0.0 && (0.0..categories.len() as f64).contains(&value)
            }
        };
        if fits { Ok(()) } else { refuse("what stands in for missing values is none of the column's values") }
    }

    /// Writes the features of a cell.
    fn expand(&self, cell: f64, out: &mut Vec<f64>) {
        let filling = self.missing.as_ref();
        let value = match cell.is_nan() {
            true => filling.and_then(|filling| filling.value).unwrap_or(UNKNOWN),
            false => cell,
        };
        match &self.kind {
            ColumnKind::Category(categories) => {
                let flag = |position| f64::from(u8::from(position as f64 == value));
                out.extend((0..categories.len()).map(flag));
            }
            _ => out.push(value),
        }
        if filling.is_some_and(|filling| filling.indicator) {
            out.push(f64::from(u8::from(cell.is_nan())));
        }
    }
}

impl Preprocessing {
    /// Columns and, apart from them, those that identify rows: they are passed through to predictions and are no features.
    /// `named` says whether files have names of columns.
    ///
    /// # Errors
    /// [`SettingDefect::Preprocessing`] for names that are there twice, and values that no cell of a column could have.
    pub fn new(named: bool, columns: Vec<InputColumn>, ids: Vec<String>) -> Result<Self> {
        Ok(Self::try_from(Record { version: 1, named, columns, ids })?)
    }

    /// Numbers whose missing values are refused: `count` columns of these names, if there are names.
    ///
    /// # Panics
    /// When there are names, but not one per column.
    pub fn plain(names: Option<&[String]>, count: usize) -> Self {
        let name =
            |index: usize| names.map_or_else(|| format!("#{}", index + 1), |names| names[index].clone());
        let column = |index| InputColumn { name: name(index), kind: ColumnKind::Number, missing: None };
        assert!(names.is_none_or(|names| names.len() == count), "one name per column");
        Self { named: names.is_some(), columns: (0..count).map(column).collect(), ids: Vec::new() }
    }

    /// The columns that features are made of, in order.
    pub fn columns(&self) -> &[InputColumn] {
        &self.columns
    }

    /// The columns that identify rows.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The columns' names, where the first table had names.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        self.named.then(|| self.columns.iter().map(|column| column.name.clone()).collect())
    }

    /// Whether the first table had names of columns.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// How many features there are.
    pub fn features(&self) -> usize {
        self.columns.iter().map(InputColumn::features).sum()
    }

    /// Names of the features: `city=Berlin` and `age is missing`, beside those of columns. None where tables have no names
    /// and every feature is a column.
    pub fn feature_names(&self) -> Option<Vec<String>> {
        let needed = self.named || !self.columns.iter().all(InputColumn::is_plain);
        needed.then(|| self.columns.iter().flat_map(InputColumn::names).collect())
    }

    /// Fits the standardisation of the features that this made: of numbers and dates as [`Standardiser::fit`] does.
    ///
    /// A feature of 0 and 1 is centred and scaled like a number, as the network's initial weights suit features of unit
    /// variance; but its scale is at least 1/`factor`, so that neither 0 nor 1 is ever beyond the bound, however rare it
    /// is, and one that was the same in the first table counts later.
    ///
    /// # Errors
    /// As [`Standardiser::fit`].
    pub fn fit(&self, features: &Frame, factor: f64, beyond: Beyond) -> Result<Standardiser> {
        let mut standardiser = Standardiser::fit(features, factor, beyond)?;
        // Rounded up, so that the product with the factor is not below 1.
        let least = (1.0 / factor).next_up();
        for (index, flag) in self.columns.iter().flat_map(InputColumn::flags).enumerate() {
            if flag && standardiser.scale()[index] < least {
                let centre = standardiser.centre()[index];
                standardiser = standardiser.with(index, centre, least)?;
            }
        }
        Ok(standardiser)
    }

    /// Checks how large the features of so many rows will be.
    pub(crate) fn check_size(&self, rows: usize, origin: &Origin, limits: &Limits) -> Result<()> {
        let (features, limit) = (self.features() as u64, limits.columns as u64);
        let refuse = |what, found, limit, setting| {
            Err(Error::file(origin.name(), FileDefect::TooLarge { what, found, limit, setting }))
        };
        if features > limit {
            return refuse("features, of which each category is one", features, limit, "columns");
        }
        let bytes = (rows as u64).saturating_mul(8 * features);
        if bytes > limits.matrix_bytes {
            return refuse("bytes of features", bytes, limits.matrix_bytes, "matrix_bytes");
        }
        Ok(())
    }

    /// Makes features of raw columns, which are as many as the recorded ones.
    pub(crate) fn expand(&self, raw: Matrix<f64>) -> Expanded {
        debug_assert_eq!(raw.columns(), self.columns.len());
        let nothing = || Expanded { matrix: Matrix::default(), unknown: Vec::new(), filled: Vec::new() };
        if self.columns.iter().all(InputColumn::is_plain) {
            return Expanded { matrix: raw, ..nothing() };
        }
        let mut counts = vec![(0, 0); self.columns.len()];
        let mut values = Vec::with_capacity(raw.rows() * self.features());
        for row in raw.iter_rows() {
            for ((column, &cell), (unknown, filled)) in self.columns.iter().zip(row).zip(&mut counts) {
                *unknown += u64::from(matches!(column.kind, ColumnKind::Category(_)) && cell == UNKNOWN);
                *filled += u64::from(cell.is_nan());
                column.expand(cell, &mut values);
            }
        }
        let counted = |count: fn(&(u64, u64)) -> u64| {
            let all = self.columns.iter().zip(&counts);
            let all =
                all.map(|(column, counts)| Counted { column: column.name.clone(), cells: count(counts) });
            all.filter(|counted| counted.cells > 0).collect()
        };
        let (unknown, filled) = (counted(|counts| counts.0), counted(|counts| counts.1));
        // Unwrap safety: every row became one value per feature.
        let matrix = Matrix::new(raw.rows(), self.features(), values).expect("features of every row");
        Expanded { matrix, unknown, filled }
    }
}

/// The recorded form, version 1.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    named: bool,
    columns: Vec<InputColumn>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
}

impl From<Preprocessing> for Record {
    fn from(Preprocessing { named, columns, ids }: Preprocessing) -> Self {
        Record { version: 1, named, columns, ids }
    }
}

impl TryFrom<Record> for Preprocessing {
    type Error = SettingDefect;

    fn try_from(Record { version, named, columns, ids }: Record) -> Result<Self, SettingDefect> {
        if version != 1 {
            return Err(SettingDefect::Version { version });
        }
        columns.iter().try_for_each(InputColumn::validate)?;
        let mut seen = HashSet::new();
        let mut twice = columns.iter().map(|column| &column.name).chain(&ids);
        let twice = twice.find(|name| !seen.insert(*name)).cloned();
        // A category's feature may be called as another column is.
        let features: Vec<String> = columns.iter().flat_map(InputColumn::names).collect();
        let mut seen = HashSet::new();
        let feature = features.iter().find(|name| !seen.insert(*name)).cloned();
        match twice.or(feature) {
            Some(column) => Err(SettingDefect::Preprocessing { column, reason: "the name is there twice" }),
            None => Ok(Self { named, columns, ids }),
        }
    }
}
