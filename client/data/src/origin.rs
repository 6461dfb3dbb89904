//! Which file each row came from.

use std::fmt;

use crate::error::Place;

/// The file, or the files of a directory in their order, that rows came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    name: String,
    /// Empty where there is one file, of that name.
    parts: Vec<Part>,
}

/// The rows of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    file: String,
    /// Its first row, counted from 0 over all files.
    first: u64,
}

impl Origin {
    /// One file that all rows come from.
    pub fn file(name: &str) -> Self {
        Self { name: name.into(), parts: Vec::new() }
    }

    /// Files of a directory, each with its first row as counted from 0 over all of them.
    pub(crate) fn files(name: &str, files: Vec<(String, u64)>) -> Self {
        let parts = files.into_iter().map(|(file, first)| Part { file, first }).collect();
        Self { name: name.into(), parts }
    }

    /// The file, or the directory, as the caller named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a cell is; `row` counts from 0 over all files.
    pub(crate) fn place(&self, row: u64, column: String) -> Place {
        let part = self.parts.iter().rev().find(|part| part.first <= row);
        let (file, first) = part.map_or((&self.name, 0), |part| (&part.file, part.first));
        Place { file: file.clone(), row: row - first + 1, line: None, column }
    }
}

impl From<&str> for Origin {
    fn from(name: &str) -> Self {
        Self::file(name)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_within_their_file() {
        let origin = Origin::files("d", vec![("d/a".into(), 0), ("d/b".into(), 3)]);
        let at = |row| origin.place(row, "x".into()).to_string();
        assert_eq!(
            [at(0), at(2), at(3)].map(|place| place.replace(", column x", "")),
            ["d/a: row 1", "d/a: row 3", "d/b: row 1"]
        );
        assert_eq!(Origin::file("t").place(4, "x".into()).row, 5);
    }
}
