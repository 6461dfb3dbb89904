//! Names of classes and their fixed order.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::collector::{LabelColumns, LabelValues};
use crate::error::{CellDefect, Error, FileDefect, Result, SettingDefect};
use crate::table::Table;

/// The classes of a project in their order: by value where all are integers, else by text. The position is
/// the index that a model's output and a label have; of two classes, index 1 is the positive one.
///
/// Serialises as the list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Classes(Vec<String>);

impl Classes {
    /// Classes by name, in any order. A name is taken as a cell of a table is: `1.0` means `1`, `True` means `true`.
    ///
    /// # Errors
    /// [`SettingDefect::Classes`] when there are fewer than two, or one is empty or there twice.
    ///
    /// ```
    /// use blindsmith_data::Classes;
    ///
    /// let classes = Classes::new(["10", "9", "-1"].map(String::from).to_vec())?;
    /// assert_eq!(classes.names(), ["-1", "9", "10"]);
    /// # Ok::<(), blindsmith_data::Error>(())
    /// ```
    pub fn new(names: Vec<String>) -> Result<Self> {
        let mut names: Vec<String> = names.iter().map(|name| canonical(name.trim()).into_owned()).collect();
        sort(&mut names);
        Ok(Self::try_from(names)?)
    }

    /// The classes that occur in a table's label column.
    pub(crate) fn fit(table: &Table) -> Result<Self> {
        let (_, distinct, _) = category(table)?;
        if let [class] = distinct {
            let defect = FileDefect::OneClass { class: class.clone() };
            return Err(Error::file(table.features.origin(), defect));
        }
        Self::new(distinct.to_vec())
    }

    /// The class index of every row.
    pub(crate) fn encode(&self, table: &Table) -> Result<Vec<u32>> {
        let (labels, distinct, codes) = category(table)?;
        let positions: HashMap<&str, u32> =
            self.0.iter().enumerate().map(|(index, name)| (name.as_str(), index as u32)).collect();
        let found: Vec<Option<u32>> =
            distinct.iter().map(|name| positions.get(name.as_str()).copied()).collect();
        let encode = |(row, &code): (usize, &u32)| {
            found[code as usize].ok_or_else(|| Error::Cell {
                place: labels.origin.place(row as u64, format!("{:?}", labels.names[0])),
                defect: CellDefect::UnknownLabel {
                    label: distinct[code as usize].clone(),
                    known: self.0.clone(),
                },
            })
        };
        codes.iter().enumerate().map(encode).collect()
    }

    /// The names in their order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// How many there are, at least two.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The index of a class.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|class| class == name)
    }
}

impl TryFrom<Vec<String>> for Classes {
    type Error = SettingDefect;

    /// A recorded list: its order is kept.
    fn try_from(names: Vec<String>) -> Result<Self, SettingDefect> {
        let refuse = |reason: String| Err(SettingDefect::Classes { reason });
        if names.len() < 2 {
            return refuse(format!("{} given, at least two are needed", names.len()));
        }
        let mut seen = std::collections::HashSet::new();
        for name in &names {
            if name.is_empty() {
                return refuse("a name is empty".into());
            }
            if !seen.insert(name) {
                return refuse(format!("{name:?} is there twice"));
            }
        }
        Ok(Self(names))
    }
}

impl From<Classes> for Vec<String> {
    fn from(classes: Classes) -> Self {
        classes.0
    }
}

/// The name of the class that `text` stands for, which is the same whether a file's format has numbers and truth values or
/// writes them as text: whole numbers without sign of the positive and without fraction, truth values in small letters.
/// Anything else is its own name; so are numbers with leading zeros, which are codes, and with a fraction.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    for truth in ["true", "false"] {
        if text.eq_ignore_ascii_case(truth) {
            return truth.into();
        }
    }
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return text.into();
    }
    if fraction.bytes().all(|b| b == b'0') {
        return match (negative && whole != "0", whole.len() == text.len()) {
            (true, _) => format!("-{whole}").into(),
            (false, true) => text.into(),
            (false, false) => whole.to_owned().into(),
        };
    }
    // With a power of ten, as numpy's savetxt writes numbers.
    let power = fraction.split_once(['e', 'E']).map(|(_, power)| power.trim_start_matches(['+', '-']));
    match text.parse() {
        Ok(number) if power.is_some_and(all_digits) => of_number(number).into(),
        _ => text.into(),
    }
}

/// The name of the class that a number stands for.
pub(crate) fn of_number(number: f64) -> String {
    const EXACT: f64 = (1_u64 << 53) as f64;
    match number.fract() == 0.0 && number.abs() <= EXACT {
        true => (number as i64).to_string(),
        false => number.to_string(),
    }
}

/// By value where all are integers, else by text.
pub(crate) fn sort(names: &mut [String]) {
    let values: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if values.is_some() {
        names.sort_by_cached_key(|name| (name.parse::<i64>().unwrap_or_default(), name.clone()));
    } else {
        names.sort();
    }
}

fn category(table: &Table) -> Result<(&LabelColumns, &[String], &[u32])> {
    let refuse = |defect| Error::file(table.features.origin(), defect);
    let labels = table.labels.as_ref().ok_or_else(|| refuse(FileDefect::Unlabelled))?;
    match &labels.values {
        LabelValues::Category { distinct, codes } => Ok((labels, distinct, codes)),
        LabelValues::Number(_) => {
            Err(refuse(FileDefect::LabelKind { found: "numbers", wanted: "a category" }))
        }
    }
}
