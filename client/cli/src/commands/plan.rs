//! `blindsmith plan`.

use std::collections::BTreeMap;

use blindsmith_arguments::CloudName;
use blindsmith_client::pace::Pace;
use blindsmith_client::spec::sizes;
use blindsmith_client::training::MICRO_BATCH;
use blindsmith_client::{Failure, Task};
use blindsmith_lab::bench::{Widths, calibration, threads_or_all, use_threads};
use blindsmith_matrix::{Encoding, Security};
use blindsmith_plan::{Cloud, Costs, Machine, Network, Prediction, plan, predict};
use blindsmith_protocol::packed_bytes;
use clap::Args;
use serde::Serialize;

use super::report;

/// Tells, before anything runs, what the refinery will multiply and what training costs: time, memory, bytes.
///
/// A second of small measurements on this machine gives the time of each elementary piece of work; the plan
/// counts them for every encoding and takes the fastest. Refinery and warden are taken to run here, on the same
/// cores; a graphics processor is not measured, its costs are assumed.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith plan --rows 60000 --layers 784,128,10\n  blindsmith plan --rows 60000 --layers 784,512,10 --cloud gpu --json"
)]
pub struct Plan {
    /// Rows to train on.
    #[arg(long)]
    pub rows: usize,
    /// Inputs, hidden layers, outputs.
    #[arg(long, value_name = "WIDTHS")]
    pub layers: Widths,
    /// Rows of a batch, about [default: that of init].
    #[arg(long, value_name = "ROWS")]
    pub batch_rows: Option<usize>,
    /// Rows that the warden processes at a time; it splits larger batches.
    #[arg(long, value_name = "ROWS", default_value_t = MICRO_BATCH)]
    pub micro_batch: usize,
    /// The device of the refinery.
    #[arg(long, value_enum, default_value_t)]
    pub cloud: CloudName,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Assume that refinery and warden each have a machine like this one.
    #[arg(long)]
    pub apart: bool,
    /// Security level in bits: 128 or 256.
    #[arg(long, value_name = "BITS", default_value_t = 128)]
    pub security: u16,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Share of the shorter side's time that passes while the other side works, as measured by `bench step`.
const OVERLAP: f64 = 0.0;
/// Bytes of the sealed label of a row.
const LABEL_BYTES: usize = 4;
/// Root mean square of standardised features.
const INPUT_RMS: f64 = 0.125;

/// One layer of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    inputs: usize,
    outputs: usize,
    /// Whether the refinery multiplies it.
    offloaded: bool,
    /// n of its three products; none of one that the warden computes.
    n: Option<[u16; 3]>,
    cloud_core_ms: f64,
    warden_core_ms: f64,
}

/// The plan and what it predicts.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    rows: usize,
    layers: Vec<usize>,
    batch_rows: usize,
    /// Pieces in which a batch passes through the warden.
    micro_batches: usize,
    steps_per_epoch: usize,
    threads: usize,
    cloud: Cloud,
    security_bits: u16,
    /// n, m and r of stored rows, for forward products and for gradients.
    row_form: [usize; 3],
    column_form: [usize; 3],
    /// Rows of a block.
    block_rows: u32,
    /// Whether this is the plan of `init`, which plans with the reference costs.
    reference_plan: bool,
    /// A training step: wall-clock time, that of each side, core time of each side.
    pub step_ms: f64,
    cloud_step_ms: f64,
    warden_step_ms: f64,
    /// Core time of the refinery in a step.
    pub cloud_core_ms: f64,
    /// Core time of the warden in a step.
    pub warden_core_ms: f64,
    epoch_seconds: f64,
    cloud_epoch_seconds: f64,
    warden_epoch_seconds: f64,
    cloud_memory_bytes: u64,
    warden_memory_bytes: u64,
    /// Stored rows.
    disk_bytes: u64,
    upload_bytes_per_row: f64,
    /// Stored rows over float32.
    storage_factor: f64,
    /// From contributors to the refinery, once.
    upload_bytes: u64,
    /// Between refinery and warden.
    traffic_bytes_per_step: u64,
    traffic_bytes_per_epoch: u64,
    layer_plans: Vec<Layer>,
    /// Core time of a step, part by part.
    parts_core_ms: BTreeMap<String, f64>,
    /// What the machine gives, fewer cores than threads where others work, too.
    machine: Machine,
    /// Nanoseconds for each elementary piece of work, as measured here.
    costs: Costs,
}

