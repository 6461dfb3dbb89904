//! `blindsmith plan`.

use std::collections::BTreeMap;

use blindsmith_learn::{Loss, Recipe};
use blindsmith_matrix::plan::{
    Costs, Counts, LayerWork, Limits, Machine, Part, Prediction, choose, cost, predict, storage_factor,
    tiles, upload_bytes,
};
use blindsmith_matrix::{Security, Tile};
use clap::Args;
use serde::Serialize;

use super::bench::{Widths, calibration, threads_or_all, use_threads};
use super::report;
use super::training::MICRO_BATCH;
use crate::Failure;

/// Tells, before anything runs, which tiles are used and what training costs: time, memory, bytes.
///
/// A second of small measurements on this machine gives the time of each elementary step; the plan counts
/// the steps of every tile and takes the cheapest within the limits. Refinery and warden are taken to run
/// here, on the same cores.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith plan --rows 60000 --layers 784,128,10\n  blindsmith plan --rows 60000 --layers 784,512,10 --storage 4 --json"
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
    /// Rows that the warden treats at a time: larger batches pass in pieces.
    #[arg(long, value_name = "ROWS", default_value_t = MICRO_BATCH)]
    pub micro_batch: usize,
    /// Largest size of stored ciphertext over that of the rows in float32.
    #[arg(long, value_name = "FACTOR", default_value_t = 16.0)]
    pub storage: f64,
    /// What the warden's core time is worth in core time of the cloud.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub warden_weight: f64,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Refinery and warden have machines like this one each.
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
/// Bytes of the sealed label and weight of a row.
const LABEL_BYTES: usize = 8;

/// One layer of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    inputs: usize,
    outputs: usize,
    /// m, n, p.
    tile: [usize; 3],
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
    security_bits: u16,
    /// m, n, p of each layer.
    tiles: Vec<[usize; 3]>,
    /// Whether these are the tiles of `init`, which plans with the reference costs.
    reference_tiles: bool,
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
    /// Nanoseconds of a core for each elementary step, as measured here.
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
        if !(self.storage > 0.0 && self.warden_weight > 0.0) {
            return Err(Failure::Settings("the factors must be above zero".into()));
        }
        let widths = &self.layers.0;
        let usual = Recipe::new(widths, Loss::SoftmaxCrossEntropy).batch_rows;
        let (batch_rows, steps) = batches(self.rows, self.batch_rows.unwrap_or(usual));
        let limits =
            Limits { storage_factor: self.storage, warden_weight: self.warden_weight, ..Limits::default() };
        let reference = tiles(widths, batch_rows, security, &Costs::default(), &limits);
        let along = |(w, t): (&[usize], &Tile)| w[0].div_ceil(t.n()).max(w[1].div_ceil(t.p()));
        let costs =
            calibration::measure(security, widths.windows(2).zip(&reference).map(along).max().unwrap_or(1))?;
        let micro_batches = batch_rows.div_ceil(self.micro_batch);
        let layers: Vec<_> = LayerWork::of_network(widths, batch_rows)
            .into_iter()
            .map(|work| LayerWork { parts: micro_batches, ..work })
            .map(|work| (work, choose(&work, security, &costs, &limits).tile))
            .collect();
        let (one_core, all_cores) = calibration::available_cores();
        let machine = Machine { all_cores, one_core, shared: !self.apart, overlap: OVERLAP };
        let prediction = predict(&layers, &costs, &machine);

        let (first, tile) = layers[0];
        let upload = upload_bytes(self.rows, first.inputs, tile, LABEL_BYTES);
        let layer_plans = layers.iter().map(|(work, tile)| {
            let plan = cost(work, *tile, &costs);
            Layer {
                inputs: work.inputs,
                outputs: work.outputs,
                tile: [tile.m(), tile.n(), tile.p()],
                cloud_core_ms: plan.cloud_ns * 1e-6,
                warden_core_ms: plan.warden_ns * 1e-6,
            }
        });
        let Prediction { step_ns, cloud_ns, warden_ns, traffic_bytes, memory, .. } = prediction;
        let epoch = |ns: f64| ns * steps as f64 * 1e-9;
        Ok(Planned {
            rows: self.rows,
            layers: widths.clone(),
            batch_rows,
            micro_batches,
            steps_per_epoch: steps,
            threads,
            security_bits: security.bits(),
            tiles: layers.iter().map(|(_, t)| [t.m(), t.n(), t.p()]).collect(),
            reference_tiles: layers.iter().map(|(_, t)| *t).eq(reference),
            step_ms: step_ns * 1e-6,
            cloud_step_ms: cloud_ns * 1e-6,
            warden_step_ms: warden_ns * 1e-6,
            cloud_core_ms: prediction.cloud_core_ns * 1e-6,
            warden_core_ms: prediction.warden_core_ns * 1e-6,
            epoch_seconds: epoch(step_ns),
            cloud_epoch_seconds: epoch(cloud_ns),
            warden_epoch_seconds: epoch(warden_ns),
            cloud_memory_bytes: memory.cloud_bytes as u64,
            warden_memory_bytes: memory.warden_bytes as u64,
            disk_bytes: upload as u64,
            upload_bytes_per_row: upload / self.rows as f64,
            storage_factor: storage_factor(&tile),
            upload_bytes: upload as u64,
            traffic_bytes_per_step: traffic_bytes as u64,
            traffic_bytes_per_epoch: (traffic_bytes * steps as f64) as u64,
            layer_plans: layer_plans.collect(),
            parts_core_ms: parts(&layers, &costs),
            machine,
            costs,
        })
    }
}

