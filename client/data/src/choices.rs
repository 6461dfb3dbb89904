//! What an owner says of the columns of a first table.

use std::str::FromStr;

use crate::columns::ColumnRef;

/// What an owner says of columns of a first table. What is not said follows from the cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Choices {
    /// Columns whose cells are names, whatever they look like.
    pub categories: Vec<ColumnRef>,
    /// Columns whose cells are dates.
    pub dates: Vec<ColumnRef>,
    /// Columns that identify rows: no features.
    pub ids: Vec<ColumnRef>,
    /// What becomes of missing values; without, they are refused.
    pub imputations: Vec<Imputation>,
    /// Whether a feature says where a value was missing.
    pub indicators: bool,
}

impl Default for Choices {
    /// Nothing is said, and indicators go with imputation.
    fn default() -> Self {
        let (categories, dates, ids, imputations) = Default::default();
        Self { categories, dates, ids, imputations, indicators: true }
    }
}

/// What stands in for missing values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imputation {
    /// The column that it is for. None: all columns for which nothing else is said.
    pub column: Option<ColumnRef>,
    /// The value.
    pub value: Stand,
}

/// The value of an [`Imputation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// The median of the column in the first table; of a category none, so that all of its features are 0.
    Median,
    /// This one, as a cell would have it.
    Cell(String),
}

impl FromStr for Imputation {
    type Err = std::convert::Infallible;

    /// Reads `median`, `VALUE`, `COLUMN=median` or `COLUMN=VALUE`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (column, value) = match text.rsplit_once('=') {
            Some((column, value)) => (Some(ColumnRef::from(column)), value),
            None => (None, text),
        };
        let value = match value {
            "median" => Stand::Median,
            value => Stand::Cell(value.into()),
        };
        Ok(Self { column, value })
    }
}
