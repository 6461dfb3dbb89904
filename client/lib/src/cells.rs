//! Rows from tables in memory: read and standardised part by part, so that there is never a second copy of them as they came.

use std::ops::Range;

use blindsmith_data::{Cells, Choices, ReadOptions, Table};

use crate::failure::Failure;
use crate::interrupter::Interrupter;
use crate::predictions::Query;
use crate::project::{ClientProject, Task};
use crate::rows::{First, Format, Rows, Source, standardise};

/// Cells of a part.
const PART: usize = 1 << 18;

/// A user's rows in memory.
pub struct DataCells<'a> {
    /// The table.
    pub data: Cells<'a>,
    /// Labels that are no columns of it.
    pub labels: Option<Cells<'a>>,
    /// How it is to be read; what it says of the form of text files does not matter.
    pub format: Format,
}

impl Source for DataCells<'_> {
    fn format(&self) -> &Format {
        &self.format
    }

    fn labels_apart(&self) -> bool {
        self.labels.is_some()
    }

    fn table(&self, options: &ReadOptions) -> Result<Table, Failure> {
        Ok(Table::read_cells(&self.data, self.labels.as_ref(), options)?)
    }
}

impl DataCells<'_> {
    /// As [`DataFile::first`](crate::rows::DataFile::first).
    ///
    /// # Errors
    /// As there.
    pub fn first(
        &self,
        task: Task,
        labels: &[String],
        classes: Option<&[String]>,
        columns: Choices,
    ) -> Result<First, Failure> {
        Source::first(self, task, labels, classes, columns)
    }

    fn part(&self, rows: Range<usize>) -> Self {
        // Labels may be fewer or more than rows, which is refused as it is read.
        let of_labels = |labels: &Cells<'_>| rows.start.min(labels.rows())..rows.end.min(labels.rows());
        DataCells {
            data: self.data.part(rows.clone()),
            labels: self.labels.as_ref().map(|labels| labels.part(of_labels(labels))),
            format: self.format.clone(),
        }
    }

    /// Rows of a part.
    fn step(&self) -> usize {
        let rows = self.data.rows().max(1);
        let apart = self.labels.as_ref().is_some_and(|labels| labels.rows() != rows);
        if apart { rows } else { (PART / self.data.columns().max(1)).clamp(1, rows) }
    }

    /// What is made of all rows, from what is made of each part. Where a part is refused, the whole is read at once: what is
    /// said then names the row that a user counts.
    fn in_parts<T, A>(
        &self,
        interrupter: &Interrupter,
        make: impl Fn(&Self) -> Result<T, Failure>,
        join: impl Fn(&mut dyn Iterator<Item = Result<T, Failure>>) -> Result<A, Failure>,
    ) -> Result<A, Failure> {
        let (rows, step) = (self.data.rows(), self.step());
        let mut parts = (0..rows.max(1)).step_by(step).map(|from| {
            interrupter.check()?;
            make(&self.part(from..rows.min(from + step)))
        });
        match join(&mut parts) {
            Err(Failure::Data(_)) if step < rows => join(&mut std::iter::once_with(|| make(self))),
            joined => joined,
        }
    }

    /// Rows with labels of an existing project, standardised.
    ///
    /// # Errors
    /// If they do not fit the project.
    pub fn rows(&self, project: &ClientProject, interrupter: &Interrupter) -> Result<Rows, Failure> {
        let make = |part: &Self| {
            let labelled = Source::labelled(part, project)?;
            let mut rows = standardise(project, labelled.data)?;
            rows.misfits = rows.misfits.with_columns(labelled.misfits);
            Ok(rows)
        };
        self.in_parts(interrupter, make, |parts| Rows::joined(self.data.rows(), parts))
    }

    /// Rows of a query, standardised; labels among their columns are kept apart to compare with.
    ///
    /// # Errors
    /// If they do not fit the project.
    pub fn query(&self, project: &ClientProject, interrupter: &Interrupter) -> Result<Query, Failure> {
        let make = |part: &Self| project.query(Source::query(part, project)?);
        self.in_parts(interrupter, make, |parts| Query::joined(self.data.rows(), parts))
    }
}
