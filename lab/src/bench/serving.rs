//! `blindsmith bench serving`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blindsmith_api::message::Request;
use blindsmith_matrix::Security;
use blindsmith_plan::Cloud;
use blindsmith_protocol::{Role, RoundSummary};
use clap::Args;
use serde::Serialize;

use super::stage::{Grounds, Setting, Stage, synthetic};
use super::{Widths, median, threads_or_all, use_threads};
use crate::report;
use blindsmith_client::Failure;
use blindsmith_client::training::MICRO_BATCH;

/// Rows of a batch.
const BATCH_ROWS: usize = 256;
/// Rows that a project is trained on.
const ROWS: usize = 1024;
/// By how much the larger project's rounds have more epochs.
const LARGER: u32 = 8;

/// Queries without and with running rounds, and rounds of two projects at one refinery.
#[derive(Args)]
pub struct Serving {
    /// Numbers of queriers that ask at the same time, each one query after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 8, 32], value_parser = clap::value_parser!(u32).range(1..=256))]
    queriers: Vec<u32>,
    /// Rows of a query.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536))]
    rows: u32,
    /// Inputs, hidden layers, outputs.
    #[arg(long, value_name = "WIDTHS", default_value = "784,128,10")]
    layers: Widths,
    /// Threads of each process [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seconds for which each figure is measured.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    layers: Vec<usize>,
    rows: u32,
    threads: usize,
    /// Training steps a second while nobody asks.
    steps_per_second: f64,
    queries: Vec<Queries>,
    /// Two projects, the second with rounds that many times as long, each with a round that waits at any time.
    shared: Vec<Share>,
}

/// Queries of so many queriers.
#[derive(Debug, Serialize)]
struct Queries {
    queriers: u32,
    /// Whether rounds went on.
    training: bool,
    answered: usize,
    /// Answers that were no predictions.
    refused: usize,
    latency_ms_median: f64,
    latency_ms_99: f64,
    rows_per_second: f64,
    /// Training steps a second meanwhile.
    steps_per_second: Option<f64>,
}

/// A project's part of a refinery.
#[derive(Debug, Serialize)]
struct Share {
    /// Epochs of its rounds.
    epochs: u32,
    rounds: usize,
    /// Seconds that it was worked for, of all seconds.
    share: f64,
    /// Of a round alone, and from one round's end to the next one's beside the other project: medians.
    round_seconds: f64,
    wait_seconds: f64,
    /// The longest such time.
    longest_wait_seconds: f64,
}

impl Serving {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let threads = threads_or_all(self.threads);
        use_threads(threads)?;
        let measured = self.measure(threads)?;
        report(self.json, &measured, |m| {
            println!("{:?}, {threads} thread(s) a process; queries of {} rows", m.layers, m.rows);
            println!("training alone: {:.1} steps a second", m.steps_per_second);
            println!("queriers  rounds   median     99 %  rows/s  refused  steps/s");
            for q in &m.queries {
                let steps = q.steps_per_second.map_or_else(|| "-".into(), |steps| format!("{steps:.1}"));
                println!(
                    "{:8}  {:6} {:6.1} ms {:6.1} ms {:6.0} {:8} {:>8}",
                    q.queriers,
                    if q.training { "yes" } else { "no" },
                    q.latency_ms_median,
                    q.latency_ms_99,
                    q.rows_per_second,
                    q.refused,
                    steps
                );
            }
            println!("epochs a round  rounds  share  a round    with waiting  longest");
            for s in &m.shared {
                println!(
                    "{:14} {:7} {:5.0} % {:7.2} s {:11.2} s {:7.2} s",
                    s.epochs,
                    s.rounds,
                    100.0 * s.share,
                    s.round_seconds,
                    s.wait_seconds,
                    s.longest_wait_seconds
                );
            }
        })
    }

    fn measure(&self, threads: usize) -> Result<Measured, Failure> {
        let (widths, security) = (self.layers.0.clone(), Security::Bits128);
        let (batch_rows, micro_batch, cloud) = (BATCH_ROWS, MICRO_BATCH, Cloud::Cpu);
        let setting = Setting { widths, batch_rows, security, cloud, threads, micro_batch };
        let grounds = Grounds::start(threads)?;
        let mut stages = [Stage::on(grounds.clone(), &setting)?, Stage::on(grounds, &setting)?];
        let (inputs, outputs) = (setting.widths[0], setting.widths[setting.widths.len() - 1]);
        for (seed, stage) in (1..).zip(&mut stages) {
            let (features, targets) = synthetic(ROWS, inputs, outputs, seed);
            stage.push(Role::Training, (&features, &targets))?;
            // Nothing is read or made for the first time later on.
            stage.round(1)?;
        }
        let [stage, other] = &mut stages;
        let budget = Duration::from_secs_f64(self.seconds);
        let (alone, ()) = while_training(stage, || std::thread::sleep(budget))?;
        let mut queries = Vec::new();
        for queriers in &self.queriers {
            for training in [false, true] {
                queries.push(self.queries(stage, *queriers, training)?);
            }
        }
        let epochs = [1, LARGER];
        let mut single = Vec::new();
        for (stage, epochs) in [&mut *stage, &mut *other].into_iter().zip(epochs) {
            single.push(median(
                (0..3).map(|_| stage.round(epochs)).collect::<Result<Vec<_>, _>>()?.iter().map(|r| r.seconds),
            ));
        }
        let shared = share([stage, other], epochs, &single, 2 * budget)?;
        Ok(Measured {
            layers: setting.widths,
            rows: self.rows,
            threads,
            steps_per_second: alone,
            queries,
            shared,
        })
    }

    fn queries(&self, stage: &Stage, queriers: u32, training: bool) -> Result<Queries, Failure> {
        let inputs = self.layers.0[0];
        let (rows, _) = synthetic(self.rows as usize, inputs, 2, 4);
        let budget = Duration::from_secs_f64(self.seconds);
        let ask = || -> Result<Vec<(f64, bool)>, Failure> {
            std::thread::scope(|scope| {
                let asking: Vec<_> = (0..queriers)
                    .map(|_| {
                        scope.spawn(|| -> Result<Vec<(f64, bool)>, Failure> {
                            let mut connection = stage.grounds.connect()?;
                            let (start, mut asked) = (Instant::now(), Vec::new());
                            while start.elapsed() < budget {
                                let begun = Instant::now();
                                let answered = match stage.ask_over(&mut connection, &rows) {
                                    Ok(_) => true,
                                    Err(Failure::Refused(_)) => false,
                                    Err(e) => return Err(e),
                                };
                                asked.push((begun.elapsed().as_secs_f64(), answered));
                            }
                            Ok(asked)
                        })
                    })
                    .collect();
                let mut all = Vec::new();
                for asking in asking {
                    let asked = asking.join().map_err(|_| Failure::Other("a querier panicked".into()))??;
                    all.extend(asked);
                }
                Ok(all)
            })
        };
        let start = Instant::now();
        let (steps_per_second, asked) = match training {
            true => {
                let (steps, asked) = while_training(stage, ask)?;
                (Some(steps), asked?)
            }
            false => (None, ask()?),
        };
        // Until the last of them was answered.
        let seconds = start.elapsed().as_secs_f64();
        let mut times: Vec<f64> = asked.iter().filter(|(_, ok)| *ok).map(|(seconds, _)| *seconds).collect();
        times.sort_by(f64::total_cmp);
        let answered = times.len();
        let at = (answered * 99 / 100).min(answered.saturating_sub(1));
        Ok(Queries {
            queriers,
            training,
            answered,
            refused: asked.len() - answered,
            latency_ms_99: 1e3 * times.get(at).copied().unwrap_or(0.0),
            latency_ms_median: 1e3 * median(times),
            rows_per_second: f64::from(self.rows) * answered as f64 / seconds,
            steps_per_second,
        })
    }
}

