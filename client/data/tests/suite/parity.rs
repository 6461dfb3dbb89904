//! The same table as CSV and as Parquet becomes the same bits, whatever its columns are.

use std::sync::Arc;

use blindsmith_data::{
    Beyond, Choices, ColumnKind, Columns, Dataset, ReadOptions, Standardiser, Table, Targets,
};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, Int96};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use crate::golden;

/// A row; what is None is missing.
#[derive(Debug, Clone)]
struct Row {
    number: Option<f64>,
    count: Option<i64>,
    /// Numbers that are names.
    code: Option<i32>,
    city: Option<&'static str>,
    flag: Option<bool>,
    /// Days since 1970-01-01.
    day: Option<i32>,
    /// Microseconds since 1970-01-01.
    time: Option<i64>,
    /// Cents.
    price: Option<i32>,
    class: f64,
}

/// Text that a CSV has to quote, or that looks like something else.
const CITIES: [&str; 6] = ["Rome", "New York, NY", "\"The Hague\"", "None", "Ōsaka", "7"];

const SCHEMA: &str = "message m {
    OPTIONAL DOUBLE number; OPTIONAL INT64 count; OPTIONAL INT32 code; OPTIONAL BYTE_ARRAY city (STRING);
    OPTIONAL BOOLEAN flag; OPTIONAL INT32 day (DATE); OPTIONAL INT64 time (TIMESTAMP(MICROS, true));
    OPTIONAL INT96 julian; OPTIONAL INT32 price (DECIMAL(9, 2)); REQUIRED DOUBLE class;
}";

fn row() -> impl Strategy<Value = Row> {
    let maybe = prop::option::weighted::<std::ops::Range<i32>>;
    (
        (prop::option::weighted(0.9, -1e9..1e9), prop::option::weighted(0.9, any::<i32>()), maybe(0.9, 0..4)),
        (
            prop::option::weighted(0.9, prop::sample::select(&CITIES[..])),
            prop::option::weighted(0.9, any::<bool>()),
        ),
        (
            maybe(0.9, -30_000..60_000),
            prop::option::weighted(0.9, -(1_i64 << 55)..1 << 55),
            maybe(0.9, -9999..9999),
        ),
        0_i32..3,
    )
        .prop_map(|((number, count, code), (city, flag), (day, time, price), class)| Row {
            number,
            count: count.map(i64::from),
            code,
            city,
            flag,
            day,
            time,
            price,
            class: class.into(),
        })
}

/// Ninety rows, so that six values are few, in which every column has a value and lacks one.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), 90).prop_map(|mut rows| {
        for (i, row) in rows.iter_mut().take(12).enumerate() {
            *row = Row {
                number: Some(i as f64),
                count: Some(i as i64 + 2),
                code: Some(i as i32 % 4),
                city: Some(CITIES[i % 6]),
                flag: Some(i % 2 == 0),
                day: Some(i as i32),
                time: Some(i as i64),
                price: Some(i as i32),
                class: (i % 3) as f64,
            };
        }
        rows[12] = Row {
            number: None,
            count: None,
            code: None,
            city: None,
            flag: None,
            day: None,
            time: None,
            price: None,
            class: 0.0,
        };
        rows
    })
}

/// Year, month and day by walking from 1970-01-01, slowly and surely.
fn date(days: i64) -> String {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut left) = (1970, days);
    while left < 0 {
        year -= 1;
        left += if leap(year) { 366 } else { 365 };
    }
    while left >= if leap(year) { 366 } else { 365 } {
        left -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, left + 1)
}

fn time(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let (days, micros) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let seconds = micros / 1_000_000;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{clock}.{:06}Z", date(days), micros % 1_000_000)
}

