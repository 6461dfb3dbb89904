//! CSV (RFC 4180, read leniently: LF or CRLF, a byte order mark, blank lines and spaces around cells).
//!
//! The grammar is csv-core's. Records are gathered here, so that a cell or a record can be bounded while it
//! is read.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::collector::Collector;
use crate::columns::Role;
use crate::error::{CellDefect, Error, FileDefect, Result};
use crate::source::Source;
use crate::table::ReadOptions;
use crate::value::Value;

/// Bound on one record, text of skipped columns included.
const RECORD_BYTES: usize = 64 << 20;

pub(crate) fn read(source: Source<'_>, collector: &mut Collector<'_>) -> Result<()> {
    let (file, options) = (source.file.clone(), collector.options());
    refuse_other_formats(&source)?;
    let mut records = Records::new(source, options);
    if !records.next()? {
        return Err(Error::file(&file, FileDefect::Empty));
    }
    let names = options.header.then(|| records.header()).transpose()?;
    collector.begin(&file, names, records.columns(), &[])?;
    if options.header && !records.next()? {
        return Err(Error::file(&file, FileDefect::NoRows));
    }
    let mut row = 0;
    loop {
        store(&records, collector, &file, row)?;
        if !records.next()? {
            return Ok(());
        }
        row += 1;
    }
}

fn refuse_other_formats(source: &Source<'_>) -> Result<()> {
    let (what, instead) = match source.head.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("UTF-16 text is", "save the file as CSV in UTF-8"),
        [b'P', b'K', 3, 4, ..] => ("a zip archive (as .xlsx and .npz are) is", "unpack it or export CSV"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("a zstd file is", "unpack it, or compress it with gzip"),
        _ => return Ok(()),
    };
    let defect = FileDefect::Unsupported { what: what.into(), instead: instead.into() };
    Err(Error::file(&source.file, defect))
}

fn store(records: &Records<'_>, collector: &mut Collector<'_>, file: &str, row: u64) -> Result<()> {
    let line = Some(records.line);
    let (found, expected) = (records.columns(), collector.layout().roles.len());
    if found != expected {
        return Err(Error::Ragged { file: file.into(), row: row + 1, line, found, expected });
    }
    collector.grow(row + 1)?;
    for column in 0..expected {
        if collector.layout().roles[column] == Role::Skip {
            continue;
        }
        let value = str::from_utf8(records.cell(column)).map(Value::Text).map_err(|_| CellDefect::NotUtf8);
        collector.store((row, line), column, value)?;
    }
    Ok(())
}

/// One record at a time.
struct Records<'a> {
    source: Source<'a>,
    parser: Reader,
    /// The record's cells, one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
    columns_limit: usize,
    cell_limit: usize,
    newlines: u64,
    /// Line on which the record ends, counted from 1.
    line: u64,
}

impl<'a> Records<'a> {
    fn new(source: Source<'a>, options: &ReadOptions) -> Self {
        Self {
            source,
            parser: ReaderBuilder::new().delimiter(options.delimiter).build(),
            text: vec![0; 1 << 12],
            ends: vec![0; 64],
            count: 0,
            columns_limit: options.limits.columns,
            cell_limit: options.limits.cell_bytes,
            newlines: 0,
            line: 0,
        }
    }

    /// Reads a record; false at the end.
    fn next(&mut self) -> Result<bool> {
        let (mut written, mut cells) = (0, 0);
        loop {
            let input = self.source.buffered()?;
            let (result, read, wrote, ended) =
                self.parser.read_record(input, &mut self.text[written..], &mut self.ends[cells..]);
            let consumed = &input[..read];
            self.newlines += consumed.iter().filter(|&&b| b == b'\n').count() as u64;
            let closed_by_newline = consumed.last() == Some(&b'\n');
            self.source.consume(read);
            written += wrote;
            cells += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.widen_text()?,
                ReadRecordResult::OutputEndsFull => self.widen_ends(),
                ReadRecordResult::Record => {
                    self.line = self.newlines + u64::from(!closed_by_newline);
                    self.count = cells;
                    return self.check_columns().map(|()| true);
                }
                ReadRecordResult::End => return Ok(false),
            }
            if cells > self.columns_limit {
                self.count = cells;
                self.check_columns()?;
            }
        }
    }

    fn columns(&self) -> usize {
        self.count
    }

    fn cell(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    fn header(&self) -> Result<Vec<String>> {
        let name = |column| {
            let cell = self.cell(column);
            let reason = match str::from_utf8(cell) {
                Ok(text) if cell.len() <= self.cell_limit => return Ok(text.trim().to_string()),
                Ok(_) => format!("longer than {} bytes; look for an unbalanced quote", self.cell_limit),
                Err(_) => "not UTF-8 text; save the file as UTF-8".into(),
            };
            let reason = format!("the name of column {} is {reason}", column + 1);
            Err(Error::malformed(&self.source.file, "CSV", reason))
        };
        (0..self.count).map(name).collect()
    }

    fn widen_text(&mut self) -> Result<()> {
        if self.text.len() >= RECORD_BYTES {
            let reason = format!(
                "a record that starts before line {} is longer than {RECORD_BYTES} bytes; \
                 look for an unbalanced quote",
                self.newlines + 1
            );
            return Err(Error::malformed(&self.source.file, "CSV", reason));
        }
        self.text.resize(self.text.len() * 2, 0);
        Ok(())
    }

    fn widen_ends(&mut self) {
        self.ends.resize(self.ends.len() * 2, 0);
    }

    fn check_columns(&self) -> Result<()> {
        let (found, limit) = (self.count as u64, self.columns_limit as u64);
        if found <= limit {
            return Ok(());
        }
        let defect = FileDefect::TooLarge { what: "columns", found, limit, setting: "columns" };
        Err(Error::file(&self.source.file, defect))
    }
}
