//! Formats against files of their reference implementations, refusals named by their defect, and garbage.

mod arrays;
mod columns;
mod csv;
mod datasets;
mod directories;
mod garbage;
mod labels;
mod models;
mod parity;
mod parquet;
mod standardise;

use std::path::PathBuf;

use blindsmith_data::{Error, ReadOptions, Table};

/// A golden file; `data/make.py` wrote it.
fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

fn golden_bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap()
}

/// The features of a CSV with the label column `y`.
fn features(csv: &str) -> Vec<f64> {
    read(csv).unwrap().features.matrix().as_slice().to_vec()
}

fn read(csv: &str) -> Result<Table, Error> {
    Table::read_bytes("t.csv", csv.as_bytes(), &ReadOptions::labelled("y"))
}

/// The message of a refusal.
fn refusal<T>(result: Result<T, Error>) -> String {
    result.err().expect("must be refused").to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
