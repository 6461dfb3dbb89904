//! `blindsmith bench upload`.

use std::io::{BufReader, Read, copy, sink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

use blindsmith_api::message::{Reply, Request};
use blindsmith_keys::Key;
use blindsmith_matrix::Security;
use blindsmith_protocol::{FrameError, Id, Role, read_head, write_frame};
use clap::Args;
use rustix::time::ClockId;
use serde::Serialize;

use super::stage::{Setting, synthetic};
use super::{core_seconds, median, threads_or_all, use_threads};
use crate::report;
use blindsmith_arguments::CloudName;
use blindsmith_client::spec::sizes;
use blindsmith_client::training::MICRO_BATCH;
use blindsmith_client::{Connection, Failure, Sender, send};

/// The work of a contributor: encrypt rows, pack them to 50 bits a residue, take their digests, and write them to a
/// socket, whose other end discards them.
#[derive(Args)]
pub struct Upload {
    /// Rows of the upload.
    #[arg(long, default_value_t = 10_000)]
    pub rows: usize,
    /// Features of a row.
    #[arg(long, default_value_t = 784)]
    pub inputs: usize,
    /// Outputs of the first layer, on which the plan of uploads depends.
    #[arg(long, default_value_t = 128)]
    pub outputs: usize,
    /// Rows of a batch, on which the plan of uploads depends as well.
    #[arg(long, default_value_t = 1024)]
    pub batch_rows: usize,
    /// Threads that encrypt [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// The device that the plan assumes at the refinery.
    #[arg(long, value_enum, default_value_t)]
    pub cloud: CloudName,
    /// Uploads, of which the median counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
    /// Security level in bits: 128 or 256.
    #[arg(long, value_name = "BITS", default_value_t = 128)]
    pub security: u16,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// What was measured: medians.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Core time for each row, in microseconds.
    pub us_per_row: f64,
    /// Bytes that a row takes, its share of labels and both forms included.
    pub bytes_per_row: f64,
    /// Rows a second.
    pub rows_per_second: f64,
    /// Bytes that a row takes over those of its float32 features.
    pub storage_factor: f64,
    rows: usize,
    inputs: usize,
    threads: usize,
    /// n, m and r of both forms.
    row_form: [usize; 3],
    column_form: [usize; 3],
    /// Rows of a block.
    block_rows: u32,
    backend: &'static str,
}

impl Upload {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let threads = threads_or_all(self.threads);
        use_threads(threads)?;
        let measured = self.measure(threads)?;
        report(self.json, &measured, |m| {
            println!("{} rows of {} features, {threads} thread(s), {}", m.rows, m.inputs, m.backend);
            println!("{:9.2} us of one core for each row", m.us_per_row);
            println!("{:9.0} rows a second", m.rows_per_second);
            println!("{:9.0} bytes for each row, {:.1} times float32", m.bytes_per_row, m.storage_factor);
        })
    }

    /// Measures with so many threads, which the global thread pool must have.
    pub fn measure(&self, threads: usize) -> Result<Measured, Failure> {
        if self.rows == 0 || self.rounds == 0 {
            return Err(Failure::Settings("at least one row and one upload are needed".into()));
        }
        let security = Security::try_from(self.security).map_err(|e| Failure::Settings(e.to_string()))?;
        let widths = vec![self.inputs, self.outputs];
        let setting = Setting {
            widths,
            batch_rows: self.batch_rows,
            security,
            cloud: self.cloud.into(),
            threads,
            micro_batch: MICRO_BATCH,
        };
        let spec = setting.spec(&setting.recipe()?, blindsmith_client::Keys::generate().public())?;
        let (features, targets) = synthetic(self.rows, self.inputs, self.outputs, 3);
        let other = |e: std::io::Error| Failure::Other(e.to_string());
        let dir = tempfile::tempdir().map_err(other)?;
        let socket = dir.path().join("sink.sock");
        let listener = UnixListener::bind(&socket).map_err(other)?;

        let (mut wall, mut core, mut bytes) = (Vec::new(), Vec::new(), 0);
        for round in 0..=self.rounds {
            let mut connection = Connection::open(&socket)?;
            let reader = swallow(listener.accept().map_err(other)?.0);
            let (start, before) = (Instant::now(), core_seconds(ClockId::ProcessCPUTime));
            let seed = Key::random();
            let who = Sender { contributor: Id([0; 32]), terms: [0; 32], seed: &seed, era: 0 };
            let sent = send(&mut connection, &spec, who, Role::Training, (&features, &targets), &mut |_| {})?;
            let seconds = start.elapsed().as_secs_f64();
            drop(connection);
            let swallowing = reader.join().map_err(|_| Failure::Other("the sink failed".into()))??;
            bytes = sent.bytes;
            // The first upload meets cold memory.
            if round > 0 {
                wall.push(seconds);
                core.push(core_seconds(ClockId::ProcessCPUTime) - before - swallowing);
            }
        }
        let rows = self.rows as f64;
        let bytes_per_row = bytes as f64 / rows;
        Ok(Measured {
            us_per_row: median(core) / rows * 1e6,
            bytes_per_row,
            rows_per_second: rows / median(wall),
            storage_factor: bytes_per_row / (4 * self.inputs) as f64,
            rows: self.rows,
            inputs: self.inputs,
            threads,
            row_form: sizes(&spec.row_form),
            column_form: sizes(&spec.column_form),
            block_rows: spec.block_rows,
            backend: blindsmith_ring::backend::active().name(),
        })
    }
}

/// Answers like a refinery that keeps nothing; returns the core time that this took.
fn swallow(stream: UnixStream) -> JoinHandle<Result<f64, FrameError>> {
    spawn(move || {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::with_capacity(1 << 20, stream);
        loop {
            let (request, body) = match read_head::<Request>(&mut reader) {
                Ok(read) => read,
                Err(FrameError::Closed) => return Ok(core_seconds(ClockId::ThreadCPUTime)),
                Err(e) => return Err(e),
            };
            copy(&mut (&mut reader).take(body as u64), &mut sink())?;
            match request {
                Request::Blocks { .. } => {}
                Request::Commit { header } => {
                    write_frame(&mut writer, &Reply::Accepted { upload: header.id(), new: true }, &[])?;
                }
                _ => write_frame(&mut writer, &Reply::Done, &[])?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_reaches_the_sink_whole() {
        let upload = Upload {
            rows: 50,
            inputs: 40,
            outputs: 10,
            batch_rows: 64,
            threads: None,
            cloud: CloudName::Cpu,
            rounds: 1,
            security: 128,
            json: true,
        };
        let measured = serde_json::to_value(upload.measure(1).unwrap()).unwrap();
        assert!(measured["us_per_row"].as_f64().is_some_and(|v| v > 0.0), "{measured}");
        // Labels of 4 bytes a row, with a tag for each block; both forms, 50 bytes for eight residues.
        let numbers = |form: &str| serde_json::from_value::<[usize; 3]>(measured[form].clone()).unwrap();
        let (n, g) = (numbers("row_form")[0], numbers("column_form")[0]);
        let block = measured["block_rows"].as_u64().unwrap() as usize;
        let bytes = |rows: usize| {
            let (row, column) = (40usize.next_multiple_of(n).div_ceil(8) * 50, 40 / 8 * 50);
            rows * (4 + row) + 16 + rows.next_multiple_of(g) * column
        };
        let expected = 50 / block * bytes(block) + if 50 % block > 0 { bytes(50 % block) } else { 0 };
        assert_eq!(measured["bytes_per_row"].as_f64(), Some(expected as f64 / 50.0));
    }
}