impl Plan {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let threads = threads_or_all(self.threads);
        use_threads(threads)?;
        let planned = self.plan(threads)?;
        report(self.json, &planned, print)
    }

    /// Measures in the global thread pool, which has so many threads, and plans.
    pub fn plan(&self, threads: usize) -> Result<Planned, Failure> {
        let security = Security::try_from(self.security).map_err(|e| Failure::Settings(e.to_string()))?;
        if self.rows == 0 || self.batch_rows == Some(0) || self.micro_batch == 0 {
            return Err(Failure::Settings("at least one row is needed".into()));
        }
        let widths = self.layers.0.clone();
        let usual = Pace::of(self.rows, Task::Classify).batch_rows;
        let (batch_rows, steps) = batches(self.rows, self.batch_rows.unwrap_or(usual));
        let network = Network {
            widths,
            batch_rows,
            micro_batch_rows: self.micro_batch,
            input_rms: INPUT_RMS,
            security,
        };
        let cloud = self.cloud.into();
        let costs = calibration::measure(security, cloud)?;
        let machine = self.machine(cloud);
        let refused = |e: blindsmith_plan::PlanError| Failure::Settings(e.to_string());
        let chosen = plan(&network, &costs, &machine).map_err(refused)?;
        let reference =
            plan(&network, &Costs::reference(cloud), &Machine::reference(cloud)).map_err(refused)?;
        let prediction = predict(&network, &chosen, &costs, &machine);
        let upload = self.upload_bytes(&chosen);
        let per_row = upload / self.rows as f64;
        let epoch = |ns: f64| ns * steps as f64 * 1e-9;
        Ok(Planned {
            rows: self.rows,
            layers: network.widths.clone(),
            batch_rows,
            micro_batches: batch_rows.div_ceil(self.micro_batch),
            steps_per_epoch: steps,
            threads,
            cloud,
            security_bits: security.bits(),
            row_form: sizes(&chosen.row_form),
            column_form: sizes(&chosen.column_form),
            block_rows: chosen.block_rows,
            reference_plan: chosen == reference,
            step_ms: prediction.step_ns * 1e-6,
            cloud_step_ms: prediction.cloud_ns * 1e-6,
            warden_step_ms: prediction.warden_ns * 1e-6,
            cloud_core_ms: prediction.cloud_core_ns * 1e-6,
            warden_core_ms: prediction.warden_core_ns * 1e-6,
            epoch_seconds: epoch(prediction.step_ns),
            cloud_epoch_seconds: epoch(prediction.cloud_ns),
            warden_epoch_seconds: epoch(prediction.warden_ns),
            cloud_memory_bytes: prediction.memory.cloud_bytes as u64,
            warden_memory_bytes: prediction.memory.warden_bytes as u64,
            disk_bytes: upload as u64,
            upload_bytes_per_row: per_row,
            storage_factor: per_row / (4 * network.widths[0]) as f64,
            upload_bytes: upload as u64,
            traffic_bytes_per_step: prediction.traffic_bytes as u64,
            traffic_bytes_per_epoch: (prediction.traffic_bytes * steps as f64) as u64,
            layer_plans: layer_plans(&chosen, &prediction),
            parts_core_ms: parts(&prediction),
            machine,
            costs,
        })
    }

    /// What of this machine either side gets.
    fn machine(&self, cloud: Cloud) -> Machine {
        let (one_core, all_cores) = calibration::available_cores();
        let device = cloud == Cloud::Gpu;
        Machine {
            cloud_cores: if device { 1.0 } else { all_cores },
            warden_cores: all_cores,
            one_core,
            shared: !self.apart && !device,
            overlap: OVERLAP,
        }
    }

    /// Bytes of all rows in one upload.
    fn upload_bytes(&self, plan: &blindsmith_plan::Plan) -> f64 {
        let inputs = self.layers.0[0];
        let padded = |n: usize, form: &Encoding| n.next_multiple_of(form.roots());
        let row = LABEL_BYTES + packed_bytes(padded(inputs, &plan.row_form));
        let contraction_rows = padded(self.rows, &plan.column_form);
        let tags = 16 * self.rows.div_ceil(plan.block_rows as usize);
        (self.rows * row + contraction_rows * packed_bytes(inputs) + tags) as f64
    }
}

