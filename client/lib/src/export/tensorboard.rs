//! TensorBoard's event file: records of TFRecord, each a protobuf message `Event`.
//!
//! Sources: `tensorflow/core/lib/io/record_writer.h` for the records and their masked CRC-32C, and
//! `tensorflow/core/util/event.proto` and `framework/summary.proto` for the messages.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

use super::Figure;
use crate::failure::Failure;
use crate::files::write_file;

/// The file that an export writes. TensorBoard reads files with `tfevents` in their names; the number is where it looks for a
/// time. The name is always the same: a later export replaces the file, and no figure is there twice.
const FILE: &str = "events.out.tfevents.0000000000.blindsmith";

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes figures as an event file into a directory, which is made if it is not there; an earlier export is replaced. The
/// file. Values are rounded to 32 bits, as TensorBoard keeps them.
///
/// # Errors
/// If the file cannot be written.
pub fn write_tensorboard(figures: &[Figure], dir: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(dir).map_err(|e| Failure::project(dir, e))?;
    let path = dir.join(FILE);
    write_file(&path, &events(figures))?;
    Ok(path)
}

fn events(figures: &[Figure]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let wall_time = figures.first().map_or(0.0, |first| first.at as f64);
    record(&Event { wall_time, file_version: Some("brain.Event:2".into()), ..Event::default() }, &mut bytes);
    for round in figures.chunk_by(|a, b| a.round == b.round) {
        let value = |f: &Figure| SummaryValue { tag: f.name.to_owned(), simple_value: Some(f.value as f32) };
        let summary = Some(Summary { value: round.iter().map(value).collect() });
        let step = i64::try_from(round[0].round).unwrap_or(i64::MAX);
        record(&Event { wall_time: round[0].at as f64, step, file_version: None, summary }, &mut bytes);
    }
    bytes
}

fn record(event: &Event, to: &mut Vec<u8>) {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    to.extend(length);
    to.extend(masked(&length).to_le_bytes());
    to.extend(&data);
    to.extend(masked(&data).to_le_bytes());
}

/// The checksum of a record: rotated and shifted, since a checksum of bytes that hold checksums is weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C bit by bit, from its polynomial.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        })
    }

    fn checked(bytes: &[u8], checksum: &[u8]) {
        let crc = crc(bytes);
        let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(checksum, masked.to_le_bytes());
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    /// A protobuf message as its fields: number, and the value's bytes (of a varint, as 8 bytes).
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    all.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                5 => 4,
                other => panic!("wire type {other}"),
            };
            all.push((key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        all
    }

    fn field(of: &[(u64, Vec<u8>)], number: u64) -> Option<&[u8]> {
        of.iter().find(|(n, _)| *n == number).map(|(_, bytes)| bytes.as_slice())
    }

    /// The messages of a file, by a reader that shares nothing with the writer.
    fn messages(mut bytes: &[u8]) -> Vec<Vec<(u64, Vec<u8>)>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            checked(&bytes[..8], &bytes[8..12]);
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let data = &bytes[12..12 + length];
            checked(data, &bytes[12 + length..16 + length]);
            all.push(fields(data));
            bytes = &bytes[16 + length..];
        }
        all
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros, and of ones.
        assert_eq!((crc(&[0; 32]), crc(&[0xff; 32])), (0x8a91_36aa, 0x62a8_ab43));
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn an_independent_reader_finds_each_figure_at_its_round() {
        let figure = |name, round, value| Figure { name, round, at: 1_700_000_000 + round, value };
        let figures = [
            figure("round/rows", 0, 0.0),
            figure("validation/loss", 1, 0.25),
            figure("round/rows", 1, 142.0),
            figure("validation/loss", 300, 0.125),
        ];
        let dir = tempfile::tempdir().unwrap();
        // A second export replaces the first.
        write_tensorboard(&figures[..1], dir.path()).unwrap();
        let path = write_tensorboard(&figures, dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let all = messages(&fs::read(path).unwrap());
        assert_eq!(field(&all[0], 3).unwrap(), b"brain.Event:2");
        let mut found = Vec::new();
        for event in &all[1..] {
            let step = field(event, 2).map_or(0, |step| u64::from_le_bytes(step.try_into().unwrap()));
            let time = f64::from_le_bytes(field(event, 1).unwrap().try_into().unwrap());
            assert_eq!(time, (1_700_000_000 + step) as f64);
            for (number, value) in fields(field(event, 5).unwrap()) {
                assert_eq!(number, 1);
                let value = fields(&value);
                let tag = String::from_utf8(field(&value, 1).unwrap().to_vec()).unwrap();
                let number = f32::from_le_bytes(field(&value, 2).unwrap().try_into().unwrap());
                found.push((tag, step, f64::from(number)));
            }
        }
        let expected: Vec<_> = figures.iter().map(|f| (f.name.to_owned(), f.round, f.value)).collect();
        assert_eq!(found, expected);
    }
}
