//! How the cells of one column are read into the raw matrix: numbers as they are, dates as days since 1970-01-01, truth
//! values as 0 and 1, categories as positions, missing values as NaN.

use std::collections::HashMap;

use crate::error::{CellDefect, Place};
use crate::preprocessing::{ColumnKind, UNKNOWN};
use crate::table::ReadOptions;
use crate::tally::{Seen, Tally};
use crate::value::{Value, boolean, category, date, number, word};

/// How a column is read, and what was found on the way.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) way: Way,
    /// Whether missing values are kept as NaN, and counted, instead of refused.
    pub(crate) keeps_missing: bool,
    pub(crate) missing: Missing,
}

/// What cells are read as.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    Number,
    Boolean,
    Date,
    /// Recorded categories with their positions; whether others are refused.
    Known(HashMap<String, u32>, bool),
    /// Categories that are gathered.
    Open(Dictionary),
    /// What the cells are is not known yet.
    Survey(Box<Tally>),
}

/// Missing values of a column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missing {
    pub(crate) cells: u64,
    pub(crate) first: Option<Place>,
}

/// Categories in the order in which they were met.
#[derive(Debug, Clone)]
pub(crate) struct Dictionary {
    positions: HashMap<String, u32>,
    names: Vec<String>,
    /// How many are gathered.
    limit: usize,
    /// The first cell beyond the limit.
    pub(crate) beyond: Option<Place>,
}

impl Dictionary {
    pub(crate) fn new(limit: usize) -> Self {
        Self { positions: HashMap::new(), names: Vec::new(), limit, beyond: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The position of a name; none where it is one too many.
    pub(crate) fn position(&mut self, name: &str) -> Option<u32> {
        if let Some(&position) = self.positions.get(name) {
            return Some(position);
        }
        if self.names.len() >= self.limit {
            return None;
        }
        let position = self.names.len() as u32;
        self.positions.insert(name.to_owned(), position);
        self.names.push(name.to_owned());
        Some(position)
    }

    /// The names in the order in which they were met.
    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }
}

impl Reading {
    /// Finite numbers and nothing else.
    pub(crate) fn plain() -> Self {
        Self { way: Way::Number, keeps_missing: false, missing: Missing::default() }
    }

    /// A way that keeps missing values until it is decided what becomes of them.
    pub(crate) fn keeping(way: Way) -> Self {
        Self { way, keeps_missing: true, missing: Missing::default() }
    }

    /// As recorded.
    pub(crate) fn recorded(kind: &ColumnKind, keeps_missing: bool, refuses_unknown: bool) -> Self {
        let way = match kind {
            ColumnKind::Number => Way::Number,
            ColumnKind::Boolean => Way::Boolean,
            ColumnKind::Date => Way::Date,
            ColumnKind::Category(names) => {
                let positions = names.iter().cloned().zip(0..).collect();
                Way::Known(positions, refuses_unknown)
            }
        };
        Self { way, keeps_missing, missing: Missing::default() }
    }

    /// Whether dates and times of a format that knows them are of use here.
    pub(crate) fn takes_instants(&self) -> bool {
        matches!(self.way, Way::Date | Way::Survey(_))
    }

    /// The cell in the raw matrix; `place` says where it is, and `text` is room for a name.
    pub(crate) fn read(
        &mut self,
        value: Value<'_>,
        options: &ReadOptions,
        text: &mut String,
        place: impl Fn() -> Place,
    ) -> Result<f64, CellDefect> {
        let read = match &mut self.way {
            Way::Number => number(value, options),
            Way::Boolean => boolean(value, options),
            Way::Date => date(value, options),
            Way::Known(positions, refuses) => match category(value, options, text) {
                Ok(()) => match positions.get(text.as_str()) {
                    Some(&position) => Ok(position.into()),
                    None if *refuses => Err(CellDefect::UnknownCategory),
                    None => Ok(UNKNOWN),
                },
                Err(defect) => Err(defect),
            },
            Way::Open(dictionary) => match category(value, options, text) {
                Ok(()) => {
                    let position = dictionary.position(text);
                    if position.is_none() && dictionary.beyond.is_none() {
                        dictionary.beyond = Some(place());
                    }
                    Ok(position.map_or(UNKNOWN, f64::from))
                }
                Err(defect) => Err(defect),
            },
            Way::Survey(tally) => survey(tally, value, options, &place),
        };
        match read {
            Err(CellDefect::Missing | CellDefect::MissingLabel { .. }) if self.keeps_missing => {
                self.missing.cells += 1;
                self.missing.first.get_or_insert_with(place);
                Ok(f64::NAN)
            }
            // Cells of features are not quoted.
            Err(CellDefect::MissingLabel { .. }) => Err(CellDefect::Missing),
            read => read,
        }
    }
}

/// How the columns are read first.
pub(crate) fn first_readings(
    count: usize,
    (categories, dates): (&[usize], &[usize]),
    limit: usize,
) -> Vec<Reading> {
    let way = |index| match () {
        () if categories.contains(&index) => Way::Open(Dictionary::new(limit)),
        () if dates.contains(&index) => Way::Date,
        () => Way::Survey(Box::default()),
    };
    (0..count).map(|index| Reading::keeping(way(index))).collect()
}

/// Takes note of what a cell is. One that is no number, date or truth value is no defect yet.
fn survey(
    tally: &mut Tally,
    value: Value<'_>,
    options: &ReadOptions,
    place: &impl Fn() -> Place,
) -> Result<f64, CellDefect> {
    if let Some(bit) = word(value, options) {
        tally.note(Seen::Word, place);
        return Ok(f64::from(u8::from(bit)));
    }
    let defect = match number(value, options) {
        Ok(x) => {
            tally.note(if x == 0.0 || x == 1.0 { Seen::Bit } else { Seen::Number }, place);
            return Ok(x);
        }
        Err(defect @ (CellDefect::Missing | CellDefect::TooLong { .. })) => return Err(defect),
        Err(defect) => defect,
    };
    if let Ok(days) = date(value, options) {
        tally.note(Seen::Date, place);
        return Ok(days);
    }
    tally.note(Seen::Text, place);
    tally.defect.get_or_insert(defect);
    Ok(0.0)
}