fn layer_plans(plan: &blindsmith_plan::Plan, prediction: &Prediction) -> Vec<Layer> {
    let layer = |(l, layer): (usize, &blindsmith_protocol::Layer)| {
        let of =
            |cloud| prediction.parts.iter().filter(move |p| p.layer == l && p.cloud == cloud).map(|p| p.ns);
        Layer {
            inputs: layer.inputs as usize,
            outputs: layer.outputs as usize,
            offloaded: layer.offload.is_some(),
            n: layer.offload.map(|o| [o.forward, o.gradient, o.input]),
            cloud_core_ms: of(true).sum::<f64>() * 1e-6,
            warden_core_ms: of(false).sum::<f64>() * 1e-6,
        }
    };
    plan.layers.iter().enumerate().map(layer).collect()
}

/// Milliseconds of a step under "cloud: ..." and "warden: ...".
fn parts(prediction: &Prediction) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    for part in &prediction.parts {
        let side = if part.cloud { "cloud" } else { "warden" };
        *parts.entry(format!("{side}: {}", part.name)).or_insert(0.0) += part.ns * 1e-6;
    }
    parts
}

/// Rows of a batch and batches of an epoch, as the sampler deals them.
fn batches(rows: usize, batch_rows: usize) -> (usize, usize) {
    let steps = ((rows + batch_rows / 2) / batch_rows).max(1);
    (rows.div_ceil(steps), steps)
}

fn print(p: &Planned) {
    println!("layer          multiplied by   n (Z, G, D)     cloud       warden     core time of a step");
    for layer in &p.layer_plans {
        let n = layer.n.map_or_else(String::new, |[z, g, d]| format!("{z}, {g}, {d}"));
        println!(
            "{:>5} x {:<5}  {:<14}  {:<12}  {:>8.2} ms  {:>8.2} ms",
            layer.inputs,
            layer.outputs,
            if layer.offloaded { "the refinery" } else { "the warden" },
            n,
            layer.cloud_core_ms,
            layer.warden_core_ms
        );
    }
    println!();
    println!(
        "a step of {} rows  {:>9.2} ms  (cloud {:.2}, warden {:.2}; {} threads each)",
        p.batch_rows, p.step_ms, p.cloud_step_ms, p.warden_step_ms, p.threads
    );
    println!("an epoch          {:>9.2} s   ({} steps)", p.epoch_seconds, p.steps_per_epoch);
    println!(
        "memory            {} at the refinery, {} at the warden",
        bytes(p.cloud_memory_bytes),
        bytes(p.warden_memory_bytes)
    );
    println!(
        "disk              {}, {:.0} bytes a row, {:.1} times float32",
        bytes(p.disk_bytes),
        p.upload_bytes_per_row,
        p.storage_factor
    );
    println!(
        "network           {} once from contributors, {} between refinery and warden in an epoch",
        bytes(p.upload_bytes),
        bytes(p.traffic_bytes_per_epoch)
    );
    if p.machine.warden_cores < 0.8 * p.threads as f64 {
        println!(
            "(others work on this machine: {:.1} of {} cores were to be had, and the times say so)",
            p.machine.warden_cores, p.threads
        );
    }
    if !p.reference_plan {
        println!("(init plans with reference costs and chooses otherwise)");
    }
}

/// Bytes in a unit that fits.
fn bytes(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.2} GB", n * 1e-9),
        n => format!("{:.1} MB", n * 1e-6),
    }
}

/// Which layers are multiplied where.
pub(super) fn in_words(offloaded: &[bool]) -> String {
    let of = |cloud: bool| {
        let numbers = offloaded.iter().enumerate().filter(|(_, o)| **o == cloud);
        numbers.map(|(l, _)| (l + 1).to_string()).collect::<Vec<_>>().join(", ")
    };
    match offloaded.iter().all(|o| *o) {
        true => format!("the refinery multiplies all layers: {}", of(true)),
        false => format!("the refinery multiplies layer {}, the warden layer {}", of(true), of(false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_who_multiplies_what() {
        assert_eq!(in_words(&[true]), "the refinery multiplies all layers: 1");
        assert_eq!(in_words(&[true, false, true]), "the refinery multiplies layer 1, 3, the warden layer 2");
    }

    #[test]
    fn batches_are_dealt_as_the_sampler_does() {
        for (rows, batch) in [(60_000, 256), (1000, 300), (10, 256), (1024, 1024), (1536, 1024)] {
            let blocks = blindsmith_learn::Block::of_upload(0, rows as u32, 1).collect();
            let sampler = blindsmith_learn::Sampler::new(blocks, batch, 0).unwrap();
            let (each, steps) = batches(rows, batch);
            assert_eq!(steps, sampler.batches_per_epoch());
            assert_eq!(each, sampler.in_order().map(|b| b.len()).max().unwrap());
        }
    }
}
