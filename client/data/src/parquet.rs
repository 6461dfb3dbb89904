//! Parquet: flat columns of numbers, decimals, booleans, dates, times and text; uncompressed, snappy, gzip, zstd, brotli or LZ4.
//!
//! The parquet crate parses metadata and decodes pages; what a file declares is compared with what it has
//! before that crate allocates, and pages are unpacked within the limits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use half::f16;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use crate::collector::Collector;
use crate::columns::{Layout, Role};
use crate::error::{CellDefect, Error, FileDefect, Result};
use crate::instant::Instant;
use crate::parquet_footer::{self, FOOTER_BYTES};
use crate::parquet_pages::Pages;
use crate::source::{Seekable, Source};
use crate::table::ReadOptions;
use crate::value::Value;

const FORMAT: &str = "Parquet";
const BATCH_ROWS: usize = 4_096;

pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"PAR1")
}

pub(crate) fn read(source: Source<'_>, collector: &mut Collector<'_>) -> Result<()> {
    let file = source.file.clone();
    let content = source.seekable()?;
    // The crate's decoders assert what a damaged page can violate. Nothing is made of the cells after that.
    let outcome = catch_unwind(AssertUnwindSafe(|| match content {
        Seekable::File(content) => read_content(&file, content, collector),
        Seekable::Memory(content) => read_content(&file, content, collector),
    }));
    outcome.unwrap_or_else(|_| Err(Error::malformed(&file, FORMAT, "its pages contradict each other")))
}

fn read_content<R: ChunkReader + 'static>(
    file: &str,
    content: R,
    collector: &mut Collector<'_>,
) -> Result<()> {
    let damaged = |reason: ParquetError| Error::malformed(file, FORMAT, reason);
    check_footer(file, &content)?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&content).map_err(damaged)?;
    let schema = metadata.file_metadata().schema_descr();
    let groups = metadata.row_groups();
    let rows = check_row_groups(file, groups, content.len())?;
    begin(file, schema, &index_columns(metadata.file_metadata()), collector)?;
    let kinds = kinds(file, schema, collector)?;
    check_chunks(file, groups, collector.layout(), collector.options())?;
    if rows == 0 {
        return Err(Error::file(file, FileDefect::NoRows));
    }
    let content = Arc::new(content);
    collector.reserve(rows)?;
    collector.grow(rows)?;
    let mut first_row = 0;
    for group in groups {
        let rows = group.num_rows() as usize;
        for (column, kind) in kinds.iter().enumerate() {
            let Some(kind) = *kind else { continue };
            let chunk = group.column(column);
            let pages = Pages::open(&content, chunk, rows).map_err(damaged)?;
            let (row, end) = (first_row, first_row + rows);
            let mut sink = Sink { file, collector: &mut *collector, column, row, end };
            sink.fill(chunk, kind, pages)?;
        }
        first_row += rows;
    }
    Ok(())
}

fn check_footer<R: ChunkReader>(file: &str, content: &R) -> Result<()> {
    let damaged = |reason: &'static str| Error::malformed(file, FORMAT, reason);
    let unread = |reason: ParquetError| Error::malformed(file, FORMAT, reason);
    let end = content.len().checked_sub(FOOTER_BYTES as u64).ok_or_else(|| damaged("too short"))?;
    let footer = content.get_bytes(end, FOOTER_BYTES).map_err(unread)?;
    let length = parquet_footer::metadata_length(&footer).map_err(damaged)?;
    let start = end.checked_sub(length as u64).ok_or_else(|| damaged("it may be truncated"))?;
    let metadata = content.get_bytes(start, length).map_err(unread)?;
    parquet_footer::check(&metadata).map_err(damaged)
}

/// Rows in all, once every column chunk lies inside the file.
fn check_row_groups(file: &str, groups: &[RowGroupMetaData], length: u64) -> Result<u64> {
    let damaged = || Error::malformed(file, FORMAT, "a column lies outside the file; it may be truncated");
    let inside = |chunk: &ColumnChunkMetaData| {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let (start, size) = (u64::try_from(start).ok()?, u64::try_from(chunk.compressed_size()).ok()?);
        start.checked_add(size).filter(|&end| end <= length)
    };
    let mut rows = 0_u64;
    for group in groups {
        group.columns().iter().try_for_each(|chunk| inside(chunk).map(|_| ())).ok_or_else(damaged)?;
        let more = u64::try_from(group.num_rows()).map_err(|_| damaged())?;
        rows = rows.checked_add(more).ok_or_else(damaged)?;
    }
    Ok(rows)
}

