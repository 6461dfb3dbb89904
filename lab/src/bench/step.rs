//! `blindsmith bench step`.

use std::time::{Duration, Instant};

use blindsmith_learn::Block;
use blindsmith_matrix::{Encoding, Security};
use blindsmith_plan::{Costs, Machine, Network, plan, predict};
use blindsmith_protocol::{ProjectSpec, Role, RoundSummary};
use blindsmith_twin::Run;
use clap::Args;
use rustix::time::ClockId;
use serde::Serialize;

use super::stage::{Setting, Stage, push_plain, synthetic};
use super::{Widths, core_seconds, median, threads_or_all, use_threads};
use crate::report;
use blindsmith_arguments::CloudName;
use blindsmith_client::Failure;
use blindsmith_client::training::MICRO_BATCH;

/// A training step: forward, loss, both gradients where the layer needs them, update. Refinery and warden run
/// as processes of their own; the same step in the clear runs in turns with theirs.
///
/// A round ends in an evaluation and in sealing the model, which are no part of a step: each measurement is
/// the difference of a long and a short round, divided by the difference of their steps.
#[derive(Args)]
pub struct Step {
    /// Rows of the batch.
    #[arg(long, default_value_t = 1024)]
    pub rows: usize,
    /// Inputs, hidden layers, outputs.
    #[arg(long, value_name = "WIDTHS", default_value = "784,128,10")]
    pub layers: Widths,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Measurements, of which the median counts.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub rounds: usize,
    /// Steps of a measurement [default: about a second's].
    #[arg(long, value_name = "N")]
    pub steps: Option<u32>,
    /// Security level in bits: 128 or 256.
    #[arg(long, value_name = "BITS", default_value_t = 128)]
    pub security: u16,
    /// Rows that the warden processes at a time.
    #[arg(long, value_name = "ROWS", default_value_t = MICRO_BATCH)]
    pub micro_batch: usize,
    /// The device that the plan assumes at the refinery.
    #[arg(long, value_enum, default_value_t)]
    pub cloud: CloudName,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Time of a whole run, about; fewer measurements are taken where they would exceed it.
const MOST: Duration = Duration::from_secs(110);
/// Steps that a run has at least: two rounds of one, then a short and a long one, beside uploads.
const LEAST_STEPS: f64 = 7.0;

/// What was measured, per step; times and core times are medians.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The step in the clear.
    pub plaintext_ms: f64,
    /// The encrypted step.
    pub encrypted_ms: f64,
    /// Their ratio.
    pub slowdown: f64,
    /// Wall-clock time in which the refinery multiplied.
    pub cloud_ms: f64,
    /// Wall-clock time in which the warden did not wait.
    pub warden_ms: f64,
    /// Core time of the step in the clear.
    pub plaintext_cpu_ms: f64,
    /// Core time of the refinery.
    pub cloud_cpu_ms: f64,
    /// Core time of the warden.
    pub warden_cpu_ms: f64,
    /// Of it, what went into checking what the refinery returned.
    pub check_ms: f64,
    /// Bytes between warden and refinery.
    pub traffic_bytes: u64,
    rows: usize,
    layers: Vec<usize>,
    threads: usize,
    security_bits: u16,
    /// For each layer, whether the refinery multiplies it.
    pub offloaded: Vec<bool>,
    /// n and rank of each layer's forward product; 0 where the warden computes it.
    pub n: Vec<usize>,
    rank: Vec<usize>,
    steps: u64,
    rounds: usize,
    /// Largest memory of the warden, of everything that it did.
    pub warden_peak_bytes: u64,
    backend: &'static str,
}

/// One measurement, per step: seconds, and bytes.
struct Sample {
    encrypted: f64,
    cloud: f64,
    warden: f64,
    cloud_cpu: f64,
    warden_cpu: f64,
    check: f64,
    traffic: f64,
    plain: f64,
    plain_cpu: f64,
}

