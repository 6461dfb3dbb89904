//! `blindsmith bench gemm`.

use std::time::Duration;

use blindsmith_learn::{Accelerator, Batch, Left, Matrix};
use blindsmith_matrix::{Encoding, Security};
use blindsmith_plan::{Costs, Machine, Network, plan};
use blindsmith_twin::{Twin, TwinError};
use clap::Args;
use serde::Serialize;

use super::products::{Form, Operands, Sizes};
use super::{in_turns, median, threads_or_all, use_threads};
use crate::report;
use blindsmith_arguments::CloudName;
use blindsmith_client::Failure;
use blindsmith_client::training::MICRO_BATCH;

/// The refinery's forward product of a first layer - stored rows, packed, times encrypted weights - against the
/// float32 product of the same shape by the crate `gemm`; and the same product with all masks, as it is in a step.
#[derive(Args)]
pub struct Gemm {
    /// Rows of the batch.
    #[arg(long, default_value_t = 1024)]
    pub rows: usize,
    /// Inputs of the layer.
    #[arg(long, default_value_t = 784)]
    pub inputs: usize,
    /// Outputs of the layer.
    #[arg(long, default_value_t = 512)]
    pub outputs: usize,
    /// Threads of both [default: all cores].
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

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Median time of the encrypted product, without masks.
    pub encrypted_ms: f64,
    /// Median time of the product with all masks.
    pub augmented_ms: f64,
    /// Median time of the float32 product.
    pub plaintext_ms: f64,
    /// Their ratio.
    pub slowdown: f64,
    /// Useful multiply-adds of the encrypted product, rows x inputs x outputs, in billions a second.
    pub gmacs: f64,
    /// The same of the float32 product.
    pub plaintext_gmacs: f64,
    /// Multiply-adds of the product with all masks.
    pub augmented_macs: f64,
    /// The same in billions a second.
    pub augmented_gmacs: f64,
    rows: usize,
    inputs: usize,
    outputs: usize,
    threads: usize,
    /// n and rank of the plan's row form.
    pub n: usize,
    rank: usize,
    backend: &'static str,
    repetitions: usize,
}

impl Gemm {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let threads = threads_or_all(self.threads);
        use_threads(threads)?;
        let measured = self.measure(threads)?;
        report(self.json, &measured, |m| {
            println!("{} x {} x {} on {threads} thread(s), {}", m.rows, m.inputs, m.outputs, m.backend);
            println!("encrypted  {:9.3} ms  {:7.1} G multiply-adds/s", m.encrypted_ms, m.gmacs);
            println!("with masks {:9.3} ms  {:7.1} G multiply-adds/s", m.augmented_ms, m.augmented_gmacs);
            println!("float32    {:9.3} ms  {:7.1} G multiply-adds/s", m.plaintext_ms, m.plaintext_gmacs);
            println!("slowdown   {:9.2}", m.slowdown);
        })
    }

    /// Measures in the global thread pool.
    pub fn measure(&self, threads: usize) -> Result<Measured, Failure> {
        let security = Security::try_from(self.security).map_err(|e| Failure::Settings(e.to_string()))?;
        let (rows, inputs, outputs) = (self.rows, self.inputs, self.outputs);
        if [rows, inputs, outputs].iter().any(|n| !(1..=1 << 16).contains(n)) {
            return Err(Failure::Settings("rows, inputs and outputs are from 1 to 65536".into()));
        }
        let sizes = self.sizes(security)?;
        let mut encrypted = Operands::random(sizes);
        encrypted.multiply(Form::Augmented)?;
        let mut plain = Plain::new(rows, inputs, outputs, threads)?;
        let half = Duration::from_secs_f64(self.seconds / 2.0);
        let encrypted = std::cell::RefCell::new(encrypted);
        let multiply =
            |form| encrypted.borrow_mut().multiply(form).expect("operands that were multiplied before");
        let (encrypted_s, plain_s) = in_turns(
            (3, 101),
            half,
            || multiply(Form::Stored),
            || plain.multiply().expect("operands that were multiplied before"),
        );
        let (augmented_s, _) = in_turns((3, 101), half, || multiply(Form::Augmented), || {});
        let repetitions = encrypted_s.len();
        let (encrypted_s, plain_s, augmented_s) = (median(encrypted_s), median(plain_s), median(augmented_s));
        let useful = rows as f64 * inputs as f64 * outputs as f64 * 1e-9;
        Ok(Measured {
            encrypted_ms: encrypted_s * 1e3,
            augmented_ms: augmented_s * 1e3,
            plaintext_ms: plain_s * 1e3,
            slowdown: encrypted_s / plain_s,
            gmacs: useful / encrypted_s,
            plaintext_gmacs: useful / plain_s,
            augmented_macs: sizes.augmented_macs(),
            augmented_gmacs: sizes.augmented_macs() * 1e-9 / augmented_s,
            rows,
            inputs,
            outputs,
            threads,
            n: sizes.left.roots(),
            rank: sizes.left.rank(),
            backend: blindsmith_compute::backend::active().name(),
            repetitions,
        })
    }

    /// The product as the plan has it.
    fn sizes(&self, security: Security) -> Result<Sizes, Failure> {
        let (rows, inputs, outputs) = (self.rows, self.inputs, self.outputs);
        let network = Network {
            widths: vec![inputs, outputs],
            batch_rows: rows,
            micro_batch_rows: MICRO_BATCH,
            input_rms: 0.125,
            security,
        };
        let cloud = self.cloud.into();
        let settings = |e: &dyn std::fmt::Display| Failure::Settings(e.to_string());
        let left = plan(&network, &Costs::reference(cloud), &Machine::reference(cloud))
            .map_err(|e| settings(&e))?
            .row_form;
        let right = Encoding::fit(security, left.roots(), outputs).map_err(|e| settings(&e))?;
        Ok(Sizes { rows, inputs, outputs, left, right })
    }
}

