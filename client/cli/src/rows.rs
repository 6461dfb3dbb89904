//! From a user's file to rows that can be encrypted.

use std::path::PathBuf;

use blindsmith_data::{ColumnRef, Dataset, LabelKind, ReadOptions, Standardised, Table, Targets};
use blindsmith_learn as learn;
use clap::Args;

use crate::Failure;
use crate::project::{ClientProject, Labelling, Task};

/// Where rows come from.
#[derive(Debug, Clone, Args)]
pub struct DataArguments {
    /// CSV, Parquet, .npy or IDX, gzipped or not.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// A second .npy or IDX file that holds the labels.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// The first line of a CSV is data; columns are then called by their number: #1, #2, #last.
    #[arg(long)]
    pub no_header: bool,
    /// Columns to leave out.
    #[arg(long, value_name = "COLUMN")]
    pub ignore: Vec<String>,
}

impl DataArguments {
    fn options(&self, task: Task, labels: &[String]) -> ReadOptions {
        let column = |name: &String| ColumnRef::from(name.as_str());
        ReadOptions {
            header: !self.no_header,
            labels: labels.iter().map(column).collect(),
            label_kind: if task == Task::Classify { LabelKind::Category } else { LabelKind::Number },
            ignore: self.ignore.iter().map(column).collect(),
            ..ReadOptions::default()
        }
    }

    fn table(&self, options: &ReadOptions) -> Result<Table, Failure> {
        Ok(match &self.labels {
            Some(labels) => Table::read_pair(&self.data, labels, options)?,
            None => Table::read(&self.data, options)?,
        })
    }

    /// Rows with labels, as a new project sees them.
    pub fn first(&self, task: Task, labels: &[String]) -> Result<Dataset, Failure> {
        if labels.is_empty() && self.labels.is_none() {
            return Err(Failure::Settings("name the label column: --label NAME".into()));
        }
        let table = self.table(&self.options(task, labels))?;
        Ok(match task {
            Task::Classify => table.classify(None)?,
            Task::MultiLabel => table.multi_label()?,
            Task::Regress => table.regress()?,
        })
    }

    /// Rows with labels of an existing project.
    pub fn labelled(&self, project: &ClientProject) -> Result<Dataset, Failure> {
        let labelling = &project.labelling;
        let table = self.table(&self.options(labelling.task, &labelling.columns))?;
        dataset(table, labelling)
    }

    /// Rows of a query: labels, where the file has them, are kept apart to compare with.
    pub fn query(
        &self,
        project: &ClientProject,
    ) -> Result<(blindsmith_data::Frame, Option<Dataset>), Failure> {
        let labelling = &project.labelling;
        let mut options = self.options(labelling.task, &labelling.columns);
        options.labels_optional = true;
        let table = self.table(&options)?;
        if table.labels.is_none() {
            return Ok((table.features, None));
        }
        let features = table.features.clone();
        Ok((features, Some(dataset(table, labelling)?)))
    }
}

fn dataset(table: Table, labelling: &Labelling) -> Result<Dataset, Failure> {
    Ok(match labelling.task {
        Task::Classify => table.classify(labelling.classes.as_ref())?,
        Task::MultiLabel => table.multi_label()?,
        Task::Regress => table.regress()?,
    })
}

/// Standardised rows and their targets as the training loop takes them.
pub struct Rows {
    /// Rows x features, within -1 and 1.
    pub features: learn::Matrix,
    /// One for each row.
    pub targets: learn::Targets,
    /// Values that were clipped to the bound.
    pub clipped: u64,
}

/// Standardises rows and targets as the project records.
pub fn standardise(project: &ClientProject, data: Dataset) -> Result<Rows, Failure> {
    let Dataset { features, targets } = data;
    let Standardised { matrix, clipped } = project.standardiser.apply(features)?;
    let features = matrix_of(matrix);
    Ok(Rows {
        features,
        targets: encode_targets(&project.labelling, targets)?,
        clipped: clipped.iter().sum(),
    })
}

/// The training loop's form of a matrix.
pub fn matrix_of(matrix: blindsmith_data::Matrix) -> learn::Matrix {
    let (rows, cols) = matrix.shape();
    // Unwrap safety: the data has this shape by construction.
    learn::Matrix::from_rows(rows, cols, matrix.into_vec()).expect("a matrix of its own shape")
}

/// Targets in the units of training: class numbers, 0 and 1, or values of about unit variance.
pub fn encode_targets(labelling: &Labelling, targets: Targets) -> Result<learn::Targets, Failure> {
    Ok(match targets {
        Targets::Classes { index, .. } if labelling.outputs() == 1 => {
            let values = index.iter().map(|&i| i as f32).collect::<Vec<_>>();
            // Unwrap safety: one column.
            learn::Targets::Values(learn::Matrix::from_rows(values.len(), 1, values).expect("one column"))
        }
        Targets::Classes { index, .. } => learn::Targets::Classes(index),
        Targets::Bits(bits) => learn::Targets::Values(matrix_of(bits.matrix().rounded())),
        Targets::Values(values) => {
            let standardiser = labelling
                .targets
                .as_ref()
                .ok_or_else(|| Failure::Settings("the project is no regression".into()))?;
            let mut values = matrix_of(standardiser.apply(values)?.matrix);
            let unit = standardiser.factor() as f32;
            values.as_mut_slice().iter_mut().for_each(|v| *v *= unit);
            learn::Targets::Values(values)
        }
    })
}
