//! Predictions of encrypted rows.

use blindsmith_data::{Identifiers, Standardised, Targets};
use blindsmith_identity::Purpose;
use serde::Serialize;

use crate::failure::Failure;
use crate::keys::Keys;
use crate::project::{ClientProject, Task};
use crate::rows::{Misfits, QueryRows, matrix_of};
use crate::upload::{Answer, ask, query_number};
use crate::workspace::Workspace;

/// Predictions, a row for each row asked.
#[derive(Debug, Clone, Serialize)]
pub struct Predictions {
    /// How many.
    pub rows: usize,
    /// The names of what is predicted.
    pub columns: Vec<String>,
    /// A value for each of them, for each row.
    pub predictions: Vec<Vec<serde_json::Value>>,
    /// Share of right classes, where the rows have labels.
    pub accuracy: Option<f64>,
    /// Features that were clipped.
    pub clipped_values: u64,
    /// What did not fit the recorded standardisation.
    #[serde(flatten)]
    pub misfits: Misfits,
    /// The kind of the warden that answered.
    pub warden: &'static str,
}

/// Rows that are standardised, to be asked.
pub struct Query {
    standardised: Standardised,
    /// The classes that the rows have, where that is known.
    classes: Option<Vec<u32>>,
    ids: Vec<Identifiers>,
    /// What did not fit the recorded standardisation.
    pub misfits: Misfits,
}

impl Query {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.standardised.matrix.rows()
    }

    /// One query of the rows of several, in their order; `rows` is how many there are, about.
    ///
    /// # Errors
    /// The first of the parts that has one, or parts that do not go together.
    pub fn joined(
        rows: usize,
        parts: &mut dyn Iterator<Item = Result<Query, Failure>>,
    ) -> Result<Self, Failure> {
        let unlike = || Failure::Other("parts of different shapes".into());
        let mut all = parts.next().ok_or_else(unlike)??;
        if all.rows() >= rows {
            return Ok(all);
        }
        let columns = all.standardised.matrix.columns();
        let mut values = Vec::with_capacity(rows * columns);
        values.extend_from_slice(all.standardised.matrix.as_slice());
        for part in parts {
            let part = part?;
            values.extend_from_slice(part.standardised.matrix.as_slice());
            if let (Some(all), Some(more)) = (&mut all.classes, part.classes) {
                all.extend(more);
            }
            all.ids.iter_mut().zip(part.ids).for_each(|(all, more)| all.cells.extend(more.cells));
            all.misfits.add(part.misfits);
        }
        let count = values.len().checked_div(columns).unwrap_or(0);
        all.standardised.matrix = blindsmith_data::Matrix::new(count, columns, values).ok_or_else(unlike)?;
        Ok(all)
    }
}

impl ClientProject {
    /// Standardises the rows of a query.
    ///
    /// # Errors
    /// If they do not fit the project.
    pub fn query(&self, rows: QueryRows) -> Result<Query, Failure> {
        let QueryRows { features, labelled, ids, misfits, .. } = rows;
        let standardised = self.standardiser.apply(features)?;
        let misfits = Misfits::of_features(&self.standardiser, &standardised).with_columns(misfits);
        let classes = labelled.and_then(|data| match data.targets {
            Targets::Classes { index, .. } => Some(index),
            _ => None,
        });
        Ok(Query { standardised, classes, ids, misfits })
    }
}

impl Predictions {
    /// The same, with the columns that identify rows in front.
    fn identified(mut self, ids: Vec<Identifiers>) -> Self {
        for Identifiers { name, cells } in ids.into_iter().rev() {
            self.columns.insert(0, name);
            self.predictions.iter_mut().zip(cells).for_each(|(row, cell)| row.insert(0, cell.into()));
        }
        self
    }
}

impl Workspace {
    /// Encrypts rows under a fresh key, has them predicted, and opens the answer: neither rows nor answers can be read by
    /// anyone else. `observe` is told how many rows are sent.
    ///
    /// # Errors
    /// If the warden is not one to trust, or refuses.
    pub fn predict(&mut self, query: Query, observe: &mut dyn FnMut(u64)) -> Result<Predictions, Failure> {
        let querier = Keys::load(&self.dir)?.identity();
        let Query { standardised, classes, ids, misfits } = query;
        let rows = matrix_of(standardised.matrix);
        let warden = self.appraise_warden(&querier, Purpose::Query)?;
        let number = query_number(&self.dir)?;
        let (spec, connection) = (&self.project.spec, &mut self.connection);
        let answer = ask(connection, spec, (&querier, number), &warden, &rows, observe)?;
        Ok(describe(&self.project, &answer, warden.tee(), (classes, misfits))?.identified(ids))
    }
}

fn describe(
    project: &ClientProject,
    Answer { outputs, classes: chosen }: &Answer,
    warden: &'static str,
    (known, misfits): (Option<Vec<u32>>, Misfits),
) -> Result<Predictions, Failure> {
    let labelling = &project.labelling;
    let width = labelling.outputs();
    let number = |v: f32| serde_json::json!(v);
    let (rows, malformed) = (chosen.len(), || Failure::Other("an answer of another shape".into()));
    let (columns, predictions) = match (&labelling.classes, labelling.task) {
        (Some(classes), Task::Classify) => {
            let mut columns = vec![labelling.columns[0].clone()];
            columns.extend(classes.names().iter().map(|n| format!("p({n})")));
            let predictions = outputs.chunks_exact(width).zip(chosen).map(|(o, class)| {
                let p: Vec<f32> = if width == 1 { vec![1.0 - o[0], o[0]] } else { o.to_vec() };
                let name = classes.names().get(*class as usize).ok_or_else(malformed)?;
                Ok(std::iter::once(serde_json::json!(name)).chain(p.into_iter().map(number)).collect())
            });
            (columns, predictions.collect::<Result<_, Failure>>()?)
        }
        (_, Task::Regress) => {
            let standardiser = labelling
                .targets
                .as_ref()
                .ok_or_else(|| Failure::Settings("the project records no targets".into()))?;
            let scaled = outputs.iter().map(|v| v / standardiser.factor() as f32).collect();
            let scaled = blindsmith_data::Matrix::new(rows, width, scaled).ok_or_else(malformed)?;
            let values = standardiser.invert(&scaled)?;
            let of_row = |row: &[f64]| row.iter().map(|v| serde_json::json!(v)).collect();
            (labelling.columns.clone(), values.iter_rows().map(of_row).collect())
        }
        _ => {
            let columns = labelling.columns.iter().map(|n| format!("p({n})")).collect();
            (columns, outputs.chunks_exact(width).map(|o| o.iter().copied().map(number).collect()).collect())
        }
    };
    let accuracy = known.filter(|known| known.len() == rows).map(|known| {
        let right = known.iter().zip(chosen).filter(|(a, b)| a == b).count();
        right as f64 / rows as f64
    });
    let clipped_values = misfits.clipped_values();
    Ok(Predictions { rows, columns, predictions, accuracy, clipped_values, misfits, warden })
}
