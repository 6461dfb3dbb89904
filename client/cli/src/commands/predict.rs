//! `blindsmith predict`.

use std::io::Write;
use std::path::PathBuf;

use blindsmith_data::Dataset;
use blindsmith_identity::Purpose;
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, bar, report, warn_if_simulated};
use crate::project::{ClientProject, Keys, Task, query_number, write_file};
use crate::rows::{DataArguments, Misfits, matrix_of};
use crate::trust::appraise_warden;
use crate::{Answer, Failure, ask};

/// Encrypts rows under a fresh key, has the warden predict them, and decrypts the answer. The refinery can read
/// neither rows nor answers.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith predict --project ./sales --data april.csv --out predictions.csv"
)]
pub struct Predict {
    #[command(flatten)]
    common: ProjectArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Write the predictions as CSV to this file [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Predicted {
    rows: usize,
    columns: Vec<String>,
    predictions: Vec<Vec<serde_json::Value>>,
    /// Share of right classes, where the file has labels.
    accuracy: Option<f64>,
    clipped_values: u64,
    #[serde(flatten)]
    misfits: Misfits,
    /// The kind of the warden that answered.
    warden: &'static str,
}

impl Predict {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (project, mut connection) = self.common.open()?;
        let querier = Keys::load(&self.common.project)?.identity();
        let (features, labelled) = self.data.query(&project)?;
        let standardised = project.standardiser.apply(features)?;
        let misfits = Misfits::of_features(&project.standardiser, &standardised);
        misfits.words().iter().for_each(|line| eprintln!("{line}"));
        let rows = matrix_of(standardised.matrix);
        let warden = appraise_warden(
            &mut connection,
            (project.id(), &project.attestation, project.kem),
            &querier,
            Purpose::Query,
        )?;
        warn_if_simulated(Some(warden.tee()));
        let bar = bar(rows.rows() as u64, "encrypting and sending");
        let observe = &mut |done| bar.set_position(done);
        let number = query_number(&self.common.project)?;
        let answer = ask(&mut connection, &project.spec, (&querier, number), &warden, &rows, observe)?;
        bar.finish_and_clear();
        let predicted = describe(&project, &answer, warden.tee(), (labelled, misfits))?;
        if let Some(path) = &self.out {
            let mut text = Vec::new();
            write_csv(&predicted, &mut text)?;
            write_file(path, &text)?;
        }
        report(self.common.json, &predicted, |p| {
            if self.out.is_none() {
                _ = write_csv(p, std::io::stdout());
            }
            if let Some(accuracy) = p.accuracy {
                eprintln!("accuracy against the file's labels: {accuracy:.4}");
            }
        })
    }
}

fn describe(
    project: &ClientProject,
    Answer { outputs, classes: chosen }: &Answer,
    warden: &'static str,
    (labelled, misfits): (Option<Dataset>, Misfits),
) -> Result<Predicted, Failure> {
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
    let accuracy = match labelled.map(|d| d.targets) {
        Some(blindsmith_data::Targets::Classes { index, .. }) if index.len() == chosen.len() => {
            let right = index.iter().zip(chosen).filter(|(a, b)| a == b).count();
            Some(right as f64 / rows as f64)
        }
        _ => None,
    };
    let clipped_values = misfits.clipped_values();
    Ok(Predicted { rows, columns, predictions, accuracy, clipped_values, misfits, warden })
}

fn write_csv(predicted: &Predicted, to: impl Write) -> Result<(), Failure> {
    let mut csv = csv::Writer::from_writer(to);
    let failed = |e: csv::Error| Failure::Other(format!("the predictions could not be written: {e}"));
    csv.write_record(&predicted.columns).map_err(failed)?;
    for row in &predicted.predictions {
        let cells = row.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        csv.write_record(cells).map_err(failed)?;
    }
    csv.flush().map_err(|e| Failure::Other(e.to_string()))
}
