//! What the columns of a first table are, where nobody has said so.

use crate::choices::{Choices, Stand};
use crate::classes;
use crate::collector::Gathered;
use crate::error::{CellDefect, Error, Place, Result, SettingDefect};
use crate::preprocessing::{ColumnKind, Filling, InputColumn, Preprocessing};
use crate::reading::{Dictionary, Reading, Way};
use crate::table::ReadOptions;
use crate::tally::Verdict;
use crate::value::{Value, boolean, category, date, number};

/// Most values of a text column that is a category without being named as one.
const USUAL_CATEGORIES: usize = 50;

/// A column of the first table on the way to being decided.
enum Column {
    Decided(ColumnKind),
    Undecided,
    Refused(Place, CellDefect),
}

/// How the columns are to be read again, if there are some that may be categories.
pub(crate) fn second_readings(gathered: &Gathered) -> Option<Vec<Reading>> {
    let mut again = false;
    let reading = |reading: &Reading| match &reading.way {
        Way::Survey(tally) => match tally.verdict() {
            Verdict::Text => {
                again = true;
                Reading::keeping(Way::Open(Dictionary::new(USUAL_CATEGORIES)))
            }
            _ => Reading::keeping(Way::Survey(Box::default())),
        },
        Way::Open(dictionary) => Reading::keeping(Way::Open(dictionary.clone())),
        Way::Date => Reading::keeping(Way::Date),
        Way::Number | Way::Boolean | Way::Known(..) => reading.clone(),
    };
    let readings = gathered.readings.iter().map(reading).collect();
    again.then_some(readings)
}

/// Decides what every column is and what becomes of its missing values. Positions of categories in the raw matrix are put
/// into their recorded order.
///
/// # Errors
/// All columns of which nothing can be made, at once.
pub(crate) fn decide(
    gathered: &mut Gathered,
    options: &ReadOptions,
    choices: &Choices,
) -> Result<Preprocessing> {
    let mut refused = std::mem::take(&mut gathered.refused);
    let mut columns = Vec::new();
    for index in 0..gathered.readings.len() {
        let decided = match kind(gathered, index) {
            Column::Decided(kind) => {
                filling(gathered, index, &kind, (options, choices)).map(|missing| (kind, missing))
            }
            Column::Undecided => Err(nothing(gathered, index)),
            Column::Refused(place, defect) => Err(Error::Cell { place, defect }),
        };
        match decided {
            Ok((kind, missing)) => {
                columns.push(InputColumn { name: gathered.names[index].clone(), kind, missing });
            }
            Err(Error::Cell { place, defect }) => {
                refused.entry(index).or_insert((place, defect));
            }
            Err(other) => return Err(other),
        }
    }
    if !refused.is_empty() {
        return Err(Error::cells(refused));
    }
    Preprocessing::new(gathered.named, columns, gathered.id_names.clone())
}

fn nothing(gathered: &Gathered, index: usize) -> Error {
    let first = gathered.readings[index].missing.first.clone();
    let place = first.unwrap_or_else(|| gathered.origin.place(0, gathered.display(index)));
    Error::Cell { place, defect: CellDefect::NoValue }
}

fn kind(gathered: &mut Gathered, index: usize) -> Column {
    let rows = gathered.rows as u64;
    match &gathered.readings[index].way {
        Way::Number => Column::Decided(ColumnKind::Number),
        Way::Boolean => Column::Decided(ColumnKind::Boolean),
        Way::Date if gathered.readings[index].missing.cells == rows => Column::Undecided,
        Way::Date => Column::Decided(ColumnKind::Date),
        Way::Known(..) => Column::Undecided,
        Way::Survey(tally) => match tally.verdict() {
            Verdict::Kind(kind) => Column::Decided(kind),
            Verdict::Text | Verdict::Nothing => Column::Undecided,
            Verdict::Refused(place, defect) => Column::Refused(place, defect),
        },
        Way::Open(dictionary) => {
            let found = dictionary.len() as u64;
            let asked_for = gathered.named_categories.contains(&index);
            let many = if asked_for { dictionary.beyond.is_some() } else { 2 * found >= rows };
            match &dictionary.beyond {
                Some(place) => Column::Refused(place.clone(), many_values(found, rows, true)),
                None if many => {
                    let place = gathered.origin.place(0, gathered.display(index));
                    Column::Refused(place, many_values(found, rows, false))
                }
                None if found == 0 => Column::Undecided,
                None => Column::Decided(ordered(gathered, index)),
            }
        }
    }
}