/// Milliseconds of core time of a step under "cloud: ..." and "warden: ...".
fn parts(layers: &[(LayerWork, Tile)], costs: &Costs) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    for (work, tile) in layers {
        let counts = Counts::of(work, *tile);
        let mut add = |side: &str, part: &Part| {
            *parts.entry(format!("{side}: {}", part.name)).or_insert(0.0) += part.ns * 1e-6;
        };
        costs.cloud(&counts).iter().for_each(|part| add("cloud", part));
        costs.warden(&counts).iter().chain([&costs.learning(work)]).for_each(|part| add("warden", part));
    }
    parts
}

/// Rows of a batch and batches of an epoch, as the sampler deals them.
fn batches(rows: usize, batch_rows: usize) -> (usize, usize) {
    let steps = ((rows + batch_rows / 2) / batch_rows).max(1);
    (rows.div_ceil(steps), steps)
}

fn print(p: &Planned) {
    println!("layer          tile (m x n x p)     cloud       warden     core time of a step");
    for layer in &p.layer_plans {
        let [m, n, q] = layer.tile;
        println!(
            "{:>5} x {:<5}  {:<16}  {:>8.2} ms  {:>8.2} ms",
            layer.inputs,
            layer.outputs,
            format!("{m} x {n} x {q}"),
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
    if p.machine.all_cores < 0.8 * p.threads as f64 {
        println!(
            "(others work on this machine: {:.1} of {} cores were to be had, and the times say so)",
            p.machine.all_cores, p.threads
        );
    }
    if !p.reference_tiles {
        println!("(init plans with reference costs and takes other tiles)");
    }
}

/// Bytes in a unit that fits.
fn bytes(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.2} GB", n * 1e-9),
        n => format!("{:.1} MB", n * 1e-6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_dealt_as_the_sampler_does() {
        for (rows, batch) in [(60_000, 256), (1000, 300), (10, 256), (1024, 1024), (1536, 1024)] {
            let groups =
                (0..rows as u32).map(|b| blindsmith_learn::Group { upload: 0, first_block: b, blocks: 1 });
            let sampler = blindsmith_learn::Sampler::new(groups.collect(), 1, batch, 0).unwrap();
            let (each, steps) = batches(rows, batch);
            assert_eq!(steps, sampler.batches_per_epoch());
            assert_eq!(each, sampler.in_order().map(|g| g.len()).max().unwrap());
        }
    }
}
