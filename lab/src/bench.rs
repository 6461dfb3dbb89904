//! `blindsmith bench`: what encryption costs, measured on the machine at hand.
//!
//! Every figure that compares is taken in one run, encrypted and plain in turns, and is a median, so that
//! other work on the machine slows both.

pub mod calibration;
mod gemm;
mod predict;
mod products;
mod report;
mod serving;
mod stage;
mod step;
mod upload;

use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use rustix::time::{ClockId, clock_gettime};

use blindsmith_client::Failure;

/// Measures products, training steps, uploads and predictions.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith bench gemm --rows 1024 --inputs 784 --outputs 512 --threads 1 --json\n  blindsmith bench step --rows 1024 --layers 784,512,10 --threads 2 --json\n  blindsmith bench upload --rows 10000 --inputs 784 --json\n  blindsmith bench predict --rows 1000 --layers 784,128,10 --json\n\nBLINDSMITH_BACKEND=avx512, avx2 or portable chooses the instructions."
)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The cloud's product alone against float32 of the same shape.
    Gemm(gemm::Gemm),
    /// A training step with real processes against the same step in the clear.
    Step(step::Step),
    /// Encryption of rows at a contributor.
    Upload(upload::Upload),
    /// Encrypted predictions with real processes.
    Predict(predict::Predict),
    /// Queries during training, and projects that share a refinery, with real processes.
    Serving(serving::Serving),
    /// Every table of BENCHMARKS.md, as Markdown on standard output.
    #[command(hide = true)]
    Report(report::Report),
}

impl Bench {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Gemm(command) => command.run(),
            What::Step(command) => command.run(),
            What::Upload(command) => command.run(),
            What::Predict(command) => command.run(),
            What::Serving(command) => command.run(),
            What::Report(command) => command.run(),
        }
    }
}

/// Widths of a network: inputs, hidden layers, outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widths(pub Vec<usize>);

impl FromStr for Widths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let widths = text.split(',').map(|w| w.trim().parse()).collect::<Result<Vec<usize>, _>>();
        match widths {
            Ok(widths) if widths.len() >= 2 && widths.iter().all(|w| (1..=1 << 16).contains(w)) => {
                Ok(Widths(widths))
            }
            _ => {
                Err("give inputs, hidden layers and outputs, such as 784,128,10; each from 1 to 65536".into())
            }
        }
    }
}

/// All cores, or as many as asked for.
pub fn threads_or_all(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())).max(1)
}

/// Makes this process use so many threads.
pub fn use_threads(threads: usize) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| Failure::Other(e.to_string()))
}

/// The median; of an even number, the mean of the two in the middle. 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

/// Wall-clock seconds of a call.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Core time of this process, or of the calling thread, so far.
pub fn core_seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_secs_f64()
}

/// Runs two pieces of work in turns until both have run `least` times and `budget` is spent or each ran
/// `most` times; the seconds of each run. One run of each comes before and is not counted.
pub fn in_turns(
    (least, most): (usize, usize),
    budget: Duration,
    mut a: impl FnMut(),
    mut b: impl FnMut(),
) -> (Vec<f64>, Vec<f64>) {
    a();
    b();
    let start = Instant::now();
    let (mut times_a, mut times_b) = (Vec::new(), Vec::new());
    while times_a.len() < least || (start.elapsed() < budget && times_a.len() < most) {
        times_a.push(seconds(&mut a));
        times_b.push(seconds(&mut b));
    }
    (times_a, times_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), 3.0);
    }

    #[test]
    fn widths_are_read() {
        assert_eq!("784, 128,10".parse(), Ok(Widths(vec![784, 128, 10])));
        for bad in ["784", "784,", "784,0,10", "784,-1", "784,99999999"] {
            assert!(bad.parse::<Widths>().is_err(), "{bad}");
        }
    }

    #[test]
    fn turns_alternate() {
        let order = std::cell::RefCell::new(String::new());
        let (a, b) = in_turns(
            (3, 3),
            Duration::ZERO,
            || order.borrow_mut().push('a'),
            || order.borrow_mut().push('b'),
        );
        assert_eq!((a.len(), b.len(), order.into_inner().as_str()), (3, 3, "abababab"));
    }
}
