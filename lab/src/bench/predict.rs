//! `blindsmith bench predict`.

use std::time::Duration;

use blindsmith_matrix::Security;
use clap::Args;
use serde::Serialize;

use super::stage::{Setting, Stage, synthetic};
use super::{Widths, in_turns, median, threads_or_all, use_threads};
use crate::report;
use blindsmith_arguments::CloudName;
use blindsmith_client::Failure;
use blindsmith_client::training::MICRO_BATCH;

/// Encrypted predictions with real refinery and warden processes, as a querier sees them: the client encrypts and
/// sends rows, the refinery multiplies them, the warden opens the products, and the client decrypts the answer.
#[derive(Args)]
pub struct Predict {
    /// Rows of the large query.
    #[arg(long, default_value_t = 1024)]
    pub rows: usize,
    /// Inputs, hidden layers, outputs.
    #[arg(long, value_name = "WIDTHS", default_value = "784,128,10")]
    pub layers: Widths,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Security level in bits: 128 or 256.
    #[arg(long, value_name = "BITS", default_value_t = 128)]
    pub security: u16,
    /// The device that the plan assumes at the refinery.
    #[arg(long, value_enum, default_value_t)]
    pub cloud: CloudName,
    /// Seconds to measure for, about.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// What was measured: medians.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// From rows in the clear to the answer in the clear, one row.
    pub latency_ms: f64,
    /// The same for all rows in one query.
    pub query_ms: f64,
    /// Rows a second in that query.
    pub rows_per_second: f64,
    rows: usize,
    layers: Vec<usize>,
    threads: usize,
    /// For each layer, whether the refinery multiplies it.
    offloaded: Vec<bool>,
    backend: &'static str,
    repetitions: usize,
}

impl Predict {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let threads = threads_or_all(self.threads);
        use_threads(threads)?;
        let measured = self.measure(threads)?;
        report(self.json, &measured, |m| {
            println!("{:?}, {threads} thread(s) a process, {}", m.layers, m.backend);
            println!("one row      {:9.2} ms", m.latency_ms);
            println!("{:<6} rows  {:9.2} ms, {:.0} rows a second", m.rows, m.query_ms, m.rows_per_second);
        })
    }

    /// Measures with so many threads, which the global thread pool must have.
    pub fn measure(&self, threads: usize) -> Result<Measured, Failure> {
        if self.rows == 0 {
            return Err(Failure::Settings("at least one row is needed".into()));
        }
        let security = Security::try_from(self.security).map_err(|e| Failure::Settings(e.to_string()))?;
        let widths = self.layers.0.clone();
        let batch_rows = 1024;
        let (cloud, micro_batch) = (self.cloud.into(), MICRO_BATCH);
        let setting = Setting { widths, batch_rows, security, cloud, threads, micro_batch };
        let stage = Stage::start(&setting)?;
        let offloaded = stage.project.spec.layers.iter().map(|l| l.offload.is_some()).collect();
        let stage = std::cell::RefCell::new(stage);
        let (inputs, outputs) = (setting.widths[0], setting.widths[setting.widths.len() - 1]);
        let (one, _) = synthetic(1, inputs, outputs, 4);
        let (many, _) = synthetic(self.rows, inputs, outputs, 5);

        let failed = std::cell::RefCell::new(None);
        let ask = |rows| {
            if let Err(e) = stage.borrow_mut().ask(rows) {
                failed.borrow_mut().get_or_insert(e);
            }
        };
        let budget = Duration::from_secs_f64(self.seconds);
        let (latency, query) = in_turns((3, 201), budget, || ask(&one), || ask(&many));
        if let Some(e) = failed.into_inner() {
            return Err(e);
        }
        let repetitions = latency.len();
        let (latency, query) = (median(latency), median(query));
        Ok(Measured {
            latency_ms: latency * 1e3,
            query_ms: query * 1e3,
            rows_per_second: self.rows as f64 / query,
            rows: self.rows,
            layers: setting.widths.clone(),
            threads,
            offloaded,
            backend: blindsmith_compute::backend::active().name(),
            repetitions,
        })
    }
}
