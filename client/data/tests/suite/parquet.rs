use blindsmith_data::{LabelKind, Limits, ReadOptions, Table, Targets};

use crate::{golden, golden_bytes, gzip, refusal};

const LABEL: &str = "label";

/// x, f, h, n, u, w, flag of the five golden rows.
const ROWS: [[f64; 7]; 5] = [
    [1.5, 0.5, 1.5, 1.0, 0.0, 0.0, 1.0],
    [-2.0, 1.5, -2.0, -2.0, 1.0, 1.0, 0.0],
    [0.25, 2.5, 0.25, 3.0, 2.0, 2.0, 1.0],
    [3.0, 3.5, 3.0, -4.0, 254.0, 3.0, 1.0],
    [1e-3, 4.5, 4.0, 5.0, 255.0, 4_294_967_295.0, 0.0],
];

fn check(table: Table) {
    assert_eq!(table.features.names().unwrap(), ["x", "f", "h", "n", "u", "w", "flag"]);
    assert_eq!(table.features.matrix().as_slice(), ROWS.as_flattened());
    let Targets::Classes { classes, index } = table.classify(None).unwrap().targets else {
        panic!("classes")
    };
    assert_eq!(classes.names(), ["maybe", "no", "yes"]);
    assert_eq!(index, [2, 1, 2, 1, 0]);
}

#[test]
fn codecs_and_page_versions_agree() {
    for name in ["none", "snappy", "gzip", "zstd", "pages_v2"] {
        let file = format!("{name}.parquet");
        check(Table::read(golden(&file), &ReadOptions::labelled(LABEL)).unwrap());
        check(Table::read_bytes(&file, &golden_bytes(&file), &ReadOptions::labelled(LABEL)).unwrap());
    }
    let packed = gzip(&golden_bytes("snappy.parquet"));
    check(Table::read_bytes("packed", &packed, &ReadOptions::labelled(LABEL)).unwrap());
}

#[test]
fn labels_of_other_types() {
    for (label, classes) in [("n", ["-4", "-2", "1", "3", "5"]), ("f", ["0.5", "1.5", "2.5", "3.5", "4.5"])] {
        let options = ReadOptions { ignore: vec![LABEL.into()], ..ReadOptions::labelled(label) };
        let data = Table::read(golden("none.parquet"), &options).unwrap().classify(None).unwrap();
        let Targets::Classes { classes: found, .. } = data.targets else { panic!("classes") };
        assert_eq!(found.names(), classes);
    }
    let options = ReadOptions {
        labels: vec!["flag".into(), "x".into()],
        label_kind: LabelKind::Number,
        ignore: vec![LABEL.into()],
        ..ReadOptions::default()
    };
    let data = Table::read(golden("none.parquet"), &options).unwrap().regress().unwrap();
    let Targets::Values(values) = data.targets else { panic!("values") };
    assert_eq!(values.matrix().row(1), [0.0, -2.0]);
}

/// The refusal of `column` of the odd file, alone.
fn odd(column: &str) -> String {
    let options = ReadOptions { keep: Some(vec![column.into()]), ..ReadOptions::default() };
    let bytes = golden_bytes("odd.parquet");
    refusal(Table::read_bytes("odd", &bytes, &options))
}

#[test]
fn columns_named_by_their_defect() {
    for (column, reason) in [
        ("x", "odd: row 2, column \"x\": missing value"),
        ("inf", "odd: row 2, column \"inf\": not finite"),
        ("big", "odd: row 2, column \"big\": too large for single precision"),
        ("when", "odd: column \"when\": values of type Timestamp"),
        ("price", "odd: column \"price\": values of type Decimal"),
        ("list.list.element", "odd: column \"list.list.element\": nested values are not supported; flatten"),
        ("city", "odd: column \"city\": text as a number is not supported"),
    ] {
        let message = odd(column);
        assert!(message.starts_with(reason), "{message}");
    }
    let options = ReadOptions { keep: Some(vec!["fine".into()]), ..ReadOptions::labelled("none") };
    let message = refusal(Table::read_bytes("odd", &golden_bytes("odd.parquet"), &options));
    assert!(message.starts_with("odd: row 2, column \"none\": missing value"), "{message}");
}

#[test]
fn what_is_left_out_does_not_matter() {
    let options = ReadOptions { keep: Some(vec!["fine".into()]), ..ReadOptions::labelled("city") };
    let table = Table::read(golden("odd.parquet"), &options).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.0, 2.0, 3.0]);
}

#[test]
fn files_named_by_their_defect() {
    let read = |bytes: &[u8]| refusal(Table::read_bytes("t", bytes, &ReadOptions::labelled(LABEL)));
    let whole = golden_bytes("snappy.parquet");
    assert!(read(&whole[..whole.len() - 1]).contains("does not end as a Parquet file"));
    assert!(read(&whole[..10]).starts_with("t: not a readable Parquet file"));
    assert!(read(b"PAR1").starts_with("t: not a readable Parquet file: too short"));
    let beheaded = [&whole[..4], &whole[whole.len() - 900..]].concat();
    assert!(read(&beheaded).starts_with("t: not a readable Parquet file"), "{}", read(&beheaded));
    let mut encrypted = whole.clone();
    encrypted.truncate(whole.len() - 4);
    encrypted.extend(b"PARE");
    assert!(read(&encrypted).contains("encrypted; write it without encryption"));
    for codec in ["brotli", "lz4"] {
        let message = read(&golden_bytes(&format!("{codec}.parquet")));
        assert!(
            message.ends_with("compression is not supported; write it with snappy, gzip or zstd"),
            "{message}"
        );
    }
    assert!(read(&golden_bytes("no_rows.parquet")).starts_with("t: no data rows"));
}

#[test]
fn limits_are_kept() {
    let limited = |limits: Limits| {
        let options = ReadOptions { limits, ..ReadOptions::labelled(LABEL) };
        refusal(Table::read(golden("none.parquet"), &options))
    };
    assert!(limited(Limits { rows: 4, ..Limits::default() }).contains("rows: 5 exceeds the limit of 4"));
    assert!(limited(Limits { columns: 7, ..Limits::default() }).contains("columns: 8 exceeds"));
    assert!(
        limited(Limits { matrix_bytes: 319, ..Limits::default() })
            .contains("features and labels: 320 exceeds")
    );
    assert!(limited(Limits { file_bytes: 1000, ..Limits::default() }).contains("bytes of content"));
    assert!(
        limited(Limits { cell_bytes: 2, ..Limits::default() })
            .contains("row 1, column \"label\": longer than")
    );
    assert!(limited(Limits { classes: 2, ..Limits::default() }).contains("distinct labels"));
}

#[test]
fn what_the_parquet_crate_writes() {
    use std::sync::Arc;

    use parquet::data_type::{DoubleType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message m { REQUIRED DOUBLE a; OPTIONAL INT32 b (INTEGER(32, true)); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::builder().build())).unwrap();
    // More rows than a batch, so that reading crosses batches and pages.
    let rows = 10_000;
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let a: Vec<f64> = (0..rows).map(|i| f64::from(i) / 4.0).collect();
    column.typed::<DoubleType>().write_batch(&a, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let b: Vec<i32> = (0..rows).map(|i| i * 7 - 100).collect();
    column.typed::<Int32Type>().write_batch(&b, Some(&vec![1; rows as usize]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let table = Table::read_bytes("t", &bytes, &ReadOptions::default()).unwrap();
    for (row, values) in table.features.matrix().iter_rows().enumerate() {
        assert_eq!(values, [row as f64 / 4.0, (row as i32 * 7 - 100).into()]);
    }
}