fn csv(rows: &[Row]) -> String {
    fn cell<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let mut text = String::from("julian,number,count,code,city,flag,day,time,price,class\n");
    for row in rows {
        let city = row.city.map(|city| format!("\"{}\"", city.replace('"', "\"\"")));
        let cells = [
            cell(row.time.map(time)),
            cell(row.number.map(|x| format!("{x:e}"))),
            cell(row.count),
            cell(row.code),
            cell(city),
            cell(row.flag.map(|flag| if flag { "True" } else { "False" })),
            cell(row.day.map(|day| date(day.into()))),
            cell(row.time.map(time)),
            cell(row.price.map(|cents| {
                format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100)
            })),
            cell(Some(row.class)),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// Values that are there, and for each row whether one is.
fn column<T: Clone, U>(
    rows: &[Row],
    of: impl Fn(&Row) -> Option<T>,
    make: impl Fn(T) -> U,
) -> (Vec<U>, Vec<i16>) {
    let cells: Vec<Option<T>> = rows.iter().map(of).collect();
    let levels = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    (cells.into_iter().flatten().map(make).collect(), levels)
}

fn parquet(rows: &[Row]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    for rows in rows.chunks(40) {
        let mut group = writer.next_row_group().unwrap();
        let mut index = 0;
        while let Some(mut column_writer) = group.next_column().unwrap() {
            match (column_writer.untyped(), index) {
                (ColumnWriter::DoubleColumnWriter(writer), 0) => {
                    let (values, levels) = column(rows, |row| row.number, |x| x);
                    writer.write_batch(&values, Some(&levels), None)
                }
                (ColumnWriter::DoubleColumnWriter(writer), _) => {
                    let values: Vec<f64> = rows.iter().map(|row| row.class).collect();
                    writer.write_batch(&values, None, None)
                }
                (ColumnWriter::Int64ColumnWriter(writer), index) => {
                    let (values, levels) =
                        column(rows, |row| if index == 1 { row.count } else { row.time }, |x| x);
                    writer.write_batch(&values, Some(&levels), None)
                }
                (ColumnWriter::Int32ColumnWriter(writer), index) => {
                    let of = |row: &Row| match index {
                        2 => row.code,
                        5 => row.day,
                        _ => row.price,
                    };
                    let (values, levels) = column(rows, of, |x| x);
                    writer.write_batch(&values, Some(&levels), None)
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), _) => {
                    let (values, levels) = column(rows, |row| row.city, ByteArray::from);
                    writer.write_batch(&values, Some(&levels), None)
                }
                (ColumnWriter::BoolColumnWriter(writer), _) => {
                    let (values, levels) = column(rows, |row| row.flag, |x| x);
                    writer.write_batch(&values, Some(&levels), None)
                }
                (ColumnWriter::Int96ColumnWriter(writer), _) => {
                    let (values, levels) = column(rows, |row| row.time, int96);
                    writer.write_batch(&values, Some(&levels), None)
                }
                _ => panic!("a column of another type"),
            }
            .unwrap();
            column_writer.close().unwrap();
            index += 1;
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// As Spark writes times.
fn int96(micros: i64) -> Int96 {
    let (days, nanos) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000) as u64 * 1000);
    let mut value = Int96::new();
    value.set_data(nanos as u32, (nanos >> 32) as u32, (days + 2_440_588) as u32);
    value
}

fn read(file: &[u8], columns: Columns) -> Table {
    let columns = ReadOptions { columns, ..ReadOptions::labelled("class") };
    Table::read_bytes("t", file, &columns).unwrap()
}

fn bits(standardiser: &Standardiser, data: Dataset) -> (Vec<u32>, Vec<String>, Vec<u32>) {
    let rows = standardiser.apply(data.features).unwrap();
    let Targets::Classes { classes, index } = data.targets else { panic!("classes") };
    (rows.matrix.as_slice().iter().map(|x| x.to_bits()).collect(), classes.names().to_vec(), index)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn csv_and_parquet_are_the_same_bits(first in rows(), later in prop::collection::vec(row(), 1..50)) {
        let choices = Choices {
            categories: vec!["code".into()],
            imputations: vec!["median".parse().unwrap(), "city=Rome".parse().unwrap()],
            ..Choices::default()
        };
        let of_csv = read(csv(&first).as_bytes(), Columns::Inferred(choices.clone()));
        let of_parquet = read(&parquet(&first), Columns::Inferred(choices));
        let kind = |name: &str| {
            let column = of_parquet.preprocessing.columns().iter().find(|column| column.name == name);
            column.unwrap().kind.clone()
        };
        prop_assert_eq!(["number", "count", "price"].map(kind), [ColumnKind::Number, ColumnKind::Number, ColumnKind::Number]);
        prop_assert_eq!(["day", "time", "julian"].map(kind), [ColumnKind::Date, ColumnKind::Date, ColumnKind::Date]);
        prop_assert_eq!(kind("flag"), ColumnKind::Boolean);
        // The order of columns is that of the file that was first.
        let columns = Columns::Recorded { preprocessing: of_csv.preprocessing.clone(), beyond: Beyond::Clip };
        let aligned = read(&parquet(&first), columns.clone());
        prop_assert_eq!(&aligned.filled, &of_csv.filled);
        prop_assert_eq!(of_parquet.features.columns(), of_csv.features.columns());
        let standardiser = of_csv.preprocessing.fit(&of_csv.features, Standardiser::FACTOR, Beyond::Clip).unwrap();
        let classes = ["0", "1", "2"].map(String::from).to_vec();
        let known = blindsmith_data::Classes::new(classes).unwrap();
        let all = [of_csv, aligned].map(|table| bits(&standardiser, table.classify(None).unwrap()));
        prop_assert_eq!(&all[0], &all[1]);
        let all = [csv(&later).into_bytes(), parquet(&later)]
            .map(|file| bits(&standardiser, read(&file, columns.clone()).classify(Some(&known)).unwrap()));
        prop_assert_eq!(&all[0], &all[1]);
    }
}

#[test]
fn dates_and_times_of_other_tools_are_columns_of_dates() {
    for name in ["date.parquet", "timestamp.parquet"] {
        let columns = Columns::Inferred(Choices::default());
        let options = ReadOptions { columns, ..ReadOptions::labelled("y") };
        let table = Table::read(golden(&format!("users/{name}")), &options).unwrap();
        let dates: Vec<usize> = (0..table.features.columns())
            .filter(|&index| table.preprocessing.columns()[index].kind == ColumnKind::Date)
            .collect();
        assert_eq!(dates.len(), 1, "{name}: {:?}", table.preprocessing);
        // Of this century.
        let days = table.features.matrix().iter_rows().map(|row| row[dates[0]]);
        assert!(days.into_iter().all(|days| (10_957.0..47_000.0).contains(&days)), "{name}");
    }
}