impl Step {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let threads = threads_or_all(self.threads);
        use_threads(threads)?;
        let measured = self.measure(threads)?;
        report(self.json, &measured, |m| {
            println!("{} rows through {:?}, {threads} thread(s) a process, {}", m.rows, m.layers, m.backend);
            println!("                      wall         core time");
            println!("in the clear  {:9.2} ms  {:9.2} ms", m.plaintext_ms, m.plaintext_cpu_ms);
            println!("encrypted     {:9.2} ms  {:9.2} ms", m.encrypted_ms, m.cloud_cpu_ms + m.warden_cpu_ms);
            println!("  cloud       {:9.2} ms  {:9.2} ms", m.cloud_ms, m.cloud_cpu_ms);
            println!("  warden      {:9.2} ms  {:9.2} ms", m.warden_ms, m.warden_cpu_ms);
            println!("    checks                    {:9.2} ms", m.check_ms);
            println!("slowdown      {:9.2}", m.slowdown);
            println!("traffic       {:9.2} MB", m.traffic_bytes as f64 * 1e-6);
        })
    }

    fn setting(&self, threads: usize) -> Result<Setting, Failure> {
        let security = Security::try_from(self.security).map_err(|e| Failure::Settings(e.to_string()))?;
        let widths = self.layers.0.clone();
        let (cloud, micro_batch) = (self.cloud.into(), self.micro_batch);
        let setting = Setting { widths, batch_rows: self.rows, security, cloud, threads, micro_batch };
        self.accept(&setting)?;
        Ok(setting)
    }

    /// Refuses what cannot be measured in time, by what is predicted at the reference costs.
    fn accept(&self, setting: &Setting) -> Result<(), Failure> {
        let network = Network {
            widths: setting.widths.clone(),
            batch_rows: self.rows,
            micro_batch_rows: self.micro_batch,
            input_rms: 0.125,
            security: setting.security,
        };
        let costs = Costs::reference(setting.cloud);
        let plan = plan(&network, &costs, &Machine::reference(setting.cloud))
            .map_err(|e| Failure::Settings(e.to_string()))?;
        // The refinery of the benchmark multiplies on these cores, whatever the plan is for.
        let costs = Costs::reference(blindsmith_plan::Cloud::Cpu);
        let step = predict(&network, &plan, &costs, &Machine::idle(setting.threads, true)).step_ns * 1e-9;
        if step * LEAST_STEPS > MOST.as_secs_f64() {
            return Err(Failure::Settings(format!(
                "a step of this size takes about {step:.0} seconds here, too long to be measured: choose fewer rows or \
                 narrower layers"
            )));
        }
        Ok(())
    }

    /// Measures with so many threads, which the global thread pool must have.
    pub fn measure(&self, threads: usize) -> Result<Measured, Failure> {
        if self.rows == 0 || self.rounds == 0 || self.micro_batch == 0 {
            return Err(Failure::Settings("at least one row and one measurement are needed".into()));
        }
        let start = Instant::now();
        let setting = self.setting(threads)?;
        let mut stage = Stage::start(&setting)?;
        let (inputs, outputs) = (setting.widths[0], setting.widths[setting.widths.len() - 1]);
        let rows = synthetic(self.rows, inputs, outputs, 1);
        let block = synthetic(stage.project.spec.block_rows(), inputs, outputs, 2);
        stage.push(Role::Validation, (&block.0, &block.1))?;
        stage.push(Role::Training, (&rows.0, &rows.1))?;

        // The first round meets cold memory; two more tell how many steps to measure.
        stage.round(1)?;
        let steps = match self.steps {
            Some(steps) => steps,
            None => {
                let once = stage.round(1)?.seconds;
                let step = (stage.round(2)?.seconds - once).max(1e-3);
                (1.0 / step) as u32
            }
        };
        let steps = steps.clamp(1, 64);
        let mut plain = Plain::new(&stage, (&rows.0, &rows.1), threads)?;
        let mut samples = Vec::new();
        let mut peak = 0;
        let mut longest = Duration::ZERO;
        while samples.len() < self.rounds && (samples.is_empty() || start.elapsed() + longest < MOST) {
            let begun = Instant::now();
            let (short, before) = (stage.round(1)?, plain.round()?);
            let (long, after) = (stage.round(1 + steps)?, plain.round()?);
            peak = peak.max(long.warden_peak_bytes);
            samples.push(sample(&short, &long, [before, after]));
            longest = longest.max(begun.elapsed());
        }
        Ok(self.summarise((&setting, &stage.project.spec), &samples, (u64::from(steps), peak)))
    }

    fn summarise(
        &self,
        (setting, spec): (&Setting, &ProjectSpec),
        samples: &[Sample],
        (steps, peak): (u64, u64),
    ) -> Measured {
        let n = |l: &blindsmith_protocol::Layer| l.offload.map_or(0, |o| usize::from(o.forward));
        let rows = self.rows.min(self.micro_batch);
        let rank = |(l, n): (usize, usize)| match (l, n) {
            (0, _) => spec.row_form.rank(),
            (_, 0) => 0,
            _ => Encoding::fit(setting.security, n, rows).map_or(0, |e| e.rank()),
        };
        let of = |field: fn(&Sample) -> f64| median(samples.iter().map(field));
        let (encrypted, plain) = (of(|s| s.encrypted), of(|s| s.plain));
        Measured {
            plaintext_ms: plain * 1e3,
            encrypted_ms: encrypted * 1e3,
            slowdown: encrypted / plain,
            cloud_ms: of(|s| s.cloud) * 1e3,
            warden_ms: of(|s| s.warden) * 1e3,
            plaintext_cpu_ms: of(|s| s.plain_cpu) * 1e3,
            cloud_cpu_ms: of(|s| s.cloud_cpu) * 1e3,
            warden_cpu_ms: of(|s| s.warden_cpu) * 1e3,
            check_ms: of(|s| s.check) * 1e3,
            traffic_bytes: of(|s| s.traffic) as u64,
            rows: self.rows,
            layers: setting.widths.clone(),
            threads: setting.threads,
            security_bits: setting.security.bits(),
            offloaded: spec.layers.iter().map(|l| l.offload.is_some()).collect(),
            n: spec.layers.iter().map(n).collect(),
            rank: spec.layers.iter().map(n).enumerate().map(rank).collect(),
            steps,
            rounds: samples.len(),
            warden_peak_bytes: peak,
            backend: blindsmith_compute::backend::active().name(),
        }
    }
}