/// Refuses compressions that are not supported, and more content than the limit, in the columns to be read.
fn check_chunks(
    file: &str,
    groups: &[RowGroupMetaData],
    layout: &Layout,
    options: &ReadOptions,
) -> Result<()> {
    let mut bytes = 0_u64;
    for group in groups {
        for (chunk, role) in group.columns().iter().zip(&layout.roles) {
            if *role == Role::Skip {
                continue;
            }
            if !Pages::<Bytes>::supports(chunk.compression()) {
                let what = format!("{} compression is", chunk.compression());
                let instead = "write it with snappy, gzip, zstd, brotli or LZ4_RAW".into();
                return Err(Error::file(file, FileDefect::Unsupported { what, instead }));
            }
            bytes = bytes.saturating_add(u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX));
        }
    }
    let limit = options.limits.file_bytes;
    if bytes > limit {
        let what = "bytes of content";
        let defect = FileDefect::TooLarge { what, found: bytes, limit, setting: "file_bytes" };
        return Err(Error::file(file, defect));
    }
    Ok(())
}

/// The columns that a data frame of pandas had as its index, as pandas notes in the file.
fn index_columns(metadata: &FileMetaData) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Pandas {
        // A range has no column, but an object that describes it.
        index_columns: Vec<serde_json::Value>,
    }
    let entries = metadata.key_value_metadata().into_iter().flatten();
    let note = entries.filter(|entry| entry.key == "pandas").find_map(|entry| entry.value.as_deref());
    let pandas = note.and_then(|note| serde_json::from_str::<Pandas>(note).ok());
    let names = pandas.into_iter().flat_map(|pandas| pandas.index_columns);
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn begin(
    file: &str,
    schema: &SchemaDescriptor,
    index: &[String],
    collector: &mut Collector<'_>,
) -> Result<()> {
    let count = schema.num_columns();
    let limit = collector.options().limits.columns;
    if count > limit {
        let (found, limit) = (count as u64, limit as u64);
        let defect = FileDefect::TooLarge { what: "columns", found, limit, setting: "columns" };
        return Err(Error::file(file, defect));
    }
    if count == 0 {
        return Err(Error::file(file, FileDefect::Empty));
    }
    let names = schema.columns().iter().map(|column| column.path().string()).collect();
    collector.begin(file, Some(names), count, index)
}

/// How a column's physical values are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
    Half,
    /// Integers of this power of ten below one.
    Decimal(u32),
    /// Days since 1970-01-01.
    Date,
    /// Times since 1970-01-01, so many to a second.
    Time(i64),
    /// Times by Julian day.
    JulianTime,
    Text,
}

/// The kind of every column that is not skipped; all columns of which none is known are refused together.
fn kinds(file: &str, schema: &SchemaDescriptor, collector: &Collector<'_>) -> Result<Vec<Option<Kind>>> {
    let layout = collector.layout();
    let unsupported = |index: usize, what: String, instead: &str| {
        let what = format!("column {}: {what}", layout.display(index));
        Error::file(file, FileDefect::Unsupported { what, instead: instead.into() })
    };
    let kind = |(index, role): (usize, &Role)| {
        if *role == Role::Skip {
            return Ok(None);
        }
        let column = schema.column(index);
        if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
            return Err(unsupported(index, "nested values are".into(), "flatten or ignore the column"));
        }
        let not_here = |kind: &Kind| kind.is_instant() && !collector.takes_instants(index);
        let kind = kind(&column).filter(|kind| !not_here(kind)).ok_or_else(|| {
            let what = format!("values of type {} are", type_name(&column));
            unsupported(index, what, conversion(&column))
        })?;
        if kind == Kind::Text && !collector.takes_text(index) {
            let instead = "convert the column to numbers, name it as the label, or ignore it";
            return Err(unsupported(index, "text as a number is".into(), instead));
        }
        Ok(Some(kind))
    };
    let (mut kinds, mut refused) = (Vec::new(), Vec::new());
    for outcome in layout.roles.iter().enumerate().map(kind) {
        match outcome {
            Ok(kind) => kinds.push(kind),
            Err(error) => refused.push(error),
        }
    }
    if refused.is_empty() { Ok(kinds) } else { Err(Error::columns(refused)) }
}

impl Kind {
    fn is_instant(self) -> bool {
        matches!(self, Kind::Date | Kind::Time(_) | Kind::JulianTime)
    }
}