/// Has rounds run, one after the other, while something is done; their steps a second.
fn while_training<T>(stage: &Stage, work: impl FnOnce() -> T) -> Result<(f64, T), Failure> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let rounds = scope.spawn(|| {
            let mut connection = stage.grounds.connect()?;
            let (start, mut steps) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                steps += stage.round_over(&mut connection, LARGER)?.steps;
            }
            Ok::<f64, Failure>(steps as f64 / start.elapsed().as_secs_f64())
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let steps = rounds.join().map_err(|_| Failure::Other("a round's thread panicked".into()))??;
        Ok((steps, done))
    })
}

/// How often it is looked whether a project's next round is to be asked for.
const LOOK: Duration = Duration::from_millis(10);

/// Rounds of two projects for each of which one waits while another runs, and when they ended.
type Backlog = (Vec<RoundSummary>, Vec<Instant>);

/// Keeps a round of the project waiting for so long.
fn backlog(stage: &Stage, epochs: u32, (start, budget): (Instant, Duration)) -> Result<Backlog, Failure> {
    let (mut connection, project) = (stage.grounds.connect()?, stage.project.id());
    let mut status = Some(connection.status(project)?);
    let before = status.as_ref().map_or(0, |s| s.rounds.len());
    let mut ends = Vec::new();
    while start.elapsed() < budget {
        connection.refresh(project, &mut status)?;
        let (rounds, queued) = status.as_ref().map_or((0, 0), |s| (s.rounds.len(), s.queued));
        ends.resize(rounds - before, Instant::now());
        if queued == 0 {
            connection.command(&Request::Refine { project, epochs: Some(epochs) }, &[])?;
        }
        std::thread::sleep(LOOK);
    }
    let rounds = status.map(|s| s.rounds[before..].to_vec()).unwrap_or_default();
    // Those that wait are run, and count no more.
    connection.watch(project, |_| {})?;
    Ok((rounds, ends))
}

/// Two projects that each have a round waiting at any time.
fn share(
    stages: [&Stage; 2],
    epochs: [u32; 2],
    alone: &[f64],
    budget: Duration,
) -> Result<Vec<Share>, Failure> {
    std::thread::scope(|scope| {
        let start = Instant::now();
        let asking = stages
            .iter()
            .zip(epochs)
            .map(|(stage, epochs)| scope.spawn(move || backlog(stage, epochs, (start, budget))));
        let asking: Vec<_> = asking.collect();
        let mut found = Vec::new();
        for asking in asking {
            found.push(asking.join().map_err(|_| Failure::Other("a project's thread panicked".into()))??);
        }
        let shares = found.iter().zip(epochs).zip(alone).map(|(((rounds, ends), epochs), alone)| {
            let between = || ends.windows(2).map(|two| (two[1] - two[0]).as_secs_f64());
            Share {
                epochs,
                rounds: rounds.len(),
                share: rounds.iter().map(|round| round.seconds).sum::<f64>() / budget.as_secs_f64(),
                round_seconds: *alone,
                wait_seconds: median(between()),
                longest_wait_seconds: between().fold(0.0, f64::max),
            }
        });
        Ok(shares.collect())
    })
}