/// The float32 product, as the twin makes it.
struct Plain {
    twin: Twin,
    batch: Batch,
    out: Matrix,
}

impl Plain {
    fn new(rows: usize, inputs: usize, outputs: usize, threads: usize) -> Result<Self, Failure> {
        let matrix = |rows: usize, cols: usize| {
            let mut matrix = Matrix::zeros(rows, cols);
            matrix.as_mut_slice().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 251) as f32 / 256.0);
            matrix
        };
        let other = |e: TwinError| Failure::Other(e.to_string());
        // One block of all rows: the twin multiplies them where they lie.
        let mut twin = Twin::new(rows as u32, threads);
        let upload = twin.push(matrix(rows, inputs)).map_err(other)?;
        twin.load_weights(0, &matrix(inputs, outputs)).map_err(other)?;
        let batch = Batch::unlabelled(twin.blocks(upload).collect());
        let mut plain = Plain { twin, batch, out: Matrix::zeros(rows, outputs) };
        plain.multiply().map_err(other)?;
        Ok(plain)
    }

    fn multiply(&mut self) -> Result<(), TwinError> {
        let rows = 0..self.batch.rows();
        self.twin.forward(0, Left::Rows(&self.batch), rows, &mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(outputs: usize) -> Gemm {
        let cloud = CloudName::Cpu;
        Gemm { rows: 64, inputs: 48, outputs, threads: None, security: 128, cloud, seconds: 0.0, json: true }
    }

    #[test]
    fn what_scripts_rely_on_is_there() {
        let measured = serde_json::to_value(small(10).measure(1).unwrap()).unwrap();
        for field in ["encrypted_ms", "plaintext_ms", "slowdown", "gmacs", "augmented_ms"] {
            assert!(measured[field].as_f64().is_some_and(|v| v > 0.0), "{field}: {measured}");
        }
        // (rows + N/n) (outputs + N/n) inputs.
        let per_root = 2048.0 / measured["n"].as_f64().unwrap();
        let n = measured["n"].as_u64().unwrap();
        let expected = (64.0 + per_root) * (10.0 + per_root) * 48u64.next_multiple_of(n) as f64;
        assert_eq!(measured["augmented_macs"].as_f64(), Some(expected));
        let ratio = measured["encrypted_ms"].as_f64().unwrap() / measured["plaintext_ms"].as_f64().unwrap();
        assert!((ratio / measured["slowdown"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for outputs in [0, 1 << 17] {
            assert!(matches!(small(outputs).measure(1), Err(Failure::Settings(_))));
        }
        assert!(matches!(Gemm { security: 64, ..small(10) }.measure(1), Err(Failure::Settings(_))));
    }
}
