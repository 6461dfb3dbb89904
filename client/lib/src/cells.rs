//! Rows from tables in memory: read and standardised part by part, so that there is never a second copy of them as they came.

use std::ops::Range;

use blindsmith_data::{Cells, Choices, ReadOptions, Table};
use blindsmith_learn::{Matrix, Targets};

use crate::predictions::Query;
use crate::rows::{First, Format, Rows, Source, standardise};
use crate::{ClientProject, Failure, Interrupter, Task};

/// Cells of a part.
const PART: usize = 1 << 20;

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

    /// What is made of each part. Where that fails, `whole` says why: it sees the rows that a user counts.
    fn in_parts<T>(
        &self,
        interrupter: &Interrupter,
        make: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let rows = self.data.rows();
        let apart = self.labels.as_ref().is_some_and(|labels| labels.rows() != rows);
        let step = if apart { rows.max(1) } else { (PART / self.data.columns().max(1)).max(1) };
        if rows <= step {
            return Ok(vec![make(self)?]);
        }
        let mut parts = Vec::with_capacity(rows.div_ceil(step));
        for from in (0..rows).step_by(step) {
            interrupter.check()?;
            match make(&self.part(from..rows.min(from + step))) {
                Ok(part) => parts.push(part),
                Err(Failure::Data(_)) => return make(self).map(|whole| vec![whole]),
                Err(other) => return Err(other),
            }
        }
        Ok(parts)
    }

    /// Rows with labels of an existing project, standardised.
    ///
    /// # Errors
    /// If they do not fit the project.
    pub fn rows(&self, project: &ClientProject, interrupter: &Interrupter) -> Result<Rows, Failure> {
        let parts = self.in_parts(interrupter, |part| {
            let labelled = Source::labelled(part, project)?;
            let mut rows = standardise(project, labelled.data)?;
            rows.misfits = rows.misfits.with_columns(labelled.misfits);
            Ok(rows)
        })?;
        join(parts).ok_or_else(|| Failure::Other("parts of other shapes".into()))
    }

    /// Rows of a query, standardised; labels among their columns are kept apart to compare with.
    ///
    /// # Errors
    /// If they do not fit the project.
    pub fn query(&self, project: &ClientProject, interrupter: &Interrupter) -> Result<Query, Failure> {
        let parts = self.in_parts(interrupter, |part| project.query(Source::query(part, project)?))?;
        Query::joined(parts).ok_or_else(|| Failure::Other("parts of other shapes".into()))
    }
}

/// All rows in one matrix.
fn join(mut parts: Vec<Rows>) -> Option<Rows> {
    if parts.len() == 1 {
        return parts.pop();
    }
    let (mut features, mut classes, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut misfits, mut rows) = (crate::rows::Misfits::default(), 0);
    let (width, mut outputs) = (parts.first()?.features.cols(), 0);
    features.reserve_exact(width * parts.iter().map(|part| part.features.rows()).sum::<usize>());
    for part in parts {
        rows += part.features.rows();
        features.extend_from_slice(part.features.as_slice());
        misfits.add(part.misfits);
        match part.targets {
            Targets::Classes(more) => classes.extend(more),
            Targets::Values(more) => {
                outputs = more.cols();
                values.extend_from_slice(more.as_slice());
            }
        }
    }
    let targets = match outputs {
        0 => Targets::Classes(classes),
        outputs => Targets::Values(Matrix::from_rows(rows, outputs, values)?),
    };
    Some(Rows { features: Matrix::from_rows(rows, width, features)?, targets, misfits })
}