fn sample(short: &RoundSummary, long: &RoundSummary, plain: [(f64, f64); 2]) -> Sample {
    let steps = (long.steps - short.steps) as f64;
    let per_step = |of: fn(&RoundSummary) -> f64| (of(long) - of(short)) / steps;
    Sample {
        encrypted: per_step(|r| r.seconds),
        cloud: per_step(|r| r.cloud_seconds),
        warden: per_step(|r| r.warden_seconds),
        cloud_cpu: per_step(|r| r.cloud_cpu_seconds),
        warden_cpu: per_step(|r| r.warden_cpu_seconds),
        check: per_step(|r| r.check_cpu_seconds),
        traffic: per_step(|r| r.traffic_bytes as f64),
        plain: (plain[0].0 + plain[1].0) / 2.0,
        plain_cpu: (plain[0].1 + plain[1].1) / 2.0,
    }
}

/// The step in the clear.
struct Plain {
    run: Run,
    blocks: Vec<Block>,
    steps: u32,
}

impl Plain {
    /// Warm, and with rounds of as many steps as take a tenth of a second.
    fn new(
        stage: &Stage,
        rows: (&blindsmith_learn::Matrix, &blindsmith_learn::Targets),
        threads: usize,
    ) -> Result<Self, Failure> {
        let mut steps = 1;
        loop {
            let mut run = stage.twin(steps, threads)?;
            let upload = push_plain(&mut run, rows)?;
            let blocks = run.blocks(upload);
            let mut plain = Plain { run, blocks, steps };
            plain.round()?;
            let (seconds, _) = plain.round()?;
            if seconds * f64::from(steps) > 0.1 || steps >= 512 {
                return Ok(plain);
            }
            steps *= 4;
        }
    }