/// The kind of a column of dates or times.
fn instant(column: &ColumnDescriptor) -> Option<Kind> {
    match (column.physical_type(), column.logical_type_ref(), column.converted_type()) {
        (Physical::INT32, Some(LogicalType::Date), _) | (Physical::INT32, None, ConvertedType::DATE) => {
            Some(Kind::Date)
        }
        (Physical::INT64, Some(LogicalType::Timestamp(timestamp)), _) => {
            Some(Kind::Time(match timestamp.unit {
                TimeUnit::MILLIS => 1_000,
                TimeUnit::MICROS => 1_000_000,
                TimeUnit::NANOS => 1_000_000_000,
            }))
        }
        (Physical::INT64, None, ConvertedType::TIMESTAMP_MILLIS) => Some(Kind::Time(1_000)),
        (Physical::INT64, None, ConvertedType::TIMESTAMP_MICROS) => Some(Kind::Time(1_000_000)),
        (Physical::INT96, ..) => Some(Kind::JulianTime),
        _ => None,
    }
}

fn kind(column: &ColumnDescriptor) -> Option<Kind> {
    if let Some(scale) = decimal(column) {
        return Some(Kind::Decimal(scale));
    }
    if let Some(kind) = instant(column) {
        return Some(kind);
    }
    match (column.physical_type(), column.logical_type_ref()) {
        (Physical::BOOLEAN, None) => Some(Kind::Bool),
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(integer))) => {
            Some(if integer.is_signed { Kind::Signed } else { Kind::Unsigned })
        }
        (Physical::INT32 | Physical::INT64, None) => match column.converted_type() {
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64 => Some(Kind::Signed),
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Some(Kind::Unsigned),
            _ => None,
        },
        (Physical::FLOAT | Physical::DOUBLE, None) => Some(Kind::Float),
        (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) => Some(Kind::Half),
        (Physical::BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum)) => Some(Kind::Text),
        (Physical::BYTE_ARRAY, None) => match column.converted_type() {
            ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM => Some(Kind::Text),
            _ => None,
        },
        _ => None,
    }
}

/// The scale of a column of decimals that fit 128 bits.
fn decimal(column: &ColumnDescriptor) -> Option<u32> {
    const DIGITS: i32 = 38;
    let scale = match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Decimal(decimal)), _) => decimal.scale,
        (None, ConvertedType::DECIMAL) => column.type_scale(),
        _ => return None,
    };
    let bytes = match column.physical_type() {
        Physical::INT32 | Physical::INT64 | Physical::BYTE_ARRAY => 16,
        Physical::FIXED_LEN_BYTE_ARRAY => column.type_length(),
        _ => return None,
    };
    u32::try_from(scale).ok().filter(|_| scale <= DIGITS && bytes <= 16)
}

/// The integer in two's complement that `bytes` are, most significant first.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut all = [fill; 16];
    all[16_usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

/// What to do about a column of a type that is not read.
fn conversion(column: &ColumnDescriptor) -> &'static str {
    let logical = column.logical_type_ref();
    let (date, time) = match (logical, column.converted_type(), column.physical_type()) {
        (Some(LogicalType::Date), ..) | (None, ConvertedType::DATE, _) => (true, false),
        (Some(LogicalType::Timestamp(_)), ..) | (_, _, Physical::INT96) => (false, true),
        (None, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS, _) => (false, true),
        _ => (false, false),
    };
    if date {
        "convert the column to a number, such as days since a day of your choice (pandas: \
         (pd.to_datetime(t[c]) - pd.Timestamp(\"2020-01-01\")).dt.days; SQL: c - DATE '2020-01-01'), or ignore it"
    } else if time {
        "convert the column to a number, such as seconds since a time of your choice (pandas: \
         (t[c] - pd.Timestamp(\"2020-01-01\")).dt.total_seconds(); SQL: epoch(c)), or ignore it"
    } else {
        "convert the column to numbers (labels: or text), or ignore it"
    }
}

fn type_name(column: &ColumnDescriptor) -> String {
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(logical), _) => format!("{logical:?}").chars().take(40).collect(),
        (None, ConvertedType::NONE) => column.physical_type().to_string(),
        (None, converted) => converted.to_string(),
    }
}

/// Takes one column chunk, top to bottom.
struct Sink<'a, 'c> {
    file: &'a str,
    collector: &'a mut Collector<'c>,
    column: usize,
    row: usize,
    end: usize,
}