fn many_values(found: u64, rows: u64, more: bool) -> CellDefect {
    CellDefect::ManyCategories { found, rows, more }
}

/// The categories of a column in their recorded order: by value if all are integers, else by text.
fn ordered(gathered: &mut Gathered, index: usize) -> ColumnKind {
    let reading = std::mem::replace(&mut gathered.readings[index].way, Way::Number);
    let Way::Open(dictionary) = reading else { return ColumnKind::Category(Vec::new()) };
    let met = dictionary.into_names();
    let mut names = met.clone();
    classes::sort(&mut names);
    let position = |name: &String| names.iter().position(|other| other == name).unwrap_or_default() as f64;
    let positions: Vec<f64> = met.iter().map(position).collect();
    for row in gathered.cells.chunks_exact_mut(gathered.names.len()) {
        // NaN is a missing value, and there is none that is unknown.
        if row[index] >= 0.0 {
            row[index] = positions[row[index] as usize];
        }
    }
    ColumnKind::Category(names)
}

fn filling(
    gathered: &Gathered,
    index: usize,
    kind: &ColumnKind,
    (options, choices): (&ReadOptions, &Choices),
) -> Result<Option<Filling>> {
    let missing = &gathered.readings[index].missing;
    let named = gathered.imputed[index].map(|position| &choices.imputations[position]);
    let general = choices.imputations.iter().rev().find(|imputation| imputation.column.is_none());
    let Some(imputation) = named.or(general) else {
        return match missing.first.clone() {
            None => Ok(None),
            Some(place) => {
                Err(Error::Cell { place, defect: CellDefect::MissingCells { cells: missing.cells } })
            }
        };
    };
    let median = || match kind {
        ColumnKind::Category(_) => None,
        ColumnKind::Boolean => Some(median(gathered, index).floor()),
        _ => Some(median(gathered, index)),
    };
    let value = match &imputation.value {
        Stand::Median => median(),
        // A number for all columns is one for those of numbers.
        Stand::Cell(_) if imputation.column.is_none() && *kind != ColumnKind::Number => median(),
        Stand::Cell(text) => {
            let place = || SettingDefect::Preprocessing {
                column: gathered.names[index].clone(),
                reason: "what is to stand in for missing values is none of the column's values",
            };
            Some(cell(text, kind, options).ok_or_else(place)?)
        }
    };
    let indicator = choices.indicators && (imputation.column.is_some() || missing.cells > 0);
    Ok(Some(Filling { value, indicator }))
}

/// A value that is given as a cell would have it.
fn cell(text: &str, kind: &ColumnKind, options: &ReadOptions) -> Option<f64> {
    let value = Value::Text(text);
    match kind {
        ColumnKind::Number => number(value, options).ok(),
        ColumnKind::Boolean => boolean(value, options).ok(),
        ColumnKind::Date => date(value, options).ok(),
        ColumnKind::Category(names) => {
            let mut name = String::new();
            category(value, options, &mut name).ok()?;
            names.iter().position(|known| *known == name).map(|position| position as f64)
        }
    }
}

/// The middle value of a column, or the mean of the two that are, of those that are there.
fn median(gathered: &Gathered, index: usize) -> f64 {
    let column = gathered.cells.iter().skip(index).step_by(gathered.names.len());
    let mut values: Vec<f64> = column.copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => values[n / 2 - 1] / 2.0 + values[n / 2] / 2.0,
    }
}