    /// Wall-clock and core seconds of a step.
    fn round(&mut self) -> Result<(f64, f64), Failure> {
        let (start, cpu) = (Instant::now(), core_seconds(ClockId::ProcessCPUTime));
        self.run.train_round(self.blocks.clone(), |_, _| {}).map_err(|e| Failure::Other(e.to_string()))?;
        let (wall, cpu) = (start.elapsed(), core_seconds(ClockId::ProcessCPUTime) - cpu);
        let steps = f64::from(self.steps);
        Ok((wall.max(Duration::from_nanos(1)).as_secs_f64() / steps, cpu / steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> Step {
        let layers = Widths(vec![64, 32, 10]);
        Step {
            rows: 128,
            layers,
            threads: None,
            rounds: 3,
            steps: None,
            security: 128,
            micro_batch: MICRO_BATCH,
            cloud: CloudName::Cpu,
            json: true,
        }
    }

    /// A round that takes 5 seconds beside its steps of 2 seconds.
    fn round(steps: u64) -> RoundSummary {
        let n = steps as f64;
        RoundSummary {
            steps,
            seconds: 5.0 + 2.0 * n,
            cloud_seconds: 1.0 + 0.5 * n,
            cloud_cpu_seconds: 1.0 + 0.75 * n,
            warden_seconds: 3.0 + 1.5 * n,
            warden_cpu_seconds: 3.0 + 2.5 * n,
            check_cpu_seconds: 0.5 + 0.125 * n,
            traffic_bytes: 100 + 1000 * steps,
            ..RoundSummary::default()
        }
    }

    #[test]
    fn what_a_round_does_beside_its_steps_is_not_counted() {
        let setting = step().setting(2).unwrap();
        let spec =
            setting.spec(&setting.recipe().unwrap(), blindsmith_client::Keys::generate().public()).unwrap();
        let samples: Vec<Sample> =
            [2, 4, 9].map(|steps| sample(&round(1), &round(steps), [(0.25, 0.5), (0.75, 0.5)])).into();
        let measured = serde_json::to_value(step().summarise((&setting, &spec), &samples, (1, 7))).unwrap();
        for (field, expected) in [
            ("plaintext_ms", 500.0),
            ("encrypted_ms", 2000.0),
            ("slowdown", 4.0),
            ("cloud_ms", 500.0),
            ("warden_ms", 1500.0),
            ("plaintext_cpu_ms", 500.0),
            ("cloud_cpu_ms", 750.0),
            ("warden_cpu_ms", 2500.0),
            ("check_ms", 125.0),
            ("traffic_bytes", 1000.0),
        ] {
            let found = measured[field].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-6, "{field}: {found}, not {expected}");
        }
    }

    #[test]
    fn what_would_take_too_long_is_refused() {
        assert!(step().setting(2).is_ok());
        let long = Step { rows: 1 << 16, layers: Widths(vec![1 << 14, 1 << 14, 10]), ..step() };
        assert!(matches!(long.setting(2), Err(Failure::Settings(_))));
    }

    #[test]
    fn the_first_layer_is_offloaded_and_the_plan_is_told() {
        let setting = step().setting(2).unwrap();
        let spec =
            setting.spec(&setting.recipe().unwrap(), blindsmith_client::Keys::generate().public()).unwrap();
        let measured = serde_json::to_value(step().summarise((&setting, &spec), &[], (1, 7))).unwrap();
        assert_eq!(measured["offloaded"], serde_json::json!([true, false]));
        let product = measured["n"][0].as_u64().unwrap() * measured["rank"][0].as_u64().unwrap();
        assert!(product > 0 && 2048 % product == 0, "{measured}");
        assert_eq!((&measured["n"][1], &measured["rank"][1]), (&0.into(), &0.into()));
    }
}