impl Sink<'_, '_> {
    fn fill<R: ChunkReader + 'static>(
        &mut self,
        chunk: &ColumnChunkMetaData,
        kind: Kind,
        pages: Pages<R>,
    ) -> Result<()> {
        match get_column_reader(chunk.column_descr_ptr(), Box::new(pages)) {
            ColumnReader::BoolColumnReader(reader) => self.drain(reader, |bit| Ok(Value::Bool(*bit))),
            ColumnReader::Int32ColumnReader(reader) if let Kind::Decimal(scale) = kind => {
                self.drain(reader, |n| Ok(Value::Decimal { units: i128::from(*n), scale }))
            }
            ColumnReader::Int64ColumnReader(reader) if let Kind::Decimal(scale) = kind => {
                self.drain(reader, |n| Ok(Value::Decimal { units: i128::from(*n), scale }))
            }
            ColumnReader::ByteArrayColumnReader(reader) if let Kind::Decimal(scale) = kind => {
                self.drain(reader, |bytes| of_bytes(bytes.data(), scale))
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) if let Kind::Decimal(scale) = kind => {
                self.drain(reader, |bytes| of_bytes(bytes.data(), scale))
            }
            ColumnReader::Int32ColumnReader(reader) if kind == Kind::Date => {
                self.drain(reader, |n| Ok(Value::Instant(Instant::of_days(*n))))
            }
            ColumnReader::Int64ColumnReader(reader) if let Kind::Time(per_second) = kind => {
                self.drain(reader, |n| Ok(Value::Instant(Instant::of_units(*n, per_second))))
            }
            ColumnReader::Int32ColumnReader(reader) if kind == Kind::Unsigned => {
                self.drain(reader, |n| Ok(Value::Unsigned(u64::from(*n as u32))))
            }
            ColumnReader::Int32ColumnReader(reader) => {
                self.drain(reader, |n| Ok(Value::Signed(i64::from(*n))))
            }
            ColumnReader::Int64ColumnReader(reader) if kind == Kind::Unsigned => {
                self.drain(reader, |n| Ok(Value::Unsigned(*n as u64)))
            }
            ColumnReader::Int64ColumnReader(reader) => self.drain(reader, |n| Ok(Value::Signed(*n))),
            ColumnReader::FloatColumnReader(reader) => self.drain(reader, |x| Ok(Value::Single(*x))),
            ColumnReader::DoubleColumnReader(reader) => self.drain(reader, |x| Ok(Value::Float(*x))),
            ColumnReader::ByteArrayColumnReader(reader) => self.drain(reader, |bytes| {
                str::from_utf8(bytes.data()).map(Value::Text).map_err(|_| CellDefect::NotUtf8)
            }),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => self.drain(reader, |bytes| {
                let bytes = bytes.data().try_into().map_err(|_| CellDefect::NotANumber { hint: "" })?;
                Ok(Value::Float(f64::from(f16::from_le_bytes(bytes))))
            }),
            ColumnReader::Int96ColumnReader(reader) => self.drain(reader, |parts| {
                let [low, high, day] = *parts.data() else {
                    return Err(CellDefect::NotANumber { hint: "" });
                };
                let nanos = (u64::from(high) << 32 | u64::from(low)) as i64;
                Ok(Value::Instant(Instant::of_julian(day, nanos)))
            }),
        }
    }

    fn drain<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        convert: impl for<'v> Fn(&'v T::T) -> Result<Value<'v>, CellDefect>,
    ) -> Result<()> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        while self.row < self.end {
            levels.clear();
            values.clear();
            let wanted = (self.end - self.row).min(BATCH_ROWS);
            let (records, found, _) = reader
                .read_records(wanted, Some(&mut levels), None, &mut values)
                .map_err(|e| Error::malformed(self.file, FORMAT, e))?;
            if records == 0 || records > wanted {
                let reason = "a column has another number of values than there are rows";
                return Err(Error::malformed(self.file, FORMAT, reason));
            }
            // A column that cannot be null has no definition levels; elsewhere a present value has level 1.
            let nullable = found < records || !levels.is_empty();
            let mut present = values.iter();
            for record in 0..records {
                let value = match nullable && levels.get(record) != Some(&1) {
                    true => Ok(Value::Null),
                    false => present.next().map_or(Ok(Value::Null), &convert),
                };
                self.store(value)?;
            }
        }
        Ok(())
    }

    fn store(&mut self, value: Result<Value<'_>, CellDefect>) -> Result<()> {
        self.collector.store((self.row as u64, None), self.column, value)?;
        self.row += 1;
        Ok(())
    }
}

fn of_bytes(bytes: &[u8], scale: u32) -> Result<Value<'static>, CellDefect> {
    let units = big_endian(bytes).ok_or(CellDefect::NotANumber { hint: "" })?;
    Ok(Value::Decimal { units, scale })
}
