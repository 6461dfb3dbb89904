//! Names of classes and their fixed order.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::collector::{LabelColumns, LabelValues};
use crate::error::{CellDefect, Error, FileDefect, Place, Result, SettingDefect};
use crate::table::Table;

/// The classes of a project in their order: by value where all are integers, else by text. The position is
/// the index that a model's output and a label have; of two classes, index 1 is the positive one.
///
/// Serialises as the list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Classes(Vec<String>);

impl Classes {
    /// Classes by name, in any order.
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
    pub fn new(mut names: Vec<String>) -> Result<Self> {
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
                place: Place {
                    file: labels.origin.clone(),
                    row: row as u64 + 1,
                    line: None,
                    column: format!("{:?}", labels.names[0]),
                },
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

fn sort(names: &mut [String]) {
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
